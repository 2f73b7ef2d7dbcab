//! `beamflow build-engine`: from an `.onnx` model to a TensorRT engine file, or into the cache of a sidecar to come.

use crate::config::OrAuto;
use crate::engine::options::{DeviceKind, DeviceSelection, Precision};
use crate::engine::tensorrt::request::{BatchRequest, BuildRequest, ComputeCapability, USUAL_ROWS};
use crate::engine::tensorrt::{self, BuildProgress};
use crate::engine::{EngineError, EngineOptions};
use crate::{inspect, table};
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Flags of `beamflow build-engine`.
#[derive(Args, Debug)]
pub struct BuildEngineArgs {
    /// The .onnx model.
    #[arg(value_name = "MODEL")]
    model: PathBuf,

    /// The engine file. A description of it is written beside it, with .json at the end of its name.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "engine_cache"
    )]
    output: Option<PathBuf>,

    /// The cache of a sidecar with --device cuda, instead of a file: the engine is built there unless it is there
    /// already, and opened once. Give --precision, --bsz-size and --devices as to the sidecar.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "batch", "compute_capability"])]
    engine_cache: Option<PathBuf>,

    /// With --engine-cache: frames per batch, as the sidecar's.
    #[arg(long, default_value = "8", value_name = "FRAMES", value_parser = crate::cli::whole_number_or_auto::<1, 4096>, requires = "engine_cache")]
    bsz_size: OrAuto,

    /// With --engine-cache: the GPUs that the sidecar is to use.
    #[arg(
        long,
        default_value = "0",
        value_name = "NUMBERS",
        requires = "engine_cache"
    )]
    devices: DeviceSelection,

    /// The rows of a run: a number, or least:best:most. Default: as the model says, or 8 where it leaves them open.
    #[arg(long, value_name = "ROWS")]
    batch: Option<BatchRequest>,

    /// fp16: weights, input and most operations in half precision; sensitive operations and the results stay single.
    #[arg(long, value_enum, default_value = "fp32", value_name = "PRECISION")]
    precision: Precision,

    /// The compute capability of the GPU that will run it, where there is none here: 7.5, 8.0, 8.6, 8.9, 12.0 or
    /// 12.1 (TensorRT-RTX only).
    #[arg(long, value_name = "MAJOR.MINOR")]
    compute_capability: Option<ComputeCapability>,

    /// The folder with the TensorRT libraries; wherever the system finds them if not given.
    #[arg(
        long,
        env = "TENSORRT_PATH",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    tensorrt_path: Option<PathBuf>,
}

/// Builds the engine and prints what it holds.
///
/// # Errors
/// [`EngineError`], naming what is missing or what stands in the way.
pub fn run(args: BuildEngineArgs) -> Result<(), EngineError> {
    match (&args.output, &args.engine_cache) {
        (Some(output), _) => build(&args, output),
        (None, Some(cache)) => fill(&args, cache),
        // The command line takes neither for a mistake.
        (None, None) => Err(EngineError::UnknownFile),
    }
}

/// Sees to it that the cache has the engine that a sidecar with the same settings will ask for, and that it opens.
fn fill(args: &BuildEngineArgs, cache: &Path) -> Result<(), EngineError> {
    let options = EngineOptions {
        device: DeviceKind::Cuda,
        devices: args.devices.clone(),
        rows: args.bsz_size.exactly(),
        precision: args.precision,
        cache: cache.to_owned(),
        cache_needed: true,
        library_path: args.tensorrt_path.clone(),
        ..EngineOptions::default()
    };
    let engine = tensorrt::load_onnx(&args.model, &options)?;
    println!("{}", engine.description());
    Ok(())
}

fn build(args: &BuildEngineArgs, output: &Path) -> Result<(), EngineError> {
    let request = BuildRequest {
        model: args.model.clone(),
        engine: output.to_owned(),
        batch: args.batch,
        rows_if_open: USUAL_ROWS,
        precision: args.precision,
        compute_capability: args.compute_capability,
        devices: DeviceSelection::default(),
        library_path: args.tensorrt_path.clone(),
    };
    let bar = table::progress("Building", 0);
    let description = tensorrt::build(&request, Box::new(Watched(bar.clone())));
    bar.finish_and_clear();
    let description = description?;
    print!("{}", inspect::describe(&request.engine, &description));
    Ok(())
}

/// A build shown as a progress bar; nothing where standard error is no terminal.
struct Watched(ProgressBar);

impl BuildProgress for Watched {
    fn step(&self, phase: &str, step: usize, steps: usize) {
        self.0.set_length(steps as u64);
        self.0.set_position(step as u64);
        self.0.set_message(phase.to_owned());
    }
}
