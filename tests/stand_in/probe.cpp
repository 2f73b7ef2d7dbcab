// Measures what a card and its driver do, through the driver's interface alone: copy rates, how long a thread takes to
// notice that work has ended, what launching costs, and which calls block while a kernel runs on another stream.
//
//     probe [ROUNDS [JSON]]        101 rounds if not given; JSON is a file for the same figures
//
// Every time is a median. It runs on the driver stand-in as well, where the figures mean nothing.
#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "inference.h"
#include "kernels.ptx.h"

namespace {

void stop(std::string const& why) {
    std::printf("probe: %s\n", why.c_str());
    std::exit(1);
}

// A function of the driver, found by its name at first use; a call that fails ends the process.
void* find(char const* name) {
    static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) stop(dlerror());
    void* const symbol = dlsym(library, name);
    if (!symbol) stop(std::string("libcuda.so.1 has no ") + name);
    return symbol;
}
template <class... A>
void call(char const* name, A... arguments) {
    auto const function = reinterpret_cast<int (*)(A...)>(find(name));
    if (int const error = function(arguments...))
        stop(std::string(name) + " failed with CUDA error " + std::to_string(error));
}

double now_us() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

// ---- Figures

std::string json;
void figure(char const* name, char const* unit, double value) {
    std::printf("  %-58s %12.2f %s\n", name, value, unit);
    char line[200];
    std::snprintf(line, sizeof line, "%s\n  {\"name\": \"%s\", \"unit\": \"%s\", \"value\": %.3f}",
                  json.empty() ? "" : ",", name, unit, value);
    json += line;
}

size_t rounds = 101;
double at(std::vector<double>& times, double fraction) {
    std::sort(times.begin(), times.end());
    return times[static_cast<size_t>(static_cast<double>(times.size() - 1) * fraction)];
}
std::vector<double> repeat(std::function<double()> const& once) {
    once();    // not counted: what the driver does at first use
    std::vector<double> times;
    for (size_t i = 0; i < rounds; ++i) times.push_back(once());
    return times;
}
double median(std::function<double()> const& once) {
    auto times = repeat(once);
    return at(times, 0.5);
}

// ---- The card

using Stream = void*;
using Event = void*;
Stream stream, other;
Event first, last, sleeping;
void* compute;

Event event(unsigned flags) {
    Event made;
    call("cuEventCreate", &made, flags);
    return made;
}

void launch(Stream on, u64 ns) {
    Compute argument{};
    argument.ns = ns;
    void* arguments[] = {&argument};
    call("cuLaunchKernel", compute, 1u, 1u, 1u, 32u, 1u, 1u, 0u, on, static_cast<void**>(arguments),
         static_cast<void**>(nullptr));
}

// How long `work` on `stream` takes on the card, in microseconds.
double on_card(std::function<void()> const& work) {
    call("cuEventRecord", first, stream);
    work();
    call("cuEventRecord", last, stream);
    call("cuEventSynchronize", last);
    float ms = 0;
    call("cuEventElapsedTime", &ms, first, last);
    return static_cast<double>(ms) * 1e3;
}

void load_kernel() {
    void* module;
    call("cuModuleLoadData", &module, static_cast<void const*>(KERNELS_PTX));
    call("cuModuleGetFunction", &compute, module, "compute");
}

int attribute(int which) {
    int value = 0;
    call("cuDeviceGetAttribute", &value, which, 0);
    return value;
}

void open_card() {
    call("cuInit", 0u);
    char name[100];
    int version = 0;
    call("cuDriverGetVersion", &version);
    call("cuDeviceGetName", static_cast<char*>(name), 100, 0);
    std::printf("%s, compute capability %d.%d, %d multiprocessors, %d copy engines, CUDA %d.%d\n", name, attribute(75),
                attribute(76), attribute(16), attribute(40), version / 1000, version % 1000 / 10);
    void* context;
    double begun = now_us();
    call("cuDevicePrimaryCtxRetain", &context, 0);
    call("cuCtxSetCurrent", context);
    figure("making the context", "ms", (now_us() - begun) / 1e3);
    begun = now_us();
    load_kernel();
    figure("compiling the kernels' PTX", "ms", (now_us() - begun) / 1e3);
    call("cuStreamCreate", &stream, 1u);
    call("cuStreamCreate", &other, 1u);
    first = event(0);
    last = event(0);
    sleeping = event(1);
}

// ---- Parts

// CUDA_MEMCPY2D, as the driver's header lays it out.
struct Copy2D {
    size_t from_x, from_y;
    int from_type;
    void const* from_host;
    u64 from_device;
    void* from_array;
    size_t from_pitch, to_x, to_y;
    int to_type;
    void* to_host;
    u64 to_device;
    void* to_array;
    size_t to_pitch, width, height;
};

