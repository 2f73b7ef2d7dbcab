// The engine of the TensorRT stand-in: a plan that was read, and its weights' device memory. It
// has one optimization profile, and tells its tensors as the plan lists them. It must outlive its
// execution contexts.
#include "nvinfer.h"

using namespace nvinfer1;

namespace {

struct Inspector final : IEngineInspector, apiv::VEngineInspector {
    static constexpr char INTERFACE[] = "IEngineInspector";
    IExecutionContext const* context = nullptr;

    Inspector() { mImpl = this; }
    IEngineInspector* getPImpl() noexcept override { return this; }
    bool setExecutionContext(IExecutionContext const* given) noexcept override {
        context = given;
        return true;
    }
    IExecutionContext const* getExecutionContext() const noexcept override { return context; }
    char const* getLayerInformation(int32_t, LayerInformationFormat) const noexcept override {
        return "{}";
    }
    char const* getEngineInformation(LayerInformationFormat) const noexcept override {
        return "{\"Layers\": []}";
    }
    void setErrorRecorder(IErrorRecorder*) noexcept override { UNDONE(); }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
};

struct Engine final : ICudaEngine, apiv::VCudaEngine {
    static constexpr char INTERFACE[] = "ICudaEngine";
    std::shared_ptr<Loaded> loaded;

    explicit Engine(std::shared_ptr<Loaded> given) : loaded(std::move(given)) { mImpl = this; }
    ~Engine() noexcept override {
        if (loaded->contexts > 0)
            misuse("an engine destroyed before its execution contexts");
        destroyed("an engine");
    }
    ICudaEngine* getPImpl() noexcept override { return this; }

    Tensor const* find(char const* name, char const* caller) const {
        Tensor const* tensor = loaded->plan.find(name);
        if (!tensor)
            log_error(loaded->logger, std::string("ICudaEngine::") + caller +
                                          ": no tensor is named " + (name ? name : "(null)"));
        return tensor;
    }

    // ---- The engine

    int32_t getNbLayers() const noexcept override { return 1; }
    char const* getName() const noexcept override { return "stand-in"; }
    int32_t getNbOptimizationProfiles() const noexcept override { return 1; }
    EngineCapability getEngineCapability() const noexcept override {
        return EngineCapability::kSTANDARD;
    }
    ProfilingVerbosity getProfilingVerbosity() const noexcept override {
        return ProfilingVerbosity::kLAYER_NAMES_ONLY;
    }
    HardwareCompatibilityLevel getHardwareCompatibilityLevel() const noexcept override {
        return static_cast<HardwareCompatibilityLevel>(0);    // none
    }
    int32_t getNbAuxStreams() const noexcept override { return 0; }
    bool isRefittable() const noexcept override { return false; }
    IEngineInspector* createEngineInspector() const noexcept override { return new Inspector; }
    IRuntimeConfig* createRuntimeConfig() noexcept override { return make_config(); }
    int64_t getDeviceMemorySizeV2() const noexcept override {
        return static_cast<int64_t>(loaded->plan.workspace);
    }
    int64_t getDeviceMemorySizeForProfileV2(int32_t profile) const noexcept override {
        return profile == 0 ? getDeviceMemorySizeV2() : 0;
    }
    int64_t getEngineStat(EngineStat stat) const noexcept override {
        return stat == EngineStat::kTOTAL_WEIGHTS_SIZE ? static_cast<int64_t>(loaded->plan.weights)
                                                       : 0;
    }
    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy) noexcept override {
        bool const owns_memory = strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED;
        return make_context(*this, loaded, owns_memory, compiled_of(nullptr));
    }
    IExecutionContext* createExecutionContextWithRuntimeConfig(
        IRuntimeConfig* config) noexcept override {
        bool const owns_memory = !config || config->getExecutionContextAllocationStrategy() !=
                                                ExecutionContextAllocationStrategy::kUSER_MANAGED;
        return make_context(*this, loaded, owns_memory, compiled_of(config));
    }

    // ---- Its tensors

