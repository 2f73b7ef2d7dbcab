//! An engine file with an execution context for batches of one size, on one thread.
//!
//! The size never changes. TensorRT-RTX compiles kernels for each new shape, which takes seconds, and a CUDA graph becomes
//! invalid when the shape of its context changes. Short batches are padded instead.

use super::kernels::Kernels;
use super::messages;
use super::opened::OpenedFile;
use crate::{Cause, ModelSpec};
use cudarc::driver::CudaStream;
use trtx::ExecutionContext;

/// An engine file with an execution context.
///
/// Field order is drop order: the context must be dropped before its settings, and both before the engine. The compiler
/// does not check this, because the binding's lifetimes are those of the logger.
pub(crate) struct Plan {
    context: ExecutionContext<'static>,
    kernels: Kernels,
    _opened: OpenedFile,
}

impl Plan {
    /// Opens `file`, which holds `model`, on the GPU whose context is current on this thread, for batches of `rows` rows.
    /// `known` are kernels that were compiled for this file before. The error is the reason of the failure.
    pub(crate) fn open(
        file: &[u8],
        model: &ModelSpec,
        rows: usize,
        known: Option<&[u8]>,
    ) -> Result<Self, Cause> {
        let explain = messages::explain;
        let mut opened = OpenedFile::open(file)?;
        let kernels = Kernels::new(&mut opened.engine, known).map_err(explain)?;
        let mut context = kernels.context(&mut opened.engine).map_err(explain)?;
        let input = &model.input.name;
        if let Some(shape) = opened.open_shape(input, rows as i64).map_err(explain)? {
            context.set_input_shape(input, &shape).map_err(explain)?;
        }
        Ok(Self {
            context,
            kernels,
            _opened: opened,
        })
    }

    /// Sets the addresses of the tensors in device memory, by name.
    ///
    /// # Safety
    /// Each address must have room for a batch, for as long as this plan lives.
    pub(crate) unsafe fn place(&mut self, addresses: &[(&str, u64)]) -> Result<(), trtx::Error> {
        for (name, address) in addresses {
            // SAFETY: the caller guarantees that the address has room for a batch.
            unsafe {
                self.context
                    .set_tensor_address(name, *address as *mut std::ffi::c_void)
            }?;
        }
        Ok(())
    }

    /// Enqueues the computation of a batch on `stream`.
    ///
    /// # Safety
    /// The stream must belong to the context that was current when the plan was opened, and outlive the enqueued work.
    pub(crate) unsafe fn enqueue(&mut self, stream: &CudaStream) -> Result<(), trtx::Error> {
        // SAFETY: the caller guarantees it.
        unsafe { self.context.enqueue_v3(stream.cu_stream().cast()) }
    }

    /// The kernels compiled so far, to pass to the next [`Plan::open`] of the file.
    pub(crate) fn kernels(&self) -> Option<Vec<u8>> {
        self.kernels.save()
    }
}
