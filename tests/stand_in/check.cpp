// Checks the driver stand-in on its own, one promise after another, each in a fresh process so that
// faults and settings do not leak: check NAME runs one, check runs all. build.sh builds it; to run it:
//     LD_LIBRARY_PATH=OUT_DIR OUT_DIR/check
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "driver.h"
#include "inference.h"
#include "kernels.ptx.h"
#include "stand_in.h"

// The driver's functions, as declared in its sources.
#define C extern "C" CUresult
C cuInit(unsigned);
C cuDevicePrimaryCtxRetain(CUcontext*, int);
C cuDevicePrimaryCtxRelease_v2(int);
C cuCtxSetCurrent(CUcontext);
C cuCtxSynchronize();
C cuModuleLoadData(CUmodule*, void const*);
C cuModuleGetFunction(CUfunction*, CUmodule, char const*);
C cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**,
                 void**);
C cuMemAlloc_v2(CUdeviceptr*, size_t);
C cuMemFree_v2(CUdeviceptr);
C cuMemGetInfo_v2(size_t*, size_t*);
C cuMemHostAlloc(void**, size_t, unsigned);
C cuMemFreeHost(void*);
C cuMemcpyHtoD_v2(CUdeviceptr, void const*, size_t);
C cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
C cuMemcpyHtoDAsync_v2(CUdeviceptr, void const*, size_t, CUstream);
C cuMemcpyDtoHAsync_v2(void*, CUdeviceptr, size_t, CUstream);
C cuMemcpy2DAsync_v2(void const*, CUstream);
C cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, CUstream);
C cuStreamCreate(CUstream*, unsigned);
C cuStreamDestroy_v2(CUstream);
C cuStreamSynchronize(CUstream);
C cuStreamQuery(CUstream);
C cuStreamWaitEvent(CUstream, CUevent, unsigned);
C cuStreamBeginCapture_v2(CUstream, int);
C cuStreamEndCapture(CUstream, CUgraph*);
C cuStreamIsCapturing(CUstream, int*);
C cuThreadExchangeStreamCaptureMode(int*);
C cuGraphInstantiateWithFlags(CUgraphExec*, CUgraph, unsigned long long);
C cuGraphLaunch(CUgraphExec, CUstream);
C cuGraphExecDestroy(CUgraphExec);
C cuGraphDestroy(CUgraph);
C cuEventCreate(CUevent*, unsigned);
C cuEventRecord(CUevent, CUstream);
C cuEventSynchronize(CUevent);
C cuEventQuery(CUevent);
C cuEventElapsedTime_v2(float*, CUevent, CUevent);
C cuEventDestroy_v2(CUevent);

static int failures = 0;
#define SAME(got, wanted)                                                         \
    do {                                                                          \
        long const g = (got), w = (wanted);                                       \
        if (g != w) {                                                             \
            ++failures;                                                           \
            std::printf("  line %d: %s is %ld, not %ld\n", __LINE__, #got, g, w); \
        }                                                                         \
    } while (0)

static std::string report() {
    std::string text(stand_in_report_json(nullptr, 0) + 1, '\0');
    stand_in_report_json(&text[0], text.size());
    return text;
}
static bool reported(char const* what) { return report().find(what) != std::string::npos; }

// What most checks start from.
struct Start {
    CUcontext context;
    CUstream stream, other;
    CUdeviceptr memory;
    char* host;
    CUfunction gate, compute;
    Start() {
        CUmodule module;
        SAME(cuInit(0), 0);
        SAME(cuDevicePrimaryCtxRetain(&context, 0), 0);
        SAME(cuCtxSetCurrent(context), 0);
        SAME(cuModuleLoadData(&module, KERNELS_PTX), 0);
        SAME(cuModuleGetFunction(&gate, module, "gate"), 0);
        SAME(cuModuleGetFunction(&compute, module, "compute"), 0);
        SAME(cuStreamCreate(&stream, 1), 0);
        SAME(cuStreamCreate(&other, 1), 0);
        SAME(cuMemAlloc_v2(&memory, 1024), 0);
        SAME(cuMemHostAlloc(reinterpret_cast<void**>(&host), 1024, 0), 0);
    }
};

// One inference: a kernel that adds 1 to the first float of the memory, then the gate.
static Gate gate{};
static u64 compute_ns = 0;
static int launch(CUfunction function, CUstream on, void* argument) {
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, on, &argument, nullptr);
}
static int enqueue(Start& s, CUstream on) {
    Compute add{};
    add.in = add.out = s.memory;
    add.in_values = add.out_values = add.rows = add.scale = add.shift = 1;
    add.ns = compute_ns;
    gate.used[0] = {s.memory, 1024};
    gate.rows = 1;
    int const error = launch(s.compute, on, &add);
    return error ? error : launch(s.gate, on, &gate);
}
static int value(Start& s) {
    float first = 99;
    SAME(cuMemcpyDtoH_v2(&first, s.memory, sizeof first), 0);
    return static_cast<int>(first);
}