    int32_t getNbIOTensors() const noexcept override {
        return static_cast<int32_t>(loaded->plan.tensors.size());
    }
    char const* getIOTensorName(int32_t index) const noexcept override {
        bool const there = index >= 0 && index < getNbIOTensors();
        return there ? loaded->plan.tensors[static_cast<size_t>(index)].name.c_str() : nullptr;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        Tensor const* tensor = find(name, __func__);
        return tensor ? tensor->shape(loaded->plan.dynamic() ? -1 : loaded->plan.most)
                      : Dims{-1, {}};
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        Tensor const* tensor = find(name, __func__);
        return tensor ? tensor->type : DataType::kFLOAT;
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        Tensor const* tensor = find(name, __func__);
        return !tensor         ? TensorIOMode::kNONE
               : tensor->input ? TensorIOMode::kINPUT
                               : TensorIOMode::kOUTPUT;
    }
    Dims getProfileShape(char const* name, int32_t profile,
                         OptProfileSelector select) const noexcept override {
        Tensor const* tensor = find(name, __func__);
        Plan const& plan = loaded->plan;
        if (!tensor || !tensor->input || profile != 0) return Dims{-1, {}};
        switch (select) {
            case OptProfileSelector::kMIN: return tensor->shape(plan.least);
            case OptProfileSelector::kOPT: return tensor->shape(plan.best);
            default: return tensor->shape(plan.most);
        }
    }
    TensorLocation getTensorLocation(char const*) const noexcept override {
        return TensorLocation::kDEVICE;
    }
    bool isShapeInferenceIO(char const*) const noexcept override { return false; }
    bool isDebugTensor(char const*) const noexcept override { return false; }
    char const* getAliasedInputTensor(char const*) const noexcept override { return nullptr; }

    // Every tensor is row-major, with no vectorized dimension: the headers' own values for that.
    int32_t getTensorBytesPerComponent(char const*) const noexcept override { return -1; }
    int32_t getTensorBytesPerComponentV2(char const*, int32_t) const noexcept override {
        return -1;
    }
    int32_t getTensorComponentsPerElement(char const*) const noexcept override { return -1; }
    int32_t getTensorComponentsPerElementV2(char const*, int32_t) const noexcept override {
        return -1;
    }
    TensorFormat getTensorFormat(char const*) const noexcept override {
        return TensorFormat::kLINEAR;
    }
    TensorFormat getTensorFormatV2(char const*, int32_t) const noexcept override {
        return TensorFormat::kLINEAR;
    }
    char const* getTensorFormatDesc(char const*) const noexcept override {
        return "Row-major linear";
    }
    char const* getTensorFormatDescV2(char const*, int32_t) const noexcept override {
        return "Row-major linear";
    }
    int32_t getTensorVectorizedDim(char const*) const noexcept override { return -1; }
    int32_t getTensorVectorizedDimV2(char const*, int32_t) const noexcept override { return -1; }

    // ---- What a plan cannot mean

    IHostMemory* serialize() const noexcept override { UNDONE(nullptr); }
    void setErrorRecorder(IErrorRecorder*) noexcept override { UNDONE(); }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    TacticSources getTacticSources() const noexcept override { UNDONE(0); }
    ISerializationConfig* createSerializationConfig() noexcept override { UNDONE(nullptr); }
    IHostMemory* serializeWithConfig(ISerializationConfig&) const noexcept override {
        UNDONE(nullptr);
    }
    IRefitter* createRefitter(ILogger&) noexcept override { UNDONE(nullptr); }
    int64_t getStreamableWeightsSize() const noexcept override { return 0; }
    bool setWeightStreamingBudgetV2(int64_t) noexcept override { UNDONE(false); }
    int64_t getWeightStreamingBudgetV2() const noexcept override { UNDONE(0); }
    int64_t getWeightStreamingAutomaticBudget() const noexcept override { UNDONE(0); }
    int64_t getWeightStreamingScratchMemorySize() const noexcept override { UNDONE(0); }
    int64_t const* getProfileTensorValuesV2(char const*, int32_t,
                                            OptProfileSelector) const noexcept override {
        UNDONE(nullptr);
    }
#ifdef TRT_MAJOR_RTX
    bool areWeightsLoaded() const noexcept override { return true; }
    bool loadWeights(void const*, int64_t) noexcept override { UNDONE(false); }
    bool loadWeightsAsync(IStreamReaderV2&, cudaStream_t) noexcept override { UNDONE(false); }
    bool unloadWeights() noexcept override { UNDONE(false); }
    IWeightsManager* createWeightsManager() noexcept override { UNDONE(nullptr); }
#endif
};

}    // namespace

ICudaEngine* make_engine(std::shared_ptr<Loaded> loaded) { return new Engine(std::move(loaded)); }
