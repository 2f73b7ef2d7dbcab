// The execution context of the TensorRT stand-in, and what an inference computes.
//
// An inference takes the first input x row by row, a row being one item of the batch: pixel i of
// output k is x[i] * (k + 1) + k, computed in f32 and converted to the output's type. An output
// with more pixels than x goes round x again. So every output differs, and a test can tell a row
// answered from another row, from stale memory or from another output.
//
// enqueueV3 refuses, with a line in the log, when a shape or an address is missing, when a tensor
// is not inside a live allocation, or when the driver says no. Shapes and addresses are read when
// it is called; a captured enqueue keeps the ones it was captured with. To launch its graph after the
// context's shapes were changed is a misuse: on the real thing what it computes then is undefined.
#include "nvinfer.h"

#include <atomic>

using namespace nvinfer1;

namespace {

// One inference, as the stream will run it. Its memory is: input, outputs in plan order, the rest.
struct Inference {
    int64_t rows;
    Tensor input;
    std::vector<Tensor> outputs;
    // In a graph: how often its context's shapes had been changed, when captured and now.
    int64_t shapes_then = 0;
    std::shared_ptr<std::atomic<int64_t>> shapes_now;
};

void run(void* argument, void* const* memory) {
    auto const& inference = *static_cast<Inference const*>(argument);
    driver().count_rows(inference.rows);
    if (inference.shapes_now && *inference.shapes_now != inference.shapes_then)
        driver().misuse("a graph launched after the shapes of its execution context were changed");
    Tensor const& input = inference.input;
    for (size_t k = 0; k < inference.outputs.size(); ++k) {
        Tensor const& output = inference.outputs[k];
        auto const scale = static_cast<float>(k + 1), shift = static_cast<float>(k);
        int64_t const rows = output.batched ? inference.rows : 1;
        for (int64_t row = 0; row < rows; ++row) {
            int64_t const from = input.batched ? row * input.row_elements : 0;
            for (int64_t i = 0; i < output.row_elements; ++i) {
                float const x =
                    load(input.type, memory[0], static_cast<size_t>(from + i % input.row_elements));
                store(output.type, memory[k + 1],
                      static_cast<size_t>(row * output.row_elements + i), x * scale + shift);
            }
        }
    }
}

void release(void* argument) { delete static_cast<Inference*>(argument); }

struct Context final : IExecutionContext, apiv::VExecutionContext {
    static constexpr char INTERFACE[] = "IExecutionContext";
    ICudaEngine& engine;
    std::shared_ptr<Loaded> loaded;
    DeviceMemory workspace, scratch;
    StandInRange given{0, 0};    // a workspace of the program's own
    bool const owns_memory;
    std::map<std::string, int64_t> batches;    // of each batched input whose shape was set
    std::map<std::string, uint64_t> addresses;
    std::string name;
    cudaEvent_t consumed = nullptr;
    bool warm = false;    // it was enqueued before
    std::shared_ptr<std::atomic<int64_t>> const shape_changes =
        std::make_shared<std::atomic<int64_t>>(0);

    Context(ICudaEngine& of, std::shared_ptr<Loaded> from, bool owns)
        : engine(of), loaded(std::move(from)), owns_memory(owns) {
        mImpl = this;
        ++loaded->contexts;
        driver().count_contexts(1);
    }
    ~Context() noexcept override {
        --loaded->contexts;
        driver().count_contexts(-1);
    }

    bool fail(char const* function, std::string const& why) const {
        log_error(loaded->logger, std::string("IExecutionContext::") + function + ": " + why);
        return false;
    }

    Tensor const* find(char const* tensor, char const* function) const {
        Tensor const* found = loaded->plan.find(tensor);
        if (!found)
            fail(function, std::string("no tensor is named ") + (tensor ? tensor : "(null)"));
        return found;
    }

    // The batch all inputs agree on; -1 when one is not set or they differ.
    int64_t batch() const {
        Plan const& plan = loaded->plan;
        if (!plan.dynamic()) return plan.most;
        int64_t agreed = 0;
        for (auto const& tensor : plan.tensors) {
            if (!tensor.input || !tensor.batched) continue;
            auto const set = batches.find(tensor.name);
            if (set == batches.end() || (agreed && agreed != set->second)) return -1;
            agreed = set->second;
        }
        return agreed;
    }

    // ---- Shapes and addresses

