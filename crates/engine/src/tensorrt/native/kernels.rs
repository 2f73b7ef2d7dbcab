//! How an engine's kernels come to be compiled.
//!
//! TensorRT-RTX compiles kernels on the machine they run on. Left to itself, with open shapes, it starts with
//! general kernels and exchanges them for better ones in the background: results would change in their last bits while
//! the sidecar runs, and a CUDA graph would keep the general ones for ever. So they are compiled when a context first meets
//! a shape (`kEAGER`), which for full batches is when the session opens; a short batch of a new size waits for its own.
//! What one session has compiled the next need not compile again. TensorRT compiles when it builds; there is nothing
//! to do.

use trtx::{CudaEngine, ExecutionContext};

/// What execution contexts of one engine are created with. It must outlive them.
#[cfg(feature = "tensorrt-rtx")]
pub(crate) struct Kernels {
    config: std::rc::Rc<trtx::RuntimeConfig<'static>>,
    cache: std::sync::Arc<trtx::RuntimeCache>,
}

#[cfg(feature = "tensorrt-rtx")]
impl Kernels {
    /// Kernels for `engine`, beginning with those in `known`.
    pub(crate) fn new(
        engine: &mut CudaEngine<'static>,
        known: Option<&[u8]>,
    ) -> Result<Self, trtx::Error> {
        let mut config = engine.create_runtime_config()?;
        config.set_dynamic_shapes_kernel_specialization_strategy(
            trtx::DynamicShapesKernelSpecializationStrategy::kEAGER,
        );
        let cache = std::sync::Arc::new(config.create_runtime_cache()?);
        if let Some(Err(error)) = known.map(|known| cache.deserialize(known)) {
            tracing::debug!(%error, "Kernels compiled before cannot be read; they are compiled again.");
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

/// What execution contexts of one engine are created with: nothing.
#[cfg(not(feature = "tensorrt-rtx"))]
pub(crate) struct Kernels;

#[cfg(not(feature = "tensorrt-rtx"))]
impl Kernels {
    /// Nothing to compile.
    pub(crate) fn new(_: &mut CudaEngine<'static>, _: Option<&[u8]>) -> Result<Self, trtx::Error> {
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
