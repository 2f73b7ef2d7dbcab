//! `.onnx` files with Microsoft's onnxruntime, on the CPU or on NVIDIA GPUs.
//!
//! The library is opened at run time, from the path in `ORT_DYLIB_PATH`, or otherwise as `libonnxruntime.so` on the
//! system's library path. Whether frames can be run through a model is checked as in the pure-Rust engine, but on what
//! onnxruntime reads and computes, because it has operators that the pure-Rust engine lacks.
//!
//! What always holds:
//! - input and outputs of a run have exactly the lengths in `ModelSpec`, or the run fails with `EngineError::Run`;
//! - a library that is missing or too old is an error that names the library.

/// On the CPU.
mod cpu;
/// On NVIDIA GPUs.
#[allow(unsafe_code)]
mod cuda;
/// What a model takes and gives.
mod model;

pub(crate) use cpu::OnnxRuntimeEngine;
pub(crate) use cuda::OnnxRuntimeCudaEngine;

use super::onnx::{available_threads, read};
use super::{Cause, EngineError, EngineOptions};
use model::Loaded;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The file name of the library, unless `ORT_DYLIB_PATH` names another.
const LIBRARY: &str = "libonnxruntime.so";

/// The opened library. A process can open only one.
static ENVIRONMENT: OnceLock<Result<Environment, Cause>> = OnceLock::new();

/// The path in `ORT_DYLIB_PATH`, or else the name of the library.
fn library() -> PathBuf {
    // A blank variable counts as not set, and a value from a file may end in a line break.
    match std::env::var_os("ORT_DYLIB_PATH") {
        None => LIBRARY.into(),
        Some(path) => match path.to_str().map(str::trim) {
            Some("") => LIBRARY.into(),
            Some(path) => path.into(),
            None => path.into(),
        },
    }
}

fn open_library() -> Result<Environment, Cause> {
    let builder = ort::init_from(library()).map_err(Cause::of)?;
    let builder = builder.with_logger(Arc::new(log));
    builder.build().map_err(Cause::of)
}

/// Writes a line of onnxruntime's log to this program's. A failed call returns its error too, which is reported where the
/// call was made; so a line here is at most a warning.
fn log(level: LogLevel, _: &str, _: &str, _: &str, said: &str) {
    // cuDNN has no plan for some shapes. onnxruntime says so at the level of errors, and computes them in another way.
    let falls_back = said.contains("No execution plans support the graph");
    match level {
        LogLevel::Fatal | LogLevel::Error if !falls_back => {
            tracing::warn!("onnxruntime: {said}");
        }
        LogLevel::Warning => tracing::info!("onnxruntime: {said}"),
        _ => tracing::debug!("onnxruntime: {said}"),
    }
}

/// A model that has run on the CPU.
struct Tried {
    environment: Environment,
    threads: usize,
    session: Session,
    model: Loaded,
}

/// Opens the library, and the file at `path`, and runs one batch of zeros on the CPU.
///
/// # Errors
/// [`EngineError::NoEngine`] if the library cannot be opened; otherwise those of the pure-Rust engine.
fn try_on_cpu(path: &Path, options: &EngineOptions) -> Result<Tried, EngineError> {
    let missing = |cause: &Cause| {
        EngineError::NoEngine {
        path: path.to_owned(),
        reason: cause.clone().in_words(format!(
            "cannot load onnxruntime: {cause}; install it and name its {LIBRARY} in ORT_DYLIB_PATH, or use --device cpu"
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
    let builder = || builder(&environment, threads);
    let session = commit(path, builder).map_err(|error| fail(explain(error)))?;
    let session = Mutex::new(session);
    let model = model::check(&session, options).map_err(|reason| EngineError::Unsuitable {
        path: path.to_owned(),
        reason,
    })?;
    Ok(Tried {
        environment,
        threads,
        session: session.into_inner(),
        model,
    })
}

/// The settings of every session.
fn builder(environment: &Environment, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_intra_threads(threads)?
        // Threads that spin while they wait take CPU time from the threads that receive frames.
        .with_intra_op_spinning(false)?)
}

/// Opens a session on the file at `path`, or else on the file that it links to: onnxruntime finds weights in other files
/// only beside the name that it is given.
fn commit(path: &Path, builder: impl Fn() -> ort::Result<SessionBuilder>) -> ort::Result<Session> {
    let open = |path: &Path| builder()?.commit_from_file(path);
    open(path).or_else(|error| match std::fs::canonicalize(path) {
        Ok(target) if path.is_symlink() => open(&target).map_err(|_| error),
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
