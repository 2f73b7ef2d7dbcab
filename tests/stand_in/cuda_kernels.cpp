// A stand-in for libcuda.so.1: kernels. The driver knows two, `gate` and `compute` of kernels.h, and runs them on the
// stream's thread; the PTX is only looked at to see that it has them.
//
// A launch of `gate` is an inference. It has an ordinal, counted from 1 over the whole process: an eager launch takes
// one, and so does each `gate` of a graph, at every launch of the graph. A launch into a capture runs nothing and
// takes none. An ordinal that STAND_IN_FAULTS refuses fails with CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES.
#include "kernels.h"

#include <atomic>
#include <cstring>

#include "driver.h"
#include "stand_in.h"

// ---- The processor: this thread's CPU

static thread_local Device* running_on = nullptr;    // the device whose kernel this thread runs

ON_DEVICE u64 now_ns() {
    auto const since = Clock::now().time_since_epoch();
    return static_cast<u64>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}
ON_DEVICE u64 begin(u64 rows) {
    static std::atomic<u64> inferences{0};
    Lock lock(state().mutex);
    state().counters.rows += rows;
    return ++inferences;
}
ON_DEVICE void wait_until(u64 ns) {
    u64 const now = now_ns();
    if (now < ns) std::this_thread::sleep_for(std::chrono::nanoseconds(ns - now));
}
ON_DEVICE void fault() {
    Lock lock(state().mutex);
    running_on->faulted = true;
    state().changed.notify_all();
}
ON_DEVICE void hang(int change) {
    Lock lock(state().mutex);
    running_on->hanging += change;
    state().changed.notify_all();
}
ON_DEVICE void stale_graph() {
    stand_in_misuse("a graph launched after the shapes of its execution context were changed");
}

static float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
static uint32_t to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
ON_DEVICE float to_single(unsigned short half) {
    uint32_t const sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31,
                   fraction = half & 0x3FF;
    if (exponent == 31) return from_bits(sign | 0x7F800000 | fraction << 13);
    if (exponent > 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float const small = static_cast<float>(fraction) / 16777216.0f;    // steps of 2^-24
    return sign ? -small : small;
}
// Rounds to nearest, ties to even.
ON_DEVICE unsigned short to_half(float value) {
    uint32_t const bits = to_bits(value), sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    if (size > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00);     // NaN
    if (size >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);    // rounds to infinity
    if (size < 0x38800000) {
        // Below the smallest normal number. Adding 0.5 leaves the steps of 2^-24 at the low end
        // of the fraction, rounded by the processor.
        uint32_t const steps = to_bits(from_bits(size) + 0.5f) - 0x3F000000;
        return static_cast<uint16_t>(sign | steps);
    }
    uint32_t const odd = size >> 13 & 1;
    return static_cast<uint16_t>(sign | ((size - (112u << 23) + 0xFFF + odd) >> 13));
}

// ---- Modules

struct Kernel {
    char const* name;
    Module* module;
};

struct Module {
    Kernel kernels[2] = {{"gate", this}, {"compute", this}};
    bool waits = false;    // its first launch waits for a kernel that hung when it was loaded
};

EXPORT CUresult cuModuleLoadData(CUmodule* module, void const* image) {
    ENTER(DEVICE | UNSAFE);
    std::string const ptx(static_cast<char const*>(image));
    auto loaded = std::make_unique<Module>();
    for (Kernel const& kernel : loaded->kernels)
        if (ptx.find(std::string(".visible .entry ") + kernel.name + "(") == std::string::npos)
            return call.refuse(CUDA_ERROR_INVALID_VALUE, std::string("of a module without ") + kernel.name);
    loaded->waits = call.device->hanging > 0;
    *module = loaded.release();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuModuleUnload(CUmodule module) {
    ENTER(RELEASE);
    delete module;
    return call.ended();
}

EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, char const* name) {
    ENTER(DEVICE);
    for (Kernel& kernel : module->kernels)
        if (std::strcmp(kernel.name, name) == 0) {
            *function = &kernel;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

// ---- Launches

// Replaces a device address by where it lies in host memory, and remembers its block as used.
static bool locate(Call& call, u64& address, u64 bytes, Operation& operation) {
    if (bytes == 0) return true;
    auto const block = block_at(state().device_memory, address, bytes);
    if (!block || block->device != call.device) {
        call.refuse(CUDA_ERROR_INVALID_VALUE, block ? "with memory of another device's context"
                                                    : "outside a live device allocation");
        return false;
    }
    address = reinterpret_cast<u64>(block->memory + (address - block->address));
    operation.blocks.push_back(block);
    return true;
}

static bool prepare(Call& call, Gate gate, Operation& operation) {
    operation.kind = Kind::Inference;
    for (Used& used : gate.used)
        if (!locate(call, used.address, used.bytes, operation)) return false;
    operation.work = [gate, device = call.device] {
        running_on = device;
        run_gate(gate);
    };
    return true;
}

static bool prepare(Call& call, Compute compute, Operation& operation) {
    auto const size = [](u64 half) -> u64 { return half ? 2 : 4; };
    u64 const rows = compute.rows;
    u64 const last = rows ? (rows - 1) * compute.in_step + compute.in_values : 0;
    if (!locate(call, compute.in, last * size(compute.in_half), operation) ||
        !locate(call, compute.out, rows * compute.out_values * size(compute.out_half), operation))
        return false;
    operation.work = [compute] { run_compute(compute, 0, 1); };
    return true;
}

bool refuses_next() {
    uint64_t const ordinal = ++state().counters.enqueues;
    return !state().settings.bare && state().settings.faults.refuses(ordinal);
}

EXPORT CUresult cuLaunchKernel(CUfunction function, unsigned, unsigned, unsigned, unsigned, unsigned,
                               unsigned, unsigned, CUstream on, void** arguments, void**) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    if (!stream) return call.error;
    if (function->module->waits) {
        wait_for_hangs(call);
        function->module->waits = false;
    }
    Operation operation;
    bool const is_gate = function == &function->module->kernels[0];
    bool const good = is_gate ? prepare(call, *static_cast<Gate const*>(arguments[0]), operation)
                              : prepare(call, *static_cast<Compute const*>(arguments[0]), operation);
    if (!good) return call.error;
    if (is_gate && !stream->capture && refuses_next())
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    return submit(*stream, std::move(operation));
}
