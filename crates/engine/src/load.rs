//! Loads the engine for a model's name.

#[cfg(feature = "onnxruntime")]
use super::onnxruntime;
use super::options::DeviceKind;
use super::{Cause, Engine, EngineError, EngineOptions, content, onnx, simulated, tensorrt};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Loads the engine for `model_path`. Its name decides which one:
///
/// - `sim:…`: the simulated device;
/// - `.onnx`: by [`DeviceKind`], the CPU engine, onnxruntime, or a TensorRT engine that is built from the file;
/// - `.engine`, `.plan`, `.trt`: TensorRT.
///
/// # Errors
/// [`EngineError`] that names the file and the remedy.
pub fn load(model_path: &str, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    if let Some(script) = model_path.strip_prefix("sim:") {
        return Ok(Arc::new(simulated::SimulatedEngine::new(script.parse()?)));
    }
    let path = Path::new(model_path);
    match path.extension().and_then(|e| e.to_str()) {
        Some("onnx") => match options.device {
            DeviceKind::Cpu => Ok(Arc::new(onnx::OnnxEngine::load(path, options)?)),
            DeviceKind::Onnxruntime | DeviceKind::OnnxruntimeCuda => {
                load_onnxruntime(path, options)
            }
            DeviceKind::Cuda => tensorrt::load_onnx(path, options),
        },
        Some("engine" | "plan" | "trt") => tensorrt::load(path, options),
        _ => Err(unknown(path)),
    }
}

/// Why no engine is for the file at `path`, whose name says nothing: what the file is, if that is certain.
fn unknown(path: &Path) -> EngineError {
    let what = if path.is_dir() {
        Some(content::of_folder(path).to_owned())
    } else {
        let mut beginning = Vec::new();
        let read =
            File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
        read.ok().and_then(|_| content::marked(&beginning))
    };
    match what {
        Some(what) => EngineError::Load {
            path: path.to_owned(),
            reason: what.into(),
        },
        None => EngineError::UnknownFile,
    }
}

/// Bytes that are read of a file to say what it is.
const BEGINNING: u64 = 1 << 20;

#[cfg(feature = "onnxruntime")]
fn load_onnxruntime(path: &Path, options: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    use onnxruntime::{OnnxRuntimeCudaEngine, OnnxRuntimeEngine};
    Ok(match options.device {
        DeviceKind::OnnxruntimeCuda => Arc::new(OnnxRuntimeCudaEngine::load(path, options)?),
        _ => Arc::new(OnnxRuntimeEngine::load(path, options)?),
    })
}

#[cfg(not(feature = "onnxruntime"))]
fn load_onnxruntime(path: &Path, _: &EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::NoEngine {
        path: path.to_owned(),
        reason: "this build of beamflow has no onnxruntime: build it with --features onnxruntime, or use --device cpu"
            .into(),
    })
}

/// A short name of a model's content: the first twelve digits of the file's SHA-256, or `sim` for a simulated device. Weights
/// in other files are not part of it.
///
/// # Errors
/// [`EngineError::Load`] if the file cannot be read.
pub fn version(model: &str) -> Result<String, EngineError> {
    const DIGITS: usize = 12;
    if model.starts_with("sim:") {
        return Ok("sim".to_owned());
    }
    let file = std::fs::read(model).map_err(|error| EngineError::Load {
        path: model.into(),
        reason: Cause::of(error),
    })?;
    let mut digits = tensorrt::description::sha256(&file);
    digits.truncate(DIGITS);
    Ok(digits)
}
