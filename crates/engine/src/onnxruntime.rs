//! `.onnx` files on the CPU with Microsoft's onnxruntime, if it is installed. Faster than the pure-Rust engine.
//!
//! The library is opened at run time, from the path in `ORT_DYLIB_PATH`, or otherwise as `libonnxruntime.so` on the
//! system's library path. The pure-Rust engine checks whether frames can be run through a model, so both engines accept
//! the same models.
//!
//! What always holds:
//! - input and outputs of a run have exactly the lengths in `ModelSpec`, or the run fails with `EngineError::Run`;
//! - a library that is missing or too old is an error that names the library.

use super::onnx::{OnnxEngine, available_threads};
use super::{Batch, Engine, EngineError, ModelSpec, Place, Session, StageTimes};
use crate::Cause;
use ort::environment::Environment;
use ort::value::TensorRef;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The file name of the library, unless `ORT_DYLIB_PATH` names another.
const LIBRARY: &str = "libonnxruntime.so";

/// The opened library. A process can open only one.
static ENVIRONMENT: OnceLock<Result<Environment, Cause>> = OnceLock::new();

fn open_library() -> Result<Environment, Cause> {
    // A blank variable counts as not set, and a value from a file may end in a line break.
    let library = match std::env::var_os("ORT_DYLIB_PATH") {
        None => LIBRARY.into(),
        Some(path) => match path.to_str().map(str::trim) {
            Some("") => LIBRARY.into(),
            Some(path) => path.into(),
            None => path,
        },
    };
    let builder = ort::init_from(library).map_err(Cause::of)?;
    builder.build().map_err(Cause::of)
}

/// A loaded `.onnx` file. See the module documentation.
pub(crate) struct OnnxRuntimeEngine {
    path: PathBuf,
    threads: usize,
    spec: ModelSpec,
    environment: Environment,
}

impl OnnxRuntimeEngine {
    /// Opens the library and checks the file at `path`.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] if the library cannot be opened; otherwise those of the pure-Rust engine.
    pub(crate) fn load(path: &Path) -> Result<Self, EngineError> {
        let missing = |cause: &Cause| {
            EngineError::NoEngine {
            path: path.to_owned(),
            reason: cause.clone().in_words(format!(
                "cannot load onnxruntime: {cause}; install it and name its {LIBRARY} in ORT_DYLIB_PATH, or use \
                 --device cpu"
            )),
        }
        };
        let environment = ENVIRONMENT.get_or_init(open_library);
        Ok(Self {
            environment: environment.as_ref().map_err(missing)?.clone(),
            path: path.to_owned(),
            threads: available_threads(),
            spec: OnnxEngine::load(path)?.model().clone(),
        })
    }

    fn open(&self) -> ort::Result<ort::session::Session> {
        ort::session::Session::builder(&self.environment)?
            .with_intra_threads(self.threads)?
            // Threads that spin while they wait take CPU time from the threads that receive frames.
            .with_intra_op_spinning(false)?
            .commit_from_file(&self.path)
    }
}

impl Engine for OnnxRuntimeEngine {
    fn model(&self) -> &ModelSpec {
        &self.spec
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
        let session = self.open().map_err(|error| EngineError::Session {
            lane: place.lane,
            reason: Cause::of(error),
        })?;
        Ok(Box::new(OnnxRuntimeSession {
            session,
            spec: self.spec.clone(),
        }))
    }
}

struct OnnxRuntimeSession {
    session: ort::session::Session,
    spec: ModelSpec,
}

impl Session for OnnxRuntimeSession {
    #[allow(clippy::disallowed_methods, reason = "synchronous code")]
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        batch.check(&self.spec)?;
        let failed = |error: ort::Error| EngineError::Run(Cause::of(error));
        let single = || EngineError::Run("this engine supports only f32 values".into());
        let input = batch.input.single().ok_or_else(single)?;
        let mut shape = vec![batch.rows];
        shape.extend(&self.spec.input.shape);
        let start = Instant::now();
        let tensor = TensorRef::from_array_view((shape, input)).map_err(failed)?;
        let inputs = ort::inputs![self.spec.input.name.as_str() => tensor];
        let results = self.session.run(inputs).map_err(failed)?;
        let compute = start.elapsed();
        for (tensor, room) in self.spec.outputs.iter().zip(batch.outputs) {
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
