// The inside of the driver stand-in.
//
// One lock, `State::mutex`, guards every object below; a stream's thread lets go of it only while
// it sleeps or runs an operation's work. The state is never destroyed, because a stream's thread
// may outlive main().
//
// Handles are numbers that no two objects ever share, and a device address is a number that no
// processor would follow. So a stale handle or a stale address is always told from a live one,
// and host code that reads device memory directly crashes, as it would with a real device.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "settings.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

// The driver's own types, as its C interface has them.
using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct Device*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;
using CUmodule = struct Module*;
using CUfunction = struct Kernel*;

enum : CUresult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_NOT_INITIALIZED = 3,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_ILLEGAL_STATE = 401,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
    CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
    CUDA_ERROR_CAPTURED_EVENT = 907,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
};

enum : int { CAPTURE_GLOBAL = 0, CAPTURE_THREAD_LOCAL = 1, CAPTURE_RELAXED = 2 };
enum : unsigned { EVENT_BLOCKING_SYNC = 1, EVENT_DISABLE_TIMING = 2 };

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

struct Stream;

struct Device {
    int ordinal = 0;
    size_t used = 0;     // bytes of live device memory
    int retained = 0;    // holders of the primary context
    uint64_t made = 0;   // how often the primary context was made
    unsigned flags = 0;
    bool faulted = false;    // once set, never cleared: the real thing needs a new process
    int hanging = 0;         // kernels that hang
    int64_t contexts = 0;    // live execution contexts of TensorRT
    std::shared_ptr<Stream> null_stream;
};

// One allocation, on the device or page-locked on the host.
struct Block {
    Device* device = nullptr;
    uint64_t address = 0;    // what the program knows it by
    size_t bytes = 0;
    char* memory = nullptr;
    bool freed = false;
    int pending = 0;    // operations queued that use it
    ~Block();
};

struct Event {
    Device* device = nullptr;
    unsigned flags = 0;
    uint64_t recorded = 0;    // how often it was recorded, and how many of these a stream reached
    uint64_t completed = 0;
    int waiters = 0;    // streams with a wait for it in their queue
    Clock::time_point time;
    bool captured = false;    // the last record was made by a capturing stream
    std::weak_ptr<struct Capture> capture;
    std::weak_ptr<Stream> captured_stream;
    uint64_t captured_at = 0;
};

enum class Kind { Inference, Copy, Other, Record, Wait };    // Inference: a `gate`

struct Operation {
    Kind kind = Kind::Other;
    std::function<void()> work;
    std::vector<std::shared_ptr<Block>> blocks;
    size_t bytes_in = 0;
    size_t bytes_out = 0;
    std::shared_ptr<Event> event;    // of a Record or a Wait, and which of its records
    uint64_t turn = 0;
};
using Shared = std::shared_ptr<Operation const>;

// A capture under way: what its streams were given, in call order, which is an order the graph
// allows. A member stream is `loose` until the capture has waited for its last operation.
struct Capture {
    int mode = CAPTURE_GLOBAL;
    std::thread::id thread;
    Stream* origin = nullptr;
    bool invalid = false;
    std::vector<Shared> operations;
    std::map<std::shared_ptr<Stream>, bool> loose;
};

struct Stream {
    Device* device = nullptr;
    std::deque<Shared> queue;    // the front one is running
    uint64_t submitted = 0;
    uint64_t done = 0;
    bool closing = false;
    std::condition_variable work;
    std::shared_ptr<Capture> capture;
    uint64_t captured = 0;    // operations given to captures
};

struct Graph {
    Device* device = nullptr;
    std::vector<Shared> operations;
};

// Objects by handle. Handles are never used twice.
template <class T>
struct Table {
    std::map<uint64_t, std::shared_ptr<T>> live;
    uint64_t next;

