//! What the settings come to on the engine at hand: the batch that fits, the results that are wanted, and what costs
//! more than one would expect.

use crate::config::{Config, OrAuto};
use crate::engine::options::{DeviceKind, Precision};
use crate::engine::room;
use crate::engine::{BatchDimension, Engine, EngineError, ModelSpec};
use crate::frame::{Decoder, OutputDtype};
use crate::memory::{self, Limit};
use crate::schedule::SelectedOutput;
use crate::values::Element;
use indicatif::HumanBytes;
use std::ops::Range;

/// The batch size whose lanes fit into the devices' memory: `batch_size`, or less where the user left it to us.
///
/// # Errors
/// [`EngineError::NoRoom`] if even that does not fit, and what the engine says if a device does not answer.
pub fn batch_size(
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
        if config.batch_size != OrAuto::Auto || smaller >= rows {
            return Err(error);
        }
        tracing::warn!(batch = rows, smaller, %error, "The batch does not fit; a smaller one is tried.");
        rows = smaller;
    }
}

/// The part of each of the model's `outputs` outputs that is sent on.
#[must_use]
pub fn wanted(selected: &[SelectedOutput], outputs: usize) -> Vec<Range<usize>> {
    let of = |index| selected.iter().find(|output| output.index == index);
    (0..outputs)
        .map(|index| of(index).map_or(0..0, |output| output.envelope.wanted()))
        .collect()
}

/// Says so where the memory limit leaves less than read batches of the size that the slots ask for need. The slots are made, so
/// what they take is taken.
pub fn warn_of_memory(
    config: &Config,
    decoder: &Decoder,
    outputs: &[SelectedOutput],
    batch_size: usize,
) {
    let Some(limit) = Limit::of_this_process() else {
        return;
    };
    let frames = config.useful_read_batch(batch_size);
    let result_bytes = outputs
        .iter()
        .map(|output| output.envelope.encoded_len())
        .sum();
    let needed = memory::of_read_batch(frames, decoder.raw_frame_bytes(), result_bytes);
    let left = limit.left();
    if left < needed {
        tracing::warn!(
            left = %HumanBytes(left as u64),
            needed = %HumanBytes(needed as u64),
            "Read batches of {frames} frames may exceed {limit}, and the kernel would end the process: raise the limit, or lower \
             limits.readBatchSize, --bsz-size or {}.",
            config.in_flight_flag()
        );
    }
}

/// Says what the settings cost on this model and these devices, where it is more than one would expect.
pub fn warn_of_costs(config: &Config, model: &ModelSpec, batch_size: usize, devices: usize) {
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
    let builds = config.engine.device == DeviceKind::Cuda && config.model_path.ends_with(".onnx");
    if config.engine.precision == Precision::Fp16 && !builds {
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
    if config.output_dtype == OutputDtype::Int16 {
        tracing::warn!(
            "--output-dtype int16 truncates results towards zero: radians lose their fraction."
        );
    }
}
