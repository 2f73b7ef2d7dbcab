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

// One inference: its kernels' arguments.
struct Inference {
    Gate gate{};
    std::vector<Compute> outputs;
    int used = 0;

    bool use(Used range) {
        if (!range.bytes) return true;
        if (used == MOST_USED) return false;
        gate.used[used++] = range;
        return true;
    }
};

struct Context final : IExecutionContext, apiv::VExecutionContext {
    static constexpr char INTERFACE[] = "IExecutionContext";
    ICudaEngine& engine;
    std::shared_ptr<Loaded> loaded;
    DeviceMemory workspace, scratch;
    Used given{0, 0};    // a workspace of the program's own
    bool const owns_memory;
    std::shared_ptr<Compiled> const compiled;    // null: kernels are compiled when an engine is built
    std::map<std::string, int64_t> batches;    // of each batched input whose shape was set
    std::map<std::string, uint64_t> addresses;
    std::string name;
    cudaEvent_t consumed = nullptr;
    bool warm = false;    // it was enqueued before
    // How often a shape was set. Never freed: a graph may be launched after its context is gone.
    std::atomic<u64>* const shape_changes = new std::atomic<u64>(0);

    Context(ICudaEngine& of, std::shared_ptr<Loaded> from, bool owns, std::shared_ptr<Compiled> shared)
        : engine(of), loaded(std::move(from)), owns_memory(owns), compiled(std::move(shared)) {
        mImpl = this;
        if (!loaded->plan.dynamic()) compile(loaded->plan.most);
        ++loaded->contexts;
        if (driver().count_contexts) driver().count_contexts(1);
    }
    ~Context() noexcept override {
        --loaded->contexts;
        destroyed("an execution context");
        if (driver().count_contexts) driver().count_contexts(-1);
    }

    // Compiles the kernels for `rows` rows, unless they are known.
    void compile(int64_t rows) {
        if (!compiled) return;
        auto const plan = std::hash<std::string>()(loaded->text);
        bool const is_new = compiled->known.insert(std::to_string(plan) + " " + std::to_string(rows)).second;
        if (is_new && driver().count_compilation) driver().count_compilation();
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
        if (plan.dynamic() && compiled && compiled->eager) compile(dims.d[0]);
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

    // Where a tensor lies; 0, said in the log, if it is not inside live device memory.
    u64 address_of(Tensor const& tensor, int64_t rows) const {
        auto const set = addresses.find(tensor.name);
        if (set == addresses.end() || !set->second) {
            fail("enqueueV3", "no address was set for " + tensor.name);
            return 0;
        }
        u64 const address = set->second;
        if (!is_live(address, tensor.bytes(rows))) {
            misuse("enqueueV3 with a tensor outside live device memory");
            fail("enqueueV3", tensor.name + " is not inside live memory of the current device");
            return 0;
        }
        return address;
    }

    static bool is_live(u64 address, u64 bytes) {
        constexpr int INVALID_VALUE = 1, NOT_FOUND = 500;
        u64 base = 0;
        size_t size = 0;
        int const result = driver().cuMemGetAddressRange_v2(&base, &size, address);
        // A device that another stream has lost answers nothing about its memory; what is enqueued will say so.
        if (result != 0 && result != INVALID_VALUE && result != NOT_FOUND) return true;
        return result == 0 && address - base + bytes <= size;
    }

    // The arguments of `compute` for output `k`.
    bool prepare(size_t k, Tensor const& input, u64 in, Tensor const& output, int64_t rows,
                 Inference& inference) const {
        for (Tensor const* tensor : {&input, &output})
            if (tensor->type != DataType::kFLOAT && tensor->type != DataType::kHALF)
                return fail("enqueueV3", "the stand-in computes with f32 and f16 only, and " +
                                             tensor->name + " is neither");
        Compute compute{};
        compute.in = in;
        compute.out = address_of(output, rows);
        compute.in_values = static_cast<u64>(input.row_elements);
        compute.out_values = static_cast<u64>(output.row_elements);
        compute.in_step = input.batched ? compute.in_values : 0;
        compute.rows = output.batched ? static_cast<u64>(rows) : 1;
        compute.in_half = input.type == DataType::kHALF;
        compute.out_half = output.type == DataType::kHALF;
        compute.scale = k + 1;
        compute.shift = k;
        compute.mixes = loaded->plan.mixes;
        inference.outputs.push_back(compute);
        return compute.out != 0;
    }

    // The first input is computed with; the others only have to be there.
    bool gather(int64_t rows, Inference& inference) const {
        Tensor const* input = nullptr;
        u64 in = 0;
        for (auto const& tensor : loaded->plan.tensors) {
            if (!tensor.input) continue;
            u64 const address = address_of(tensor, rows);
            if (!address) return false;
            if (!input)
                input = &tensor, in = address;
            else if (!inference.use({address, tensor.bytes(rows)}))
                return fail("enqueueV3", "the stand-in cannot follow so many inputs");
        }
        for (auto const& tensor : loaded->plan.tensors)
            if (!tensor.input &&
                !prepare(inference.outputs.size(), *input, in, tensor, rows, inference))
                return false;
        return true;
    }

    // What the faults "capture-fails" and "lazy-alloc" do: work in enqueue that no capture allows.
    int provoke(cudaStream_t stream, bool capturing) {
        if (capturing && faults().capture_fails) return driver().cuStreamSynchronize(stream);
        if (!warm && faults().lazy_alloc && !scratch.range().bytes) return scratch.take(4096);
        return 0;
    }

    bool enqueueV3(cudaStream_t stream) noexcept override {
        int64_t const rows = batch();
        if (rows < 0) return fail(__func__, "not all input shapes were set, or they do not agree");
        if (!owns_memory && loaded->plan.workspace > given.bytes)
            return fail(__func__, "the context was given less device memory than it takes");
        Inference inference;
        if (!gather(rows, inference)) return false;
        int capturing = 0;
        int error = driver().cuStreamIsCapturing(stream, &capturing);
        if (!error) error = provoke(stream, capturing);
        if (error) return fail(__func__, error_name(error));
        inference.gate.rows = static_cast<u64>(rows);
        if (capturing && !driver().is_real()) {
            inference.gate.shapes = reinterpret_cast<u64>(shape_changes);
            inference.gate.shapes_then = *shape_changes;
        }
        for (Used const range :
             {workspace.range(), given, loaded->weights.range(), scratch.range()})
            if (!inference.use(range))
                return fail(__func__, "the stand-in cannot follow so many inputs");
        error = launch(loaded->kernels, stream, inference.gate, std::move(inference.outputs));
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
        return !faults().capture_fails && (warm || !faults().lazy_alloc);
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
        auto const address = reinterpret_cast<u64>(memory);
        if (owns_memory || !is_live(address, static_cast<u64>(size)))
            misuse("setDeviceMemoryV2 with memory that is not live, or not asked for");
        else
            given = {address, static_cast<u64>(size)};
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

IExecutionContext* make_context(ICudaEngine& engine, std::shared_ptr<Loaded> loaded, bool owns_memory,
                                std::shared_ptr<Compiled> compiled) {
    auto context = std::make_unique<Context>(engine, std::move(loaded), owns_memory, std::move(compiled));
    size_t const bytes = owns_memory ? context->loaded->plan.workspace : 0;
    if (int const error = context->workspace.take(bytes)) {
        log_error(context->loaded->logger,
                  "ICudaEngine::createExecutionContext: no device memory: " + error_name(error));
        return nullptr;
    }
    return context.release();
}
