// Kernels of the TensorRT stand-in: loading them into a context, and launching an inference.
//
// Every compute kernel has enough blocks to fill the card, as the layers of a network that saturates it do: two
// inferences on two streams take twice the time of one.
#include <atomic>
#include <map>
#include <mutex>

#include "kernels.ptx.h"
#include "nvinfer.h"

namespace {

constexpr unsigned THREADS = 256;    // in a block

// The gate counts the inferences of the whole process, so it is loaded once into each context and never unloaded. A
// context that was given back takes its modules with it, and its successor has another id.
int gate_of_current_context(void*& gate) {
    static std::mutex mutex;
    static std::map<u64, void*>* const loaded = new std::map<u64, void*>;
    u64 id = 0;
    if (int const error = driver().cuCtxGetId(nullptr, &id)) return error;
    std::lock_guard<std::mutex> const lock(mutex);
    auto found = loaded->find(id);
    if (found == loaded->end()) {
        void *module = nullptr, *made = nullptr;
        int error = driver().cuModuleLoadData(&module, KERNELS_PTX);
        if (!error) error = driver().cuModuleGetFunction(&made, module, "gate");
        if (error) return error;
        found = loaded->emplace(id, made).first;
    }
    gate = found->second;
    return 0;
}

template <class Argument>
int start(void* stream, void* kernel, unsigned blocks, unsigned threads, Argument argument) {
    void* arguments[] = {&argument};
    return driver().cuLaunchKernel(kernel, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, nullptr);
}

// The driver stand-in refuses launches by itself, those of graphs too. The real driver refuses none, so it is done
// here, and for eager enqueues only.
bool refused_here(void* stream) {
    static std::atomic<u64> enqueues{0};
    int capturing = 0;
    driver().cuStreamIsCapturing(stream, &capturing);
    return driver().is_real() && !capturing && faults().refuses(++enqueues);
}

}    // namespace

int Kernels::load() {
    void* gate = nullptr;
    int device = 0, processors = 0, threads = 0;
    int error = gate_of_current_context(gate);
    if (!error) error = driver().cuModuleLoadData(&module, KERNELS_PTX);
    if (!error) error = driver().cuModuleGetFunction(&compute, module, "compute");
    if (!error) error = driver().cuCtxGetDevice(&device);
    if (!error) error = driver().cuDeviceGetAttribute(&processors, 16, device);    // MULTIPROCESSOR_COUNT
    if (!error) error = driver().cuDeviceGetAttribute(&threads, 39, device);    // MAX_THREADS_PER_MULTIPROCESSOR
    blocks = static_cast<unsigned>(processors) * (static_cast<unsigned>(threads) / THREADS);
    return error;
}

void Kernels::unload() {
    if (module) driver().cuModuleUnload(module);
}

int launch(Kernels const& kernels, void* stream, Gate const& given, std::vector<Compute> outputs) {
    static u64 const compute_ns = number("STAND_IN_COMPUTE_US", 0) * 1000, hang_ns = number("STAND_IN_HANG_S", 0) * 1000000000,
                     more = number("STAND_IN_KERNELS", 0);
    constexpr int CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701;
    void* gate_kernel = nullptr;
    if (int const error = gate_of_current_context(gate_kernel)) return error;
    if (refused_here(stream)) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    Gate gate = given;
    gate.hang = faults().hang;
    gate.hang_ns = hang_ns;
    gate.fault = faults().device_fault;
    if (int const error = start(stream, gate_kernel, 1, 1, gate)) return error;
    outputs.resize(outputs.size() + more);
    for (Compute compute : outputs) {
        compute.ns = compute_ns / outputs.size();
        if (int const error = start(stream, kernels.compute, kernels.blocks, THREADS, compute)) return error;
    }
    return 0;
}
