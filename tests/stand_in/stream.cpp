// Streams at work: the thread behind each one, what a capture does to a call, and waiting.
//
// A stream is one thread that runs operations in order. A copy first sleeps as long as the settings
// say. Once a device has faulted, its streams drop their operations, and every wait for them
// returns the fault. A stream whose kernel hangs does not end that operation.
//
// While a stream is capturing, an operation goes into the capture and not to the thread.
#include "driver.h"

thread_local Device* current_device = nullptr;
thread_local int capture_mode = CAPTURE_GLOBAL;

// Whether this thread may not allocate, free, wait or query now. The rule is the one written at
// cuThreadExchangeStreamCaptureMode: a thread's own capture forbids it unless relaxed, another
// thread's only if both are global. Doing it all the same makes those captures invalid.
static bool forbidden_by_capture() {
    bool forbidden = false;
    for (auto const& capture : state().captures) {
        bool const own = capture->thread == std::this_thread::get_id();
        if (capture_mode == CAPTURE_RELAXED || capture->mode == CAPTURE_RELAXED) continue;
        if (!own && (capture_mode != CAPTURE_GLOBAL || capture->mode != CAPTURE_GLOBAL)) continue;
        invalidate(*capture);
        forbidden = true;
    }
    return forbidden;
}

Call::Call(char const* called, unsigned needs)
    : name(called), lock(state().mutex), device(needs & CONTEXT ? current_device : nullptr) {
    if (!state().initialised) {
        error = refuse(CUDA_ERROR_NOT_INITIALIZED, "before cuInit");
    } else if (needs & CONTEXT && !device) {
        error = refuse(CUDA_ERROR_INVALID_CONTEXT, "with no current context");
    } else if (needs & CONTEXT && device->retained == 0) {
        error = refuse(CUDA_ERROR_INVALID_CONTEXT, "on a released context");
    } else if ((needs & DEVICE) == DEVICE && device->faulted) {
        error = CUDA_ERROR_ILLEGAL_ADDRESS;
    } else if (needs & UNSAFE && forbidden_by_capture()) {
        error = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
}

CUresult Call::refuse(CUresult code, std::string const& what) {
    misuse(std::string(name) + " " + what);
    return error = code;
}

std::shared_ptr<Stream> stream_of(Call& call, CUstream handle) {
    // 0, 1 and 2 name the default streams: legacy and per thread.
    if (reinterpret_cast<uint64_t>(handle) <= 2) {
        misuse(std::string(call.name) + " on the null stream");
        if (!call.device->null_stream) call.device->null_stream = open_stream(*call.device);
        return call.device->null_stream;
    }
    auto stream = state().streams.find(handle);
    if (!stream) {
        call.refuse(CUDA_ERROR_INVALID_HANDLE,
                    "with a stream that does not exist or was destroyed");
    } else if (stream->device != call.device) {
        call.refuse(CUDA_ERROR_INVALID_HANDLE, "with a stream of another device's context");
        stream.reset();
    }
    return stream;
}

std::shared_ptr<Event> event_of(Call& call, CUevent handle) {
    auto event = state().events.find(handle);
    if (!event) {
        call.refuse(CUDA_ERROR_INVALID_HANDLE,
                    "with an event that does not exist or was destroyed");
    } else if (event->device != call.device) {
        call.refuse(CUDA_ERROR_INVALID_HANDLE, "with an event of another device's context");
        event.reset();
    }
    return event;
}

std::shared_ptr<Block> block_at(std::map<uint64_t, std::shared_ptr<Block>> const& in,
                                uint64_t address, size_t bytes) {
    auto at = in.upper_bound(address);
    if (at == in.begin()) return nullptr;
    auto const& block = std::prev(at)->second;
    uint64_t const offset = address - block->address;
    bool const inside = offset < block->bytes && bytes <= block->bytes - offset;
    return inside ? block : nullptr;
}

void invalidate(Capture& capture) { capture.invalid = true; }

// Runs one operation on its stream's thread. The lock is held on entry and on return.
static void perform(Lock& lock, Stream& stream, Operation const& operation) {
    State& all = state();
    Device& device = *stream.device;
    switch (operation.kind) {
        case Kind::Record:
            operation.event->completed = operation.turn;
            operation.event->time = Clock::now();
            return;
        case Kind::Wait:
            all.changed.wait(lock, [&] {
                return operation.event->completed >= operation.turn || device.faulted;
            });
            --operation.event->waiters;
            return;
        default: break;
    }
    if (device.faulted) return;
    lock.unlock();
    if (operation.kind == Kind::Copy && all.settings.copy.count() > 0)
        std::this_thread::sleep_for(all.settings.copy);
    operation.work();
    lock.lock();
    if (operation.bytes_in) {
        all.counters.copies_in += 1;
        all.counters.bytes_in += operation.bytes_in;
    }
    if (operation.bytes_out) {
        all.counters.copies_out += 1;
        all.counters.bytes_out += operation.bytes_out;
    }
}

static void run(std::shared_ptr<Stream> stream) {
    Lock lock(state().mutex);
    for (;;) {
        stream->work.wait(lock, [&] { return !stream->queue.empty() || stream->closing; });
        if (stream->queue.empty()) return;
        Shared const operation = stream->queue.front();
        perform(lock, *stream, *operation);
        for (auto const& block : operation->blocks) --block->pending;
        stream->queue.pop_front();
        ++stream->done;
        state().changed.notify_all();
    }
}

std::shared_ptr<Stream> open_stream(Device& device) {
    auto stream = std::make_shared<Stream>();
    stream->device = &device;
    std::thread(run, stream).detach();
    return stream;
}

CUresult submit(Stream& stream, Shared operation) {
    if (stream.capture) {
        if (stream.capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        for (auto& [member, loose] : stream.capture->loose)
            if (member.get() == &stream) loose = true;
        stream.capture->operations.push_back(std::move(operation));
        ++stream.captured;
        return CUDA_SUCCESS;
    }
    for (auto const& block : operation->blocks) ++block->pending;
    stream.queue.push_back(std::move(operation));
    ++stream.submitted;
    stream.work.notify_one();
    return CUDA_SUCCESS;
}

CUresult submit(Stream& stream, Operation operation) {
    return submit(stream, std::make_shared<Operation const>(std::move(operation)));
}

void wait_for_hangs(Call& call) {
    Device const& device = *call.device;
    state().changed.wait(call.lock, [&] { return device.hanging == 0 || device.faulted; });
}

CUresult wait_for(Call& call, Stream& stream) {
    uint64_t const target = stream.submitted;
    state().changed.wait(call.lock,
                         [&] { return stream.done >= target || stream.device->faulted; });
    return call.ended();
}
