//! Engines: what turns a batch of frames into a batch of results.
//!
//! An `Engine` is a loaded model. It opens `Session`s, and each session belongs to one lane: a
//! named OS thread that creates it, runs it and drops it. A session is plain synchronous code and
//! need not be `Send`, because it never leaves the thread that opened it; CUDA contexts and
//! TensorRT execution contexts are made to be used so.
//!
//! What always holds:
//! - an engine knows nothing of Numaflow, of datums, or of who is waiting for its results;
//! - row `k` of every output depends on row `k` of the input alone;
//! - an engine reports trouble as an `EngineError`; `EngineError::is_fatal` tells whether the session
//!   that met it may be used again.

/// Why a frame that is fine has no result.
pub mod failure;
/// Named OS threads that own sessions, and the queue of work before them.
pub mod lane;
/// `.onnx` files on the CPU, in pure Rust.
pub mod onnx;
/// A device with given times and scripted faults, for tests, benches and sizing.
pub mod simulated;
/// NVIDIA TensorRT engine files.
pub mod tensorrt;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A loaded model: the shapes it takes and gives, and a way to open sessions on it.
pub trait Engine: Send + Sync + 'static {
    /// The model's tensors and its batch dimension.
    fn model(&self) -> &ModelSpec;

    /// One line for people: which runtime, which device, which file.
    fn description(&self) -> String;

    /// The number of lanes that still gains speed on this engine, if it knows one.
    fn useful_lanes(&self) -> Option<usize> {
        None
    }

    /// Whether a session's first run costs more than the later ones, so that one batch of zeros should be
    /// run before the sidecar says it is ready.
    fn needs_warm_up(&self) -> bool {
        true
    }

    /// Opens a session. Called on the lane's own thread; the session never leaves it.
    ///
    /// # Errors
    /// [`EngineError::Session`] when the device refuses another session.
    fn open_session(&self, lane: usize) -> Result<Box<dyn Session>, EngineError>;

    /// Host memory for `elements` f32 values, zeroed, of the kind the engine copies from fastest
    /// (page-locked for a GPU; ordinary memory unless overridden). Called on any thread.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when the memory cannot be had.
    fn allocate(&self, elements: usize) -> Result<HostBuffer, EngineError> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(elements)
            .map_err(|error| EngineError::Memory {
                bytes: elements.saturating_mul(size_of::<f32>()),
                reason: error.to_string(),
            })?;
        values.resize(elements, 0.0_f32);
        Ok(Box::new(values))
    }
}

/// One lane's own way into an engine.
pub trait Session {
    /// Copies the batch in, computes it and copies the results out; returns when the results are
    /// in `batch.outputs`.
    ///
    /// # Errors
    /// [`EngineError::Run`] and its fatal kin; the content of the outputs is then undefined.
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError>;
}

/// One batch as a session sees it.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Rows to compute: the frames in it, or the model's fixed batch where it has one.
    pub rows: usize,
    /// `rows × model.input.elements()` values.
    pub input: &'a [f32],
    /// For each output of the model, in its order, `rows × output.elements()` values.
    pub outputs: Vec<&'a mut [f32]>,
}

impl Batch<'_> {
    /// Checks every length against `model`, so that an engine may rely on them.
    ///
    /// # Errors
    /// [`EngineError::Run`] naming the tensor, its length and the length it should have.
    pub fn check(&self, model: &ModelSpec) -> Result<(), EngineError> {
        let fits = match model.batch {
            BatchDimension::Static(rows) => self.rows == rows,
            BatchDimension::Dynamic => self.rows > 0,
        };
        if !fits {
            return Err(EngineError::Run(format!(
                "a batch of {} rows, where the model's batch dimension is {}",
                self.rows, model.batch
            )));
        }
        if self.outputs.len() != model.outputs.len() {
            return Err(EngineError::Run(format!(
                "room for {} outputs, where the model has {}",
                self.outputs.len(),
                model.outputs.len()
            )));
        }
        let lengths = std::iter::once(self.input.len()).chain(self.outputs.iter().map(|o| o.len()));
        let tensors = std::iter::once(&model.input).chain(&model.outputs);
        for (tensor, given) in tensors.zip(lengths) {
            if tensor.elements().checked_mul(self.rows) != Some(given) {
                return Err(EngineError::Run(format!(
                    "{given} values for {} rows of {tensor}, where a row has {}",
                    self.rows,
                    tensor.elements()
                )));
            }
        }
        Ok(())
    }
}

