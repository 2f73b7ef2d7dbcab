// A stand-in for libcuda.so.1: copies, streams and events.
//
// A copy is checked when it is asked for, as the real driver does: its device side must lie in a
// live allocation. An asynchronous copy whose host side is not page-locked is a misuse; it is then
// done before the call returns, which is what the real driver may do, and what costs the program
// its overlap.
//
// An event counts how often it was recorded, and how many of these records its stream has
// reached. Whoever waits for it waits for the last record made before the wait.
#include <cstring>

#include "driver.h"
#include "stand_in.h"

// ---- Copies

// One end of a copy: the program's address, and the bytes from one row to the next.
struct End {
    bool host;
    uint64_t address;
    size_t pitch;
    char* memory = nullptr;    // found by `locate`
};

// Finds where an end lies in memory, and remembers its block as used by the operation.
static bool locate(Call& call, End& end, size_t width, size_t rows, Operation& operation) {
    State& all = state();
    size_t const bytes = end.pitch * (rows - 1) + width;
    auto const block = block_at(end.host ? all.host_memory : all.device_memory, end.address, bytes);
    if (end.host) end.memory = reinterpret_cast<char*>(end.address);
    if (end.host && !block) return false;
    if (!block) {
        call.refuse(CUDA_ERROR_INVALID_VALUE, "outside a live device allocation");
        return false;
    }
    if (block->device != call.device && !end.host) {
        call.refuse(CUDA_ERROR_INVALID_VALUE, "with memory of another device's context");
        return false;
    }
    end.memory = block->memory + (end.address - block->address);
    operation.blocks.push_back(block);
    return true;
}

// A copy of `rows` rows of `width` bytes. Without a stream it is done before the call returns.
static CUresult copy(Call& call, End to, End from, size_t width, size_t rows, Stream* stream) {
    if (width == 0 || rows == 0) return CUDA_SUCCESS;
    Operation operation;
    operation.kind = Kind::Copy;
    bool const to_locked = locate(call, to, width, rows, operation);
    bool const locked = locate(call, from, width, rows, operation) && to_locked;
    if (call.error) return call.error;
    if (from.host) operation.bytes_in = width * rows;
    if (to.host) operation.bytes_out = width * rows;
    operation.work = [to, from, width, rows] {
        for (size_t row = 0; row < rows; ++row)
            std::memmove(to.memory + row * to.pitch, from.memory + row * from.pitch, width);
    };
    if (stream && !locked) {
        misuse(std::string(call.name) + " with host memory that is not page-locked");
        if (stream->capture) {
            invalidate(*stream->capture);
            return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    if (stream && locked) return submit(*stream, std::move(operation));
    std::shared_ptr<Stream> const own = stream ? nullptr : open_stream(*call.device);
    Stream& on = stream ? *stream : *own;
    CUresult const error = submit(on, std::move(operation));
    if (error) return error;
    // Until it is done, fault or not: the program's own memory may be gone after the call.
    state().changed.wait(call.lock, [&, target = on.submitted] { return on.done >= target; });
    if (own) {
        own->closing = true;
        own->work.notify_one();
    }
    return call.ended();
}

static End host(void const* address, size_t pitch) {
    return {true, reinterpret_cast<uint64_t>(address), pitch};
}

static End device(CUdeviceptr address, size_t pitch) { return {false, address, pitch}; }

EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, void const* from, size_t bytes) {
    ENTER(DEVICE | UNSAFE);
    return copy(call, device(to, bytes), host(from, bytes), bytes, 1, nullptr);
}

EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    ENTER(DEVICE | UNSAFE);
    return copy(call, host(to, bytes), device(from, bytes), bytes, 1, nullptr);
}

EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, void const* from, size_t bytes, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    if (!stream) return call.error;
    return copy(call, device(to, bytes), host(from, bytes), bytes, 1, stream.get());
}

EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    if (!stream) return call.error;
    return copy(call, host(to, bytes), device(from, bytes), bytes, 1, stream.get());
}

EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    if (!stream) return call.error;
    return copy(call, device(to, bytes), device(from, bytes), bytes, 1, stream.get());
}

