//! What is missing when the CUDA provider cannot be used.
//!
//! onnxruntime 1.31 for CUDA 13 needs `libonnxruntime_providers_cuda.so` in the folder of its library; for that `cublas`, `cublasLt`,
//! `curand` and `cudart` of CUDA 13, and NVIDIA's driver; and for convolutions cuDNN 9, which it opens at the first of them.
//! These are the names that the provider asks the loader for.

use crate::Cause;
use crate::cuda::gpu::{self, CudaVersion};
use crate::onnxruntime::library;
use ort::environment::Environment;
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::Session;
use std::path::PathBuf;

/// The file name of the CUDA provider.
const PROVIDER: &str = "libonnxruntime_providers_cuda.so";

/// The file name of cuDNN.
const CUDNN: &str = "libcudnn.so.9";

/// The version of CUDA that the provider is for, as the driver states it: 1000 times the major version.
const CUDA_NEEDED: CudaVersion = CudaVersion(13_000);

/// Checks that the driver is recent enough, that the library has the CUDA provider, and that the provider and cuDNN can be
/// opened.
///
/// # Errors
/// What is missing, with the remedy.
pub(super) fn check(environment: &Environment) -> Result<(), Cause> {
    let driver = gpu::driver_version().map_err(Cause::of)?;
    if driver < CUDA_NEEDED {
        return Err(format!(
            "the NVIDIA driver is for {driver}, but onnxruntime's CUDA provider needs CUDA 13: install driver 580 or later"
        )
        .into());
    }
    let registered = Session::builder(environment)
        .and_then(|mut builder| CUDA::default().register(&mut builder));
    registered.map_err(|error| {
        let words = match provider() {
            Some(path) if !path.exists() => format!(
                "{} has no CUDA provider ({PROVIDER} is not beside it): install onnxruntime-gpu for CUDA 13 and name its \
                 library in ORT_DYLIB_PATH, or use --device onnxruntime",
                library().display(),
            ),
            _ => format!(
                "onnxruntime's CUDA provider cannot be used: {error}; it needs CUDA 13 on the library path \
                 (LD_LIBRARY_PATH)"
            ),
        };
        Cause::of(error).in_words(words)
    })?;
    // SAFETY: opening a library runs its initialisers. This is NVIDIA's own library, by its own name, which the provider
    // opens for its first convolution.
    match unsafe { libloading::Library::new(CUDNN) } {
        Ok(cudnn) => {
            // The provider finds it open.
            std::mem::forget(cudnn);
            Ok(())
        }
        Err(error) => {
            // The loader's message is in the error's source.
            let said = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            let words = format!(
                "cuDNN cannot be opened ({said}): put cuDNN 9 for CUDA 13 on the library path (LD_LIBRARY_PATH)"
            );
            Err(Cause::of(error).in_words(words))
        }
    }
}

/// The path of the provider: beside the library, if that is named by a path.
fn provider() -> Option<PathBuf> {
    let library = std::fs::canonicalize(library()).ok()?;
    Some(library.parent()?.join(PROVIDER))
}
