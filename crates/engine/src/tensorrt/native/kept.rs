//! The compiled kernels of an engine file, for its next sessions and for the next start.
//!
//! TensorRT-RTX compiles kernels for the GPU at hand when a session opens, which takes seconds to minutes. What it has
//! compiled is written to a file next to the engine, one for each kind of GPU. TensorRT itself checks whether they fit
//! its version, the GPU and the driver; kernels that do not fit are compiled again and replaced.
//!
//! The file saves time, but serving does not depend on it: if it cannot be written, a warning is logged.

use super::build::write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The compiled kernels of an engine file on one GPU.
pub(crate) struct KeptKernels {
    file: PathBuf,
    known: Option<Vec<u8>>,
}

impl KeptKernels {
    /// Reads what was kept for the engine file at `engine` on a GPU of this model.
    pub(crate) fn read(engine: &Path, gpu: &str) -> Self {
        let file = path(engine, gpu);
        let known = match std::fs::read(&file) {
            Ok(known) => Some(known),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(file = %file.display(), %error, "Cannot read the kept kernels; they are compiled again.");
                }
                None
            }
        };
        Self { file, known }
    }

    /// The kernels of earlier sessions.
    pub(crate) fn known(&self) -> Option<&[u8]> {
        self.known.as_deref()
    }

    /// Keeps the kernels of a session that has opened. Returns whether it compiled some.
    pub(crate) fn keep(&mut self, kernels: Vec<u8>) -> bool {
        if self.known.as_ref() == Some(&kernels) {
            return false;
        }
        match write(&self.file, &kernels) {
            Ok(()) => tracing::info!(
                file = %self.file.display(),
                bytes = kernels.len(),
                "Kernels were compiled, and are kept for the next start."
            ),
            Err(error) => tracing::warn!(
                file = %self.file.display(),
                %error,
                "Kernels were compiled but cannot be kept: the next start compiles them again. Put the engine file into \
                 a folder that can be written."
            ),
        }
        self.known = Some(kernels);
        true
    }
}

/// The file for the kernels of the engine file at `engine` on a GPU of this model.
fn path(engine: &Path, gpu: &str) -> PathBuf {
    let gpu = gpu.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let mut name = engine.as_os_str().to_owned();
    name.push(format!(".{gpu}.kernels"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_kept_for_each_kind_of_gpu_and_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("model.engine");
        let mut first = KeptKernels::read(&engine, "NVIDIA L4");
        assert_eq!(first.known(), None);
        assert!(first.keep(vec![1]));
        assert!(!first.keep(vec![1]));
        assert_eq!(
            KeptKernels::read(&engine, "NVIDIA L4").known(),
            Some(&[1][..])
        );
        assert_eq!(KeptKernels::read(&engine, "NVIDIA A100").known(), None);
    }
}
