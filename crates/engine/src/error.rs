//! What can go wrong in an engine.

use super::simulated;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why something failed: in words, and the error of the system or of a library below it, if there is one.
#[derive(Clone, Debug)]
pub struct Cause {
    words: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Cause {
    /// The words and the error are those of `error`.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            words: error.to_string(),
            source: Some(Arc::new(error)),
        }
    }

    /// The same error in other words.
    #[must_use]
    pub fn in_words(self, words: impl Into<String>) -> Self {
        let words = words.into();
        Self { words, ..self }
    }
}

impl<T: Into<String>> From<T> for Cause {
    /// Words alone.
    fn from(words: T) -> Self {
        let (words, source) = (words.into(), None);
        Self { words, source }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// What can go wrong in an engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The model file cannot be read or is not a model.
    #[error("cannot load the model {}: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        #[source]
        reason: Cause,
    },
    /// The file is a model, but not one that frames can be run through.
    #[error("the model {} cannot take frames: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        reason: Cause,
    },
    /// This build or this machine has no engine for the file.
    #[error("no engine for the model {}: {reason}", path.display())]
    NoEngine {
        /// The file.
        path: PathBuf,
        /// What is missing, and the remedy.
        #[source]
        reason: Cause,
    },
    /// No engine can be built from the file.
    #[error("cannot build an engine from {}: {reason}", path.display())]
    Build {
        /// The file.
        path: PathBuf,
        /// What stands in the way, and the remedy.
        #[source]
        reason: Cause,
    },
    /// The name does not determine an engine.
    #[error(
        "use a name that ends in .onnx (CPU) or .engine, .plan, .trt (TensorRT), or begins with sim: (simulated device)"
    )]
    UnknownFile,
    /// A `sim:` description is wrong.
    #[error("{0}")]
    Simulated(#[from] simulated::ScriptError),
    /// No session could be opened.
    #[error("cannot open a session on lane {lane}: {reason}")]
    Session {
        /// The lane that asked.
        lane: usize,
        /// What the runtime said.
        #[source]
        reason: Cause,
    },
    /// Host memory could not be allocated.
    #[error("cannot allocate {bytes} bytes of host memory: {reason}")]
    Memory {
        /// The size asked for.
        bytes: usize,
        /// What the runtime said.
        #[source]
        reason: Cause,
    },
    /// A run failed; the session may be used again.
    #[error("the engine failed: {0}")]
    Run(#[source] Cause),
    /// A run failed and its session is lost; the device still works.
    #[error("the session is lost: {0}")]
    SessionLost(#[source] Cause),
    /// A run failed and its device is lost, with all its sessions.
    #[error("the device is lost: {0}")]
    DeviceLost(#[source] Cause),
}

impl EngineError {
    /// Whether the session must be dropped after this error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Run(_))
    }
}