static void a_stream_keeps_order_and_does_not_block() {
    compute_ns = 30000000;
    Start s;
    CUevent a, b;
    SAME(cuEventCreate(&a, 1), 0);
    SAME(cuEventCreate(&b, 0), 0);
    SAME(cuEventQuery(a), 0);
    SAME(cuMemsetD8Async(s.memory, 0, 1024, s.stream), 0);
    SAME(cuEventRecord(a, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    SAME(cuEventRecord(b, s.stream), 0);
    SAME(cuStreamQuery(s.stream), 600);
    SAME(cuEventQuery(b), 600);
    SAME(cuStreamWaitEvent(s.other, b, 0), 0);
    SAME(cuMemcpyDtoHAsync_v2(s.host, s.memory, 1024, s.other), 0);
    SAME(cuStreamSynchronize(s.other), 0);
    float sum;
    std::memcpy(&sum, s.host, sizeof sum);
    SAME(sum, 2);
    SAME(s.host[1023], 0);
    float ms = 0;
    SAME(cuEventElapsedTime_v2(&ms, a, b), 0);
    SAME(ms >= 59 && ms < 200, 1);
    SAME(reported("\"misuse\":[]"), 1);
}

static void a_graph_replays() {
    Start s;
    CUgraph graph;
    CUgraphExec exec;
    SAME(cuStreamBeginCapture_v2(s.stream, 0), 0);
    SAME(cuMemsetD8Async(s.memory, 0, 1024, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    SAME(cuStreamEndCapture(s.stream, &graph), 0);
    SAME(cuGraphInstantiateWithFlags(&exec, graph, 0), 0);
    SAME(cuGraphDestroy(graph), 0);
    SAME(reported("\"rows\":0"), 1);    // nothing ran
    for (int i = 0; i < 3; ++i) SAME(cuGraphLaunch(exec, s.other), 0);
    SAME(cuStreamSynchronize(s.other), 0);
    SAME(value(s), 2);
    SAME(reported("\"enqueues\":6,\"graph_launches\":3"), 1);
    SAME(cuMemFree_v2(s.memory), 0);
    SAME(cuGraphLaunch(exec, s.other), 700);
    SAME(reported("uses freed memory"), 1);
}

static void a_capture_forbids_allocation_and_waiting() {
    Start s;
    CUgraph graph;
    CUdeviceptr more;
    SAME(cuStreamBeginCapture_v2(s.stream, 1), 0);
    SAME(cuMemAlloc_v2(&more, 16), 900);
    int status = 0;
    SAME(cuStreamIsCapturing(s.stream, &status), 0);
    SAME(status, 2);
    SAME(enqueue(s, s.stream), 901);
    SAME(cuStreamEndCapture(s.stream, &graph), 901);
    SAME(cuStreamEndCapture(s.stream, &graph), 401);

    SAME(cuStreamBeginCapture_v2(s.stream, 1), 0);    // thread local: others may
    std::thread([&] {
        cuCtxSetCurrent(s.context);
        SAME(cuMemAlloc_v2(&more, 16), 0);
    }).join();
    SAME(cuStreamEndCapture(s.stream, &graph), 0);

    SAME(cuStreamBeginCapture_v2(s.stream, 0), 0);    // global: others may not
    std::thread([&] {
        cuCtxSetCurrent(s.context);
        int mode = 2;
        SAME(cuThreadExchangeStreamCaptureMode(&mode), 0);
        SAME(mode, 0);
        SAME(cuMemFree_v2(more), 0);    // unless they say they know
        SAME(cuThreadExchangeStreamCaptureMode(&mode), 0);
        SAME(cuMemAlloc_v2(&more, 16), 900);
    }).join();
    SAME(cuStreamEndCapture(s.stream, &graph), 901);

    SAME(cuStreamBeginCapture_v2(s.stream, 2), 0);    // relaxed: waiting for it still spoils it
    SAME(cuMemAlloc_v2(&more, 16), 0);
    SAME(cuStreamSynchronize(s.stream), 900);
    SAME(cuStreamEndCapture(s.stream, &graph), 901);
    SAME(reported("\"captures\":4,\"failed_captures\":3"), 1);
    SAME(reported("\"misuse\":[]"), 1);
}

static void a_capture_follows_events() {
    Start s;
    CUevent fork, join, outside;
    for (CUevent* e : {&fork, &join, &outside}) SAME(cuEventCreate(e, 2), 0);
    CUgraph graph;
    CUgraphExec exec;
    for (bool const joined : {true, false}) {
        SAME(cuStreamBeginCapture_v2(s.stream, 0), 0);
        SAME(cuMemsetD8Async(s.memory, 0, 1024, s.stream), 0);
        SAME(cuEventRecord(fork, s.stream), 0);
        SAME(cuStreamWaitEvent(s.other, fork, 0), 0);
        SAME(enqueue(s, s.other), 0);
        SAME(cuEventRecord(join, s.other), 0);
        if (joined) SAME(cuStreamWaitEvent(s.stream, join, 0), 0);
        SAME(enqueue(s, s.stream), 0);
        SAME(cuStreamEndCapture(s.stream, &graph), joined ? 0 : 904);
        if (!joined) break;
        SAME(cuGraphInstantiateWithFlags(&exec, graph, 0), 0);
        SAME(cuGraphLaunch(exec, s.stream), 0);
        SAME(cuStreamSynchronize(s.stream), 0);
        SAME(value(s), 2);
        SAME(cuEventQuery(join), 907);
    }
    SAME(cuEventRecord(outside, s.other), 0);
    SAME(cuStreamBeginCapture_v2(s.stream, 0), 0);
    SAME(cuStreamWaitEvent(s.stream, outside, 0), 905);
    SAME(cuStreamEndCapture(s.stream, &graph), 901);
}

static void a_fault_stays() {
    gate.fault = 2;
    compute_ns = 50000000;    // the calls below come before the fault
    setenv("STAND_IN_DEVICES", "2", 1);
    Start s;
    CUevent event;
    SAME(cuEventCreate(&event, 0), 0);
    SAME(cuMemsetD8Async(s.memory, 0, 1024, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    SAME(cuStreamSynchronize(s.stream), 0);
    SAME(value(s), 1);
    SAME(enqueue(s, s.stream), 0);
    SAME(cuEventRecord(event, s.stream), 0);
    SAME(cuStreamSynchronize(s.stream), 700);
    size_t bytes;
    CUdeviceptr more;
    SAME(cuEventQuery(event), 700);
    SAME(cuEventSynchronize(event), 700);
    SAME(cuMemGetInfo_v2(&bytes, &bytes), 700);
    SAME(cuMemAlloc_v2(&more, 16), 700);
    SAME(enqueue(s, s.other), 700);
    SAME(cuCtxSynchronize(), 700);
    SAME(cuMemFree_v2(s.memory), 700);
    SAME(cuMemFreeHost(s.host), 700);
    SAME(cuEventDestroy_v2(event), 700);
    SAME(cuStreamDestroy_v2(s.stream), 700);
    SAME(cuStreamDestroy_v2(s.other), 700);
    SAME(reported("\"live_device_bytes\":0"), 1);
    CUcontext second;
    SAME(cuDevicePrimaryCtxRetain(&second, 1), 0);    // the other device is well
    SAME(cuCtxSetCurrent(second), 0);
    SAME(cuMemAlloc_v2(&more, 16), 0);
    SAME(cuDevicePrimaryCtxRelease_v2(0), 0);
    SAME(cuDevicePrimaryCtxRetain(&second, 0), 700);
    SAME(reported("\"misuse\":[]"), 1);
}

static void a_hang_does_not_keep_the_process() {
    gate.hang = 1;
    Start s;
    SAME(enqueue(s, s.stream), 0);
    SAME(enqueue(s, s.stream), 0);
    usleep(20000);
    SAME(cuStreamQuery(s.stream), 600);
    SAME(enqueue(s, s.other), 0);
    SAME(cuStreamSynchronize(s.other), 0);
    auto* waiter = new std::thread([&] {
        cuCtxSetCurrent(s.context);
        cuStreamSynchronize(s.stream);
        std::abort();
    });
    waiter->detach();
    usleep(20000);
    SAME(cuStreamDestroy_v2(s.stream), 0);
    SAME(reported("cuStreamDestroy_v2 of a stream with work pending"), 1);
}

// What the probe saw on an H200: these calls wait for a kernel that hangs, and allocating and launching does not.
static void a_hang_blocks_freeing_and_new_modules() {
    gate.hang = 1;
    gate.hang_ns = 500000000;
    Start s;
    CUdeviceptr more;
    CUmodule module;
    CUfunction fresh;
    void* host;
    SAME(enqueue(s, s.stream), 0);
    usleep(20000);
    SAME(cuMemAlloc_v2(&more, 16), 0);
    SAME(cuMemHostAlloc(&host, 16, 0), 0);
    SAME(cuModuleLoadData(&module, KERNELS_PTX), 0);
    SAME(cuModuleGetFunction(&fresh, module, "compute"), 0);
    SAME(enqueue(s, s.other), 0);
    SAME(cuStreamSynchronize(s.other), 0);
    SAME(cuStreamQuery(s.stream), 600);
    auto const later = [&](std::function<int()> call) {
        return std::async(std::launch::async, [&s, call] { return cuCtxSetCurrent(s.context), call(); });
    };
    Compute nothing{};
    std::future<int> waiting[] = {
        later([&] { return cuMemFree_v2(more); }),
        later([&] { return cuMemFreeHost(host); }),
        later([&] { return launch(fresh, s.other, &nothing); }),
    };
    for (auto& call : waiting) SAME(call.wait_for(std::chrono::milliseconds(20)) == std::future_status::timeout, 1);
    for (auto& call : waiting) SAME(call.get(), 0);
    SAME(cuStreamSynchronize(s.stream), 0);
    SAME(reported("\"misuse\":[]"), 1);
}

static void memory_in_use_is_not_freed() {
    compute_ns = 50000000;
    Start s;
    SAME(enqueue(s, s.stream), 0);
    SAME(cuMemFree_v2(s.memory), 0);
    SAME(reported("cuMemFree_v2 of memory with work pending on it"), 1);
}

static void misuse_is_told() {
    setenv("STAND_IN_DEVICES", "2", 1);
    setenv("STAND_IN_COPY_US", "20000", 1);
    Start s;
    CUcontext second;
    CUevent event;
    SAME(cuDevicePrimaryCtxRetain(&second, 1), 0);
    SAME(cuEventCreate(&event, 0), 0);
    SAME(cuMemcpyHtoDAsync_v2(s.memory, s.host, 1024, s.stream), 0);
    SAME(cuEventRecord(event, s.stream), 0);
    SAME(cuEventDestroy_v2(event), 0);
    SAME(reported("cuEventDestroy_v2 of an event in use"), 1);
    SAME(cuMemFreeHost(s.host), 0);
    SAME(reported("cuMemFreeHost of memory with work pending"), 1);
    SAME(cuStreamSynchronize(s.stream), 0);
    SAME(cuEventRecord(event, s.stream), 400);
    SAME(cuMemcpyHtoD_v2(s.memory, "0123456789", 10), 0);
    char out[10];
    SAME(cuMemcpyDtoH_v2(out, s.memory, 10), 0);
    SAME(std::memcmp(out, "0123456789", 10), 0);
    SAME(cuMemcpyDtoH_v2(out, s.memory + 1020, 10), 1);
    SAME(cuCtxSetCurrent(second), 0);
    SAME(cuStreamSynchronize(s.stream), 400);
    SAME(cuMemFree_v2(s.memory), 1);
    SAME(reported("another device's context"), 1);
    SAME(cuCtxSetCurrent(nullptr), 0);
    SAME(cuCtxSynchronize(), 201);
    SAME(cuDevicePrimaryCtxRelease_v2(0), 0);
    SAME(cuCtxSetCurrent(s.context), 201);
    SAME(reported("released context"), 1);
}

static void a_kernel_is_checked_when_it_is_launched() {
    Start s;
    CUmodule module;
    CUfunction function;
    SAME(cuModuleLoadData(&module, ".visible .entry other()"), 1);
    SAME(reported("cuModuleLoadData of a module without gate"), 1);
    SAME(cuModuleLoadData(&module, KERNELS_PTX), 0);
    SAME(cuModuleGetFunction(&function, module, "other"), 500);
    u64 shapes = 1;
    gate.shapes = reinterpret_cast<u64>(&shapes);
    gate.shapes_then = 1;
    SAME(enqueue(s, s.stream), 0);
    SAME(cuStreamSynchronize(s.stream), 0);
    SAME(reported("shapes of its execution context were changed"), 0);
    shapes = 2;
    SAME(enqueue(s, s.stream), 0);
    SAME(cuStreamSynchronize(s.stream), 0);
    SAME(reported("shapes of its execution context were changed"), 1);
    gate.used[1] = {s.memory + 1000, 100};
    SAME(launch(s.gate, s.stream, &gate), 1);
    SAME(reported("cuLaunchKernel outside a live device allocation"), 1);
}

static void a_rectangle_is_copied() {
    Start s;
    for (int i = 0; i < 1024; ++i) s.host[i] = static_cast<char>(i % 100);
    struct {
        size_t fx, fy;
        int ft;
        void const* fh;
        CUdeviceptr fd;
        void* fa;
        size_t fp;
        size_t tx, ty;
        int tt;
        void* th;
        CUdeviceptr td;
        void* ta;
        size_t tp;
        size_t w, h;
    } c{2, 1, 1, s.host, 0, nullptr, 100, 0, 0, 2, nullptr, s.memory, nullptr, 8, 4, 3};
    SAME(cuMemcpy2DAsync_v2(&c, s.stream), 0);
    SAME(cuStreamSynchronize(s.stream), 0);
    unsigned char out[24];
    SAME(cuMemcpyDtoH_v2(out, s.memory, 20), 0);
    unsigned char const wanted[] = {2, 3, 4, 5, 255, 255, 255, 255, 2, 3};
    SAME(std::memcmp(out, wanted, 10), 0);
    c.h = 200;
    SAME(cuMemcpy2DAsync_v2(&c, s.stream), 1);
    SAME(reported("\"copies_in\":1,\"bytes_in\":12,"), 1);
}

static struct {
    char const* name;
    void (*run)();
} const CHECKS[] = {
#define CHECK(name) {#name, name}
    CHECK(a_stream_keeps_order_and_does_not_block),
    CHECK(a_graph_replays),
    CHECK(a_capture_forbids_allocation_and_waiting),
    CHECK(a_capture_follows_events),
    CHECK(a_fault_stays),
    CHECK(a_hang_does_not_keep_the_process),
    CHECK(a_hang_blocks_freeing_and_new_modules),
    CHECK(memory_in_use_is_not_freed),
    CHECK(misuse_is_told),
    CHECK(a_rectangle_is_copied),
    CHECK(a_kernel_is_checked_when_it_is_launched),
};

int main(int count, char** words) {
    int bad = 0;
    for (auto const& check : CHECKS) {
        if (count > 1 && std::strcmp(words[1], check.name) != 0) continue;
        std::fflush(stdout);
        pid_t const child = fork();
        if (child == 0) {
            alarm(20);
            check.run();
            if (failures) std::printf("  %s\n", report().c_str());
            std::exit(failures ? 1 : 0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        std::printf("%s %s (%d)\n", status ? "FAIL" : "ok  ", check.name, status);
        bad += status != 0;
    }
    return bad ? 1 : 0;
}
