//! `.onnx` files on the CPU with Microsoft's onnxruntime, if it is installed. Faster than the pure-Rust engine.
//!
//! The library is opened at run time, from the path in `ORT_DYLIB_PATH`, or otherwise as `libonnxruntime.so` on the
//! system's library path. Whether frames can be run through a model is checked as in the pure-Rust engine, but on what
//! onnxruntime reads and computes, because it has operators that the pure-Rust engine lacks.
//!
//! What always holds:
//! - input and outputs of a run have exactly the lengths in `ModelSpec`, or the run fails with `EngineError::Run`;
//! - a library that is missing or too old is an error that names the library.

use super::onnx::suitability::{self, Declared, Found, Observed};
use super::onnx::trial::{self, Chosen, Trial};
use super::onnx::{available_threads, read};
use super::{Batch, Engine, EngineError, ModelSpec, Place, Session, StageTimes};
use crate::{Cause, EngineOptions};
use ort::environment::Environment;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use parking_lot::Mutex;
use rten::Dimension;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
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
    model: Arc<Loaded>,
    environment: Environment,
    /// The session of the trial run, for the first lane.
    spare: Mutex<Option<ort::session::Session>>,
}

/// What sessions share.
struct Loaded {
    spec: ModelSpec,
    /// The shape of a frame in the model's own order of axes.
    frame: Vec<usize>,
}

impl OnnxRuntimeEngine {
    /// Opens the library, and the file at `path`, and runs one batch of zeros.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] if the library cannot be opened; otherwise those of the pure-Rust engine.
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
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
        let environment = environment.as_ref().map_err(missing)?.clone();
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        // onnxruntime reads the file itself; this says what it is if it is not a model.
        read(path).map_err(fail)?;
        let threads = available_threads();
        let session = open(&environment, path, threads).map_err(|error| fail(explain(error)))?;
        let session = Mutex::new(session);
        let model = check(&session, options).map_err(|reason| EngineError::Unsuitable {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            threads,
            model: Arc::new(model),
            environment,
            spare: Mutex::new(Some(session.into_inner())),
        })
    }
}

/// Opens a session on the file at `path`, or else on the file that it links to: onnxruntime finds weights in other files
/// only beside the name that it is given.
fn open(
    environment: &Environment,
    path: &Path,
    threads: usize,
) -> ort::Result<ort::session::Session> {
    open_at(environment, path, threads).or_else(|error| match std::fs::canonicalize(path) {
        Ok(target) if path.is_symlink() => {
            open_at(environment, &target, threads).map_err(|_| error)
        }
        _ => Err(error),
    })
}

/// What onnxruntime says about a file that it cannot load, with the remedy if it does not know an operator.
fn explain(error: ort::Error) -> Cause {
    let said = error.to_string();
    let cause = Cause::of(error);
    if said.contains("is not a registered function/op") {
        let words =
            format!("{said}: export the model with standard operators only, or use --device cuda");
        return cause.in_words(words);
    }
    cause
}

fn open_at(
    environment: &Environment,
    path: &Path,
    threads: usize,
) -> ort::Result<ort::session::Session> {
    ort::session::Session::builder(environment)?
        .with_intra_threads(threads)?
        // Threads that spin while they wait take CPU time from the threads that receive frames.
        .with_intra_op_spinning(false)?
        .commit_from_file(path)
}

/// Reads the input from the model, and the outputs from a trial run.
fn check(session: &Mutex<ort::session::Session>, options: &EngineOptions) -> Result<Loaded, Cause> {
    let (declared, names) = {
        let session = session.lock();
        let declared = session.inputs().iter().map(declared).collect();
        let names: Vec<_> = session
            .outputs()
            .iter()
            .map(|o| o.name().to_owned())
            .collect();
        (declared, names)
    };
    let input = suitability::input(declared)?;
    let run = TrialRun {
        session,
        input: &input.tensor.name,
        frame: &input.frame,
        names: &names,
    };
    let Chosen { outputs, batch, .. } = trial::choose(&run, &names, &input, options)?;
    Ok(Loaded {
        spec: ModelSpec {
            input: input.tensor,
            outputs: outputs.into_iter().map(|output| output.tensor).collect(),
            batch,
        },
        frame: input.frame,
    })
}

fn declared(input: &Outlet) -> Declared {
    let shape = match input.dtype() {
        ValueType::Tensor {
            shape,
            dimension_symbols,
            ..
        } => {
            let symbols = dimension_symbols.iter();
            let dims = shape.iter().zip(symbols).map(|(n, symbol)| {
                usize::try_from(*n)
                    .map_or_else(|_| Dimension::Symbolic(symbol.clone()), Dimension::Fixed)
            });
            Some(dims.collect())
        }
        _ => None,
    };
    Declared {
        name: input.name().to_owned(),
        element: found(input.dtype()),
        shape,
    }
}

fn found(kind: &ValueType) -> Found {
    match kind {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            ..
        } => Found::Float32,
        ValueType::Tensor { ty, .. } => Found::Other(format!("{ty:?}").to_lowercase()),
        other => Found::Other(other.to_string()),
    }
}

/// The options of runs that compute only the outputs with these names.
fn selected<'a>(
    names: impl Iterator<Item = &'a str>,
) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let selector = names.fold(OutputSelector::no_default(), OutputSelector::with);
    Ok(RunOptions::new()?.with_outputs(selector))
}

/// The model in a trial run.
struct TrialRun<'a> {
    session: &'a Mutex<ort::session::Session>,
    input: &'a str,
    frame: &'a [usize],
    names: &'a [String],
}

impl Trial for TrialRun<'_> {
    fn run(&self, outputs: &[usize], rows: usize, zeros: &[f32]) -> Result<Vec<Observed>, Cause> {
        let mut shape = vec![rows];
        shape.extend(self.frame);
        let names = outputs.iter().filter_map(|place| self.names.get(*place));
        let names: Vec<_> = names.map(String::as_str).collect();
        let mut session = self.session.lock();
        let options = selected(names.iter().copied()).map_err(Cause::of)?;
        let tensor = TensorRef::from_array_view((shape, zeros)).map_err(Cause::of)?;
        let inputs = ort::inputs![self.input => tensor];
        let results = session
            .run_with_options(inputs, &options)
            .map_err(Cause::of)?;
        let observed = |name: &&str| {
            let value = results
                .get(*name)
                .ok_or_else(|| Cause::from(format!("onnxruntime returned no output {name}")))?;
            let shape = match value.dtype() {
                ValueType::Tensor { shape, .. } => shape.iter(),
                _ => [].iter(),
            };
            Ok(Observed {
                element: found(value.dtype()),
                shape: shape.map(|n| usize::try_from(*n).unwrap_or(0)).collect(),
            })
        };
        names.iter().map(observed).collect()
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
            None => open(&self.environment, &self.path, self.threads).map_err(fail)?,
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
