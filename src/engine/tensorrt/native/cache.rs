//! Engines built at start from `.onnx` files, kept for the next start.
//!
//! An engine is good for one model, one TensorRT, one kind of GPU, one batch and one precision; all of them are in its
//! name. A file that does not match the description beside it is built anew.

use super::build::build;
use super::gpu;
use super::library;
use crate::engine::tensorrt::BuildProgress;
use crate::engine::tensorrt::description::{Description, sha256};
use crate::engine::tensorrt::request::{BuildRequest, USUAL_ROWS};
use crate::engine::{Engine, EngineError, EngineOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Loads the engine of the `.onnx` file at `path`, building it if the cache has none.
pub fn load_onnx(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    let missing = |missing: library::Missing| EngineError::NoEngine {
        path: path.to_owned(),
        reason: missing.to_string(),
    };
    let fail = |reason: String| EngineError::Load {
        path: path.to_owned(),
        reason,
    };
    let model = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    if crate::onnx_model::has_side_files(&model) {
        return Err(fail(
            "its weights lie in files beside it, and the cache would not see them change: build the engine with \
             beamflow build-engine, or save the model in one file"
                .to_owned(),
        ));
    }
    let gpus = gpu::open(&options.devices).map_err(missing)?;
    let version = library::load(options.library_path.as_deref()).map_err(missing)?;
    let Some(first) = gpus.first() else {
        return Err(missing(library::Missing::NoGpu));
    };
    if let Some(other) = gpus.iter().find(|gpu| gpu.model != first.model) {
        return Err(fail(format!(
            "one engine is built for all GPUs, and {} is a {}, {} a {}: choose GPUs of one kind with --devices",
            first.name, first.model, other.name, other.model
        )));
    }
    let key = Key {
        model: &sha256(&model),
        version: &version.to_string(),
        gpu: &first.model,
        rows: options.rows,
        options,
    };
    let engine = options.cache.join(key.file_name(path));
    let unusable = |error: std::io::Error| {
        fail(format!(
            "the engine cache {} cannot be used ({error}): name a folder that can be written with --engine-cache",
            options.cache.display()
        ))
    };
    std::fs::create_dir_all(&options.cache).map_err(unusable)?;
    // Held until the engine is loaded: sidecars that start together build it once, and never see half of it.
    let lock = std::fs::File::create(options.cache.join("lock")).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    if !is_whole(&engine) {
        let begun = Instant::now();
        tracing::info!(model = %path.display(), engine = %engine.display(), "The cache has no engine for this; one is built.");
        let request = BuildRequest {
            model: path.to_owned(),
            engine: engine.clone(),
            batch: None,
            rows_if_open: options.rows.unwrap_or(USUAL_ROWS),
            precision: options.precision,
            compute_capability: None,
            devices: options.devices.clone(),
            library_path: options.library_path.clone(),
        };
        build(&request, Box::new(Unwatched))?;
        tracing::info!(
            seconds = begun.elapsed().as_secs_f32(),
            "The engine is built and kept."
        );
    }
    super::load(&engine, options)
}

/// Whether there is an engine file that its description knows.
fn is_whole(engine: &Path) -> bool {
    std::fs::read(engine).is_ok_and(|file| match Description::read(engine, &file) {
        Ok(description) => description.is_some(),
        Err(reason) => {
            tracing::warn!(engine = %engine.display(), reason, "The cached engine is not used.");
            false
        }
    })
}

/// What an engine is good for.
struct Key<'a> {
    model: &'a str,
    version: &'a str,
    gpu: &'a str,
    rows: Option<usize>,
    options: &'a EngineOptions,
}

impl Key<'_> {
    fn file_name(&self, path: &Path) -> PathBuf {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let word = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        let rows = self.rows.map_or("auto".to_owned(), |rows| rows.to_string());
        format!(
            "{}-{}-{}-{}-{}-batch-{rows}-{}.engine",
            word(&stem),
            self.model.get(..16).unwrap_or(self.model),
            word(library::FLAVOUR),
            word(self.version),
            word(self.gpu),
            self.options.precision
        )
        .into()
    }
}

/// A build that nobody watches: the log tells when it begins and ends.
struct Unwatched;

impl BuildProgress for Unwatched {
    fn step(&self, phase: &str, step: usize, steps: usize) {
        tracing::debug!(phase, step, steps, "The build goes on.");
    }
}
