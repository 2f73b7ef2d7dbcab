//! `.onnx` files on the CPU, in pure Rust (rten). This engine needs no installed library.
//!
//! A model that loads here can take frames: it has one float32 input of N×H×W, N×1×H×W or N×H×W×1 with H and W fixed,
//! and the outputs that are wanted are float32 with the batch as first dimension. The output shapes that the file
//! declares are not used: [`OnnxEngine::load`] runs one batch of zeros and takes the shapes of its results. What a file
//! leaves to the defaults of ONNX and rten does not know is filled in before rten sees the model.
//!
//! What always holds:
//! - an unreadable or corrupt file is an error that names the file, not a panic, even if rten panics;
//! - input and outputs of a run have exactly the lengths in `ModelSpec`, or the run fails with `EngineError::Run`;
//! - results are bit-identical from run to run, and the results of a row do not depend on other rows;
//! - all sessions share one thread pool, with as many threads as this process may use CPUs. By default, rten would use
//!   as many threads as the machine has cores, even if a pod has fewer CPUs.
//!
//! Measured on PtychoNN with batches of 8 frames of 128×128, on two cores with AVX-512 (detected at run time, without a
//! build flag); the best of many runs, because other work ran at the same time. Wall time per batch: rten 58 ms on two
//! threads and 104 ms on one; tract-onnx 0.23 177 ms on its only thread. CPU time per batch: rten 121 ms, tract-onnx
//! 231 ms (a ratio of 1.9), and onnxruntime 1.31, which is not pure Rust, 37 ms. One lane with two threads and two
//! lanes with one thread each gave the same 147 frames per second.
//!
//! [`OnnxEngine::load`]: crate::onnx::OnnxEngine::load

/// Fills in what a model may leave out.
mod defaults;
/// Weights in other files.
mod external;
/// Checks the framing of a file.
mod framing;
/// Removes what only unwanted outputs need.
mod prune;
/// Numbers of dimensions.
mod ranks;
/// Reads and completes a file.
mod source;
/// Checks the tensors of a model.
pub(crate) mod suitability;
/// The trial run, and the choice of outputs.
pub(crate) mod trial;
/// Small messages of onnx.proto.
mod wire;

use super::{Batch, Engine, EngineError, ModelSpec, Place, Session, StageTimes, TensorSpec};
use crate::{Cause, EngineOptions};
use rten::{DataType, Model, NodeId, RunOptions, ThreadPool, Value, ValueType, ValueView};
use rten_tensor::{AsView, Layout};
use source::Source;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use suitability::{Declared, Found, Observed};
use trial::{Chosen, Trial};

#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
pub(crate) use framing::is_model;
pub(crate) use source::read;

/// A model file as it is prepared before rten sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// The completed model; `None` if the file is complete as it is.
    pub completed: Option<Vec<u8>>,
    /// Bytes of weights that were read from other files.
    pub outside: usize,
}

/// Prepares the model `file`, which is at `path`: checks its framing, fills in defaults and reads weights that are in
/// other files. Loading does this before it passes the model to rten.
///
/// # Errors
/// What is wrong with the file, and the remedy.
pub fn prepare(file: &[u8], path: &Path) -> Result<Prepared, Cause> {
    source::judge(file)?;
    Source::new(file, path).map(Source::into_prepared)
}

/// A loaded `.onnx` file. See the module documentation.
pub(crate) struct OnnxEngine {
    path: PathBuf,
    threads: usize,
    graph: Arc<Graph>,
}

/// The part of the engine that sessions share.
struct Graph {
    model: Model,
    spec: ModelSpec,
    input: NodeId,
    /// The shape of a frame in the model's own order of axes.
    frame: Vec<usize>,
    /// The outputs to compute, each with the shape of a row in the model's own order of axes.
    outputs: Vec<(NodeId, Vec<usize>)>,
    options: RunOptions,
}

