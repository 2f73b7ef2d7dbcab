//! The GPU generation to build an engine for: a GPU of this machine, or one that is named.

use super::cards;
use super::library::{FLAVOUR, Missing};
#[cfg(feature = "tensorrt-rtx")]
use super::messages;
use crate::Cause;
use crate::cuda::gpu::{self, Gpu, NoGpu};
use crate::tensorrt::request::{BuildRequest, ComputeCapability};
use trtx::BuilderConfig;

/// The GPU generation to build for.
pub(crate) struct Target {
    pub(crate) compute_capability: ComputeCapability,
    /// The GPU of this machine; `None` if the request names a compute capability instead. Kept until the engine is built,
    /// because TensorRT builds in its context.
    pub(crate) gpu: Option<Gpu>,
}

/// Why there is nothing to build for.
pub(crate) enum NoTarget {
    Missing(Missing),
    Unknown(Cause),
}

impl Target {
    /// The target of a request. TensorRT must be open. What TensorRT does not run on is refused here, before the build.
    pub(crate) fn find(request: &BuildRequest) -> Result<Self, NoTarget> {
        if let Some(chosen) = request.compute_capability {
            check(chosen).map_err(NoTarget::Unknown)?;
            return Ok(Self {
                compute_capability: chosen,
                gpu: None,
            });
        }
        let gpus = gpu::open(&request.devices).map_err(|missing| match missing {
            NoGpu::Driver if cfg!(feature = "tensorrt-rtx") => NoTarget::Unknown(
                "this machine has no GPU to build for: name the target GPU with --compute-capability (8.0 for an \
                 A100, 8.9 for an L4)"
                    .into(),
            ),
            missing => NoTarget::Missing(missing.into()),
        })?;
        let gpu = gpus
            .into_iter()
            .next()
            .ok_or(NoTarget::Missing(NoGpu::None.into()))?;
        cards::check_driver().map_err(NoTarget::Missing)?;
        cards::check(&gpu).map_err(NoTarget::Missing)?;
        Ok(Self {
            compute_capability: gpu.compute_capability,
            gpu: Some(gpu),
        })
    }

    /// Sets the compute capability that is built for. Without it, TensorRT-RTX builds for all cards from 8.0 on, and the
    /// engine does not open on a 7.5.
    #[cfg(feature = "tensorrt-rtx")]
    pub(crate) fn set(&self, config: &mut BuilderConfig<'_>) -> Result<(), Cause> {
        let capability = match (capability(self.compute_capability), &self.gpu) {
            (Ok(capability), _) => capability,
            // A card that is newer than the binding.
            (Err(_), Some(_)) => trtx::ComputeCapability::kCURRENT,
            (Err(reason), None) => return Err(reason),
        };
        config
            .set_nb_compute_capabilities(1)
            .and_then(|()| config.set_compute_capability(capability, 0))
            .map_err(|error| messages::explain_all(Cause::of(error)))
    }

    /// Sets nothing: TensorRT builds for the GPU whose context is current.
    #[cfg(not(feature = "tensorrt-rtx"))]
    pub(crate) fn set(&self, _: &mut BuilderConfig<'_>) -> Result<(), Cause> {
        Ok(())
    }
}

/// Checks that engines can be built for `chosen` without a GPU of it. The error is the reason why not.
pub(crate) fn check(chosen: ComputeCapability) -> Result<(), Cause> {
    capability(chosen).map(drop)
}

#[cfg(feature = "tensorrt-rtx")]
fn capability(chosen: ComputeCapability) -> Result<trtx::ComputeCapability, Cause> {
    use trtx::ComputeCapability::{kSM75, kSM80, kSM86, kSM89, kSM120, kSM121};
    match (chosen.major, chosen.minor) {
        (7, 5) => Ok(kSM75),
        (8, 0) => Ok(kSM80),
        (8, 6) => Ok(kSM86),
        (8, 9) => Ok(kSM89),
        (12, 0) => Ok(kSM120),
        (12, 1) => Ok(kSM121),
        _ if cards::supports(chosen) => Err(format!(
            "without the GPU, {FLAVOUR} builds only for the compute capabilities 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1, \
             not for {chosen}: build on the GPU itself, without --compute-capability"
        )
        .into()),
        _ => Err(format!(
            "{FLAVOUR} does not support compute capability {chosen}. {}",
            cards::remedy()
        )
        .into()),
    }
}

#[cfg(not(feature = "tensorrt-rtx"))]
fn capability(chosen: ComputeCapability) -> Result<(), Cause> {
    Err(format!(
        "{FLAVOUR} builds only for a GPU of this machine, not for compute capability {chosen}: omit \
         --compute-capability, or use a build of beamflow with TensorRT-RTX"
    )
    .into())
}
