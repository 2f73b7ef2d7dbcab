//! The settings on the loaded engine: the batch size that fits, the memory, and warnings about settings that cost more than
//! expected.

use super::models::FileError;
use super::together::{self, Crowded};
use crate::config::{Config, ConfigError, MAX_MESSAGE_SIZE, Suited};
use crate::engine::options::{DeviceKind, Precision};
use crate::engine::room::NoRoom;
use crate::engine::{self, room};
use crate::engine::{BatchDimension, Engine, EngineError, EngineOptions, ModelSpec, TrialError};
use crate::frame::OutputDtype;
use crate::frame::values::Element;
use crate::inference::batch::NoSlots;
use crate::inference::model::{ModelPlan, OrAuto, StartError};
use bytesize::ByteSize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Why a model cannot be served with these settings.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A setting does not fit the model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting of the models file does not fit the model.
    #[error(transparent)]
    Models(FileError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The lanes do not fit into a device's memory.
    #[error("{source}: {remedy}")]
    Lanes {
        /// What fits.
        source: NoRoom,
        /// What to lower.
        remedy: String,
    },
    /// The memory limit leaves no room for the slots.
    #[error(
        "{fit} of the {asked} requested slots fit into host memory ({limit} leaves no room): {LESS_MEMORY}"
    )]
    Limit {
        /// Slots that fit.
        fit: usize,
        /// Slots asked for: one more than batches may be in flight.
        asked: usize,
        /// The limit, and where it is set.
        limit: String,
    },
    /// The model cannot run the batches.
    #[error(
        "{0}; set --bsz-size to a size that the model runs, or export it with an open batch dimension"
    )]
    Trial(#[source] TrialError),
    /// The model mixes the rows of a batch.
    #[error(
        "{0}: export it for inference (evaluation mode), without operations over the batch axis, or set --bsz-size 1; \
         --allow-mixed-rows serves it as it is"
    )]
    Mixes(#[source] TrialError),
    /// The models do not fit together.
    #[error(transparent)]
    Together(#[from] Crowded),
    /// One of several models cannot be served.
    #[error("model '{model}': {source}")]
    Of {
        /// Its name.
        model: String,
        /// Why.
        source: Box<FitError>,
    },
    /// The machine has no memory for the slots.
    #[error("{0}: {LESS_MEMORY}")]
    Slots(#[source] NoSlots),
}

const LESS_MEMORY: &str = "lower --pipeline-depth, --max-concurrent-batches or --bsz-size, or raise the container's memory or \
                           locked-memory limit";

impl FitError {
    /// Whether a setting is wrong.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::Models(_) => true,
            Self::Of { source, .. } => source.is_usage(),
            _ => false,
        }
    }
}

impl From<StartError> for FitError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Engine(error) => Self::Engine(error),
            StartError::Slots(error) => Self::Slots(error),
            StartError::Trial(error @ TrialError::Mixes { .. }) => Self::Mixes(error),
            StartError::Trial(error) => Self::Trial(error),
        }
    }
}

/// A model that is loaded and fits into this machine.
pub(crate) struct Fitted {
    /// The settings, as if it were the only one.
    pub(crate) config: Config,
    pub(crate) plan: ModelPlan,
    /// How long it took to load.
    pub(crate) loading: Duration,
}

impl Config {
    /// Loads the engine of the model.
    ///
    /// # Errors
    /// [`FitError::Config`] for a name that no engine knows, and the error of the engine.
    pub(crate) fn load_engine(&self) -> Result<Arc<dyn Engine>, FitError> {
        let path = &self.model.path;
        let options = EngineOptions {
            outputs: self.model.outputs.clone(),
            ..self.model.engine.clone()
        };
        engine::load(path, &options).map_err(|error| match error {
            EngineError::Simulated(_) | EngineError::UnknownFile => FitError::Config(ConfigError {
                flag: "--model-path",
                given: path.clone(),
                reason: error.to_string(),
            }),
            error => FitError::Engine(error),
        })
    }

