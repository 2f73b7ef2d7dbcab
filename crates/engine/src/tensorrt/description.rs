//! The description of an engine file, written next to it when it is built.
//!
//! An engine file can be opened only by the TensorRT it was built with, on a GPU. `model.engine.json` describes
//! `model.engine` for people, and for this program on a machine without a GPU. It contains the SHA-256 of the engine
//! file, so that it is never used for another file.

use crate::Cause;
use crate::options::Precision;
use crate::{EngineError, ModelSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The description of an engine file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `TensorRT` or `TensorRT-RTX`.
    pub flavour: String,
    /// The version of the library that built the engine.
    pub version: String,
    /// The GPU generation the engine was built for, such as `8.9`.
    pub compute_capability: String,
    /// The precision the engine was built with.
    pub precision: Precision,
    /// Tensors and batch dimension.
    pub model: ModelSpec,
    /// Number of layers of each kind, before TensorRT fused them.
    pub layers: BTreeMap<String, usize>,
    /// The name of the `.onnx` file.
    pub source: String,
    /// SHA-256 of the `.onnx` file, in hexadecimal.
    pub source_sha256: String,
    /// SHA-256 of the engine file, in hexadecimal.
    pub engine_sha256: String,
    /// Size of the engine file, in bytes.
    pub engine_bytes: usize,
}

impl Description {
    /// The path of the description of the engine file at `engine`.
    #[must_use]
    pub fn path(engine: &Path) -> PathBuf {
        let mut name = engine.as_os_str().to_owned();
        name.push(".json");
        name.into()
    }

    /// Reads the description of the engine file at `path`, whose content is `engine`; `None` if there is none.
    ///
    /// # Errors
    /// The reason as text, if the description cannot be read or describes another file.
    pub fn read(path: &Path, engine: &[u8]) -> Result<Option<Self>, String> {
        let place = Self::path(path);
        let wrong = |reason: String| format!("its description {}: {reason}", place.display());
        let text = match std::fs::read(&place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let description: Self =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if description.engine_sha256 != sha256(engine) {
            return Err(wrong(
                "it describes another file; remove it, or build the engine again".to_owned(),
            ));
        }
        Ok(Some(description))
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What is known about an engine file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Tensors and batch dimension.
    pub model: ModelSpec,
    /// The description next to the file, if there is one.
    pub description: Option<Description>,
    /// The library that opened the file, such as `TensorRT-RTX 1.7.1`.
    pub opened_with: Option<String>,
    /// The GPUs on which the file was opened.
    pub opened_on: Vec<OpenedOn>,
    /// Why the file was not opened. The information then comes from the description alone.
    pub not_opened: Option<String>,
    /// Size of the file, in bytes.
    pub bytes: usize,
}

/// A GPU on which an engine file was opened.
#[derive(Clone, Debug, Serialize)]
pub struct OpenedOn {
    /// Name, model and compute capability of the GPU.
    pub device: String,
    /// Free device memory, in bytes.
    pub free: usize,
    /// Device memory that a lane with a full batch takes, in bytes.
    pub per_lane: usize,
}

impl Inspection {
    /// The content of the description next to the engine file at `path`, which cannot be opened because of `reason`;
    /// `None` if there is no description.
    ///
    /// # Errors
    /// [`EngineError::Load`] if the file or its description cannot be read.
    pub(crate) fn from_description(
        path: &Path,
        reason: String,
    ) -> Result<Option<Self>, EngineError> {
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        let engine = std::fs::read(path).map_err(|error| fail(Cause::of(error)))?;
        let description = Description::read(path, &engine).map_err(|reason| fail(reason.into()))?;
        Ok(description.map(|description| Self {
            model: description.model.clone(),
            description: Some(description),
            opened_with: None,
            opened_on: Vec::new(),
            not_opened: Some(reason),
            bytes: engine.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchDimension, TensorSpec};
    use beamflow_frame::values::Element;

    fn description(engine: &[u8]) -> Description {
        let tensor = |name: &str| TensorSpec {
            name: name.to_owned(),
            shape: vec![1, 64, 64],
            element: Element::F16,
        };
        Description {
            flavour: "TensorRT-RTX".to_owned(),
            version: "1.7.1".to_owned(),
            compute_capability: "8.0".to_owned(),
            precision: Precision::Fp16,
            model: ModelSpec {
                input: tensor("diffraction"),
                outputs: vec![tensor("phase")],
                batch: BatchDimension::Within {
                    least: 1,
                    best: 8,
                    most: 16,
                },
            },
            layers: [("Convolution".to_owned(), 12)].into(),
            source: "model.onnx".to_owned(),
            source_sha256: sha256(b"onnx"),
            engine_sha256: sha256(engine),
            engine_bytes: engine.len(),
        }
    }

    fn write(folder: &Path, engine: &[u8], described: &[u8]) -> PathBuf {
        let path = folder.join("model.engine");
        std::fs::write(&path, engine).unwrap();
        let text = serde_json::to_vec(&description(described)).unwrap();
        std::fs::write(Description::path(&path), text).unwrap();
        path
    }

    #[test]
    fn a_description_is_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), b"plan", b"plan");
        assert_eq!(
            Description::read(&path, b"plan"),
            Ok(Some(description(b"plan")))
        );
        let inspected = Inspection::from_description(&path, String::new())
            .unwrap()
            .unwrap();
        assert_eq!(inspected.model, description(b"plan").model);
    }

    #[test]
    fn a_description_of_another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), b"plan", b"another plan");
        let error = Description::read(&path, b"plan").unwrap_err();
        assert!(error.contains("describes another file"), "{error}");
    }

    #[test]
    fn a_missing_description_is_not_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.engine");
        assert_eq!(Description::read(&path, b""), Ok(None));
    }
}