void copies() {
    size_t const most = 32 << 20;
    u64 device_in, device_out;
    void *host_in, *host_out;
    call("cuMemAlloc_v2", &device_in, most);
    call("cuMemAlloc_v2", &device_out, most);
    call("cuMemHostAlloc", &host_in, most, 1u);
    call("cuMemHostAlloc", &host_out, most, 1u);
    std::memset(host_in, 1, most);
    std::memset(host_out, 1, most);
    auto const in = [&](size_t bytes) {
        call("cuMemcpyHtoDAsync_v2", device_in, static_cast<void const*>(host_in), bytes, stream);
    };
    auto const out = [&](size_t bytes, Stream on) {
        call("cuMemcpyDtoHAsync_v2", host_out, device_out, bytes, on);
    };
    std::puts("copies of page-locked memory");
    for (size_t bytes = 64 << 10; bytes <= most; bytes *= 8) {
        std::string const size = std::to_string(bytes >> 10) + " KiB";
        double const to_card = median([&] { return on_card([&] { in(bytes); }); });
        double const from_card = median([&] { return on_card([&] { out(bytes, stream); }); });
        double const both = median([&] {
            double const begun = now_us();
            in(bytes);
            out(bytes, other);
            call("cuStreamSynchronize", stream);
            call("cuStreamSynchronize", other);
            return now_us() - begun;
        });
        auto const rate = [&](double us) { return static_cast<double>(bytes) / us / 1e3; };
        figure((size + " host to device").c_str(), "GB/s", rate(to_card));
        figure((size + " device to host").c_str(), "GB/s", rate(from_card));
        figure((size + " both at once, both waited for").c_str(), "us", both);
    }
    // Eight rows of 128 x 128 values, of which the middle 64 rows' span is copied.
    Copy2D part{};
    part.from_type = 2;
    part.from_device = device_out;
    part.from_pitch = part.to_pitch = 65536;
    part.from_x = part.to_x = 16512;
    part.to_type = 1;
    part.to_host = host_out;
    part.width = 32512;
    part.height = 8;
    figure("8 rows of 32512 of 65536 bytes, device to host", "us", median([&] {
               return on_card([&] { call("cuMemcpy2DAsync_v2", static_cast<Copy2D const*>(&part), stream); });
           }));
}

void waiting() {
    std::puts("launch, a kernel of 300 us, wait: time above 300 us");
    for (bool const spins : {false, true}) {
        Event const end = spins ? last : sleeping;
        auto times = repeat([&] {
            double const begun = now_us();
            launch(stream, 300000);
            call("cuEventRecord", end, stream);
            call("cuEventSynchronize", end);
            return now_us() - begun - 300;
        });
        figure(spins ? "spinning wait" : "sleeping wait", "us", at(times, 0.5));
        figure(spins ? "spinning wait, p99" : "sleeping wait, p99", "us", at(times, 0.99));
    }
}

constexpr int KERNELS = 40;
void* captured() {
    void *graph, *exec;
    call("cuStreamBeginCapture_v2", stream, 1);
    for (int k = 0; k < KERNELS; ++k) launch(stream, 0);
    call("cuStreamEndCapture", stream, &graph);
    call("cuGraphInstantiateWithFlags", &exec, graph, 0ull);
    call("cuGraphDestroy", graph);
    return exec;
}

void launching() {
    std::puts("launching 40 empty kernels");
    void* const exec = captured();
    for (bool const as_graph : {false, true}) {
        std::vector<double> host;
        double const card = median([&] {
            return on_card([&] {
                double const begun = now_us();
                if (as_graph)
                    call("cuGraphLaunch", exec, stream);
                else
                    for (int k = 0; k < KERNELS; ++k) launch(stream, 0);
                host.push_back(now_us() - begun);
            });
        });
        figure(as_graph ? "as a graph, time of the call" : "one by one, time of the calls", "us", at(host, 0.5));
        figure(as_graph ? "as a graph, on the card" : "one by one, on the card", "us", card);
    }
    call("cuGraphExecDestroy", exec);
}

void blocking() {
    u64 const running_ms = 300;
    std::printf("calls while a kernel of %llu ms runs on another stream; one that takes as long waits for it\n", running_ms);
    void* host = nullptr;
    u64 device = 0;
    Stream made = nullptr;
    void* exec = nullptr;
    size_t free_bytes, total;
    size_t const bytes = 8 << 20;
    struct {
        char const* name;
        std::function<void()> run;
    } const CALLS[] = {
        {"cuMemHostAlloc of 8 MiB", [&] { call("cuMemHostAlloc", &host, bytes, 1u); }},
        {"cuMemFreeHost", [&] { call("cuMemFreeHost", host); }},
        {"cuMemAlloc of 8 MiB", [&] { call("cuMemAlloc_v2", &device, bytes); }},
        {"cuMemFree", [&] { call("cuMemFree_v2", device); }},
        {"cuMemGetInfo", [&] { call("cuMemGetInfo_v2", &free_bytes, &total); }},
        {"cuStreamCreate", [&] { call("cuStreamCreate", &made, 1u); }},
        {"cuStreamDestroy", [&] { call("cuStreamDestroy_v2", made); }},
        {"cuEventCreate", [&] { event(1); }},
        {"cuModuleLoadData, first launch, wait for it",
         [&] {
             load_kernel();
             launch(other, 0);
             call("cuStreamSynchronize", other);
         }},
        {"capture and instantiate a graph", [&] {
             std::swap(stream, other);
             exec = captured();
             std::swap(stream, other);
         }},
        {"cuGraphLaunch, wait for it",
         [&] {
             call("cuGraphLaunch", exec, other);
             call("cuStreamSynchronize", other);
         }},
        {"cuGraphExecDestroy", [&] { call("cuGraphExecDestroy", exec); }},
    };
    for (auto const& one : CALLS) {
        launch(stream, running_ms * 1000000);
        timespec const until_it_runs{0, 20000000};
        nanosleep(&until_it_runs, nullptr);
        double const begun = now_us();
        one.run();
        figure(one.name, "ms", (now_us() - begun) / 1e3);
        call("cuStreamSynchronize", stream);
    }
}

}    // namespace

int main(int count, char** words) {
    if (count > 1) rounds = std::max(1l, std::atol(words[1]));
    open_card();
    copies();
    waiting();
    launching();
    blocking();
    if (count < 3) return 0;
    std::FILE* const file = std::fopen(words[2], "w");
    if (!file || std::fprintf(file, "[%s\n]\n", json.c_str()) < 0 || std::fclose(file) != 0)
        stop(std::string("cannot write ") + words[2]);
    return 0;
}
