//! Compilation of an engine's kernels.
//!
//! TensorRT-RTX compiles kernels on the machine they run on. By default, for dynamic shapes, it starts with general
//! kernels and replaces them with better ones in the background. Results would then change in their last bits while the
//! sidecar runs, and a CUDA graph would keep the general kernels forever. Therefore kernels are compiled when a
//! context gets its shape (`kEAGER`): when a session opens, and never later. Later sessions reuse the kernels that earlier
//! ones compiled, and later starts those that were written to a file (`kept.rs`).
//!
//! TensorRT compiles kernels when it builds the engine, so with that flavour this module does nothing.

#[cfg(feature = "tensorrt-rtx")]
use trtx::DynamicShapesKernelSpecializationStrategy as Strategy;
use trtx::{CudaEngine, ExecutionContext};

/// The settings and kernels with which an engine's execution contexts are created. Must outlive the contexts.
#[cfg(feature = "tensorrt-rtx")]
pub(crate) struct Kernels {
    config: std::rc::Rc<trtx::RuntimeConfig<'static>>,
    cache: std::sync::Arc<trtx::RuntimeCache>,
}

#[cfg(feature = "tensorrt-rtx")]
impl Kernels {
    /// Kernels for `engine`. `known` are kernels that were compiled before.
    pub(crate) fn new(
        engine: &mut CudaEngine<'static>,
        known: Option<&[u8]>,
    ) -> Result<Self, trtx::Error> {
        Self::with(engine, Strategy::kEAGER, known)
    }

    /// For a context that computes nothing: no kernels are compiled for its shapes.
    pub(crate) fn uncompiled(engine: &mut CudaEngine<'static>) -> Result<Self, trtx::Error> {
        Self::with(engine, Strategy::kNONE, None)
    }

    fn with(
        engine: &mut CudaEngine<'static>,
        strategy: Strategy,
        known: Option<&[u8]>,
    ) -> Result<Self, trtx::Error> {
        let mut config = engine.create_runtime_config()?;
        config.set_dynamic_shapes_kernel_specialization_strategy(strategy);
        let cache = std::sync::Arc::new(config.create_runtime_cache()?);
        // TensorRT checks that they were compiled by this version, for this kind of GPU and this driver.
        if let Some(Err(error)) = known.map(|known| cache.deserialize(known)) {
            tracing::info!(%error, "The kept kernels do not fit this GPU, driver or TensorRT; kernels are compiled again.");
        }
        config.set_runtime_cache(std::sync::Arc::clone(&cache))?;
        Ok(Self {
            config: std::rc::Rc::new(config),
            cache,
        })
    }

    /// A new execution context.
    pub(crate) fn context(
        &self,
        engine: &mut CudaEngine<'static>,
    ) -> Result<ExecutionContext<'static>, trtx::Error> {
        engine.create_execution_context_with_config(std::rc::Rc::clone(&self.config))
    }

    /// The kernels compiled so far.
    pub(crate) fn save(&self) -> Option<Vec<u8>> {
        self.cache.serialize().ok().map(|kernels| kernels.to_vec())
    }
}

/// Empty: TensorRT needs neither settings nor kernels for an execution context.
#[cfg(not(feature = "tensorrt-rtx"))]
pub(crate) struct Kernels;

#[cfg(not(feature = "tensorrt-rtx"))]
impl Kernels {
    /// Nothing to compile.
    pub(crate) fn new(_: &mut CudaEngine<'static>, _: Option<&[u8]>) -> Result<Self, trtx::Error> {
        Ok(Self)
    }

    /// Nothing to compile.
    pub(crate) fn uncompiled(_: &mut CudaEngine<'static>) -> Result<Self, trtx::Error> {
        Ok(Self)
    }

    /// A new execution context.
    pub(crate) fn context(
        &self,
        engine: &mut CudaEngine<'static>,
    ) -> Result<ExecutionContext<'static>, trtx::Error> {
        engine.create_execution_context()
    }

    /// Nothing to keep.
    pub(crate) fn save(&self) -> Option<Vec<u8>> {
        None
    }
}
