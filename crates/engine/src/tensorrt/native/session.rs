//! A lane's session: its own engine, execution context, stream, device buffers, events and CUDA graph.
//!
//! ```text
//! stream   ─ started ─ copy in ─ copied ─ compute (graph, or enqueue) ─ computed ─ copy out ─ done
//! ```
//!
//! If the engine's batch dimension is dynamic and full batches are launched as a graph, short batches use a separate
//! execution context: a graph becomes invalid when the shape of its context changes.
//!
//! The four events measure the stages; the lane waits for the last one. A graph contains only the computation. It uses
//! the addresses of the session's own device buffers, which never change, so one graph works for every slot. Only the
//! copies use the addresses of the slots, and the copies are outside the graph.

use super::gpu::{DeviceBuffer, Gpu, lost};
use super::messages;
use super::plan::Plan;
use crate::{Batch, Cause, EngineError, ModelSpec, Place, Session, StageTimes};
use beamflow_frame::values::{Values, ValuesMut};
use cudarc::driver::sys::{self, CUevent_flags, CUmemorytype, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, DriverError, result};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Options for opening a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    /// Whether the lane spins while it waits, instead of sleeping.
    pub spin: bool,
    /// Whether full batches are launched as a graph, if one can be captured.
    pub cuda_graphs: bool,
}

/// A lane's session. See the module documentation.
///
/// Field order is drop order: a field must be dropped before the fields that it uses.
pub(crate) struct TensorRtSession {
    graph: Option<CudaGraph>,
    no_graph: Option<String>,
    plan: Plan,
    input: DeviceBuffer,
    outputs: Vec<DeviceBuffer>,
    started: CudaEvent,
    copied: CudaEvent,
    computed: CudaEvent,
    done: CudaEvent,
    stream: Arc<CudaStream>,
    model: Arc<ModelSpec>,
    /// Rows of a full batch. The buffers hold this many, and the graph computes this many.
    capacity: usize,
}

