//! Engines built at start from `.onnx` files, cached for the next start.
//!
//! A cached engine fits one model, one TensorRT version, one kind of GPU, one batch size, one precision and one recipe. Its
//! file name contains all of them. A file that does not match the description next to it, such as a partial file, is built
//! again.
//!
//! The cache saves time, but serving does not depend on it. If an engine is built and the disk has no room for it, the
//! engine is used from memory and a warning is logged. With `EngineOptions::cache_needed` this is an error instead.

use super::build::{build_unkept, cannot_keep};
use super::engine::TensorRtEngine;
use super::{cards, library};
use crate::Cause;
use crate::cuda::gpu::{self, NoGpu};
use crate::tensorrt::BuildProgress;
use crate::tensorrt::description::{Description, sha256};
use crate::tensorrt::request::{BuildRequest, USUAL_ROWS};
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
    let missing = |missing: library::Missing| EngineError::NoEngine {
        path: path.to_owned(),
        reason: Cause::of(missing),
    };
    let fail = |reason: Cause| EngineError::Load {
        path: path.to_owned(),
        reason,
    };
    let model = std::fs::read(path).map_err(|error| fail(Cause::of(error)))?;
    if crate::fp16::has_side_files(&model) {
        return Err(fail(
            "its weights are in separate files, and the cache cannot detect a change of these: build the engine with \
             beamflow build-engine, or save the model as one file"
                .into(),
        ));
    }
    let gpus = gpu::open(&options.devices).map_err(|none| missing(none.into()))?;
    let version = library::load(options.library_path.as_deref()).map_err(missing)?;
    cards::check_driver().map_err(missing)?;
    gpus.iter().try_for_each(cards::check).map_err(missing)?;
    let Some(first) = gpus.first() else {
        return Err(missing(NoGpu::None.into()));
    };
    if let Some(other) = gpus.iter().find(|gpu| gpu.model != first.model) {
        return Err(fail(format!(
            "one engine is built for all GPUs, but {} is a {} and {} is a {}: select GPUs of one kind with --devices",
            first.name, first.model, other.name, other.model
        ).into()));
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
        let words = format!(
            "cannot use the engine cache {} ({error}): name a writable folder with --engine-cache",
            options.cache.display()
        );
        fail(Cause::of(error).in_words(words))
    };
    // The lock is held until the engine is loaded, so that sidecars that start together build the engine once.
    let _lock = match lock(&options.cache) {
        // The disk has no room for the lock file: each sidecar builds its own engine.
        Err(error) if is_full(error.kind()) && !options.cache_needed => None,
        lock => Some(lock.map_err(unusable)?),
    };
    if is_whole(&engine) {
        return super::load(&engine, options);
    }
    let begun = Instant::now();
    tracing::info!(model = %path.display(), engine = %engine.display(), "The cache has no engine for this model; it is built now.");
    let request = BuildRequest {
        model: path.to_owned(),
        engine,
        batch: None,
        rows_if_open: options.rows.unwrap_or(USUAL_ROWS),
        precision: options.precision,
        compute_capability: None,
        devices: options.devices.clone(),
        library_path: options.library_path.clone(),
    };
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

/// Whether the disk or the user's quota is full.
fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Locks the cache. Blocks while another process holds the lock.
fn lock(cache: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Whether there is an engine file that matches its description.
fn is_whole(engine: &Path) -> bool {
    std::fs::read(engine).is_ok_and(|file| match Description::read(engine, &file) {
        Ok(description) => description.is_some(),
        Err(reason) => {
            tracing::warn!(engine = %engine.display(), reason, "The cached engine is not used.");
            false
        }
    })
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
        assert!(!is_whole(&engine), "there is none");
        built(b"a whole engine").keep(&engine).unwrap();
        assert!(is_whole(&engine));
        for half in [&b"a whole"[..], b"", b"a whole enginE"] {
            std::fs::write(&engine, half).unwrap();
            assert!(!is_whole(&engine), "{half:?}");
        }
        built(b"another engine").keep(&engine).unwrap();
        assert!(is_whole(&engine), "it is built again");
        std::fs::write(Description::path(&engine), "{\"flavour\":").unwrap();
        assert!(!is_whole(&engine), "half a description");
        std::fs::remove_file(Description::path(&engine)).unwrap();
        assert!(!is_whole(&engine), "no description");
    }

    #[test]
    fn engines_that_are_built_otherwise_have_other_names() {
        let options = EngineOptions::default();
        let key = Key {
            model: "0123456789abcdef0123",
            version: "1.7.1",
            gpu: "NVIDIA L4",
            rows: Some(8),
            options: &options,
        };
        let name = key.file_name(Path::new("/models/ptycho.onnx"));
        let wanted = format!(
            "ptycho-0123456789abcdef-{}-1.7.1-NVIDIA-L4-batch-8-fp32-r{RECIPE}.engine",
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
        assert!(!is_whole(&engine));
        let left = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(left.count(), 2, "the folder and a description");
    }
}