/// Host memory of f32 values that outlives a batch and may be page-locked.
pub trait HostMemory: Send {
    /// The values.
    fn values(&self) -> &[f32];
    /// The values, to be written.
    fn values_mut(&mut self) -> &mut [f32];
}

/// Some engine's [`HostMemory`].
pub type HostBuffer = Box<dyn HostMemory>;

impl HostMemory for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self
    }
}

/// Where the time of one batch went on its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Host to device.
    pub copy_in: Duration,
    /// The model itself.
    pub compute: Duration,
    /// Device to host.
    pub copy_out: Duration,
}

impl StageTimes {
    /// All three stages.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.copy_in + self.compute + self.copy_out
    }
}

/// Name and shape of a tensor, for one frame: the batch dimension is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The tensor's name in the model.
    pub name: String,
    /// Shape without the batch dimension, slowest axis first: `[1, 128, 128]` for `N×1×128×128`.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Values in one frame of this tensor.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl std::fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[N", self.name)?;
        self.shape.iter().try_for_each(|n| write!(f, "×{n}"))?;
        write!(f, "]")
    }
}

/// The model's batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchDimension {
    /// Every run takes exactly this many rows; short batches are padded.
    Static(usize),
    /// Any number of rows.
    Dynamic,
}

impl BatchDimension {
    /// Rows to run for `frames` frames.
    #[must_use]
    pub fn rows(self, frames: usize) -> usize {
        match self {
            Self::Static(rows) => rows,
            Self::Dynamic => frames,
        }
    }
}

impl std::fmt::Display for BatchDimension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Static(rows) => write!(f, "fixed at {rows}"),
            Self::Dynamic => write!(f, "dynamic"),
        }
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// The one input: frames.
    pub input: TensorSpec,
    /// The outputs, in the model's order; at least one.
    pub outputs: Vec<TensorSpec>,
    /// How many rows a run takes.
    pub batch: BatchDimension,
}

/// Runs a batch of zeros, so that first-use costs are paid before the sidecar says it is ready.
///
/// # Errors
/// What the session says.
pub fn warm_up(
    engine: &dyn Engine,
    session: &mut dyn Session,
    rows: usize,
) -> Result<(), EngineError> {
    let model = engine.model();
    let rows = model.batch.rows(rows);
    let input = engine.allocate(rows * model.input.elements())?;
    let mut outputs = model
        .outputs
        .iter()
        .map(|output| engine.allocate(rows * output.elements()))
        .collect::<Result<Vec<_>, _>>()?;
    session
        .run(Batch {
            rows,
            input: input.values(),
            outputs: outputs.iter_mut().map(|o| o.values_mut()).collect(),
        })
        .map(drop)
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
    /// Host memory could not be had.
    #[error("cannot allocate {bytes} bytes of host memory: {reason}")]
    Memory {
        /// The size asked for.
        bytes: usize,
        /// What the runtime said.
        reason: String,
    },
    /// A run failed; the session may be used again.
    #[error("the engine failed: {0}")]
    Run(String),
    /// A run failed and took its session with it.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}

impl EngineError {
    /// Whether the session that met this error must not be used again.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Run(_))
    }
}

/// Loads the engine that suits `model_path`: the name decides which.
///
/// `sim:…` is the simulated device, `.onnx` the CPU engine, `.engine`, `.plan` and `.trt` TensorRT.
///
/// # Errors
/// [`EngineError`] naming the file and the remedy.
pub fn load(model_path: &str) -> Result<Arc<dyn Engine>, EngineError> {
    if let Some(script) = model_path.strip_prefix("sim:") {
        return Ok(Arc::new(simulated::SimulatedEngine::new(script.parse()?)));
    }
    let path = Path::new(model_path);
    match path.extension().and_then(|e| e.to_str()) {
        Some("onnx") => Ok(Arc::new(onnx::OnnxEngine::load(path)?)),
        Some("engine" | "plan" | "trt") => tensorrt::load(path),
        _ => Err(EngineError::UnknownFile),
    }
}
