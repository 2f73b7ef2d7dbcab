//! What can go wrong in an engine.

use super::simulated;
use std::path::PathBuf;

/// What can go wrong in an engine.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The model file cannot be read or is not a model.
    #[error("cannot load the model {}: {reason}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The file is a model, but not one that frames can be run through.
    #[error("the model {} cannot take frames: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// This build or this machine has no engine for the file.
    #[error("no engine for the model {}: {reason}", path.display())]
    NoEngine {
        /// The file.
        path: PathBuf,
        /// What is missing, and the remedy.
        reason: String,
    },
    /// No engine can be built from the file.
    #[error("cannot build an engine from {}: {reason}", path.display())]
    Build {
        /// The file.
        path: PathBuf,
        /// What stands in the way, and the remedy.
        reason: String,
    },
    /// The name does not say which engine is to run it.
    #[error(
        "a name that ends in .onnx (CPU) or .engine, .plan, .trt (TensorRT), or begins with sim: (simulated device) is"
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
        reason: String,
    },
    /// Host memory could not be allocated.
    #[error("cannot allocate {bytes} bytes of host memory: {reason}")]
    Memory {
        /// The size asked for.
        bytes: usize,
        /// What the runtime said.
        reason: String,
    },
    /// The slots do not fit into the host's memory.
    #[error(
        "{fit} of the {asked} slots asked for fit into host memory ({reason}): lower --pipeline-depth, \
         --max-concurrent-batches or --bsz-size, or raise the container's memory or locked-memory limit"
    )]
    Slots {
        /// Slots that fit.
        fit: usize,
        /// Slots asked for: one more than batches may be in flight.
        asked: usize,
        /// Why there is no other.
        reason: String,
    },
    /// The lanes do not fit into a device's memory.
    #[error(
        "{fit} of the {asked} lanes asked for fit on {device}, which has {free} bytes of memory free, and a lane with \
         a batch of {rows} takes {per_lane}: {remedy}"
    )]
    NoRoom {
        /// The device.
        device: String,
        /// Free memory, bytes.
        free: usize,
        /// What a lane takes, bytes.
        per_lane: usize,
        /// Lanes asked for on this device.
        asked: usize,
        /// Lanes that fit.
        fit: usize,
        /// Rows in a batch.
        rows: usize,
        /// What to lower.
        remedy: String,
    },
    /// A run failed; the session may be used again.
    #[error("the engine failed: {0}")]
    Run(String),
    /// A run failed and its session is lost; the device still works.
    #[error("the session is lost: {0}")]
    SessionLost(String),
    /// A run failed and its device is lost, with all its sessions.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}

impl EngineError {
    /// Whether the session must be dropped after this error.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Run(_))
    }
}