impl TensorRtSession {
    /// Opens `file` on `gpu` for batches of up to `place.rows` rows, runs a batch of zeros, and captures it as a graph.
    pub(crate) fn open(
        gpu: &Gpu,
        file: &[u8],
        model: &Arc<ModelSpec>,
        place: Place,
        options: SessionOptions,
        known: Option<&[u8]>,
    ) -> Result<Self, EngineError> {
        let refused = |reason: Cause| EngineError::Session {
            lane: place.lane,
            reason: prefixed(&gpu.name, reason),
        };
        let driver = |error: DriverError| refused(prefixed("CUDA driver error", Cause::of(error)));
        let capacity = model.batch.rows(place.rows);
        let context = &gpu.context;
        context.bind_to_thread().map_err(driver)?;
        let mut plan = Plan::open(file, known).map_err(refused)?;

        let stream = context.new_stream().map_err(driver)?;
        let buffer = |bytes: usize| DeviceBuffer::new(&stream, bytes * capacity).map_err(driver);
        let input = buffer(model.input.bytes())?;
        let outputs = model
            .outputs
            .iter()
            .map(|output| buffer(output.bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let buffers = std::iter::once(&input).chain(&outputs);
        let tensors = std::iter::once(&model.input).chain(&model.outputs);
        let addresses: Vec<_> = tensors
            .zip(buffers)
            .map(|(tensor, buffer)| (tensor.name.as_str(), buffer.address()))
            .collect();
        // SAFETY: each buffer holds `capacity` rows of its tensor, the most that is ever enqueued, and lives as long as
        // the plan: all are fields of one session, and the plan is dropped first.
        unsafe { plan.place(&addresses) }.map_err(|error| refused(messages::explain(error)))?;
        let waiting = if options.spin {
            CUevent_flags::CU_EVENT_DEFAULT
        } else {
            CUevent_flags::CU_EVENT_BLOCKING_SYNC
        };
        let event = || context.new_event(Some(waiting)).map_err(driver);
        let mut session = Self {
            graph: None,
            no_graph: None,
            plan,
            input,
            outputs,
            started: event()?,
            copied: event()?,
            computed: event()?,
            done: event()?,
            stream,
            model: Arc::clone(model),
            capacity,
        };
        // The first run allocates memory. A capture during which that happens fails.
        session.enqueue_full().and_then(|()| session.wait())?;
        if options.cuda_graphs {
            session.capture()?;
        } else {
            session.no_graph = Some("not requested".to_owned());
        }
        if session.graph.is_some() {
            // SAFETY: as above.
            let parted = unsafe { session.plan.part_short_batches(&addresses) };
            if let Err(error) = parted {
                let reason = messages::explain(error);
                session.no_graph = Some(format!("no second context for short batches: {reason}"));
                session.graph = None;
            }
        }
        Ok(session)
    }

    /// Enqueues the computation of a full batch.
    fn enqueue_full(&mut self) -> Result<(), EngineError> {
        // SAFETY: the stream belongs to this session and to the same context, and the session waits for it before it is
        // dropped.
        unsafe {
            self.plan
                .enqueue_full(&self.model.input, self.capacity, &self.stream)
        }
        .map_err(|error| EngineError::Run(messages::explain(error)))
    }

    /// Enqueues the computation of `rows` rows, fewer than a full batch has.
    fn enqueue_short(&mut self, rows: usize) -> Result<(), EngineError> {
        // SAFETY: as for full batches.
        unsafe {
            self.plan
                .enqueue_short(&self.model.input, rows, &self.stream)
        }
        .map_err(|error| {
            EngineError::Run(prefixed(&format!("{rows} rows"), messages::explain(error)))
        })
    }

    /// Waits until all work on the stream is complete.
    fn wait(&self) -> Result<(), EngineError> {
        // Binding may fail with an error that another lane left in the context. It then has no effect, but this thread
        // is already bound. So the stream is synchronised in any case.
        let _ = self.stream.context().bind_to_thread();
        // SAFETY: the stream belongs to this session.
        unsafe { result::stream::synchronize(self.stream.cu_stream()) }.map_err(lost)
    }

    /// The kernels compiled so far, for the next session.
    pub(crate) fn kernels(&self) -> Option<Vec<u8>> {
        self.plan.kernels()
    }

    /// Why full batches are not launched as a graph; `None` if they are.
    pub(crate) fn no_graph(&self) -> Option<&str> {
        self.no_graph.as_deref()
    }

    /// Captures the computation of a full batch as a graph, or records why that failed.
    fn capture(&mut self) -> Result<(), EngineError> {
        // Other lanes may allocate while this lane captures; the rules of capturing apply to this thread's calls only.
        let begun = self
            .stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
        let captured = begun.map_err(|error| error.to_string()).and_then(|()| {
            let enqueued = self.enqueue_full();
            // A capture that was started must be ended, also after an error.
            let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
            enqueued.map_err(|error| error.to_string())?;
            graph
                .map_err(|error| error.to_string())?
                .ok_or_else(|| "the driver returned no graph".to_owned())
        });
        match captured {
            Ok(graph) => self.graph = Some(graph),
            Err(reason) => {
                self.no_graph = Some(reason);
                // The session is usable without a graph only if the stream still works.
                self.enqueue_full()?;
                self.wait()?;
            }
        }
        Ok(())
    }

    /// Enqueues the copies and the computation of a batch, and waits for them.
    fn pass(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let driver = lost;
        let rows = batch.rows;
        self.started.record(&self.stream).map_err(driver)?;
        copy_in(&self.input, batch.input, &self.stream).map_err(driver)?;
        self.copied.record(&self.stream).map_err(driver)?;
        match &self.graph {
            // Not fatal, like a refused enqueue: if the device is lost, the wait for the stream returns an error.
            Some(graph) if rows == self.capacity => graph.launch().map_err(|error| {
                EngineError::Run(prefixed("cannot launch the CUDA graph", Cause::of(error)))
            })?,
            _ if rows == self.capacity => self.enqueue_full()?,
            _ => self.enqueue_short(rows)?,
        }
        self.computed.record(&self.stream).map_err(driver)?;
        let outputs = self.outputs.iter().zip(batch.outputs);
        for (buffer, output) in outputs {
            copy_out(buffer, output.values, rows, &output.wanted, &self.stream).map_err(driver)?;
        }
        self.done.record(&self.stream).map_err(driver)?;
        self.done.synchronize().map_err(driver)?;
        Ok(StageTimes {
            copy_in: between(&self.started, &self.copied).map_err(driver)?,
            compute: between(&self.copied, &self.computed).map_err(driver)?,
            copy_out: between(&self.computed, &self.done).map_err(driver)?,
        })
    }
}

impl Session for TensorRtSession {
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        batch.check(&self.model)?;
        if batch.rows > self.capacity {
            return Err(EngineError::Run(
                format!(
                    "a batch of {} rows, but the session was opened for {}",
                    batch.rows, self.capacity
                )
                .into(),
            ));
        }
        messages::forget();
        match self.pass(batch) {
            Ok(times) => Ok(times),
            // The work on the stream may still use the batch's memory, so wait for it before the batch is returned. If
            // the wait fails too, the device is lost and does no more work.
            Err(error) => self.wait().and(Err(error)),
        }
    }
}

impl Drop for TensorRtSession {
    fn drop(&mut self) {
        // No field may be freed while the GPU still uses it.
        if let Err(error) = self.wait() {
            tracing::debug!(%error, "Cannot wait for the stream of a session that ends.");
        }
    }
}

/// `cause`, with `what` in front of its text.
fn prefixed(what: &str, cause: Cause) -> Cause {
    let words = format!("{what}: {cause}");
    cause.in_words(words)
}

fn copy_in(to: &DeviceBuffer, from: Values<'_>, stream: &CudaStream) -> Result<(), DriverError> {
    let bytes = from.len() * from.element().size();
    debug_assert!(bytes <= to.bytes());
    // SAFETY: Batch::check ensures that `from` holds the rows' values, and no more than fit into the buffer. The caller
    // keeps `from` until it has waited for the stream.
    unsafe {
        let from = std::slice::from_raw_parts(from.address(), bytes);
        result::memcpy_htod_async(to.address(), from, stream.cu_stream())
    }
}

/// Copies the wanted part of every row. Copies nothing if that part is empty.
fn copy_out(
    from: &DeviceBuffer,
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
        srcDevice: from.address(),
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
    debug_assert!(row * rows <= from.bytes());
    // SAFETY: both sides hold `rows` rows of `row` bytes, and `wanted` is within a row; Batch::check ensures this. The
    // caller keeps `to` until it has waited for the stream.
    unsafe { sys::cuMemcpy2DAsync_v2(&copy, stream.cu_stream()) }.result()
}

fn between(from: &CudaEvent, to: &CudaEvent) -> Result<Duration, DriverError> {
    let milliseconds = f64::from(from.elapsed_ms(to)?);
    Ok(Duration::from_secs_f64(milliseconds.max(0.0) / 1e3))
}