    bool setInputShape(char const* tensor, Dims const& dims) noexcept override {
        Tensor const* input = find(tensor, __func__);
        if (!input) return false;
        if (!input->input) return fail(__func__, input->name + " is no input");
        bool good = dims.nbDims == input->dims.nbDims;
        for (int32_t i = input->batched; good && i < dims.nbDims; ++i)
            good = dims.d[i] == input->dims.d[i];
        if (!good)
            return fail(__func__, "the shape of " + input->name + " does not fit the engine's");
        if (!input->batched) return true;
        Plan const& plan = loaded->plan;
        if (dims.d[0] < plan.least || dims.d[0] > plan.most)
            return fail(__func__, "a batch of " + std::to_string(dims.d[0]) + " for " +
                                      input->name + " is outside the profile, " +
                                      std::to_string(plan.least) + " to " +
                                      std::to_string(plan.most));
        batches[input->name] = dims.d[0];
        ++*shape_changes;
        return true;
    }
    Dims getTensorShape(char const* tensor) const noexcept override {
        Tensor const* found = find(tensor, __func__);
        if (!found) return Dims{-1, {}};
        auto const set = batches.find(found->name);
        return found->shape(found->input && set != batches.end() ? set->second : batch());
    }
    bool allInputDimensionsSpecified() const noexcept override { return batch() >= 0; }
    int32_t inferShapes(int32_t, char const**) noexcept override { return batch() >= 0 ? 0 : 1; }
    int64_t getMaxOutputSize(char const* tensor) const noexcept override {
        Tensor const* found = find(tensor, __func__);
        return found ? static_cast<int64_t>(found->bytes(loaded->plan.most)) : -1;
    }

    bool set_address(char const* function, char const* tensor, void const* data, bool input,
                     bool output) {
        Tensor const* found = find(tensor, function);
        if (!found) return false;
        if (found->input ? !input : !output)
            return fail(function, found->name + " is of the other kind");
        addresses[found->name] = reinterpret_cast<uint64_t>(data);
        return true;
    }
    bool setTensorAddress(char const* tensor, void* data) noexcept override {
        return set_address(__func__, tensor, data, true, true);
    }
    bool setInputTensorAddress(char const* tensor, void const* data) noexcept override {
        return set_address(__func__, tensor, data, true, false);
    }
    bool setOutputTensorAddress(char const* tensor, void* data) noexcept override {
        return set_address(__func__, tensor, data, false, true);
    }
    void* getOutputTensorAddress(char const* tensor) const noexcept override {
        auto const set = addresses.find(tensor ? tensor : "");
        return set == addresses.end() ? nullptr : reinterpret_cast<void*>(set->second);
    }
    void const* getTensorAddress(char const* tensor) const noexcept override {
        return getOutputTensorAddress(tensor);
    }

    // ---- Inference

    // The tensors' memory for this batch, in the order `run` wants it.
    bool gather(int64_t rows, Inference& inference, std::vector<StandInRange>& ranges) const {
        std::vector<StandInRange> rest;
        bool first = true;
        for (bool const inputs : {true, false}) {
            for (auto const& tensor : loaded->plan.tensors) {
                if (tensor.input != inputs) continue;
                auto const set = addresses.find(tensor.name);
                if (set == addresses.end() || !set->second)
                    return fail("enqueueV3", "no address was set for " + tensor.name);
                StandInRange const range{set->second, tensor.bytes(rows)};
                if (!driver().is_live(range.address, range.bytes)) {
                    driver().misuse("enqueueV3 with a tensor outside live device memory");
                    return fail("enqueueV3",
                                tensor.name + " is not inside live memory of the current device");
                }
                if (first) inference.input = tensor;
                if (!inputs) inference.outputs.push_back(tensor);
                (first || !inputs ? ranges : rest).push_back(range);
                first = false;
            }
        }
        ranges.insert(ranges.end(), rest.begin(), rest.end());
        return true;
    }

    // What the faults "capture-fails" and "lazy-alloc" do: work in enqueue that no capture allows.
    int prepare(cudaStream_t stream) {
        int capturing = 0;
        if (int const error = driver().cuStreamIsCapturing(stream, &capturing)) return error;
        if (capturing && driver().has_fault("capture-fails"))
            return driver().cuStreamSynchronize(stream);
        if (!warm && driver().has_fault("lazy-alloc") && !scratch.range().bytes)
            return scratch.take(4096);
        return 0;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        int64_t const rows = batch();
        if (rows < 0) return fail(__func__, "not all input shapes were set, or they do not agree");
        if (!owns_memory && loaded->plan.workspace > given.bytes)
            return fail(__func__, "the context was given less device memory than it takes");
        auto inference = std::make_unique<Inference>();
        inference->rows = rows;
        std::vector<StandInRange> ranges;
        if (!gather(rows, *inference, ranges)) return false;
        if (int const error = prepare(stream)) return fail(__func__, error_name(error));
        int capturing = 0;
        if (!driver().cuStreamIsCapturing(stream, &capturing) && capturing) {
            inference->shapes_then = *shape_changes;
            inference->shapes_now = shape_changes;
        }
        for (StandInRange const range :
             {workspace.range(), given, loaded->weights.range(), scratch.range()})
            if (range.bytes) ranges.push_back(range);
        int error = driver().enqueue(stream, ranges.data(), ranges.size(), run, inference.release(),
                                     release);
        if (!error && consumed) error = driver().cuEventRecord(consumed, stream);
        if (error) return fail(__func__, error_name(error));
        warm = true;
        return true;
    }
    bool setInputConsumedEvent(cudaEvent_t event) noexcept override {
        consumed = event;
        return true;
    }
    cudaEvent_t getInputConsumedEvent() const noexcept override { return consumed; }
#ifdef TRT_MAJOR_RTX
    bool isStreamCapturable(cudaStream_t) const noexcept override {
        return !driver().has_fault("capture-fails") && (warm || !driver().has_fault("lazy-alloc"));
    }
#endif

