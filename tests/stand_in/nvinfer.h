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
#include <string>
#include <vector>

#include "inference.h"
#include "plan.h"
#include "settings.h"
#include "stand_in.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// The functions of libcuda.so.1 that the stand-in calls. With the real driver the last two are null.
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
    int (*cuLaunchKernel)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                          void**);
    decltype(&stand_in_misuse) misuse;
    decltype(&stand_in_count_contexts) count_contexts;

    bool is_real() const { return !misuse; }
};
Driver const& driver();
std::string error_name(int code);
Faults const& faults();

// Into the report of the driver stand-in; to stderr with the real driver.
void misuse(std::string const& text);

// Loads the kernels into the current context, unless it has them. Returns a CUresult.
int load_kernels();
// Puts one inference on a stream, or into the graph that the stream captures. Returns a CUresult. The times of its
// kernels are set here.
int launch(void* stream, Gate const& gate, std::vector<Compute> outputs);

// Records a call the stand-in has no answer to. Use: UNDONE(value).
void called(char const* interface, char const* function);
#define UNDONE(...)                  \
    do {                             \
        called(INTERFACE, __func__); \
        return __VA_ARGS__;          \
    } while (0)

void log_error(nvinfer1::ILogger& logger, std::string const& text);

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
    DeviceMemory weights;
    int contexts = 0;
    explicit Loaded(nvinfer1::ILogger& to) : logger(to) {}
};

nvinfer1::ICudaEngine* make_engine(std::shared_ptr<Loaded> loaded);
nvinfer1::IExecutionContext* make_context(nvinfer1::ICudaEngine& engine,
                                          std::shared_ptr<Loaded> loaded, bool owns_memory);
nvinfer1::IRuntimeConfig* make_config();
