//! A lane's session: onnxruntime's session on a stream of its own, its tensors on the GPU, and a CUDA graph.
//!
//! The tensors are bound once, so their addresses never change, and one graph works for every slot. The graph is
//! captured around onnxruntime's run; onnxruntime's own graphs wait for the stream after every launch. A graph is used
//! only if it computes the same bits as a run without it.

use super::OnnxRuntimeCudaEngine;
use crate::cuda::gpu::{self, Gpu, Region};
use crate::cuda::on_device::{OnDevice, Parts};
use crate::cuda::timeline::{self, Timeline};
use crate::onnxruntime::{builder, commit, model::Loaded};
use crate::options::Precision;
use crate::{Batch, Cause, EngineError, Place, Session, StageTimes};
use beamflow_frame::values::Element;
use cudarc::driver::{CudaGraph, DriverError};
use half::f16;
use ort::ep::{ArenaExtendStrategy, CUDA, cuda::ConvAlgorithmSearch};

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions};
use ort::value::{DynTensor, TensorElementType};
use std::sync::Arc;

/// Runs before a graph is captured: in the first, cuDNN chooses its algorithms and memory is allocated; in the second,
/// onnxruntime allocates by the pattern that it saw in the first.
const RUNS_BEFORE_CAPTURE: usize = 3;

/// Options for opening a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionOptions {
    /// Whether the lane spins while it waits, instead of sleeping.
    pub(super) spin: bool,
    /// Whether batches are launched as a graph, if one can be captured.
    pub(super) cuda_graphs: bool,
    /// The precision to compute in.
    pub(super) precision: Precision,
}

/// A lane's session. See the module documentation.
pub(super) struct CudaSession {
    on_device: OnDevice<Used>,
    no_graph: Option<String>,
    input: Region,
    outputs: Vec<Region>,
    model: Arc<Loaded>,
    /// Rows of every run.
    capacity: usize,
}

/// Field order is drop order: the graph is dropped before what it uses.
struct Used {
    graph: Option<CudaGraph>,
    computation: Computation,
}

/// What enqueues the computation of a batch.
struct Computation {
    binding: IoBinding,
    session: ort::session::Session,
    options: RunOptions<NoSelectedOutputs>,
}

impl Computation {
    /// Enqueues the computation of the bound tensors on the session's stream.
    fn enqueue(&mut self) -> Result<(), EngineError> {
        self.session
            .run_binding_with_options(&self.binding, &self.options)
            .map(drop)
            .map_err(|error| EngineError::Run(Cause::of(error)))
    }
}

impl CudaSession {
    /// Opens a session on `gpu` for batches of up to `place.rows` rows, and runs batches of zeros. Captures a graph if one
    /// is wanted and can be captured.
    pub(super) fn open(
        engine: &OnnxRuntimeCudaEngine,
        gpu: &Gpu,
        place: Place,
    ) -> Result<Self, EngineError> {
        let refused = |reason: Cause| EngineError::Session {
            lane: place.lane,
            reason: Cause::from(format!("{}: {reason}", gpu.name)),
        };
        let open = |kind| {
            let opened = Self::open_as(kind, engine, gpu, place.rows);
            opened.map_err(|error| match error {
                EngineError::Run(reason) => refused(reason),
                other => other,
            })
        };
        let no_graph = if engine.options.cuda_graphs && place.cuda_graphs {
            match open(Kind::Captured)? {
                Ok(session) => return Ok(session),
                Err(reason) => reason,
            }
        } else {
            "not requested".to_owned()
        };
        // A session for runs in a graph keeps host memory of every run without one, so another session is opened.
        let mut session = open(Kind::Plain)?.map_err(|reason| refused(reason.into()))?;
        session.no_graph = Some(no_graph);
        Ok(session)
    }