    /// Loads the engines of all models and compares them with the settings and the memory of this machine, before any lane
    /// is made.
    ///
    /// # Errors
    /// [`FitError`], with the place in the models file, or else the name of the model if there are several.
    pub(crate) fn fit(&self) -> Result<Vec<Fitted>, FitError> {
        let mut fitted = Vec::new();
        for (index, config) in self.each().into_iter().enumerate() {
            let begun = Instant::now();
            let plan = config.load_engine().and_then(|engine| config.plan(engine));
            fitted.push(Fitted {
                plan: plan.map_err(|error| self.of_model(index, error))?,
                config,
                loading: begun.elapsed(),
            });
        }
        together::on_devices(&mut fitted)?;
        together::in_memory(&fitted)?;
        Ok(fitted)
    }

    /// The error of the model at `index`, with what tells it from those of other models.
    pub(crate) fn of_model(&self, index: usize, error: FitError) -> FitError {
        let Some(file) = &self.models_file else {
            return error;
        };
        if let FitError::Config(setting) = &error
            && let Some(mistake) = file.mistake(index, setting)
        {
            return FitError::Models(mistake);
        }
        match (file.models.get(index), file.models.len()) {
            (Some(model), 2..) => FitError::Of {
                model: model.name.clone(),
                source: Box::new(error),
            },
            _ => error,
        }
    }

    /// Compares the settings with the engine and the memory of its devices, and warns about unexpected costs.
    ///
    /// # Errors
    /// [`FitError`], naming the flag to change.
    fn plan(&self, engine: Arc<dyn Engine>) -> Result<ModelPlan, FitError> {
        let model = engine.model();
        let suited = self.suit(model)?;
        let devices = engine.devices().len();
        let lanes = self.lanes(devices, engine.useful_lanes());
        let batch_size = batch_size(self, engine.as_ref(), suited.batch_size, lanes)?;
        messages(self, &suited)?;
        warn_of_costs(self, model, batch_size, devices);
        Ok(ModelPlan {
            name: self.model.name.clone(),
            lanes,
            balance: self.model.balance,
            slots: self.slots(),
            batch_size,
            decoder: suited.decoder,
            decoders: self.model.decoders,
            bad_pixels: suited.bad_pixels,
            outputs: suited.outputs,
            limits: self.model.limits,
            mixing: self.model.mixing,
            engine,
        })
    }
}

/// Compares the sizes of frames and results with what a gRPC message may hold.
///
/// # Errors
/// [`ConfigError`] if no result could ever be sent. If raw frames could not come, a warning says so: `.npy` frames of a
/// smaller type may.
fn messages(config: &Config, suited: &Suited) -> Result<(), ConfigError> {
    // Names, keys, metadata and the protocol's own fields.
    const BESIDE: usize = 64 * 1024;
    let limit = ByteSize(MAX_MESSAGE_SIZE as u64);
    let results = suited
        .outputs
        .iter()
        .map(|output| output.envelope.encoded_len());
    let results = results.fold(BESIDE, usize::saturating_add);
    if results > MAX_MESSAGE_SIZE {
        return Err(ConfigError {
            flag: "--output-size",
            given: config.model.output_size.to_string(),
            reason: format!(
                "the results of a frame are {}, and Numaflow takes messages of up to {limit}; use a smaller size, fewer \
                 outputs (--output), or --output-dtype int16",
                ByteSize(results as u64)
            ),
        });
    }
    let frame = suited.decoder.raw_frame_bytes();
    if frame.saturating_add(BESIDE) > MAX_MESSAGE_SIZE {
        tracing::warn!(
            "A raw frame of {} {} is {}, and Numaflow sends messages of up to {limit}: such frames never arrive. Send a \
             smaller dtype.",
            suited.decoder.shape(),
            config.model.frame_dtype,
            ByteSize(frame as u64)
        );
    }
    Ok(())
}

