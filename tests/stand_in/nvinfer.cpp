// A stand-in for libtensorrt_rtx.so.1 (or libnvinfer.so, from the other headers): what the library
// exports, and the runtime, which reads plans. It builds nothing: the builder is always null.
//
// STAND_IN_TENSORRT_VERSION=1.5.0 makes it another version. As with the real library, a program
// made for a newer version than the library's gets no runtime.
#include "nvinfer.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

using namespace nvinfer1;

// ---- The driver

static Driver find_driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    auto const look_for = [&](auto& function, char const* name) {
        void* symbol = library ? dlsym(library, name) : nullptr;
        std::memcpy(&function, &symbol, sizeof function);
        return symbol != nullptr;
    };
    Driver found{};
#define FIND(name)                                                     \
    if (!look_for(found.name, #name)) {                                \
        std::fprintf(stderr, "stand-in: libcuda.so.1 has no %s\n", #name); \
        std::abort();                                                  \
    }
    FIND(cuMemAlloc_v2)
    FIND(cuMemFree_v2)
    FIND(cuMemGetAddressRange_v2)
    FIND(cuStreamIsCapturing)
    FIND(cuStreamSynchronize)
    FIND(cuEventRecord)
    FIND(cuGetErrorName)
    FIND(cuCtxGetDevice)
    FIND(cuCtxGetId)
    FIND(cuDeviceGetAttribute)
    FIND(cuModuleLoadData)
    FIND(cuModuleGetFunction)
    FIND(cuModuleUnload)
    FIND(cuDriverGetVersion)
    FIND(cuLaunchKernel)
#undef FIND
    if (number("STAND_IN_BARE", 0) == 0) {
        look_for(found.misuse, "stand_in_misuse");
        look_for(found.count_contexts, "stand_in_count_contexts");
        look_for(found.count_engine, "stand_in_count_engine");
        look_for(found.count_compilation, "stand_in_count_compilation");
        look_for(found.device_is_lost, "stand_in_device_is_lost");
    }
    return found;
}

Driver const& driver() {
    static Driver const found = find_driver();
    return found;
}

Faults const& faults() {
    static Faults const read;
    return read;
}

void misuse(std::string const& text) {
    if (driver().is_real())
        std::fprintf(stderr, "stand-in: misuse: %s\n", text.c_str());
    else
        driver().misuse(text.c_str());
}

std::string error_name(int code) {
    char const* name = nullptr;
    driver().cuGetErrorName(code, &name);
    return name ? name : "CUDA error " + std::to_string(code);
}

void called(char const* interface, char const* function) {
    misuse(std::string("called ") + interface + "::" + function);
}

void log_error(ILogger& logger, std::string const& text) {
    logger.log(ILogger::Severity::kERROR, text.c_str());
}

void destroyed(char const* what) {
    if (driver().device_is_lost && driver().device_is_lost())
        misuse(std::string(what) + " destroyed on a lost device");
}

std::pair<int, int> compute_capability() {
    int device = 0, major = 0, minor = 0;
    driver().cuCtxGetDevice(&device);
    driver().cuDeviceGetAttribute(&major, 75, device);
    driver().cuDeviceGetAttribute(&minor, 76, device);
    return {major, minor};
}

int DeviceMemory::take(size_t bytes) {
    int const error = bytes ? driver().cuMemAlloc_v2(&address_, bytes) : 0;
    if (!error) bytes_ = bytes;
    return error;
}

DeviceMemory::~DeviceMemory() {
    if (address_) driver().cuMemFree_v2(address_);
}

// What NVIDIA's compiler leaves in a library: the CUDA version that it was made with.
__attribute__((used)) static char const MADE_WITH[] = "Cuda compilation tools, release 13.4, V13.4.59";

// ---- The version

struct Version {
    int major = NV_TENSORRT_MAJOR, minor = NV_TENSORRT_MINOR, patch = NV_TENSORRT_PATCH;
    Version() {
        if (char const* text = std::getenv("STAND_IN_TENSORRT_VERSION"))
            std::sscanf(text, "%d.%d.%d", &major, &minor, &patch);
    }
    std::string text() const {
        return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
    }
};

EXPORT int32_t getInferLibMajorVersion() noexcept { return Version().major; }
EXPORT int32_t getInferLibMinorVersion() noexcept { return Version().minor; }
EXPORT int32_t getInferLibPatchVersion() noexcept { return Version().patch; }
EXPORT int32_t getInferLibBuildVersion() noexcept { return NV_TENSORRT_BUILD; }
EXPORT int32_t getInferLibVersion() noexcept {
    Version const version;
    return NV_TENSORRT_VERSION_INT(version.major, version.minor, version.patch);
}

// ---- The runtime

namespace {

#ifdef TRT_MAJOR_RTX
// The compute capabilities that TensorRT-RTX opens engines on. The stand-in's own kernels run on any card.
bool is_supported(std::pair<int, int> capability) {
    if (driver().is_real() || capability.first >= 12) return true;
    for (auto const& known : {std::make_pair(7, 5), std::make_pair(8, 0), std::make_pair(8, 6), std::make_pair(8, 9)})
        if (known == capability) return true;
    return false;
}
#endif

struct Runtime final : IRuntime, apiv::VRuntime {
    static constexpr char INTERFACE[] = "IRuntime";
    ILogger& logger;

    explicit Runtime(ILogger& to) : logger(to) { mImpl = this; }
    ~Runtime() noexcept override { destroyed("a runtime"); }
    IRuntime* getPImpl() noexcept override { return this; }
    ILogger* getLogger() const noexcept override { return &logger; }

    ICudaEngine* deserializeCudaEngine(void const* blob, size_t size) noexcept override {
        auto loaded = std::make_shared<Loaded>(logger);
        std::string why;
        if (!blob || !loaded->plan.parse(std::string(static_cast<char const*>(blob), size), why)) {
            log_error(logger, "IRuntime::deserializeCudaEngine: not a plan: " + why);
            return nullptr;
        }
#ifdef TRT_MAJOR_RTX
        if (!is_supported(compute_capability())) {
            log_error(logger, "IRuntime::deserializeCudaEngine: TensorRT-RTX does not support this compute capability, "
                              "so the engine cannot be rebuilt for it.");
            return nullptr;
        }
#endif
        if (int const error = loaded->kernels.load()) {
            log_error(logger, "IRuntime::deserializeCudaEngine: no kernels: " + error_name(error));
            return nullptr;
        }
        if (int const error = loaded->weights.take(loaded->plan.weights)) {
            log_error(logger, "IRuntime::deserializeCudaEngine: no memory for weights: " +
                                  error_name(error));
            return nullptr;
        }
        loaded->text.assign(static_cast<char const*>(blob), size);
        if (driver().count_engine) driver().count_engine();
        return make_engine(std::move(loaded));
    }

    void setDLACore(int32_t) noexcept override { UNDONE(); }
    int32_t getDLACore() const noexcept override { UNDONE(0); }
    int32_t getNbDLACores() const noexcept override { return 0; }
    void setGpuAllocator(IGpuAllocator*) noexcept override { UNDONE(); }
    void setErrorRecorder(IErrorRecorder*) noexcept override { UNDONE(); }
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool setMaxThreads(int32_t) noexcept override { return true; }
    int32_t getMaxThreads() const noexcept override { return 1; }
    void setTemporaryDirectory(char const*) noexcept override { UNDONE(); }
    char const* getTemporaryDirectory() const noexcept override { UNDONE("/tmp"); }
    void setTempfileControlFlags(TempfileControlFlags) noexcept override { UNDONE(); }
    TempfileControlFlags getTempfileControlFlags() const noexcept override { UNDONE(0); }
    IPluginRegistry& getPluginRegistry() noexcept override {
        // There is none, and a reference cannot say so.
        called(INTERFACE, __func__);
        std::fprintf(stderr, "stand-in: there is no plugin registry\n");
        std::abort();
    }
    void setPluginRegistryParent(IPluginRegistry*) noexcept override { UNDONE(); }
    IRuntime* loadRuntime(char const*) noexcept override { UNDONE(nullptr); }
    void setEngineHostCodeAllowed(bool) noexcept override { UNDONE(); }
    bool getEngineHostCodeAllowed() const noexcept override { return false; }
    ICudaEngine* deserializeCudaEngineV2(IStreamReaderV2&) noexcept override { UNDONE(nullptr); }
    bool setDLAWorkspaceAllocationStrategy(DLAWorkspaceAllocationStrategy) noexcept override {
        UNDONE(false);
    }
    DLAWorkspaceAllocationStrategy getDLAWorkspaceAllocationStrategy() const noexcept override {
        return DLAWorkspaceAllocationStrategy::kDEFAULT;
    }

#ifdef TRT_MAJOR_RTX
    int64_t getEngineHeaderSize() const noexcept override { return sizeof PLAN_HEADER - 1; }
    EngineValidity getEngineValidity(void const* blob, int64_t size,
                                     uint64_t* diagnostics) const noexcept override {
        bool const good = blob && size >= getEngineHeaderSize() &&
                          std::memcmp(blob, PLAN_HEADER, sizeof PLAN_HEADER - 1) == 0;
        auto const bad = static_cast<uint64_t>(EngineInvalidityDiagnostics::kMALFORMED_ENGINE);
        if (diagnostics) *diagnostics = good ? 0 : bad;
        return good ? EngineValidity::kVALID : EngineValidity::kINVALID;
    }
    void setDeferredWeightsLoading(bool) noexcept override { UNDONE(); }
    bool getDeferredWeightsLoading() const noexcept override { return false; }
#endif
};

// ---- The runtime's settings for a context

#ifdef TRT_MAJOR_RTX
struct CacheBytes final : IHostMemory, apiv::VHostMemory {
    std::string text;
    explicit CacheBytes(std::string given) : text(std::move(given)) { mImpl = this; }
    void* data() const noexcept override { return const_cast<char*>(text.data()); }
    size_t size() const noexcept override { return text.size(); }
    DataType type() const noexcept override { return DataType::kINT8; }
};

// A cache of compiled kernels. Kept as a text, it fits one version, one kind of device and one driver: its first line.
struct RuntimeCache final : IRuntimeCache, apiv::VRuntimeCache {
    std::shared_ptr<Compiled> compiled = std::make_shared<Compiled>();

    RuntimeCache() { mImpl = this; }
    static std::string fits() {
        auto const capability = compute_capability();
        int version = 0;
        driver().cuDriverGetVersion(&version);
        return "stand-in kernels for " + Version().text() + ", " + std::to_string(capability.first) + "." +
               std::to_string(capability.second) + ", CUDA " + std::to_string(version);
    }
    IHostMemory* serialize() const noexcept override {
        std::string text = fits() + "\n";
        for (auto const& kernels : compiled->known) text += kernels + "\n";
        return new CacheBytes(text);
    }
    bool deserialize(void const* blob, size_t size) noexcept override {
        std::istringstream lines(std::string(static_cast<char const*>(blob), size));
        std::string line;
        if (!std::getline(lines, line) || line != fits()) return false;
        while (std::getline(lines, line)) compiled->known.insert(line);
        return true;
    }
    bool reset() noexcept override {
        compiled->known.clear();
        return true;
    }
};
#endif

struct RuntimeConfig final : IRuntimeConfig, apiv::VRuntimeConfig {
    ExecutionContextAllocationStrategy memory = ExecutionContextAllocationStrategy::kSTATIC;

    RuntimeConfig() { mImpl = this; }
    IRuntimeConfig* getPImpl() noexcept override { return this; }
    void setExecutionContextAllocationStrategy(
        ExecutionContextAllocationStrategy strategy) noexcept override {
        memory = strategy;
    }
    ExecutionContextAllocationStrategy getExecutionContextAllocationStrategy()
        const noexcept override {
        return memory;
    }

#ifdef TRT_MAJOR_RTX
    IRuntimeCache* cache = nullptr;
    DynamicShapesKernelSpecializationStrategy kernels =
        DynamicShapesKernelSpecializationStrategy::kLAZY;
    CudaGraphStrategy graphs = CudaGraphStrategy::kDISABLED;

    IRuntimeCache* createRuntimeCache() const noexcept override { return new RuntimeCache; }
    bool setRuntimeCache(IRuntimeCache const& given) noexcept override {
        cache = const_cast<IRuntimeCache*>(&given);
        return true;
    }
    IRuntimeCache* getRuntimeCache() const noexcept override { return cache; }
    void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept override {
        kernels = strategy;
    }
    DynamicShapesKernelSpecializationStrategy getDynamicShapesKernelSpecializationStrategy()
        const noexcept override {
        return kernels;
    }
    bool setCudaGraphStrategy(CudaGraphStrategy strategy) noexcept override {
        graphs = strategy;
        return true;
    }
    CudaGraphStrategy getCudaGraphStrategy() const noexcept override { return graphs; }
#endif
};

}    // namespace

IRuntimeConfig* make_config() { return new RuntimeConfig; }

std::shared_ptr<Compiled> compiled_of(IRuntimeConfig* given) {
#ifdef TRT_MAJOR_RTX
    auto const* config = static_cast<RuntimeConfig*>(given);
    auto const* cache = config ? static_cast<RuntimeCache*>(config->cache) : nullptr;
    auto compiled = cache ? cache->compiled : std::make_shared<Compiled>();
    compiled->eager = config && config->kernels == DynamicShapesKernelSpecializationStrategy::kEAGER;
    return compiled;
#else
    (void)given;
    return nullptr;
#endif
}

// ---- What the library exports

EXPORT void* createInferRuntime_INTERNAL(void* to, int32_t made_for) noexcept {
    if (!to) return nullptr;
    auto& logger = *static_cast<ILogger*>(to);
    Version const version;
    int32_t const major = made_for / 10000, minor = made_for / 100 % 100;
    if (major != version.major || minor > version.minor) {
        log_error(logger, "createInferRuntime: the program was made for TensorRT " +
                              std::to_string(major) + "." + std::to_string(minor) +
                              ", this library is " + version.text());
        return nullptr;
    }
    return static_cast<IRuntime*>(new Runtime(logger));
}

EXPORT void* createInferBuilder_INTERNAL(void* logger, int32_t) noexcept {
    if (logger)
        log_error(*static_cast<ILogger*>(logger),
                  "createInferBuilder: the stand-in builds nothing");
    return nullptr;
}

EXPORT void* createInferRefitter_INTERNAL(void*, void* logger, int32_t) noexcept {
    if (logger)
        log_error(*static_cast<ILogger*>(logger),
                  "createInferRefitter: the stand-in refits nothing");
    return nullptr;
}