    /// Opens a session of a kind. The inner error is the reason why there is none of this kind.
    fn open_as(
        kind: Kind,
        engine: &OnnxRuntimeCudaEngine,
        gpu: &Gpu,
        rows: usize,
    ) -> Result<Result<Self, String>, EngineError> {
        let driver = |error: DriverError| EngineError::Run(Cause::of(error));
        gpu::enter(&gpu.context).map_err(driver)?;
        let capacity = engine.model.spec.batch.rows(rows);
        let timeline = Timeline::new(gpu, engine.options.spin).map_err(driver)?;
        let bound = match Bound::open(engine, gpu, &timeline, capacity, kind) {
            Ok(bound) => bound,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut session = Self {
            on_device: OnDevice::new(
                Used {
                    graph: None,
                    computation: bound.computation,
                },
                timeline,
            ),
            no_graph: None,
            input: bound.input,
            outputs: bound.outputs,
            model: Arc::clone(&engine.model),
            capacity,
        };
        session.on_device.timeline.zero(session.input)?;
        for _ in 0..RUNS_BEFORE_CAPTURE {
            session.compute()?;
        }
        match kind {
            Kind::Captured => Ok(session.capture()?.map(|()| session)),
            Kind::Plain => Ok(Ok(session)),
        }
    }

    /// Writes to the log how batches are launched: why there is no graph although one was `asked` for, and the rest if
    /// this is the `first` session.
    pub(super) fn tell(&self, lane: usize, asked: bool, first: bool) {
        match &self.no_graph {
            Some(reason) if asked => tracing::warn!(
                lane,
                reason,
                "Every batch is launched without a CUDA graph."
            ),
            Some(_) if first => {
                tracing::info!(
                    "Every batch is launched without a CUDA graph, because of --no-cuda-graphs."
                );
            }
            None if first => tracing::info!("Batches are launched as CUDA graphs."),
            _ => {}
        }
    }

    /// Computes what is in the input, without a graph.
    fn compute(&mut self) -> Result<(), EngineError> {
        self.on_device.used.computation.enqueue()?;
        self.on_device.timeline.wait()
    }

    /// Captures the computation as a graph. The inner error is the reason why there is none.
    fn capture(&mut self) -> Result<Result<(), String>, EngineError> {
        let Parts { used, timeline } = &mut *self.on_device;
        Ok(match timeline.capture(|| used.computation.enqueue()) {
            Ok(graph) if self.agrees(&graph)? => {
                self.on_device.used.graph = Some(graph);
                Ok(())
            }
            Ok(_) => Err("its results differ from those of a run without it".to_owned()),
            Err(reason) => Err(reason),
        })
    }

    /// Whether `graph` computes the same bits as a run without it. A run of other values between the two shows a graph
    /// that depends on what the run before left in memory.
    fn agrees(&mut self, graph: &CudaGraph) -> Result<bool, EngineError> {
        let write = |session: &Self, period| {
            let timeline = &session.on_device.timeline;
            timeline.write(session.input, &session.pattern(period))
        };
        write(self, 97)?;
        self.compute()?;
        let expected = self.results()?;
        write(self, 61)?;
        self.compute()?;
        write(self, 97)?;
        let timeline = &self.on_device.timeline;
        timeline::launch(graph, timeline.stream())?;
        timeline.wait()?;
        Ok(self.results()? == expected)
    }

    /// The bytes of a full batch of whole numbers from 0, less than `period`.
    fn pattern(&self, period: u16) -> Vec<u8> {
        let input = &self.model.spec.input;
        let values = (0..period).cycle().take(input.elements() * self.capacity);
        match input.element {
            Element::F32 => values.flat_map(|n| f32::from(n).to_ne_bytes()).collect(),
            Element::F16 => values
                .flat_map(|n| f16::from_f32(f32::from(n)).to_ne_bytes())
                .collect(),
        }
    }

    /// The bytes of all outputs.
    fn results(&self) -> Result<Vec<Vec<u8>>, EngineError> {
        let outputs = self.outputs.iter();
        let timeline = &self.on_device.timeline;
        outputs.map(|region| timeline.read(*region)).collect()
    }
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Runs in a graph. onnxruntime then refuses a model that runs in part on the CPU, and the host memory from which a run
    /// copies its constants stays as it is until the session ends. For that, runs must not wait for the stream.
    Captured,
    /// Runs one by one. onnxruntime waits for the stream after each run, to give that host memory back.
    Plain,
}

/// onnxruntime's session with its tensors.
struct Bound {
    computation: Computation,
    input: Region,
    outputs: Vec<Region>,
}

impl Bound {
    /// Opens the model on `gpu` and the stream of `timeline`, for batches of `rows` rows.
    fn open(
        engine: &OnnxRuntimeCudaEngine,
        gpu: &Gpu,
        timeline: &Timeline,
        rows: usize,
        kind: Kind,
    ) -> ort::Result<Self> {
        let ordinal = i32::try_from(gpu.context.ordinal()).unwrap_or_default();
        let provider = CUDA::default()
            .with_device_id(ordinal)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
            .with_tf32(engine.options.precision == Precision::Tf32)
            // The order of axes that tensor cores compute in.
            .with_prefer_nhwc(engine.options.precision != Precision::Fp32)
            .with_cuda_graph(kind == Kind::Captured);
        // SAFETY: the stream belongs to the same context, and the session that this becomes a part of drops it last.
        let provider =
            unsafe { provider.with_compute_stream(timeline.stream().cu_stream().cast()) };
        let provider = provider.build().error_on_failure();
        let builder = || {
            let one_thread = builder(&engine.environment, 1)?;
            Ok(one_thread.with_execution_providers([provider.clone()])?)
        };
        let session = match &engine.half {
            Some(model) => builder()?.commit_from_memory(model)?,
            None => commit(&engine.path, builder)?,
        };
        let memory = MemoryInfo::new(
            AllocationDevice::CUDA,
            ordinal,
            AllocatorType::Device,
            MemoryType::Default,
        )?;
        let allocator = Allocator::new(&session, memory)?;
        let tensor = |element: Element, row: &[usize]| -> ort::Result<_> {
            let kind = match element {
                Element::F32 => TensorElementType::Float32,
                Element::F16 => TensorElementType::Float16,
            };
            let shape: Vec<_> = std::iter::once(&rows).chain(row).copied().collect();
            let mut tensor = DynTensor::new(&allocator, kind, shape)?;
            let region = Region {
                address: tensor.data_ptr_mut() as u64,
                bytes: rows * row.iter().product::<usize>() * element.size(),
            };
            Ok((tensor, region))
        };
        let Loaded {
            spec,
            frame,
            results,
        } = &*engine.model;
        let mut binding = session.create_binding()?;
        let (bound, input) = tensor(spec.input.element, frame)?;
        binding.bind_input(spec.input.name.as_str(), &bound)?;
        let mut outputs = Vec::new();
        for (output, row) in spec.outputs.iter().zip(results) {
            let (bound, region) = tensor(output.element, row)?;
            binding.bind_output(output.name.as_str(), bound)?;
            outputs.push(region);
        }
        let mut options = RunOptions::new()?;
        if kind == Kind::Captured {
            options.disable_device_sync()?;
            // No graph of onnxruntime's own.
            options.set("gpu_graph_id", "-1")?;
        }
        Ok(Self {
            computation: Computation {
                binding,
                session,
                options,
            },
            input,
            outputs,
        })
    }
}

impl Session for CudaSession {
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        batch.check(&self.model.spec)?;
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
        let outputs = self.outputs.iter().copied();
        let Parts { used, timeline } = &mut *self.on_device;
        timeline.pass(batch, self.input, outputs, |stream| match &used.graph {
            Some(graph) => timeline::launch(graph, stream),
            None => used.computation.enqueue(),
        })
    }
}
