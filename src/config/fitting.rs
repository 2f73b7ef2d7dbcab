//! The settings on the loaded engine: the batch size that fits, the memory, and warnings about settings that cost more than
//! expected.

use crate::config::memory::{self, Limit};
use crate::config::{Config, ConfigError, Suited};
use crate::engine::options::{DeviceKind, Precision};
use crate::engine::{self, room};
use crate::engine::{BatchDimension, Engine, EngineError, ModelSpec};
use crate::frame::OutputDtype;
use crate::frame::values::Element;
use crate::inference::model::{ModelPlan, OrAuto};
use crate::inference::policy::OnInvalid;
use bytesize::ByteSize;
use std::sync::Arc;

/// Why a model cannot be served with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FitError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Config {
    /// Loads the engine of the model.
    ///
    /// # Errors
    /// [`FitError::Config`] for a name that no engine knows, and the error of the engine.
    pub(crate) fn load_engine(&self) -> Result<Arc<dyn Engine>, FitError> {
        let path = &self.model.path;
        engine::load(path, &self.model.engine).map_err(|error| match error {
            EngineError::Simulated(_) | EngineError::UnknownFile => FitError::Config(ConfigError {
                flag: "--model-path",
                given: path.clone(),
                allowed: error.to_string(),
            }),
            error => FitError::Engine(error),
        })
    }

    /// Compares the settings with the engine and the memory, and warns about unexpected costs.
    ///
    /// # Errors
    /// [`FitError`], naming the flag to change.
    pub(crate) fn plan(&self, engine: Arc<dyn Engine>) -> Result<ModelPlan, FitError> {
        let model = engine.model();
        let suited = self.suit(model)?;
        let devices = engine.devices().len();
        let lanes = self.lanes(devices, engine.useful_lanes());
        let batch_size = batch_size(self, engine.as_ref(), suited.batch_size, lanes)?;
        warn_of_costs(self, model, batch_size, devices);
        memory(self, model, &suited, batch_size)?;
        Ok(ModelPlan {
            name: self.model.name.clone(),
            lanes,
            balance: self.model.balance,
            slots: self.slots(),
            batch_size,
            decoder: suited.decoder,
            outputs: suited.outputs,
            limits: self.model.limits,
            keep_rejected: self.on_invalid != OnInvalid::Drop,
            engine,
        })
    }
}

/// The batch size whose lanes fit into the devices' memory: `batch_size`, or less if it is `auto`.
///
/// # Errors
/// [`EngineError::NoRoom`] if even that does not fit, or the error of a device that does not answer.
fn batch_size(
    config: &Config,
    engine: &dyn Engine,
    batch_size: usize,
    lanes: usize,
) -> Result<usize, EngineError> {
    let mut rows = batch_size;
    loop {
        let Some(memory) = engine.memory(rows)? else {
            return Ok(rows);
        };
        let (batch, flag) = (engine.model().batch, config.in_flight_flag());
        let Err(error) = room::check(&memory, lanes, rows, batch, flag) else {
            return Ok(rows);
        };
        let smaller = (rows / 2).max(batch.least());
        if config.model.batch_size != OrAuto::Auto || smaller >= rows {
            return Err(error);
        }
        tracing::warn!(batch = rows, smaller, %error, "The batch does not fit; a smaller one is tried.");
        rows = smaller;
    }
}

/// Compares the memory limit, if there is one, with what slots and read batches need, before any slot is made.
///
/// # Errors
/// [`EngineError::Slots`] if the slots do not fit. If only the read batches do not fit, a warning
/// says so; otherwise a line says how large read batches may be.
fn memory(
    config: &Config,
    model: &ModelSpec,
    suited: &Suited,
    batch_size: usize,
) -> Result<(), EngineError> {
    let Some(limit) = Limit::tightest() else {
        return Ok(());
    };
    let rows = model.batch.rows(batch_size).max(batch_size);
    let (slots, of_a_slot) = (config.slots(), model.batch_bytes(rows));
    let room = limit.left().saturating_sub(memory::SPARE);
    let fit = room.checked_div(of_a_slot).unwrap_or(slots);
    if fit < slots {
        return Err(EngineError::Slots {
            fit,
            asked: slots,
            reason: format!("{limit} leaves no room"),
        });
    }
    let result_bytes = suited
        .outputs
        .iter()
        .map(|o| o.envelope.encoded_len())
        .sum();
    let of_a_frame = memory::of_read_batch(1, suited.decoder.raw_frame_bytes(), result_bytes);
    let left = limit.left().saturating_sub(slots * of_a_slot);
    let frames = left.checked_div(of_a_frame).unwrap_or(usize::MAX);
    let useful = config.useful_read_batch(batch_size);
    if frames < useful {
        tracing::warn!(
            left = %ByteSize(left as u64),
            needed = %ByteSize((useful * of_a_frame) as u64),
            "Read batches of {useful} frames may exceed {limit}, and the kernel would end the process: raise the limit, or lower \
             limits.readBatchSize, --bsz-size or {}.",
            config.in_flight_flag()
        );
    } else {
        tracing::info!("There is room for read batches of {frames} frames below {limit}.");
    }
    Ok(())
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
    let builds =
        config.model.engine.device == DeviceKind::Cuda && config.model.path.ends_with(".onnx");
    if config.model.engine.precision == Precision::Fp16 && !builds {
        tracing::warn!(
            "--precision fp16 changes nothing here: it is for engines built from .onnx with --device cuda."
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