// CUDA_MEMCPY2D, as the driver's header lays it out.
struct Copy2D {
    size_t from_x, from_y;
    int from_type;
    void const* from_host;
    CUdeviceptr from_device;
    void* from_array;
    size_t from_pitch;
    size_t to_x, to_y;
    int to_type;
    void* to_host;
    CUdeviceptr to_device;
    void* to_array;
    size_t to_pitch;
    size_t width, height;
};

EXPORT CUresult cuMemcpy2DAsync_v2(Copy2D const* what, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    if (!stream) return call.error;
    auto const end = [](int type, void const* at_host, CUdeviceptr at_device, size_t x, size_t y,
                        size_t pitch) {
        End found = type == 1 ? host(at_host, pitch) : device(at_device, pitch);
        found.address += y * pitch + x;
        return found;
    };
    auto const known = [](int type) { return type == 1 || type == 2; };    // host, device
    Copy2D const& c = *what;
    if (!known(c.from_type) || !known(c.to_type))
        return call.refuse(CUDA_ERROR_INVALID_VALUE, "with a kind of memory the stand-in has not");
    if (c.from_pitch < c.width || c.to_pitch < c.width) return CUDA_ERROR_INVALID_VALUE;
    return copy(call, end(c.to_type, c.to_host, c.to_device, c.to_x, c.to_y, c.to_pitch),
                end(c.from_type, c.from_host, c.from_device, c.from_x, c.from_y, c.from_pitch),
                c.width, c.height, stream.get());
}

static CUresult fill(Call& call, CUdeviceptr address, unsigned char value, size_t bytes,
                     Stream& stream) {
    if (bytes == 0) return CUDA_SUCCESS;
    Operation operation;
    End to = device(address, bytes);
    if (!locate(call, to, bytes, 1, operation)) return call.error;
    operation.work = [to, value, bytes] { std::memset(to.memory, value, bytes); };
    return submit(stream, std::move(operation));
}

EXPORT CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value, size_t bytes,
                                CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    return stream ? fill(call, address, value, bytes, *stream) : call.error;
}

EXPORT CUresult cuMemsetD8_v2(CUdeviceptr address, unsigned char value, size_t bytes) {
    ENTER(DEVICE | UNSAFE);
    auto const stream = open_stream(*call.device);
    CUresult const error = fill(call, address, value, bytes, *stream);
    if (!error) wait_for(call, *stream);
    stream->closing = true;
    stream->work.notify_one();
    return error ? error : call.ended();
}

// ---- Streams