    // ---- The context

    IExecutionContext* getPImpl() noexcept override { return this; }
    ICudaEngine const& getEngine() const noexcept override { return engine; }
    void setName(char const* given_name) noexcept override { name = given_name ? given_name : ""; }
    char const* getName() const noexcept override { return name.c_str(); }
    int32_t getOptimizationProfile() const noexcept override { return 0; }
    bool setOptimizationProfileAsync(int32_t profile, cudaStream_t) noexcept override {
        return profile == 0 || fail(__func__, "there is one profile, 0");
    }
    void setDeviceMemoryV2(void* memory, int64_t size) noexcept override {
        if (owns_memory ||
            !driver().is_live(reinterpret_cast<uint64_t>(memory), static_cast<size_t>(size)))
            driver().misuse("setDeviceMemoryV2 with memory that is not live, or not asked for");
        else
            given = {reinterpret_cast<uint64_t>(memory), static_cast<size_t>(size)};
    }
    void setDeviceMemory(void* memory) noexcept override {
        setDeviceMemoryV2(memory, static_cast<int64_t>(loaded->plan.workspace));
    }
    size_t updateDeviceMemorySizeForShapes() noexcept override { return loaded->plan.workspace; }

    // ---- What the stand-in has not

    void setDebugSync(bool) noexcept override { UNDONE(); }
    bool getDebugSync() const noexcept override { return false; }
    void setProfiler(IProfiler*) noexcept override { UNDONE(); }
    IProfiler* getProfiler() const noexcept override { return nullptr; }
    void setErrorRecorder(IErrorRecorder*) noexcept override { UNDONE(); }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool executeV2(void* const*) noexcept override { UNDONE(false); }
    void setEnqueueEmitsProfile(bool) noexcept override { UNDONE(); }
    bool getEnqueueEmitsProfile() const noexcept override { return true; }
    bool reportToProfiler() const noexcept override { UNDONE(false); }
    Dims getTensorStrides(char const*) const noexcept override { UNDONE(Dims{-1, {}}); }
    bool setOutputAllocator(char const*, IOutputAllocator*) noexcept override { UNDONE(false); }
    IOutputAllocator* getOutputAllocator(char const*) noexcept override { return nullptr; }
    bool setTemporaryStorageAllocator(IGpuAllocator*) noexcept override { UNDONE(false); }
    IGpuAllocator* getTemporaryStorageAllocator() const noexcept override { return nullptr; }
    void setPersistentCacheLimit(size_t) noexcept override { UNDONE(); }
    size_t getPersistentCacheLimit() const noexcept override { return 0; }
    bool setNvtxVerbosity(ProfilingVerbosity) noexcept override { return true; }
    ProfilingVerbosity getNvtxVerbosity() const noexcept override {
        return ProfilingVerbosity::kNONE;
    }
    void setAuxStreams(cudaStream_t*, int32_t) noexcept override { UNDONE(); }
    bool setDebugListener(IDebugListener*) noexcept override { UNDONE(false); }
    IDebugListener* getDebugListener() noexcept override { return nullptr; }
    bool setTensorDebugState(char const*, bool) noexcept override { UNDONE(false); }
    bool getDebugState(char const*) const noexcept override { return false; }
    bool setAllTensorsDebugState(bool) noexcept override { UNDONE(false); }
    IRuntimeConfig* getRuntimeConfig() const noexcept override { UNDONE(nullptr); }
    bool setUnfusedTensorsDebugState(bool) noexcept override { UNDONE(false); }
    bool getUnfusedTensorsDebugState() const noexcept override { return false; }
    bool setCommunicator(void*) noexcept override { UNDONE(false); }
};

}    // namespace

IExecutionContext* make_context(ICudaEngine& engine, std::shared_ptr<Loaded> loaded,
                                bool owns_memory) {
    auto context = std::make_unique<Context>(engine, std::move(loaded), owns_memory);
    size_t const bytes = owns_memory ? context->loaded->plan.workspace : 0;
    if (int const error = context->workspace.take(bytes)) {
        log_error(context->loaded->logger,
                  "ICudaEngine::createExecutionContext: no device memory: " + error_name(error));
        return nullptr;
    }
    return context.release();
}