    explicit Table(uint64_t first) : next(first) {}
    uint64_t add(std::shared_ptr<T> object) {
        live.emplace(next += 16, std::move(object));
        return next;
    }
    template <class H>
    std::shared_ptr<T> find(H handle) const {
        auto at = live.find(reinterpret_cast<uint64_t>(handle));
        return at == live.end() ? nullptr : at->second;
    }
    template <class H>
    void remove(H handle) {
        live.erase(reinterpret_cast<uint64_t>(handle));
    }
};

struct Settings {
    size_t devices, memory;
    std::pair<int, int> capability;    // the compute capability of every device
    std::chrono::microseconds copy;
    Faults faults;
    std::string report;
    bool bare;    // as a real driver would be: no report, no launch refused
    Settings();
};

struct Counters {
    uint64_t enqueues = 0, rows = 0, graph_launches = 0, captures = 0, failed_captures = 0;
    uint64_t graph_uploads = 0, event_records = 0, context_releases = 0;
    uint64_t engines = 0, compilations = 0;    // of TensorRT: engines opened, kernels compiled just in time
    uint64_t copies_in = 0, bytes_in = 0, copies_out = 0, bytes_out = 0;
    uint64_t live_device_bytes = 0, peak_device_bytes = 0, live_host_bytes = 0;
    uint64_t blocking_sync_events = 0;
    std::vector<std::pair<std::string, uint64_t>> misuse;    // text, how often
};

struct State {
    std::mutex mutex;
    std::condition_variable changed;    // some operation ended, or some device faulted
    Settings settings;
    Counters counters;
    bool initialised = false;
    std::vector<std::unique_ptr<Device>> devices;
    std::map<uint64_t, std::shared_ptr<Block>> device_memory, host_memory;    // by address
    uint64_t next_address = 0x4000000000000000;
    Table<Stream> streams{0x5000000000000000};
    Table<Event> events{0x6000000000000000};
    Table<Graph> graphs{0x7000000000000000};
    Table<Graph> execs{0x7800000000000000};
    std::vector<std::shared_ptr<Capture>> captures;
};

State& state();
void misuse(std::string const& text);    // the caller holds the lock
extern thread_local Device* current_device;
extern thread_local int capture_mode;

// How every call begins: it takes the lock and says whether the call may go on.
enum Needs : unsigned {
    HOST = 0,           // only that cuInit was called
    CONTEXT = 1,        // a current context
    DEVICE = 3,         // a current context, on a device without a fault
    RELEASE = 1 | 4,    // as CONTEXT; gives something back, so it does so even after a fault
    UNSAFE = 8,         // and is forbidden while a capture is under way (alloc, free, wait, query)
};
struct Call {
    char const* name;
    Lock lock;
    Device* device;
    CUresult error = CUDA_SUCCESS;
    Call(char const* name, unsigned needs);
    CUresult refuse(CUresult code, std::string const& what);    // misuse, and the error for it
    CUresult ended() const {
        return device && device->faulted ? CUDA_ERROR_ILLEGAL_ADDRESS : error;
    }
};
#define ENTER(needs)            \
    Call call(__func__, needs); \
    if (call.error) return call.error

// Objects a call was given: null, with `call.error` set, when they cannot be used.
std::shared_ptr<Stream> stream_of(Call& call, CUstream handle);
std::shared_ptr<Event> event_of(Call& call, CUevent handle);
std::shared_ptr<Block> block_at(std::map<uint64_t, std::shared_ptr<Block>> const& in,
                                uint64_t address, size_t bytes);

std::shared_ptr<Stream> open_stream(Device& device);
CUresult submit(Stream& stream, Operation operation);
CUresult submit(Stream& stream, Shared operation);
CUresult wait_for(Call& call, Stream& stream);    // until all it was given is done
void wait_for_hangs(Call& call);                  // until no kernel of the device hangs
void invalidate(Capture& capture);
bool refuses_next();    // whether STAND_IN_FAULTS refuses the next inference; counts it
