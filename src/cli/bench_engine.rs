//! `beamflow bench-engine`.

use super::gpu::EngineArgs;
use super::parse::{whole_number, whole_number_or_auto};
use crate::frame::OutputSize;
use crate::inference::model::OrAuto;
use clap::Args;
use std::path::PathBuf;

/// Flags of `beamflow bench-engine`.
#[derive(Args, Debug)]
pub struct BenchEngineArgs {
    /// The model: .engine, .plan, .trt, .onnx, or sim:….
    #[arg(value_name = "FILE")]
    pub(crate) model: String,

    /// Maximum number of lanes. 1, 2, … up to this number are measured.
    #[arg(long, default_value = "4", value_name = "LANES", value_parser = whole_number::<1, 64>)]
    pub(crate) lanes: usize,

    /// Frames per batch; auto: the engine's best batch.
    #[arg(long, default_value = "auto", value_name = "FRAMES", value_parser = whole_number_or_auto::<1, 4096>)]
    pub(crate) bsz_size: OrAuto,

    /// Batches that each lane runs.
    #[arg(long, default_value = "300", value_name = "BATCHES", value_parser = whole_number::<1, 10_000_000>)]
    pub(crate) batches: usize,

    /// The part of each output that is copied back, cropped around its centre, as in the sidecar; full: the whole
    /// output.
    #[arg(long, default_value = "full", value_name = "WIDTHxHEIGHT")]
    pub(crate) output_size: OutputSize,

    /// A file to which the same figures are written as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    // Last: arguments after it would be listed under its heading.
    /// Options of the engine.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
