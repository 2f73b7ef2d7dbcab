// The inside of the TensorRT stand-in.
//
// TensorRT's public classes are thin: each call goes to `mImpl`, a table of virtual functions in
// nvinfer1::apiv. Here one object is both, so that `mImpl` is the object itself. What a plan can
// mean is done; every other call is recorded as a misuse ("called ICudaEngine::serialize") and
// answers with something harmless, so that a test that leans on it does not pass by luck.
//
// The device is reached through the process's libcuda.so.1: the driver stand-in, or the real driver.
#pragma once

#include <NvInferRuntime.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "inference.h"
#include "plan.h"
#include "settings.h"
#include "stand_in.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// The functions of libcuda.so.1 that the stand-in calls. With the real driver those after cuLaunchKernel are null.
struct Driver {
    int (*cuMemAlloc_v2)(u64*, size_t);
    int (*cuMemFree_v2)(u64);
    int (*cuMemGetAddressRange_v2)(u64*, size_t*, u64);
    int (*cuStreamIsCapturing)(void*, int*);
    int (*cuStreamSynchronize)(void*);
    int (*cuEventRecord)(void*, void*);
    int (*cuGetErrorName)(int, char const**);
    int (*cuCtxGetDevice)(int*);
    int (*cuCtxGetId)(void*, u64*);
    int (*cuDeviceGetAttribute)(int*, int, int);
    int (*cuModuleLoadData)(void**, void const*);
    int (*cuModuleGetFunction)(void**, void*, char const*);
    int (*cuModuleUnload)(void*);
    int (*cuDriverGetVersion)(int*);
    int (*cuLaunchKernel)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                          void**);
    decltype(&stand_in_misuse) misuse;
    decltype(&stand_in_count_contexts) count_contexts;
    decltype(&stand_in_count_engine) count_engine;
    decltype(&stand_in_count_compilation) count_compilation;
    decltype(&stand_in_device_is_lost) device_is_lost;

    bool is_real() const { return !misuse; }
};
Driver const& driver();
std::string error_name(int code);
Faults const& faults();

// Into the report of the driver stand-in; to stderr with the real driver.
void misuse(std::string const& text);

// The kernels of one engine on the device. As the real library does, each engine loads its own.
struct Kernels {
    void* module = nullptr;
    void* compute = nullptr;
    unsigned blocks = 1;    // of `compute`: as many as the device can run at once
    int load();             // into the current context; a CUresult
    void unload();
};

// Puts one inference on a stream, or into the graph that the stream captures. Returns a CUresult. The times of its
// kernels are set here.
int launch(Kernels const& kernels, void* stream, Gate const& gate, std::vector<Compute> outputs);

// Records a call the stand-in has no answer to. Use: UNDONE(value).
void called(char const* interface, char const* function);
#define UNDONE(...)                  \
    do {                             \
        called(INTERFACE, __func__); \
        return __VA_ARGS__;          \
    } while (0)

void log_error(nvinfer1::ILogger& logger, std::string const& text);

// A misuse if the current device has a fault: the real library logs an error for every object that is destroyed then,
// and may end the process.
void destroyed(char const* what);

// The compute capability of the current device.
std::pair<int, int> compute_capability();

// Device memory, given back with the object.
class DeviceMemory {
public:
    DeviceMemory() = default;
    DeviceMemory(DeviceMemory const&) = delete;
    DeviceMemory& operator=(DeviceMemory const&) = delete;
    ~DeviceMemory();
    int take(size_t bytes);    // a CUresult; nothing to do for 0 bytes
    Used range() const { return {address_, bytes_}; }

private:
    u64 address_ = 0;
    u64 bytes_ = 0;
};

// What an engine and its contexts share.
struct Loaded {
    nvinfer1::ILogger& logger;
    Plan plan;
    std::string text;    // of the plan
    DeviceMemory weights;
    Kernels kernels;
    int contexts = 0;
    explicit Loaded(nvinfer1::ILogger& to) : logger(to) {}
    ~Loaded() { kernels.unload(); }
};

// Kernels that were compiled just in time, by plan and batch. Contexts of one engine share them if they have the same
// cache, and a cache can be kept as text.
struct Compiled {
    std::set<std::string> known;
    bool eager = false;    // compile what is missing when a context gets its shape
};

nvinfer1::ICudaEngine* make_engine(std::shared_ptr<Loaded> loaded);
nvinfer1::IExecutionContext* make_context(nvinfer1::ICudaEngine& engine, std::shared_ptr<Loaded> loaded,
                                          bool owns_memory, std::shared_ptr<Compiled> compiled);
// The kernels that a context of this configuration shares; none if kernels are compiled when an engine is built.
std::shared_ptr<Compiled> compiled_of(nvinfer1::IRuntimeConfig* config);
nvinfer1::IRuntimeConfig* make_config();