EXPORT CUresult cuStreamCreate(CUstream* handle, unsigned) {
    ENTER(DEVICE);
    *handle = reinterpret_cast<CUstream>(state().streams.add(open_stream(*call.device)));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamCreateWithPriority(CUstream* handle, unsigned flags, int) {
    return cuStreamCreate(handle, flags);
}

EXPORT CUresult cuStreamDestroy_v2(CUstream handle) {
    ENTER(RELEASE);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    if (stream == call.device->null_stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->done != stream->submitted && !call.device->faulted)
        misuse("cuStreamDestroy_v2 of a stream with work pending");
    if (stream->capture) {
        misuse("cuStreamDestroy_v2 of a stream that is capturing");
        invalidate(*stream->capture);
    }
    state().streams.remove(handle);
    stream->closing = true;
    stream->work.notify_one();
    return call.ended();
}

// Waiting for or asking a stream that is capturing spoils the capture.
static bool spoils(Stream& stream) {
    if (stream.capture) invalidate(*stream.capture);
    return stream.capture != nullptr;
}

EXPORT CUresult cuStreamSynchronize(CUstream handle) {
    ENTER(DEVICE | UNSAFE);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    return spoils(*stream) ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : wait_for(call, *stream);
}

EXPORT CUresult cuStreamQuery(CUstream handle) {
    ENTER(DEVICE | UNSAFE);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    if (spoils(*stream)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return stream->done == stream->submitted ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

// A capture follows its events: a stream that waits for one joins it, and is loose until some
// stream of the capture has waited for its last operation in turn.
static CUresult wait_in_capture(std::shared_ptr<Stream> const& stream, Event const& event) {
    auto const capture = event.capture.lock();
    auto const made_by = event.captured_stream.lock();
    if (!capture || !made_by || made_by->capture != capture) {
        if (!stream->capture) return CUDA_ERROR_CAPTURED_EVENT;
        invalidate(*stream->capture);
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    if (stream->capture && stream->capture != capture) {
        invalidate(*stream->capture);
        invalidate(*capture);
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!stream->capture) {
        stream->capture = capture;
        capture->loose[stream] = true;
    }
    auto const member = capture->loose.find(made_by);
    if (made_by != stream && member != capture->loose.end() &&
        event.captured_at == made_by->captured)
        member->second = false;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, handle);
    auto const event = stream ? event_of(call, event_handle) : nullptr;
    if (!event) return call.error;
    if (event->captured || stream->capture) return wait_in_capture(stream, *event);
    Operation operation;
    operation.kind = Kind::Wait;
    operation.event = event;
    operation.turn = event->recorded;
    ++event->waiters;
    return submit(*stream, std::move(operation));
}

EXPORT CUresult cuLaunchHostFunc(CUstream handle, void (*function)(void*), void* argument) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    Operation operation;
    operation.work = [function, argument] { function(argument); };
    return submit(*stream, std::move(operation));
}

// ---- Events

EXPORT CUresult cuEventCreate(CUevent* handle, unsigned flags) {
    ENTER(DEVICE);
    auto event = std::make_shared<Event>();
    event->device = call.device;
    event->flags = flags;
    if (flags & EVENT_BLOCKING_SYNC) ++state().counters.blocking_sync_events;
    *handle = reinterpret_cast<CUevent>(state().events.add(std::move(event)));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventDestroy_v2(CUevent handle) {
    ENTER(RELEASE);
    auto const event = event_of(call, handle);
    if (!event) return call.error;
    if ((event->completed != event->recorded || event->waiters > 0) && !call.device->faulted)
        misuse("cuEventDestroy_v2 of an event in use");
    state().events.remove(handle);
    return call.ended();
}

EXPORT CUresult cuEventRecord(CUevent handle, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    auto const event = stream ? event_of(call, handle) : nullptr;
    if (!event) return call.error;
    if (++state().counters.event_records == state().settings.faults.record_error) return CUDA_ERROR_INVALID_VALUE;
    event->captured = stream->capture != nullptr;
    if (stream->capture) {
        if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        event->capture = stream->capture;
        event->captured_stream = stream;
        event->captured_at = stream->captured;
        return CUDA_SUCCESS;
    }
    Operation operation;
    operation.kind = Kind::Record;
    operation.event = event;
    operation.turn = ++event->recorded;
    return submit(*stream, std::move(operation));
}

// The event, if it may be asked now.
static std::shared_ptr<Event> ask(Call& call, CUevent handle) {
    auto event = event_of(call, handle);
    if (!event || !event->captured) return event;
    if (auto const capture = event->capture.lock()) invalidate(*capture);
    call.error = CUDA_ERROR_CAPTURED_EVENT;
    return nullptr;
}

EXPORT CUresult cuEventSynchronize(CUevent handle) {
    ENTER(DEVICE | UNSAFE);
    auto const event = ask(call, handle);
    if (!event) return call.error;
    uint64_t const turn = event->recorded;
    state().changed.wait(call.lock,
                         [&] { return event->completed >= turn || call.device->faulted; });
    return call.ended();
}

EXPORT CUresult cuEventQuery(CUevent handle) {
    ENTER(DEVICE | UNSAFE);
    auto const event = ask(call, handle);
    if (!event) return call.error;
    return event->completed == event->recorded ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
    ENTER(DEVICE);
    auto const first = ask(call, start);
    auto const last = first ? ask(call, end) : nullptr;
    if (!last) return call.error;
    for (auto const& event : {first, last})
        if (event->flags & EVENT_DISABLE_TIMING || event->recorded == 0)
            return CUDA_ERROR_INVALID_HANDLE;
    for (auto const& event : {first, last})
        if (event->completed != event->recorded) return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(last->time - first->time).count();
    return CUDA_SUCCESS;
}

EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}
