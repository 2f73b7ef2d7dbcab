//! The two traits that every engine implements.

use super::error::EngineError;
use super::model::{BatchDimension, ModelSpec};
use super::room::DeviceMemory;
use super::rows::{Batch, HostBuffer, OutputRows, ordinary_memory};
use beamflow_frame::values::Element;
use std::time::Duration;

/// A loaded model: it describes its input and outputs, and opens sessions.
pub trait Engine: Send + Sync + 'static {
    /// The model's tensors and its batch dimension.
    fn model(&self) -> &ModelSpec;

    /// One line of text for the log: runtime, device and file.
    fn description(&self) -> String;

    /// The names of the devices that sessions can be opened on: short, unique, at least one.
    fn devices(&self) -> Vec<String> {
        vec!["cpu".to_owned()]
    }

    /// The number of lanes per device beyond which this engine gets no faster, if known.
    fn useful_lanes(&self) -> Option<usize> {
        None
    }

    /// Whether this engine can launch batches as CUDA graphs.
    fn has_cuda_graphs(&self) -> bool {
        false
    }

    /// Whether a batch takes as long as a full one, however few frames are in it.
    fn pads_short_batches(&self) -> bool {
        matches!(self.model().batch, BatchDimension::Static(_))
    }

    /// Whether a session can be opened on a device on which another session hangs. If not, a lane that hangs is not
    /// replaced.
    fn replaces_hung_sessions(&self) -> bool {
        true
    }

    /// Whether the first run of a session takes longer than later runs. If so, a batch of zeros should be run before
    /// the sidecar reports that it is ready.
    fn needs_warm_up(&self) -> bool {
        true
    }

    /// For each device: its free memory, and the memory that a session with batches of `rows` rows takes. `None` if the
    /// engine has no device memory.
    ///
    /// # Errors
    /// [`EngineError::DeviceLost`] if a device does not respond.
    fn memory(&self, _rows: usize) -> Result<Option<Vec<DeviceMemory>>, EngineError> {
        Ok(None)
    }

    /// Opens a session. Called on the lane's own thread; the session never leaves that thread.
    ///
    /// # Errors
    /// [`EngineError::Session`] if the device refuses another session.
    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError>;

    /// Host memory for `elements` values, zeroed, of the kind from which the engine copies fastest (page-locked for a
    /// GPU; ordinary memory by default). Called on any thread.
    ///
    /// # Errors
    /// [`EngineError::Memory`] if the memory cannot be allocated.
    fn allocate(&self, element: Element, elements: usize) -> Result<HostBuffer, EngineError> {
        ordinary_memory(element, elements)
    }
}

/// Where a session is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the lane.
    pub lane: usize,
    /// An index into [`Engine::devices`].
    pub device: usize,
    /// The rows of a full batch.
    pub rows: usize,
    /// Whether full batches may be launched as CUDA graphs, if the engine has them.
    pub cuda_graphs: bool,
}

/// A session on one device, owned by one lane.
pub trait Session {
    /// Copies the batch in, computes it and copies the results out; returns when the wanted parts of the
    /// results are in `batch.outputs`.
    ///
    /// # Errors
    /// Any [`EngineError`]; the outputs are then undefined. If [`EngineError::is_fatal`] holds, drop this session.
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError>;
}

/// The times of one batch on its lane, by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Copy from host to device.
    pub copy_in: Duration,
    /// Computation of the model.
    pub compute: Duration,
    /// Copy from device to host.
    pub copy_out: Duration,
}

impl StageTimes {
    /// The sum of the three stages.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.copy_in + self.compute + self.copy_out
    }
}

/// Runs a batch of zeros, so that the first real batch is not slowed down by initialisation.
///
/// # Errors
/// Those of [`Engine::allocate`] and [`Session::run`].
pub fn warm_up(
    engine: &dyn Engine,
    session: &mut dyn Session,
    rows: usize,
) -> Result<(), EngineError> {
    let model = engine.model();
    let rows = model.batch.rows(rows);
    let input = engine.allocate(model.input.element, rows * model.input.elements())?;
    let mut outputs = model
        .outputs
        .iter()
        .map(|output| engine.allocate(output.element, rows * output.elements()))
        .collect::<Result<Vec<_>, _>>()?;
    session
        .run(Batch {
            rows,
            input: input.values(),
            outputs: outputs
                .iter_mut()
                .zip(&model.outputs)
                .map(|(buffer, output)| OutputRows::whole(buffer.values_mut(), output.elements()))
                .collect(),
        })
        .map(drop)
}
