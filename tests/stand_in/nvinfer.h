// The inside of the TensorRT stand-in.
//
// TensorRT's public classes are thin: each call goes to `mImpl`, a table of virtual functions in
// nvinfer1::apiv. Here one object is both, so that `mImpl` is the object itself. What a plan can
// mean is done; every other call is recorded as a misuse ("called ICudaEngine::serialize") and
// answers with something harmless, so that a test that leans on it does not pass by luck.
//
// The device is reached only through the driver stand-in, in the process's libcuda.so.1.
#pragma once

#include <NvInferRuntime.h>

#include <map>
#include <memory>
#include <string>

#include "plan.h"
#include "stand_in.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// What the stand-in calls in the driver; each is a function of that name. A driver that is no
// stand-in ends the process: results from the two mixed would mean nothing.
struct Driver {
    int (*cuMemAlloc_v2)(unsigned long long*, size_t);
    int (*cuMemFree_v2)(unsigned long long);
    int (*cuStreamIsCapturing)(void*, int*);
    int (*cuStreamSynchronize)(void*);
    int (*cuEventRecord)(void*, void*);
    int (*cuGetErrorName)(int, char const**);
    decltype(&stand_in_enqueue) enqueue;
    decltype(&stand_in_is_live) is_live;
    decltype(&stand_in_has_fault) has_fault;
    decltype(&stand_in_misuse) misuse;
    decltype(&stand_in_count_contexts) count_contexts;
    decltype(&stand_in_count_rows) count_rows;
};
Driver const& driver();
std::string error_name(int code);

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
    StandInRange range() const { return {address_, bytes_}; }

private:
    unsigned long long address_ = 0;
    size_t bytes_ = 0;
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
