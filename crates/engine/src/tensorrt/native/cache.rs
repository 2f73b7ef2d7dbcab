//! Engines built from `.onnx` files at start or before, cached for the next start.
//!
//! A cached engine fits one model, one TensorRT version, one kind of GPU, one batch size, one precision and one recipe. Its
//! file name contains all of them. A file that does not match the description next to it, such as a partial file, is built
//! again.
//!
//! A kind of GPU is a compute capability with TensorRT-RTX, and a model of card with TensorRT (`kind`).
//!
//! The cache saves time, but serving does not depend on it. If an engine is built and the disk has no room for it, the
//! engine is used from memory and a warning is logged. With `EngineOptions::cache_needed` this is an error instead.

use super::build::{build_unkept, cannot_keep};
use super::engine::TensorRtEngine;
use super::{cards, library, target};
use crate::Cause;
use crate::cuda::gpu::{self, NoGpu};
use crate::tensorrt::BuildProgress;
use crate::tensorrt::description::{Description, sha256};
use crate::tensorrt::request::{BuildRequest, ComputeCapability, USUAL_ROWS};
use crate::{Engine, EngineError, EngineOptions};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// How engines are built. Increase it if the same request gives another engine, so that cached ones are not used:
/// 2 is built for the GPU at hand alone.
const RECIPE: u32 = 2;

/// Loads the engine for the `.onnx` file at `path`. Builds it first if the cache has none.
#[allow(clippy::disallowed_methods, reason = "synchronous code")]
pub(crate) fn load_onnx(
    path: &Path,
    options: &EngineOptions,
) -> Result<Arc<dyn Engine>, EngineError> {
    let missing = |missing| missing_for(path, missing);
    let model = hash(path)?;
    let gpus = gpu::open(&options.devices).map_err(|none| missing(none.into()))?;
    let version = library::load(options.library_path.as_deref()).map_err(missing)?;
    cards::check_driver().map_err(missing)?;
    gpus.iter().try_for_each(cards::check).map_err(missing)?;
    let Some(first) = gpus.first() else {
        return Err(missing(NoGpu::None.into()));
    };
    // Also where the engine fits both: kernels are compiled for each model of card, and results would depend on the lane.
    if let Some(other) = gpus.iter().find(|gpu| gpu.model != first.model) {
        return Err(cannot_load(path, format!(
            "one engine is built for all GPUs, but {} is a {} and {} is a {}: select GPUs of one kind with --devices",
            first.name, first.model, other.name, other.model
        ).into()));
    }
    let key = Key {
        model: &model,
        version: &version.to_string(),
        gpu: &kind(&first.model, first.compute_capability),
        rows: options.rows,
        options,
    };
    let engine = options.cache.join(key.file_name(path));
    let _lock = lock(path, options)?;
    if whole(&engine).is_some() {
        return super::load(&engine, options);
    }
    let begun = Instant::now();
    tracing::info!(model = %path.display(), engine = %engine.display(), "The cache has no engine for this model; it is built now.");
    let request = request(path, options, engine, None);
    let built = build_unkept(&request, Box::new(Unwatched))?;
    let seconds = begun.elapsed().as_secs_f32();
    match built.keep(&request.engine) {
        Ok(()) => tracing::info!(seconds, "The engine is built and cached."),
        Err(error) if options.cache_needed => return Err(cannot_keep(&request, &error)),
        Err(error) => tracing::warn!(
            seconds,
            engine = %request.engine.display(),
            %error,
            "The engine is built but cannot be cached: it is used from memory, and the next start builds it again. Free \
             space in the engine cache, or name another folder with --engine-cache."
        ),
    }
    let (plan, description) = (built.plan, Some(built.description));
    let engine = TensorRtEngine::open(&request.engine, plan, description, options)?;
    Ok(Arc::new(engine))
}

/// Builds the engine for GPUs of `capability` into the cache, unless it is there. Needs no GPU, and does not open the
/// engine. Returns its file and its description.
pub(crate) fn prebuild(
    path: &Path,
    options: &EngineOptions,
    capability: ComputeCapability,
    progress: Box<dyn BuildProgress>,
) -> Result<(PathBuf, Description), EngineError> {
    target::check(capability).map_err(|reason| EngineError::Build {
        path: path.to_owned(),
        reason,
    })?;
    let model = hash(path)?;
    let version = library::load(options.library_path.as_deref())
        .map_err(|missing| missing_for(path, missing))?;
    let key = Key {
        model: &model,
        version: &version.to_string(),
        gpu: &kind("", capability),
        rows: options.rows,
        options,
    };
    let engine = options.cache.join(key.file_name(path));
    let _lock = lock(path, options)?;
    if let Some(description) = whole(&engine) {
        return Ok((engine, description));
    }
    let request = request(path, options, engine, Some(capability));
    let description = super::build(&request, progress)?;
    Ok((request.engine, description))
}

fn missing_for(path: &Path, missing: library::Missing) -> EngineError {
    EngineError::NoEngine {
        path: path.to_owned(),
        reason: Cause::of(missing),
    }
}

fn cannot_load(path: &Path, reason: Cause) -> EngineError {
    EngineError::Load {
        path: path.to_owned(),
        reason,
    }
}

/// The SHA-256 of the `.onnx` file at `path`, which must be the whole model.
fn hash(path: &Path) -> Result<String, EngineError> {
    let model = std::fs::read(path).map_err(|error| cannot_load(path, Cause::of(error)))?;
    if crate::fp16::has_side_files(&model) {
        return Err(cannot_load(
            path,
            "its weights are in separate files, and the cache cannot detect a change of these: build the engine with \
             beamflow build-engine, or save the model as one file"
                .into(),
        ));
    }
    Ok(sha256(&model))
}

