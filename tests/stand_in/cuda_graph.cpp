// A stand-in for libcuda.so.1: captures and graphs.
//
// A graph is the list of operations a capture saw. Launching it puts them on a stream again; it
// must not touch memory freed since the capture, which on a real device is a fault.
#include <algorithm>

#include "driver.h"

EXPORT CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
    std::swap(*mode, capture_mode);
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, int mode) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    if (stream == call.device->null_stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return CUDA_ERROR_ILLEGAL_STATE;
    auto capture = std::make_shared<Capture>();
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->origin = stream.get();
    stream->capture = capture;
    state().captures.push_back(std::move(capture));
    ++state().counters.captures;
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
    ENTER(DEVICE);
    *graph = nullptr;
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    State& all = state();
    auto const capture = stream->capture;
    if (!capture) return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != stream.get()) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (capture->mode != CAPTURE_RELAXED && capture->thread != std::this_thread::get_id()) {
        invalidate(*capture);
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    }
    bool loose = false;
    for (auto const& [member, unjoined] : capture->loose) {
        member->capture = nullptr;
        loose |= unjoined;
    }
    stream->capture = nullptr;
    all.captures.erase(std::find(all.captures.begin(), all.captures.end(), capture));
    if (capture->invalid || loose) {
        ++all.counters.failed_captures;
        return capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                                : CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    }
    auto made = std::make_shared<Graph>(Graph{call.device, capture->operations});
    *graph = reinterpret_cast<CUgraph>(all.graphs.add(std::move(made)));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuStreamIsCapturing(CUstream handle, int* status) {
    ENTER(CONTEXT);
    auto const stream = stream_of(call, handle);
    if (!stream) return call.error;
    *status = !stream->capture ? 0 : stream->capture->invalid ? 2 : 1;
    return CUDA_SUCCESS;
}

// ---- Graphs

template <class H>
static std::shared_ptr<Graph> graph_of(Call& call, Table<Graph> const& table, H handle) {
    auto graph = table.find(handle);
    if (!graph) {
        call.refuse(CUDA_ERROR_INVALID_VALUE, "with a graph that does not exist or was destroyed");
    } else if (graph->device != call.device) {
        call.refuse(CUDA_ERROR_INVALID_VALUE, "with a graph of another device's context");
        graph.reset();
    }
    return graph;
}

EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph handle, unsigned long long) {
    ENTER(DEVICE);
    auto const graph = graph_of(call, state().graphs, handle);
    if (!graph) return call.error;
    *exec = reinterpret_cast<CUgraphExec>(state().execs.add(std::make_shared<Graph>(*graph)));
    return CUDA_SUCCESS;
}

EXPORT CUresult cuGraphDestroy(CUgraph handle) {
    ENTER(RELEASE);
    if (graph_of(call, state().graphs, handle)) state().graphs.remove(handle);
    return call.ended();
}

EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle) {
    ENTER(RELEASE);
    if (graph_of(call, state().execs, handle)) state().execs.remove(handle);
    return call.ended();
}

EXPORT CUresult cuGraphUpload(CUgraphExec handle, CUstream on) {
    ENTER(DEVICE);
    if (stream_of(call, on) && graph_of(call, state().execs, handle)) ++state().counters.graph_uploads;
    return call.error;
}

EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream on) {
    ENTER(DEVICE);
    auto const stream = stream_of(call, on);
    auto const graph = stream ? graph_of(call, state().execs, handle) : nullptr;
    if (!graph) return call.error;
    if (stream->capture) {
        invalidate(*stream->capture);
        return call.refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                           "into a capture, which the stand-in cannot do");
    }
    Counters& counters = state().counters;
    bool refused = false;
    for (auto const& operation : graph->operations) {
        if (operation->kind == Kind::Inference)
            refused |= refuses_next();
        for (auto const& block : operation->blocks)
            if (block->freed) {
                call.device->faulted = true;
                state().changed.notify_all();
                return call.refuse(CUDA_ERROR_ILLEGAL_ADDRESS, "of a graph that uses freed memory");
            }
    }
    if (refused) return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    ++counters.graph_launches;
    for (auto const& operation : graph->operations) submit(*stream, operation);
    return CUDA_SUCCESS;
}
