//! `beamflow build-engine`: from an `.onnx` model to a TensorRT engine file, or into the cache of a sidecar to come.

use super::{inspect, table};
use crate::cli::BuildEngineArgs;
use crate::engine::options::{DeviceKind, DeviceSelection};
use crate::engine::tensorrt::request::{BuildRequest, USUAL_ROWS};
use crate::engine::tensorrt::{self, BuildProgress};
use crate::engine::{EngineError, EngineOptions};
use indicatif::ProgressBar;
use std::path::Path;

/// Builds the engine and prints what it holds.
///
/// # Errors
/// [`EngineError`], naming what is missing or what stands in the way.
pub(crate) fn run(args: BuildEngineArgs) -> Result<(), EngineError> {
    match (&args.output, &args.engine_cache) {
        (Some(output), _) => build(&args, output),
        (None, Some(cache)) => fill(&args, cache),
        // The command line takes neither for a mistake.
        (None, None) => Err(EngineError::UnknownFile),
    }
}

/// Builds the engine that a sidecar with the same settings loads into the cache, unless it is there, and opens it once
/// where the GPU is one of this machine.
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
    if let Some(capability) = args.compute_capability {
        let (engine, description) =
            watched(|bar| tensorrt::prebuild(&args.model, &options, capability, bar))?;
        print!("{}", inspect::describe(&engine, &description));
        return Ok(());
    }
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
    let description = watched(|bar| tensorrt::build(&request, bar))?;
    print!("{}", inspect::describe(&request.engine, &description));
    Ok(())
}

/// Runs a build with a progress bar.
fn watched<T>(
    build: impl FnOnce(Box<dyn BuildProgress>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let bar = table::progress("Building", 0);
    let built = build(Box::new(Watched(bar.clone())));
    bar.finish_and_clear();
    built
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
