//! A lane's session: its own engine, execution context, stream, device buffers, events and CUDA graph.
//!
//! Every run computes a full batch. A short batch is padded with zeros on the GPU and computed like a full one: a batch of
//! another size would need kernels of its own, which TensorRT-RTX compiles for seconds, and an execution context of its
//! own. So each frame is computed by the same kernels, however many others are in its batch.
//!
//! A graph contains only the computation. It uses the addresses of the session's own device buffers, which never change,
//! so one graph works for every slot. The copies use the addresses of the slots, and are not part of the graph.

use super::buffer::DeviceBuffer;
use super::messages;
use super::plan::Plan;
use crate::cuda::gpu::{self, Gpu};
use crate::cuda::on_device::{OnDevice, Parts};
use crate::cuda::timeline::{self, Timeline};
use crate::{Batch, Cause, EngineError, ModelSpec, Place, Session, StageTimes};
use cudarc::driver::{CudaGraph, CudaStream, DriverError};
use std::sync::Arc;

/// Options for opening a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    /// Whether the lane spins while it waits, instead of sleeping.
    pub spin: bool,
    /// Whether batches are launched as a graph, if one can be captured.
    pub cuda_graphs: bool,
}

/// A lane's session. See the module documentation.
pub(crate) struct TensorRtSession {
    on_device: OnDevice<Used>,
    no_graph: Option<String>,
    model: Arc<ModelSpec>,
    /// Rows of every run.
    capacity: usize,
}

/// Field order is drop order: the graph is dropped before the plan, and the plan before the buffers.
struct Used {
    graph: Option<CudaGraph>,
    plan: Plan,
    input: DeviceBuffer,
    outputs: Vec<DeviceBuffer>,
}

impl Used {
    /// Enqueues the computation of a batch, without a graph.
    fn enqueue(&mut self, stream: &CudaStream) -> Result<(), EngineError> {
        // SAFETY: the stream belongs to this session and to the same context, and the session waits for it before it is
        // dropped.
        unsafe { self.plan.enqueue(stream) }
            .map_err(|error| EngineError::Run(messages::explain(error)))
    }
}

impl TensorRtSession {
    /// Opens `file` on `gpu` for batches of up to `place.rows` rows, runs a batch of zeros, and captures it as a graph.
    /// `known` are kernels that were compiled for this file before.
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
        gpu::enter(&gpu.context).map_err(driver)?;
        let mut plan = Plan::open(file, model, capacity, known).map_err(refused)?;

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
        // SAFETY: each buffer holds `capacity` rows of its tensor, which every run computes, and lives as long as the plan:
        // both are parts of one session, and the plan is dropped first.
        unsafe { plan.place(&addresses) }.map_err(|error| refused(messages::explain(error)))?;
        let used = Used {
            graph: None,
            plan,
            input,
            outputs,
        };
        let mut session = Self {
            on_device: OnDevice::new(used, timeline),
            no_graph: None,
            model: Arc::clone(model),
            capacity,
        };
        // The first run allocates memory. A capture during which that happens fails.
        session.compute()?;
        if options.cuda_graphs {
            session.capture()?;
        } else {
            session.no_graph = Some("not requested".to_owned());
        }
        Ok(session)
    }

    /// Computes what is in the buffers, without a graph.
    fn compute(&mut self) -> Result<(), EngineError> {
        let Parts { used, timeline } = &mut *self.on_device;
        used.enqueue(timeline.stream())?;
        timeline.wait()
    }

    /// The kernels compiled so far, for the next session.
    pub(crate) fn kernels(&self) -> Option<Vec<u8>> {
        self.on_device.used.plan.kernels()
    }

    /// Why batches are not launched as a graph; `None` if they are.
    pub(crate) fn no_graph(&self) -> Option<&str> {
        self.no_graph.as_deref()
    }

    /// Captures the computation of a batch as a graph, or records why that failed.
    fn capture(&mut self) -> Result<(), EngineError> {
        let Parts { used, timeline } = &mut *self.on_device;
        let stream = timeline.stream();
        match timeline.capture(|| used.enqueue(stream)) {
            Ok(graph) => used.graph = Some(graph),
            Err(reason) => {
                self.no_graph = Some(reason);
                // The session is usable without a graph only if the stream still works.
                self.compute()?;
            }
        }
        Ok(())
    }
}

impl Session for TensorRtSession {
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        batch.check(&self.model)?;
        let capacity = self.capacity;
        if batch.rows > capacity {
            return Err(EngineError::Run(
                format!(
                    "a batch of {} rows, but the session was opened for {capacity}",
                    batch.rows
                )
                .into(),
            ));
        }
        messages::forget();
        let Parts { used, timeline } = &mut *self.on_device;
        let input = used.input.region();
        let outputs: Vec<_> = used.outputs.iter().map(DeviceBuffer::region).collect();
        timeline.pass(batch, input, outputs.into_iter(), |stream| {
            match &used.graph {
                Some(graph) => timeline::launch(graph, stream),
                None => used.enqueue(stream),
            }
        })
    }
}

/// `cause`, with `what` in front of its text.
fn prefixed(what: &str, cause: Cause) -> Cause {
    let words = format!("{what}: {cause}");
    cause.in_words(words)
}
