//! A lane's session: its own engine, execution context, stream, device buffers, events and CUDA graph.
//!
//! If the engine's batch dimension is dynamic and full batches are launched as a graph, short batches use a separate
//! execution context: a graph becomes invalid when the shape of its context changes.
//!
//! A graph contains only the computation. It uses the addresses of the session's own device buffers, which never change, so one graph works for every slot. Only the
//! copies use the addresses of the slots, and the copies are outside the graph.

use super::buffer::DeviceBuffer;
use super::messages;
use super::plan::Plan;
use crate::cuda::gpu::Gpu;
use crate::cuda::timeline::{self, Timeline};
use crate::{Batch, Cause, EngineError, ModelSpec, Place, Session, StageTimes};
use cudarc::driver::{CudaGraph, CudaStream, DriverError};
use std::sync::Arc;

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
    computation: Computation,
    input: DeviceBuffer,
    outputs: Vec<DeviceBuffer>,
    timeline: Timeline,
}

/// What enqueues the computation of a batch.
struct Computation {
    plan: Plan,
    model: Arc<ModelSpec>,
    /// Rows of a full batch. The buffers hold this many, and the graph computes this many.
    capacity: usize,
}

impl Computation {
    /// Enqueues the computation of `rows` rows on the session's stream.
    fn enqueue(&mut self, rows: usize, stream: &CudaStream) -> Result<(), EngineError> {
        let input = &self.model.input;
        // SAFETY: the stream belongs to this session and to the same context, and the session waits for it before it is
        // dropped.
        if rows == self.capacity {
            unsafe { self.plan.enqueue_full(input, rows, stream) }
                .map_err(|error| EngineError::Run(messages::explain(error)))
        } else {
            // SAFETY: as for full batches.
            unsafe { self.plan.enqueue_short(input, rows, stream) }.map_err(|error| {
                EngineError::Run(prefixed(&format!("{rows} rows"), messages::explain(error)))
            })
        }
    }

    /// Enqueues the computation of a full batch.
    fn enqueue_full(&mut self, stream: &CudaStream) -> Result<(), EngineError> {
        self.enqueue(self.capacity, stream)
    }
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

        let timeline = Timeline::new(gpu, options.spin).map_err(driver)?;
        let buffer =
            |bytes: usize| DeviceBuffer::new(timeline.stream(), bytes * capacity).map_err(driver);
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
            .map(|(tensor, buffer)| (tensor.name.as_str(), buffer.region().address))
            .collect();
        // SAFETY: each buffer holds `capacity` rows of its tensor, the most that is ever enqueued, and lives as long as
        // the plan: all are fields of one session, and the plan is dropped first.
        unsafe { plan.place(&addresses) }.map_err(|error| refused(messages::explain(error)))?;
        let mut session = Self {
            graph: None,
            no_graph: None,
            computation: Computation {
                plan,
                model: Arc::clone(model),
                capacity,
            },
            input,
            outputs,
            timeline,
        };
        // The first run allocates memory. A capture during which that happens fails.
        session.run_full()?;
        if options.cuda_graphs {
            session.capture()?;
        } else {
            session.no_graph = Some("not requested".to_owned());
        }
        if session.graph.is_some() {
            // SAFETY: as above.
            let parted = unsafe { session.computation.plan.part_short_batches(&addresses) };
            if let Err(error) = parted {
                let reason = messages::explain(error);
                session.no_graph = Some(format!("no second context for short batches: {reason}"));
                session.graph = None;
            }
        }
        Ok(session)
    }

    /// Computes a full batch of what is in the buffers, without a graph.
    fn run_full(&mut self) -> Result<(), EngineError> {
        self.computation.enqueue_full(self.timeline.stream())?;
        self.timeline.wait()
    }

    /// The kernels compiled so far, for the next session.
    pub(crate) fn kernels(&self) -> Option<Vec<u8>> {
        self.computation.plan.kernels()
    }

    /// Why full batches are not launched as a graph; `None` if they are.
    pub(crate) fn no_graph(&self) -> Option<&str> {
        self.no_graph.as_deref()
    }

    /// Captures the computation of a full batch as a graph, or records why that failed.
    fn capture(&mut self) -> Result<(), EngineError> {
        let (computation, stream) = (&mut self.computation, self.timeline.stream());
        match self.timeline.capture(|| computation.enqueue_full(stream)) {
            Ok(graph) => self.graph = Some(graph),
            Err(reason) => {
                self.no_graph = Some(reason);
                // The session is usable without a graph only if the stream still works.
                self.run_full()?;
            }
        }
        Ok(())
    }
}

impl Session for TensorRtSession {
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let Computation {
            model, capacity, ..
        } = &self.computation;
        batch.check(model)?;
        if batch.rows > *capacity {
            return Err(EngineError::Run(
                format!(
                    "a batch of {} rows, but the session was opened for {capacity}",
                    batch.rows
                )
                .into(),
            ));
        }
        messages::forget();
        let rows = batch.rows;
        let outputs = self.outputs.iter().map(DeviceBuffer::region);
        let (graph, computation) = (&self.graph, &mut self.computation);
        self.timeline
            .pass(batch, self.input.region(), outputs, |stream| match graph {
                Some(graph) if rows == computation.capacity => timeline::launch(graph),
                _ => computation.enqueue(rows, stream),
            })
    }
}

impl Drop for TensorRtSession {
    fn drop(&mut self) {
        // No field may be freed while the GPU still uses it.
        if let Err(error) = self.timeline.wait() {
            tracing::debug!(%error, "Cannot wait for the stream of a session that ends.");
        }
    }
}

/// `cause`, with `what` in front of its text.
fn prefixed(what: &str, cause: Cause) -> Cause {
    let words = format!("{what}: {cause}");
    cause.in_words(words)
}
