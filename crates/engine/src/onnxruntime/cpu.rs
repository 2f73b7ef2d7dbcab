//! `.onnx` files on the CPU with onnxruntime. Faster than the pure-Rust engine.

use super::model::{Loaded, selected};
use super::{Tried, builder, commit, try_on_cpu};
use crate::{
    Batch, Cause, Engine, EngineError, EngineOptions, ModelSpec, Place, Session, StageTimes,
};
use ort::environment::Environment;
use ort::session::{HasSelectedOutputs, RunOptions};
use ort::value::TensorRef;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A loaded `.onnx` file.
pub(crate) struct OnnxRuntimeEngine {
    path: PathBuf,
    threads: usize,
    model: Arc<Loaded>,
    environment: Environment,
    /// The session of the trial run, for the first lane.
    spare: Mutex<Option<ort::session::Session>>,
}

impl OnnxRuntimeEngine {
    /// Opens the library, and the file at `path`, and runs one batch of zeros.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] if the library cannot be opened; otherwise those of the pure-Rust engine.
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let Tried {
            environment,
            threads,
            session,
            model,
        } = try_on_cpu(path, options)?;
        Ok(Self {
            path: path.to_owned(),
            threads,
            model: Arc::new(model),
            environment,
            spare: Mutex::new(Some(session)),
        })
    }
}

impl Engine for OnnxRuntimeEngine {
    fn model(&self) -> &ModelSpec {
        &self.model.spec
    }

    fn description(&self) -> String {
        let (threads, path) = (self.threads, self.path.display());
        let plural = if threads == 1 { "" } else { "s" };
        format!("ONNX on the CPU (onnxruntime, {threads} thread{plural}), {path}")
    }

    /// One lane: it already uses every CPU.
    fn useful_lanes(&self) -> Option<usize> {
        Some(1)
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        let fail = |error: ort::Error| EngineError::Session {
            lane: place.lane,
            reason: Cause::of(error),
        };
        let spare = self.spare.lock().take();
        let session = match spare {
            Some(session) => session,
            None => {
                commit(&self.path, || builder(&self.environment, self.threads)).map_err(fail)?
            }
        };
        let outputs = self.model.spec.outputs.iter();
        Ok(Box::new(OnnxRuntimeSession {
            session,
            options: selected(outputs.map(|output| output.name.as_str())).map_err(fail)?,
            model: Arc::clone(&self.model),
        }))
    }
}

struct OnnxRuntimeSession {
    session: ort::session::Session,
    options: RunOptions<HasSelectedOutputs>,
    model: Arc<Loaded>,
}

impl Session for OnnxRuntimeSession {
    #[allow(clippy::disallowed_methods, reason = "synchronous code")]
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let spec = &self.model.spec;
        batch.check(spec)?;
        let failed = |error: ort::Error| EngineError::Run(Cause::of(error));
        let single = || EngineError::Run("this engine supports only f32 values".into());
        let input = batch.input.single().ok_or_else(single)?;
        let mut shape = vec![batch.rows];
        shape.extend(&self.model.frame);
        let start = Instant::now();
        let tensor = TensorRef::from_array_view((shape, input)).map_err(failed)?;
        let inputs = ort::inputs![spec.input.name.as_str() => tensor];
        let results = self.session.run_with_options(inputs, &self.options);
        let results = results.map_err(failed)?;
        let compute = start.elapsed();
        for (tensor, room) in spec.outputs.iter().zip(batch.outputs) {
            let value = results.get(&tensor.name).ok_or_else(|| {
                EngineError::Run(format!("onnxruntime returned no output {tensor}").into())
            })?;
            let (_, values) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let room = room.values.single().ok_or_else(single)?;
            if values.len() != room.len() {
                return Err(EngineError::Run(
                    format!(
                        "the result of {} rows of {tensor} has {} values",
                        batch.rows,
                        values.len()
                    )
                    .into(),
                ));
            }
            room.copy_from_slice(values);
        }
        Ok(StageTimes {
            // onnxruntime reads the batch in place, without a copy.
            copy_in: Duration::ZERO,
            compute,
            copy_out: start.elapsed().saturating_sub(compute),
        })
    }
}