fn request(
    path: &Path,
    options: &EngineOptions,
    engine: PathBuf,
    compute_capability: Option<ComputeCapability>,
) -> BuildRequest {
    BuildRequest {
        model: path.to_owned(),
        engine,
        batch: None,
        rows_if_open: options.rows.unwrap_or(USUAL_ROWS),
        precision: options.precision,
        compute_capability,
        devices: options.devices.clone(),
        library_path: options.library_path.clone(),
    }
}

/// Whether the disk or the user's quota is full.
fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Locks the cache; blocks while another process holds the lock. It is held until the engine is loaded, so that sidecars
/// that start together build the engine once. `None` if the disk has no room for the lock file: each sidecar then builds
/// its own engine.
fn lock(path: &Path, options: &EngineOptions) -> Result<Option<File>, EngineError> {
    let cache = &options.cache;
    let locked = || {
        std::fs::create_dir_all(cache)?;
        let lock = File::create(cache.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    };
    locked().map(Some).or_else(|error: std::io::Error| {
        if is_full(error.kind()) && !options.cache_needed {
            return Ok(None);
        }
        let words = format!(
            "cannot use the engine cache {} ({error}): name a writable folder with --engine-cache",
            cache.display()
        );
        Err(cannot_load(path, Cause::of(error).in_words(words)))
    })
}

/// The description of an engine file that matches it; `None` if the file is missing or does not match.
fn whole(engine: &Path) -> Option<Description> {
    let file = std::fs::read(engine).ok()?;
    Description::read(engine, &file).unwrap_or_else(|reason| {
        tracing::warn!(engine = %engine.display(), reason, "The cached engine is not used.");
        None
    })
}

/// The GPUs that a cached engine fits, as a part of its name. `card` is the model of the GPU.
///
/// An engine of TensorRT-RTX fits every GPU of its compute capability: what depends on the card is compiled when the
/// engine is opened. So a machine without that card can fill the cache. TensorRT builds for the card itself.
fn kind(card: &str, capability: ComputeCapability) -> String {
    if cfg!(feature = "tensorrt-rtx") {
        format!("compute-{capability}")
    } else {
        card.to_owned()
    }
}

/// Everything that a cached engine depends on.
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
            "{}-{}-{}-{}-{}-batch-{rows}-{}-r{RECIPE}.engine",
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

/// Progress of a build at start: single steps are logged at DEBUG only.
struct Unwatched;

impl BuildProgress for Unwatched {
    fn step(&self, phase: &str, step: usize, steps: usize) {
        tracing::debug!(phase, step, steps, "A step of the build is complete.");
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::BuiltEngine;
    use super::*;
    use crate::{BatchDimension, ModelSpec, TensorSpec};
    use beamflow_frame::values::Element;

    fn built(plan: &[u8]) -> BuiltEngine {
        let tensor = TensorSpec {
            name: "frames".to_owned(),
            shape: vec![1, 4, 4],
            element: Element::F32,
        };
        BuiltEngine {
            plan: plan.to_owned(),
            description: Description {
                flavour: library::FLAVOUR.to_owned(),
                version: "1.7.1".to_owned(),
                compute_capability: "8.9".to_owned(),
                precision: Default::default(),
                model: ModelSpec {
                    input: tensor.clone(),
                    outputs: vec![tensor],
                    batch: BatchDimension::Static(8),
                },
                layers: Default::default(),
                source: "model.onnx".to_owned(),
                source_sha256: sha256(b"onnx"),
                engine_sha256: sha256(plan),
                engine_bytes: plan.len(),
            },
        }
    }

    #[test]
    fn partial_and_damaged_files_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("model.engine");
        assert!(whole(&engine).is_none(), "there is none");
        built(b"a whole engine").keep(&engine).unwrap();
        assert!(whole(&engine).is_some());
        for half in [&b"a whole"[..], b"", b"a whole enginE"] {
            std::fs::write(&engine, half).unwrap();
            assert!(whole(&engine).is_none(), "{half:?}");
        }
        built(b"another engine").keep(&engine).unwrap();
        assert!(whole(&engine).is_some(), "it is built again");
        std::fs::write(Description::path(&engine), "{\"flavour\":").unwrap();
        assert!(whole(&engine).is_none(), "half a description");
        std::fs::remove_file(Description::path(&engine)).unwrap();
        assert!(whole(&engine).is_none(), "no description");
    }

    #[test]
    fn engines_that_are_built_otherwise_have_other_names() {
        let options = EngineOptions::default();
        let key = Key {
            model: "0123456789abcdef0123",
            version: "1.7.1",
            gpu: &kind("NVIDIA L4", "8.9".parse().unwrap()),
            rows: Some(8),
            options: &options,
        };
        let name = key.file_name(Path::new("/models/ptycho.onnx"));
        let gpu = if library::FLAVOUR == "TensorRT-RTX" {
            "compute-8.9"
        } else {
            "NVIDIA-L4"
        };
        let wanted = format!(
            "ptycho-0123456789abcdef-{}-1.7.1-{gpu}-batch-8-fp32-r{RECIPE}.engine",
            library::FLAVOUR
        );
        assert_eq!(name, Path::new(&wanted));
    }

    #[test]
    fn a_failed_write_leaves_no_partial_file() {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("model.engine");
        // A folder in the engine's place: nothing can be renamed onto it.
        std::fs::create_dir(&engine).unwrap();
        assert!(built(b"an engine").keep(&engine).is_err());
        assert!(whole(&engine).is_none());
        let left = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(left.count(), 2, "the folder and a description");
    }
}
