//! What an engine file holds, as written beside it when it was built.
//!
//! An engine file can be opened only by the TensorRT it was built with, on a GPU. `model.engine.json` tells a
//! person, and this program on a machine without a GPU, what is in `model.engine`. It holds the file's SHA-256, so that
//! it is never believed of another file.

use crate::Cause;
use crate::options::Precision;
use crate::{EngineError, ModelSpec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an engine file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// `TensorRT` or `TensorRT-RTX`.
    pub flavour: String,
    /// The version of the library that built it.
    pub version: String,
    /// The GPU generation it was built for, such as `8.9`.
    pub compute_capability: String,
    /// The precision it was built with.
    pub precision: Precision,
    /// Tensors and batch dimension.
    pub model: ModelSpec,
    /// How many layers of each kind the network had before TensorRT fused them.
    pub layers: BTreeMap<String, usize>,
    /// The name of the `.onnx` file.
    pub source: String,
    /// Its SHA-256.
    pub source_sha256: String,
    /// The engine file's SHA-256.
    pub engine_sha256: String,
    /// The engine file's size.
    pub engine_bytes: usize,
}

impl Description {
    /// The description's place beside the engine file.
    #[must_use]
    pub fn path(engine: &Path) -> PathBuf {
        let mut name = engine.as_os_str().to_owned();
        name.push(".json");
        name.into()
    }

    /// The description of the engine file at `path`, which holds `engine`; `None` if there is none.
    ///
    /// # Errors
    /// What is wrong with it, in words, where it cannot be read or is of another file.
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
                "it is of another file; remove it, or build the engine again".to_owned(),
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

/// What was found out about an engine file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Tensors and batch dimension.
    pub model: ModelSpec,
    /// What was written when it was built, if there is such a file.
    pub description: Option<Description>,
    /// The library that opened it, such as `TensorRT-RTX 1.7.1`.
    pub opened_with: Option<String>,
    /// The GPUs on which it was opened.
    pub opened_on: Vec<OpenedOn>,
    /// Why it was not opened; what is known then comes from the description alone.
    pub not_opened: Option<String>,
    /// The file's size, in bytes.
    pub bytes: usize,
}

/// A GPU on which an engine file was opened.
#[derive(Clone, Debug, Serialize)]
pub struct OpenedOn {
    /// The GPU.
    pub device: String,
    /// Its free memory, in bytes.
    pub free: usize,
    /// What a lane takes of it with a full batch, in bytes.
    pub per_lane: usize,
}

impl Inspection {
    /// What the description beside the engine file at `path` says, which cannot be opened because of `reason`;
    /// `None` if there is none.
    ///
    /// # Errors
    /// [`EngineError::Load`] where the file or its description cannot be read.
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
        assert!(error.contains("of another file"), "{error}");
    }

    #[test]
    fn no_description_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.engine");
        assert_eq!(Description::read(&path, b""), Ok(None));
    }
}
