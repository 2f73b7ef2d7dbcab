//! The GPUs and drivers that this flavour of TensorRT runs on, checked before an engine is built or opened.

use super::library::{self, FLAVOUR, Missing};
use crate::cuda::gpu::{self, CudaVersion, Gpu};
use crate::tensorrt::request::ComputeCapability;
use std::path::Path;

/// The CUDA version that TensorRT's usual packages are made with.
const CUDA: CudaVersion = CudaVersion(13_000);

/// Checks that the driver is recent enough for the open library.
///
/// # Errors
/// [`Missing::Driver`]
pub(crate) fn check_driver() -> Result<(), Missing> {
    let Ok(found) = gpu::driver_version() else {
        return Ok(());
    };
    // The packages for CUDA 12 run on older drivers. Which one the library is says the line that NVIDIA's compiler leaves
    // in it.
    let needs_more = found < CUDA && library::path().is_some_and(|path| is_for_cuda_13(&path));
    if needs_more {
        return Err(Missing::Driver { found });
    }
    Ok(())
}

fn is_for_cuda_13(library: &Path) -> bool {
    const MARK: &[u8] = b"Cuda compilation tools, release 13.";
    std::fs::read(library).is_ok_and(|file| file.windows(MARK.len()).any(|part| part == MARK))
}

/// Whether this flavour builds and runs engines for a compute capability.
///
/// TensorRT-RTX: by NVIDIA's support matrix. The library of version 1.7 refuses others when it opens an engine, among them
/// 9.0 (H100, H200) and 10.x (B200).
pub(crate) const fn supports(capability: ComputeCapability) -> bool {
    let ComputeCapability { major, minor } = capability;
    if cfg!(feature = "tensorrt-rtx") {
        matches!((major, minor), (7, 5) | (8, 0 | 6 | 9)) || major >= 12
    } else {
        major > 7 || (major == 7 && minor >= 5)
    }
}

/// Checks that this flavour runs on `gpu`.
///
/// # Errors
/// [`Missing::Card`]
pub(crate) fn check(gpu: &Gpu) -> Result<(), Missing> {
    if supports(gpu.compute_capability) {
        return Ok(());
    }
    Err(Missing::Card {
        gpu: gpu.describe(),
    })
}

/// What to use on a card that this flavour does not support.
pub(crate) fn remedy() -> String {
    if cfg!(feature = "tensorrt-rtx") {
        format!(
            "{FLAVOUR} runs on 7.5, 8.0, 8.6, 8.9, and 12.0 and later. For this card, use --device onnxruntime-cuda, or a \
             build of beamflow with TensorRT 11"
        )
    } else {
        format!("{FLAVOUR} runs on 7.5 and later: use another card, or --device cpu")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_for_cuda_13_is_recognised_by_its_compiler() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("library");
        for (text, wanted) in [
            ("..Cuda compilation tools, release 13.4, V13.4.59..", true),
            ("..Cuda compilation tools, release 12.9, V12.9.86..", false),
            ("", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(is_for_cuda_13(&file), wanted, "{text}");
        }
    }
}
