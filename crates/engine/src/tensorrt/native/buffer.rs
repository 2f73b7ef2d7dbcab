//! Device memory of one session.

use crate::cuda::gpu::{Region, make_current};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use std::sync::Arc;

/// Device memory of one session.
pub(crate) struct DeviceBuffer {
    region: Region,
    context: Arc<CudaContext>,
}

impl DeviceBuffer {
    /// Allocates `bytes` bytes. They are zeroed before any work that is enqueued on `stream` later.
    pub(crate) fn new(stream: &CudaStream, bytes: usize) -> Result<Self, DriverError> {
        let context = stream.context();
        make_current(context)?;
        // SAFETY: the context is current. The driver refuses a size of 0, so at least one byte is allocated. Only work
        // on this stream uses the memory, and the memset below is the first such work.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        let buffer = Self {
            region: Region { address, bytes },
            context: Arc::clone(context),
        };
        // SAFETY: `address` has at least `bytes` bytes, and no other code has it yet.
        unsafe { result::memset_d8_async(address, 0, bytes, stream.cu_stream()) }?;
        Ok(buffer)
    }

    pub(crate) const fn region(&self) -> Region {
        self.region
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: the address came from malloc_sync in this context and is freed once. A session waits for its stream
        // before it is dropped. A session that failed to open has enqueued only the memset, and the driver waits for
        // that.
        let freed = make_current(&self.context)
            .and_then(|()| unsafe { result::free_sync(self.region.address) });
        if let Err(error) = freed {
            tracing::debug!(%error, "Cannot free device memory; it is freed with its context.");
        }
    }
}
