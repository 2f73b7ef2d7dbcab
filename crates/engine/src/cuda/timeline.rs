//! A batch's way over a stream: it is copied in, computed and copied out, and the events between the stages time them.
//!
//! ```text
//! stream   ─ started ─ copy in ─ copied ─ compute (graph, or enqueue) ─ computed ─ copy out ─ done
//! ```
//!
//! What always holds:
//! - [`Timeline::pass`] returns only when the GPU no longer uses the memory of the batch, also after an error. Only if the
//!   device is lost does it return without that; a lost device does no more work;
//! - a device counts as lost only if waiting for the stream fails. If another call of the driver fails, only the session is
//!   lost;
//! - the rows that a short batch leaves empty are zeros.

use super::gpu::{Gpu, Region, enter, in_words, lost, make_current};
use crate::{Batch, Cause, EngineError, StageTimes};
use beamflow_frame::values::{Values, ValuesMut};
use cudarc::driver::sys::{self, CUevent_flags, CUmemorytype, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, DriverError, result};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A lane's stream, and the events that time its stages. See the module documentation.
///
/// Field order is drop order: the events are dropped before the stream.
pub(crate) struct Timeline {
    started: CudaEvent,
    copied: CudaEvent,
    computed: CudaEvent,
    done: CudaEvent,
    stream: Arc<CudaStream>,
}

impl Timeline {
    /// A new stream on `gpu`, whose context is current. With `spin`, waits spin instead of sleeping.
    pub(crate) fn new(gpu: &Gpu, spin: bool) -> Result<Self, DriverError> {
        let context = &gpu.context;
        let waiting = if spin {
            CUevent_flags::CU_EVENT_DEFAULT
        } else {
            CUevent_flags::CU_EVENT_BLOCKING_SYNC
        };
        let event = || context.new_event(Some(waiting));
        Ok(Self {
            stream: context.new_stream()?,
            started: event()?,
            copied: event()?,
            computed: event()?,
            done: event()?,
        })
    }

    pub(crate) fn stream(&self) -> &CudaStream {
        &self.stream
    }

    /// Waits until all work on the stream is complete.
    ///
    /// # Errors
    /// [`EngineError::DeviceLost`]
    pub(crate) fn wait(&self) -> Result<(), EngineError> {
        make_current(self.stream.context())
            // SAFETY: the stream lives as long as `self`.
            .and_then(|()| unsafe { result::stream::synchronize(self.stream.cu_stream()) })
            .map_err(lost)
    }

    /// Captures what `enqueue` enqueues as a graph, and uploads the graph. The error is the reason why there is none; the
    /// stream must then be tried before it is used.
    pub(crate) fn capture(
        &self,
        enqueue: impl FnOnce() -> Result<(), EngineError>,
    ) -> Result<CudaGraph, String> {
        let said = |error: DriverError| error.to_string();
        let context = self.stream.context();
        enter(context).map_err(said)?;
        // Other lanes may allocate while this lane captures; the rules of capturing apply to this thread's calls only.
        self.stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(said)?;
        let enqueued = enqueue();
        // A capture that was started must be ended, also after an error of `enqueue` or one that another lane left.
        enter(context).map_err(said)?;
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        enqueued.map_err(|error| error.to_string())?;
        let graph = graph
            .map_err(said)?
            .ok_or_else(|| "the driver returned no graph".to_owned())?;
        // Otherwise the first launch, which is a batch of frames, would wait for it.
        // SAFETY: the graph and the stream are alive.
        unsafe { result::graph::upload(graph.cu_graph_exec(), self.stream.cu_stream()) }
            .map_err(said)?;
        Ok(graph)
    }

    /// Copies the batch into `input`, enqueues its computation with `compute`, copies `outputs` out, and waits.
    pub(crate) fn pass(
        &self,
        batch: Batch<'_>,
        input: Region,
        outputs: impl Iterator<Item = Region>,
        compute: impl FnOnce(&CudaStream) -> Result<(), EngineError>,
    ) -> Result<StageTimes, EngineError> {
        let passed = self.enqueue(batch, input, outputs, compute);
        // The work on the stream may still use the batch's memory, so wait for it before the batch is returned. If the
        // wait fails too, the device is lost and does no more work.
        passed.or_else(|error| self.wait().and(Err(error)))
    }

    fn enqueue(
        &self,
        batch: Batch<'_>,
        input: Region,
        outputs: impl Iterator<Item = Region>,
        compute: impl FnOnce(&CudaStream) -> Result<(), EngineError>,
    ) -> Result<StageTimes, EngineError> {
        // The methods of cudarc's events and streams would return errors that other lanes left in the context.
        let failed = |error| EngineError::SessionLost(in_words(error));
        let stream = &self.stream;
        let rows = batch.rows;
        make_current(stream.context()).map_err(failed)?;
        self.record(&self.started).map_err(failed)?;
        copy_in(input, batch.input, stream).map_err(failed)?;
        self.record(&self.copied).map_err(failed)?;
        compute(stream)?;
        self.record(&self.computed).map_err(failed)?;
        for (region, output) in outputs.zip(batch.outputs) {
            copy_out(region, output.values, rows, &output.wanted, stream).map_err(failed)?;
        }
        self.record(&self.done).map_err(failed)?;
        // SAFETY: the event lives as long as `self`.
        unsafe { result::event::synchronize(self.done.cu_event()) }.map_err(failed)?;
        Ok(StageTimes {
            copy_in: between(&self.started, &self.copied).map_err(failed)?,
            compute: between(&self.copied, &self.computed).map_err(failed)?,
            copy_out: between(&self.computed, &self.done).map_err(failed)?,
        })
    }