impl OnnxEngine {
    /// Loads the file at `path`, checks that frames can be run through it, and runs one batch of zeros.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the file cannot be read or is not an ONNX model, [`EngineError::Unsuitable`] if frames
    /// cannot be run through the model. Each says what is wrong, and with which tensor.
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        Self::load_with_threads(path, options, available_threads())
    }

    fn load_with_threads(
        path: &Path,
        options: &EngineOptions,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        let model = load_model(path, &options.outputs).map_err(fail)?;
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        let run = RunOptions::default().with_thread_pool(Some(pool));
        let graph = Graph::new(model, run, options).map_err(|reason| EngineError::Unsuitable {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            threads,
            graph: Arc::new(graph),
        })
    }
}

/// Loads the model at `path`; if that fails, without what only other outputs than the wanted need.
fn load_model(path: &Path, wanted: &[String]) -> Result<Model, Cause> {
    let load = |source: Source| {
        contained(|| source.load(path))
            .map_err(Cause::from)
            .flatten()
    };
    let file = read(path)?;
    let source = Source::new(&file, path);
    // rten reads the file again, unless it had to be completed: two copies of a large model are one too many.
    drop(file);
    source.and_then(load).or_else(|error| {
        let pruned = prune::to_wanted(&read(path)?, wanted).ok_or_else(|| error.clone())?;
        let source = Source::new(&pruned, path).map(|source| source.or(pruned));
        // The first error names what the file needs, wherever it is.
        source.and_then(load).map_err(|_| error)
    })
}

impl Engine for OnnxEngine {
    fn model(&self) -> &ModelSpec {
        &self.graph.spec
    }

    fn description(&self) -> String {
        let (threads, path) = (self.threads, self.path.display());
        let plural = if threads == 1 { "" } else { "s" };
        format!("ONNX on the CPU (rten 0.27, {threads} thread{plural}), {path}")
    }

    /// One lane: it already uses every CPU, and a second lane gave no more frames per second.
    fn useful_lanes(&self) -> Option<usize> {
        Some(1)
    }

    fn open_session(&self, _place: Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(OnnxSession {
            graph: Arc::clone(&self.graph),
        }))
    }
}

/// The number of CPUs that this process may use, from its affinity and, on Linux, its cgroup's quota.
pub(super) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Calls rten. A panic in rten becomes an error text.
fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| format!("rten panicked: {}", panic_text(panic.as_ref())))
}

/// The message of a panic, if it is text.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

impl Graph {
    /// Reads the input's spec from the model, and the outputs' specs from a run of the model.
    fn new(model: Model, run: RunOptions, options: &EngineOptions) -> Result<Self, Cause> {
        let declared = model.input_ids().iter().map(|id| declared(&model, *id));
        let input = suitability::input(declared.collect())?;
        let ids = model.output_ids().to_vec();
        let names: Vec<_> = ids.iter().map(|id| name(&model, *id)).collect();
        let mut graph = Self {
            input: *model.input_ids().first().ok_or("it has no input")?,
            model,
            spec: ModelSpec {
                input: input.tensor.clone(),
                outputs: Vec::new(),
                batch: input.batch,
            },
            frame: input.frame.clone(),
            outputs: Vec::new(),
            options: run,
        };
        let Chosen {
            places,
            outputs,
            batch,
        } = trial::choose(&(&graph, ids.as_slice()), &names, &input, options)?;
        graph.spec.batch = batch;
        for (place, output) in places.into_iter().zip(outputs) {
            graph
                .outputs
                .extend(ids.get(place).map(|id| (*id, output.frame)));
            graph.spec.outputs.push(output.tensor);
        }
        Ok(graph)
    }

    /// Runs `rows` frames through the model, for the outputs with these ids.
    fn run(&self, ids: &[NodeId], rows: usize, frames: &[f32]) -> Result<Vec<Value>, Cause> {
        let mut shape = vec![rows];
        shape.extend(&self.frame);
        let view = ValueView::from_shape(shape, frames).map_err(Cause::of)?;
        self.model
            .run(
                vec![(self.input, view.into())],
                ids,
                Some(self.options.clone()),
            )
            .map_err(Cause::of)
    }
}

