//! `beamflow size`: what a frame size, a rate and a batch's time ask for, in bytes, devices and settings.
//!
//! It prints only what follows from the given numbers and assumes no device speed. `figures` has the formulas,
//! `report` the table. The depth is that which the sidecar itself would come to (`crate::inference::schedule::depth`), memory is
//! counted as its slots count it (`crate::engine::ModelSpec`), and results as they are written (`crate::frame::Envelope`).

/// The formulas.
pub(crate) mod figures;
/// The table.
mod report;

use crate::cli::SizeArgs;
use crate::frame::{Envelope, EnvelopeError, OutputSize};
use figures::Given;

/// A flag that does not go with another.
#[derive(Debug, thiserror::Error)]
#[error("--output-size: '{given}' is not allowed: {reason}")]
pub struct SizeError {
    given: OutputSize,
    reason: EnvelopeError,
}

/// Prints the table.
///
/// # Errors
/// [`SizeError`] where the results are larger than the frames.
pub(crate) fn run(args: &SizeArgs) -> Result<(), SizeError> {
    let mut text = told(args)?;
    if args.json {
        text.push('\n');
    }
    print!("{text}");
    Ok(())
}

/// What is printed.
///
/// # Errors
/// [`SizeError`] where the results are larger than the frames.
pub fn told(args: &SizeArgs) -> Result<String, SizeError> {
    let given = given(args)?;
    let sizings: Vec<_> = args.fps.iter().map(|fps| given.at(*fps)).collect();
    Ok(if args.json {
        report::json(&given, &sizings)
    } else {
        report::text(&given, &sizings)
    })
}

fn given(args: &SizeArgs) -> Result<Given, SizeError> {
    let output = [1, args.frame_size.height, args.frame_size.width];
    let envelope = Envelope::new(
        &output,
        args.output_size,
        args.output_dtype,
        args.output_format,
    )
    .map_err(|reason| SizeError {
        given: args.output_size,
        reason,
    })?;
    Ok(Given {
        shape: args.frame_size,
        dtype: args.frame_dtype,
        batch_size: args.bsz_size,
        batch_time: args.batch_time,
        read_timeout: args.read_timeout,
        read_batch: args.read_batch,
        collection_time: args.collection_time,
        outputs: args.outputs,
        envelope,
        precision: args.precision,
        devices_per_replica: args.devices_per_replica,
        utilization: args.utilization as f64 / 100.0,
        max_payload_bytes: args.max_payload,
    })
}
