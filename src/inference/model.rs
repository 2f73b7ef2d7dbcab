//! The model being served: its slots, lanes and outputs, and how frames become its input.
//!
//! Everything here belongs to one model. The flags fill `ModelSettings`. `crate::config` compares them with the loaded engine
//! and makes a `ModelPlan`. `Model::start` starts the lanes, warms them up and makes the slots.
//!
//! Five limits bound what is held at once. Each binds in its own case:
//!
//! | limit | what it counts | size | it binds when |
//! |---|---|---|---|
//! | read-ahead (`vertex::map`) | datums between the socket and the collector | one batch | the collector converts frames more slowly than numa sends them |
//! | ring (`batch::ring`) | slots: one that fills and those in flight | batches in flight + 1 | lanes run batches, or their results are encoded, more slowly than slots fill; a slot of a hung lane counts until it is replaced |
//! | numa's `limits.concurrency` | datums in flight of a unary map | a setting of the vertex | it is below the frames that fill the slots: lanes are idle although frames wait upstream |
//! | semaphore (`schedule::pipelined`), count (`schedule::streaming`) | batches handed to the lanes | depth, + 1 where it is fixed | the depth is lower than the ring allows, which only an automatic depth is |
//! | lanes (`lane`) | batches that run | lanes of all devices | batches are handed over faster than the devices compute them |
//!
//! The tightest one stops the one above it: busy lanes keep places taken, taken places keep slots leased, leased slots stop the
//! collector, and a stopped collector fills the read-ahead, after which HTTP/2's window stops numa.

use super::batch::slot::Slot;
use super::batch::{Lease, NoSlots, Ring};
use super::common::Common;
use super::decoding::Decoders;
pub use super::lane::Priority;
use super::lane::{Balance, LanePlan, Lanes, Member};
use super::metrics::model::ModelCounts;
use super::schedule::BatchTime;
use crate::engine::{self, Engine, EngineError, EngineOptions, Trial, TrialError};
use crate::frame::{BadPixelFill, BadPixelLimit, BadPixelRule, BadPixels};
use crate::frame::{Decoder, Dtype, Envelope, OutputDtype, OutputFormat, OutputSize};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The name of the model that the flags describe.
pub const DEFAULT: &str = "default";

/// Frames of a model that wait while its slots are full, unless its settings say otherwise: more than Numaflow's default
/// `readBatchSize`, 500, so that a read batch for one model does not stop the frames of the others.
pub const BACKLOG: usize = 512;

/// A number, or the one that suits the engine and the measured times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrAuto {
    /// The one that suits.
    Auto,
    /// This number.
    Exactly(usize),
}

impl OrAuto {
    /// The number, if there is one.
    #[must_use]
    pub(crate) const fn exactly(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::Exactly(number) => Some(number),
        }
    }
}

/// The settings of one model, before it is loaded.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// Its name in metrics.
    pub(crate) name: String,
    /// The model file, or `sim:…`.
    pub path: String,
    /// How the engine is run.
    pub(crate) engine: EngineOptions,
    /// How batches are spread over several devices.
    pub(crate) balance: Balance,
    /// Frames per batch.
    pub batch_size: OrAuto,
    /// The dtype of raw frames without a dtype header.
    pub(crate) frame_dtype: Dtype,
    /// Which pixels are bad, and what replaces them.
    pub(crate) bad_pixels: BadPixelSettings,
    /// The outputs sent on, by name, in this order; all of the model's if empty.
    pub(crate) outputs: Vec<String>,
    /// The part of each output that is sent on.
    pub output_size: OutputSize,
    /// The dtype of results.
    pub(crate) output_dtype: OutputDtype,
    /// The format of results.
    pub(crate) output_format: OutputFormat,
    /// Compressed frames that are decoded at once, at most.
    pub(crate) decoders: usize,
    /// The time-outs.
    pub limits: Limits,
    /// Whether the model may mix the rows of a batch.
    pub(crate) mixing: bool,
    /// Whether its batches are computed before those of other models.
    pub priority: Priority,
    /// Frames that wait while all slots are full, at most.
    pub backlog: usize,
}

/// Which pixels are bad, and what replaces them; the mask is not read yet.
#[derive(Clone, Debug)]
pub(crate) struct BadPixelSettings {
    /// Which values mark a bad pixel; `None`: none does.
    pub(crate) rule: Option<BadPixelRule>,
    /// What a bad pixel becomes.
    pub(crate) fill: BadPixelFill,
    /// The most bad pixels in a frame.
    pub(crate) limit: BadPixelLimit,
    /// The file that names further bad pixels.
    pub(crate) mask: Option<PathBuf>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a batch's oldest frame may wait for the batch to fill; `None`: without limit.
    pub batch_timeout: Option<Duration>,
    /// How long a lane may take over one batch.
    pub inference_timeout: Duration,
}