/// A graph, and the ids of all its outputs.
impl Trial for (&Graph, &[NodeId]) {
    fn run(&self, outputs: &[usize], rows: usize, zeros: &[f32]) -> Result<Vec<Observed>, Cause> {
        let (graph, ids) = self;
        let ids: Vec<_> = outputs
            .iter()
            .filter_map(|place| ids.get(*place).copied())
            .collect();
        let values = contained(|| graph.run(&ids, rows, zeros))
            .map_err(Cause::from)
            .flatten()?;
        let observed = |value: &Value| match value {
            Value::FloatTensor(tensor) => Observed {
                element: Found::Float32,
                shape: tensor.shape().to_vec(),
            },
            other => Observed {
                element: found(Some(other.dtype())),
                shape: Vec::new(),
            },
        };
        Ok(values.iter().map(observed).collect())
    }
}

/// The name of a tensor of the model, empty if it has none.
fn name(model: &Model, id: NodeId) -> String {
    let info = model.node_info(id);
    info.and_then(|info| info.name().map(str::to_owned))
        .unwrap_or_default()
}

/// An input of the model.
fn declared(model: &Model, id: NodeId) -> Declared {
    let info = model.node_info(id);
    Declared {
        name: name(model, id),
        element: found(info.as_ref().and_then(|info| info.dtype())),
        shape: info.and_then(|info| info.shape()),
    }
}

/// A type of rten, which converts some types of ONNX when it loads a model.
fn found(kind: Option<ValueType>) -> Found {
    match kind {
        Some(ValueType::Tensor(DataType::Float)) => Found::Float32,
        Some(ValueType::Tensor(DataType::Int32)) => Found::Other("int32, int64 or bool".to_owned()),
        Some(ValueType::Tensor(DataType::Int8)) => Found::Other("int8".to_owned()),
        Some(ValueType::Tensor(DataType::UInt8)) => Found::Other("uint8".to_owned()),
        Some(other) => Found::Other(other.to_string()),
        None => Found::Unknown,
    }
}

struct OnnxSession {
    graph: Arc<Graph>,
}

impl Session for OnnxSession {
    #[allow(clippy::disallowed_methods, reason = "synchronous code")]
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let spec = &self.graph.spec;
        batch.check(spec)?;
        let single = || EngineError::Run("this engine supports only f32 values".into());
        let input = batch.input.single().ok_or_else(single)?;
        let start = Instant::now();
        let outputs = &self.graph.outputs;
        let ids: Vec<_> = outputs.iter().map(|(id, _)| *id).collect();
        let values = self
            .graph
            .run(&ids, batch.rows, input)
            .map_err(EngineError::Run)?;
        let compute = start.elapsed();
        let results = spec.outputs.iter().zip(outputs).zip(values);
        for (((tensor, (_, frame)), value), room) in results.zip(batch.outputs) {
            let room = room.values.single().ok_or_else(single)?;
            copy_out(batch.rows, tensor, frame, &value, room)?;
        }
        Ok(StageTimes {
            // rten reads the batch in place, without a copy.
            copy_in: Duration::ZERO,
            compute,
            copy_out: start.elapsed().saturating_sub(compute),
        })
    }
}

fn copy_out(
    rows: usize,
    tensor: &TensorSpec,
    frame: &[usize],
    value: &Value,
    room: &mut [f32],
) -> Result<(), EngineError> {
    let wrong = |got: String| {
        EngineError::Run(format!("the result of {rows} rows of {tensor} is {got}").into())
    };
    let Value::FloatTensor(values) = value else {
        return Err(wrong(value.dtype().to_string()));
    };
    let shape = values.shape();
    if shape.split_first() != Some((&rows, frame)) {
        return Err(wrong(format!("{shape:?}")));
    }
    match values.data() {
        Some(values) if values.len() == room.len() => room.copy_from_slice(values),
        _ => room
            .iter_mut()
            .zip(values.iter())
            .for_each(|(to, from)| *to = *from),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