    fn record(&self, event: &CudaEvent) -> Result<(), DriverError> {
        // SAFETY: the event and the stream live as long as `self`, in one context.
        unsafe { result::event::record(event.cu_event(), self.stream.cu_stream()) }
    }
}

#[cfg(feature = "onnxruntime")]
impl Timeline {
    /// Zeroes a region, before all work that is enqueued later.
    pub(crate) fn zero(&self, region: Region) -> Result<(), EngineError> {
        // SAFETY: a region belongs to a live allocation of this stream's context.
        unsafe { result::memset_d8_async(region.address, 0, region.bytes, self.stream.cu_stream()) }
            .map_err(lost)
    }

    /// Copies `bytes` into a region, and waits. At most the bytes of the region.
    pub(crate) fn write(&self, region: Region, bytes: &[u8]) -> Result<(), EngineError> {
        let bytes = bytes.get(..region.bytes).unwrap_or(bytes);
        // SAFETY: the region has at least these bytes, and they are kept until the stream is idle.
        unsafe { result::memcpy_htod_async(region.address, bytes, self.stream.cu_stream()) }
            .map_err(lost)?;
        self.wait()
    }

    /// The bytes of a region, after all work that was enqueued before.
    pub(crate) fn read(&self, region: Region) -> Result<Vec<u8>, EngineError> {
        let mut bytes = vec![0; region.bytes];
        // SAFETY: the region has as many bytes, and they are kept until the stream is idle.
        unsafe { result::memcpy_dtoh_async(&mut bytes, region.address, self.stream.cu_stream()) }
            .map_err(lost)?;
        self.wait()?;
        Ok(bytes)
    }
}

/// The error of a graph that cannot be launched. Not fatal, like a refused enqueue: if the device is lost, the wait for the
/// stream returns an error.
pub(crate) fn launch(graph: &CudaGraph, stream: &CudaStream) -> Result<(), EngineError> {
    // SAFETY: both are alive, and the graph was captured on this stream.
    unsafe { result::graph::launch(graph.cu_graph_exec(), stream.cu_stream()) }.map_err(|error| {
        let words = format!("cannot launch the CUDA graph: {error}");
        EngineError::Run(Cause::of(error).in_words(words))
    })
}

/// Copies the rows in, and zeroes the rest of the region.
fn copy_in(to: Region, from: Values<'_>, stream: &CudaStream) -> Result<(), DriverError> {
    let bytes = from.len() * from.element().size();
    debug_assert!(bytes <= to.bytes);
    // SAFETY: Batch::check ensures that `from` holds the rows' values, and no more than fit into the buffer. The caller
    // keeps `from` until it has waited for the stream.
    unsafe {
        let from = std::slice::from_raw_parts(from.address(), bytes);
        result::memcpy_htod_async(to.address, from, stream.cu_stream())
    }?;
    if bytes == to.bytes {
        return Ok(());
    }
    // SAFETY: the rest of the region, which only work on this stream uses.
    unsafe {
        result::memset_d8_async(
            to.address + bytes as u64,
            0,
            to.bytes - bytes,
            stream.cu_stream(),
        )
    }
}

/// Copies the wanted part of every row. Copies nothing if that part is empty.
fn copy_out(
    from: Region,
    mut to: ValuesMut<'_>,
    rows: usize,
    wanted: &Range<usize>,
    stream: &CudaStream,
) -> Result<(), DriverError> {
    if wanted.is_empty() || rows == 0 {
        return Ok(());
    }
    let size = to.element().size();
    let row = to.len() / rows * size;
    let first = wanted.start * size;
    let copy = sys::CUDA_MEMCPY2D_st {
        srcXInBytes: first,
        srcY: 0,
        srcMemoryType: CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcHost: std::ptr::null(),
        srcDevice: from.address,
        srcArray: std::ptr::null_mut(),
        srcPitch: row,
        dstXInBytes: first,
        dstY: 0,
        dstMemoryType: CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: to.address().cast(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        dstPitch: row,
        WidthInBytes: wanted.len() * size,
        Height: rows,
    };
    debug_assert!(row * rows <= from.bytes);
    // SAFETY: both sides hold `rows` rows of `row` bytes, and `wanted` is within a row; Batch::check ensures this. The
    // caller keeps `to` until it has waited for the stream.
    unsafe { sys::cuMemcpy2DAsync_v2(&copy, stream.cu_stream()) }.result()
}

fn between(from: &CudaEvent, to: &CudaEvent) -> Result<Duration, DriverError> {
    // SAFETY: both events are alive, and the stream has reached both.
    let milliseconds =
        f64::from(unsafe { result::event::elapsed(from.cu_event(), to.cu_event()) }?);
    Ok(Duration::from_secs_f64(milliseconds.max(0.0) / 1e3))
}
