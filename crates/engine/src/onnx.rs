//! `.onnx` files on the CPU, in pure Rust (rten). This engine needs no installed library.
//!
//! A model that loads here can take frames: it has one float32 input of N×H×W or N×1×H×W with H and W fixed, and
//! float32 outputs whose first dimension is the batch. The output shapes that the file declares are not used:
//! [`OnnxEngine::load`] runs one batch of zeros and takes the shapes of its results.
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

/// Checks the framing of a file.
mod framing;
/// Checks the tensors of a model.
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
    outputs: Vec<NodeId>,
    options: RunOptions,
}

impl OnnxEngine {
    /// Loads the file at `path`, checks that frames can be run through it, and runs one batch of zeros.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the file cannot be read or is not an ONNX model, [`EngineError::Unsuitable`] if frames
    /// cannot be run through the model. Each says what is wrong, and with which tensor.
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
        // Read again by path, because weights may be in files next to it.
        let model = contained(|| Model::load_file(path))
            .map_err(|panic| fail(panic.into()))?
            .map_err(|error| fail(Cause::of(error)))?;
        // An empty file parses as a model without a graph.
        if model.input_ids().is_empty() && model.output_ids().is_empty() {
            return Err(fail("it contains no graph".into()));
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
        // Two rows if the batch dimension is dynamic: an output without a batch dimension often begins with a 1.
        let rows = batch.rows(2);
        let values = rows * graph.spec.input.elements(); // suitability::input checks that this does not overflow
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
        let single = || EngineError::Run("this engine supports only f32 values".into());
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