/// An output of the model that is sent on, and how.
#[derive(Clone, Debug)]
pub struct SelectedOutput {
    /// Its place among the model's outputs.
    pub(crate) index: usize,
    /// Its name in the model.
    pub(crate) name: String,
    /// How a row of it becomes a payload.
    pub envelope: Envelope,
}

/// What a model is started with: its settings, compared with the engine.
pub(crate) struct ModelPlan {
    pub(crate) name: String,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) lanes: usize,
    pub(crate) balance: Balance,
    pub(crate) slots: usize,
    /// Frames per batch.
    pub(crate) batch_size: usize,
    pub(crate) decoder: Decoder,
    /// Compressed frames that are decoded at once, at most.
    pub(crate) decoders: usize,
    pub(crate) bad_pixels: BadPixels,
    /// The results sent on, in order.
    pub(crate) outputs: Vec<SelectedOutput>,
    pub(crate) limits: Limits,
    /// Whether a model that mixes the rows of a batch is served.
    pub(crate) mixing: bool,
}

impl ModelPlan {
    /// The part of a row that is sent on, for each output of the model.
    fn wanted(&self) -> Vec<Range<usize>> {
        let of = |index| self.outputs.iter().find(|output| output.index == index);
        (0..self.engine.model().outputs.len())
            .map(|index| of(index).map_or(0..0, |output| output.envelope.wanted()))
            .collect()
    }
}

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Slots(#[from] NoSlots),
    #[error(transparent)]
    Trial(#[from] TrialError),
}

/// A model being served. See the module's essay.
pub(crate) struct Model {
    /// What frames are.
    pub(crate) decoder: Decoder,
    /// What decodes the compressed ones.
    pub(crate) decoders: Decoders,
    /// Which pixels are bad, and what replaces them.
    pub(crate) bad_pixels: BadPixels,
    pub(crate) ring: Ring,
    pub(crate) lanes: Lanes<Lease>,
    /// The results sent on, in order.
    pub(crate) outputs: Vec<SelectedOutput>,
    pub(crate) limits: Limits,
    /// What it shares with the others.
    pub(crate) common: Arc<Common>,
    /// What is counted of this model.
    pub(crate) metrics: Arc<ModelCounts>,
    /// The name of the model's input.
    pub(crate) input: String,
    /// Whether a batch takes the same time however few frames are in it.
    pub(crate) batch_is_fixed: bool,
    /// How long a batch takes.
    pub(crate) batch_time: BatchTime,
}

impl Model {
    /// Tries the model, starts the lanes, warms them up and makes the slots. Blocks while it does. `gates` has the way through
    /// the gate of each device; none where no other model is on the device.
    ///
    /// # Errors
    /// [`StartError`] if the model cannot run the batches or mixes their rows, a lane cannot open its session or the slots do not fit into memory.
    pub(crate) fn start(
        plan: ModelPlan,
        common: &Arc<Common>,
        gates: Vec<Option<Member>>,
    ) -> Result<Self, StartError> {
        let wanted = plan.wanted();
        let ModelPlan {
            name,
            engine,
            lanes,
            balance,
            slots,
            batch_size,
            decoder,
            decoders,
            bad_pixels,
            outputs,
            limits,
            mixing,
        } = plan;
        let Trial { short_batches } = engine::trial(engine.as_ref(), batch_size, mixing)?;
        let lanes = Lanes::start(
            Arc::clone(&engine),
            LanePlan {
                lanes,
                rows: batch_size,
                balance,
                gates,
            },
        )?;
        let input = engine.model().input.name.clone();
        let batch_is_fixed = !short_batches || engine.pads_short_batches();
        let make = move || Slot::new(engine.as_ref(), batch_size, short_batches, &wanted);
        let ring = Ring::new(slots, make).inspect_err(|_| lanes.end())?;
        Ok(Self {
            decoder,
            decoders: Decoders::new(decoder, decoders),
            bad_pixels,
            ring,
            lanes,
            outputs,
            limits,
            common: Arc::clone(common),
            metrics: common.counts.model(&name),
            input,
            batch_is_fixed,
            batch_time: BatchTime::new(),
        })
    }
}
