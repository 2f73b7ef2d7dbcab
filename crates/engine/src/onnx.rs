//! `.onnx` files on the CPU, in pure Rust (rten): the engine that runs anywhere with nothing installed.
//!
//! A model that loads here can take frames: one float32 input of N×H×W or N×1×H×W with H and W fixed, and
//! float32 outputs whose first dimension is the batch. What the file declares of its outputs is not
//! believed: [`OnnxEngine::load`] runs one batch of zeros and takes their shapes from what comes back.
//!
//! What always holds:
//! - an unreadable or corrupt file is an error that names it, not a panic, even where rten panics;
//! - a run takes and gives exactly the lengths that `ModelSpec` says, or fails with `EngineError::Run`;
//! - results are bit-identical from run to run, and a row's do not depend on its neighbours;
//! - all sessions share one pool of threads, sized to the CPUs this process may use. rten would size it to
//!   the machine's cores, whatever share of them a pod is given.
//!
//! Measured on PtychoNN, 8 frames of 128×128 a batch, two cores with AVX-512 (found at run time, no build
//! flag needed), best of many because other work ran beside: rten 58 ms, or 104 ms on one thread;
//! tract-onnx 0.23 177 ms on its one. In CPU time a batch, 121 ms against 231 ms: a ratio of 1.9. onnxruntime
//! 1.31, which is no pure Rust, needs 37 ms of it. One lane on two threads and two lanes on one thread each
//! gave the same 147 frames a second.
//!
//! [`OnnxEngine::load`]: crate::onnx::OnnxEngine::load

/// The file's framing.
mod framing;
/// The model's tensors.
mod suitability;

use super::{Batch, Engine, EngineError, ModelSpec, Place, Session, StageTimes, TensorSpec};
use crate::Cause;
use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueView};
use rten_tensor::{AsView, Layout};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A loaded `.onnx` file. See the module's essay.
pub(crate) struct OnnxEngine {
    path: PathBuf,
    threads: usize,
    graph: Arc<Graph>,
}

/// What the sessions share.
struct Graph {
    model: Model,
    spec: ModelSpec,
    input: NodeId,
    outputs: Vec<NodeId>,
    options: RunOptions,
}

impl OnnxEngine {
    /// Loads the file at `path`, checks that frames can be run through it, and runs one batch of zeros.
    ///
    /// # Errors
    /// [`EngineError::Load`] where the file cannot be read or is no ONNX model, [`EngineError::Unsuitable`]
    /// where it is one that frames cannot be run through; each says what is wrong, and with which tensor.
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        Self::load_with_threads(path, available_threads())
    }

    fn load_with_threads(path: &Path, threads: usize) -> Result<Self, EngineError> {
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        std::fs::read(path)
            .map_err(Cause::of)
            .and_then(|file| framing::check(&file).map_err(Cause::from))
            .map_err(fail)?;
        // Read anew by its path, because weights may lie in files beside it.
        let model = contained(|| Model::load_file(path))
            .map_err(|panic| fail(panic.into()))?
            .map_err(|error| fail(Cause::of(error)))?;
        // An empty file parses as a model without a graph.
        if model.input_ids().is_empty() && model.output_ids().is_empty() {
            return Err(fail("there is no graph in it".into()));
        }
        let options = RunOptions::default()
            .with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(threads))));
        let graph = Graph::new(model, options).map_err(|reason| EngineError::Unsuitable {
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

impl Engine for OnnxEngine {
    fn model(&self) -> &ModelSpec {
        &self.graph.spec
    }

    fn description(&self) -> String {
        let (threads, path) = (self.threads, self.path.display());
        let plural = if threads == 1 { "" } else { "s" };
        format!("ONNX on the CPU (rten 0.27, {threads} thread{plural}), {path}")
    }

    /// One: it already uses every CPU, and a second lane gave no more frames a second.
    fn useful_lanes(&self) -> Option<usize> {
        Some(1)
    }

    fn open_session(&self, _place: Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(OnnxSession {
            graph: Arc::clone(&self.graph),
        }))
    }
}

/// The CPUs this process may use: affinity and, on Linux, the cgroup's quota counted.
pub(super) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Calls into rten; a panic there becomes an error text.
fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|panic| format!("rten panicked: {}", panic_text(panic.as_ref())))
}

/// A panic's message, if it has one in words.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

impl Graph {
    /// Reads the input from the model, and the outputs from a run of it.
    fn new(model: Model, options: RunOptions) -> Result<Self, Cause> {
        let (input, spec, batch) = suitability::input(&model)?;
        let outputs = model.output_ids().to_vec();
        if outputs.is_empty() {
            return Err("it has no output".into());
        }
        let mut graph = Self {
            model,
            spec: ModelSpec {
                input: spec,
                outputs: Vec::new(),
                batch,
            },
            input,
            outputs,
            options,
        };
        // Two rows, where we may choose: an output without a batch dimension may well begin with a 1.
        let rows = batch.rows(2);
        let values = rows * graph.spec.input.elements(); // suitability::input has checked the product
        let mut zeros = Vec::new();
        zeros.try_reserve_exact(values).map_err(|error| {
            let words = format!("{rows} frames of it do not fit into memory: {error}");
            Cause::of(error).in_words(words)
        })?;
        zeros.resize(values, 0.0_f32);
        let values = contained(|| graph.run(rows, &zeros))
            .map_err(Cause::from)
            .flatten()
            .map_err(|cause| {
                let words = format!("a trial run of {rows} frames of zeros failed: {cause}");
                cause.in_words(words)
            })?;
        let names = graph
            .outputs
            .iter()
            .map(|id| suitability::name(&graph.model, *id));
        graph.spec.outputs = names
            .zip(&values)
            .map(|(name, value)| suitability::output(name, value, rows))
            .collect::<Result<_, _>>()?;
        Ok(graph)
    }

    /// Runs `rows` frames through the model.
    fn run(&self, rows: usize, frames: &[f32]) -> Result<Vec<Value>, Cause> {
        let mut shape = vec![rows];
        shape.extend(&self.spec.input.shape);
        let view = ValueView::from_shape(shape, frames).map_err(Cause::of)?;
        self.model
            .run(
                vec![(self.input, view.into())],
                &self.outputs,
                Some(self.options.clone()),
            )
            .map_err(Cause::of)
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
        let single = || EngineError::Run("this engine takes and gives f32 only".into());
        let input = batch.input.single().ok_or_else(single)?;
        let start = Instant::now();
        let values = self
            .graph
            .run(batch.rows, input)
            .map_err(EngineError::Run)?;
        let compute = start.elapsed();
        let results = spec.outputs.iter().zip(values);
        for ((tensor, value), room) in results.zip(batch.outputs) {
            copy_out(
                batch.rows,
                tensor,
                &value,
                room.values.single().ok_or_else(single)?,
            )?;
        }
        Ok(StageTimes {
            // rten reads the batch where it lies.
            copy_in: Duration::ZERO,
            compute,
            copy_out: start.elapsed().saturating_sub(compute),
        })
    }
}

fn copy_out(
    rows: usize,
    tensor: &TensorSpec,
    value: &Value,
    room: &mut [f32],
) -> Result<(), EngineError> {
    let wrong =
        |got: String| EngineError::Run(format!("{rows} rows of {tensor} came out as {got}").into());
    let Value::FloatTensor(values) = value else {
        return Err(wrong(value.dtype().to_string()));
    };
    let shape = values.shape();
    if shape.split_first() != Some((&rows, &tensor.shape)) {
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