/// The batch size whose lanes fit into the devices' memory: `batch_size`, or less if it is `auto`.
///
/// # Errors
/// [`FitError::Lanes`] if even that does not fit, or the error of a device that does not answer.
fn batch_size(
    config: &Config,
    engine: &dyn Engine,
    batch_size: usize,
    lanes: usize,
) -> Result<usize, FitError> {
    let mut rows = batch_size;
    loop {
        let Some(memory) = engine.memory(rows)? else {
            return Ok(rows);
        };
        let Err(error) = room::check(&memory, lanes, rows) else {
            return Ok(rows);
        };
        let batch = engine.model().batch;
        let smaller = (rows / 2).max(batch.least());
        if config.model.batch_size != OrAuto::Auto || smaller >= rows {
            let remedy = remedy(&error, batch, config.in_flight_flag());
            let source = error;
            return Err(FitError::Lanes { source, remedy });
        }
        tracing::warn!(batch = rows, smaller, %error, "The batch does not fit; a smaller one is tried.");
        rows = smaller;
    }
}

/// What to change where the lanes do not fit; `flag` says how many there are.
fn remedy(error: &NoRoom, batch: BatchDimension, flag: &str) -> String {
    let smaller_batch = match batch {
        BatchDimension::Static(_) => "use an engine with a smaller batch",
        _ => "lower --bsz-size",
    };
    match error.fewer {
        Some(fewer) => format!("lower {flag} to {fewer}, or {smaller_batch}"),
        None => format!("{smaller_batch}, or free memory on the device"),
    }
}

/// Warns about settings that cost more on this model and these devices than expected.
fn warn_of_costs(config: &Config, model: &ModelSpec, batch_size: usize, devices: usize) {
    if let BatchDimension::Static(rows) = model.batch
        && rows > batch_size
    {
        tracing::warn!(
            model_batch = rows,
            batch = batch_size,
            "The model's batch is fixed and larger than --bsz-size: every run computes {} rows for nothing. Set --bsz-size {rows}.",
            rows - batch_size
        );
    }
    if config.in_flight() < devices {
        tracing::warn!(
            devices,
            in_flight = config.in_flight(),
            "Fewer batches may be in flight than there are devices: some are never used. Raise {} to at least {devices}.",
            config.in_flight_flag()
        );
    }
    let (device, precision) = (config.model.engine.device, config.model.engine.precision);
    let chosen = matches!(device, DeviceKind::Cuda | DeviceKind::OnnxruntimeCuda)
        && config.model.path.ends_with(".onnx");
    if precision != Precision::Fp32 && !chosen {
        tracing::warn!(
            "--precision {precision} changes nothing here: it is for .onnx models with --device cuda or onnxruntime-cuda."
        );
    }
    if model.input.element == Element::F16 {
        tracing::info!(
            "The model's input is f16: counts are exact to 2048, and beyond that to 0.05 %; frames with a pixel \
             beyond 65504 are rejected."
        );
    }
    if config.model.output_dtype == OutputDtype::Int16 {
        tracing::warn!(
            "--output-dtype int16 truncates results towards zero: radians lose their fraction."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_do_not_fit_come_with_a_remedy_that_helps() {
        let of = |fewer, batch| {
            let room = NoRoom {
                device: "gpu-0".to_owned(),
                free: 100,
                per_lane: 30,
                asked: 5,
                fit: 3,
                rows: 8,
                fewer,
            };
            remedy(&room, batch, "--pipeline-depth")
        };
        let (open, fixed) = (BatchDimension::Dynamic, BatchDimension::Static(8));
        let both = "lower --pipeline-depth to 3, or lower --bsz-size";
        assert_eq!(of(Some(3), open), both);
        assert_eq!(
            of(None, fixed),
            "use an engine with a smaller batch, or free memory on the device"
        );
    }
}
