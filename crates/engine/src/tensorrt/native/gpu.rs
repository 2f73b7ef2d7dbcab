//! The CUDA driver's side: GPUs, their memory, page-locked host memory.

use super::library::Missing;
use crate::options::DeviceSelection;
use crate::{Cause, EngineError, HostBuffer, HostMemory};
use beamflow_frame::values::{Element, Values, ValuesMut};
use cudarc::driver::sys::{self, CUdevice_attribute};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use half::f16;
use std::ptr::NonNull;
use std::sync::Arc;

/// A GPU and its primary context, which TensorRT uses as well.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub context: Arc<CudaContext>,
    /// `gpu-0`.
    pub name: String,
    /// `NVIDIA H100 80GB HBM3`.
    pub(crate) model: String,
    /// `9.0`.
    pub compute_capability: String,
}

/// Whether there is a driver library at all.
pub(crate) fn has_driver() -> bool {
    // SAFETY: it only tries to open the driver's library, by its usual names, and closes it again.
    unsafe { sys::is_culib_present() }
}

/// Opens the GPUs that are asked for.
pub(crate) fn open(selection: &DeviceSelection) -> Result<Vec<Gpu>, Missing> {
    if !has_driver() {
        return Err(Missing::Driver);
    }
    let refused = |error: DriverError| Missing::DriverRefuses(Cause::of(error));
    result::init().map_err(|error| match error {
        DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE) => Missing::NoGpu,
        other => refused(other),
    })?;
    let count = CudaContext::device_count().map_err(refused)?;
    let count = usize::try_from(count).unwrap_or_default();
    if count == 0 {
        return Err(Missing::NoGpu);
    }
    let ordinals = match selection {
        DeviceSelection::All => (0..count).collect(),
        DeviceSelection::Some(ordinals) => ordinals.clone(),
    };
    ordinals
        .into_iter()
        .map(|ordinal| {
            if ordinal >= count {
                return Err(Missing::Gpu { ordinal, count });
            }
            Gpu::open(ordinal).map_err(refused)
        })
        .collect()
}

impl Gpu {
    fn open(ordinal: usize) -> Result<Self, DriverError> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: tracking orders accesses to cudarc's own slices between streams. We use none: every session has
        // its own buffers and one stream.
        unsafe { context.disable_event_tracking() };
        let attribute = |of| context.attribute(of);
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Self {
            name: format!("gpu-{ordinal}"),
            model: context.name()?,
            compute_capability: format!("{major}.{minor}"),
            context,
        })
    }

    /// Bytes of its memory that are free.
    pub(crate) fn free_memory(&self) -> Result<usize, EngineError> {
        self.context
            .mem_get_info()
            .map(|(free, _)| free)
            .map_err(lost)
    }
}

/// A driver call failed: the context is not to be trusted any more.
pub(crate) fn lost(error: DriverError) -> EngineError {
    EngineError::DeviceLost(Cause::of(error).in_words(format!("the CUDA driver says: {error}")))
}

/// Makes `context` current on this thread, to give something back. `bind_to_thread` would first report an error that
/// another object's drop has left with the context, and what is to be given back would be kept.
fn make_current(context: &CudaContext) -> Result<(), DriverError> {
    // SAFETY: the context is alive for as long as the reference to it.
    unsafe { result::ctx::set_current(context.cu_ctx()) }
}

/// Device memory of one session.
pub(crate) struct DeviceBuffer {
    address: sys::CUdeviceptr,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl DeviceBuffer {
    /// `bytes` bytes, zeroed before anything that is put on `stream` later.
    pub(crate) fn new(stream: &CudaStream, bytes: usize) -> Result<Self, DriverError> {
        let context = stream.context();
        context.bind_to_thread()?;
        // SAFETY: the context is current. The driver refuses a size of 0, so there is always at least a byte. Only
        // work on this stream uses the memory, and the memset below comes first there.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        let buffer = Self {
            address,
            bytes,
            context: Arc::clone(context),
        };
        // SAFETY: `address` has at least `bytes` bytes, and no other code has it yet.
        unsafe { result::memset_d8_async(address, 0, bytes, stream.cu_stream()) }?;
        Ok(buffer)
    }

    pub(crate) const fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: the address came from malloc_sync in this context and is freed once. A session waits for its stream
        // before it goes; one that could not be opened has enqueued nothing but the memset, which the driver waits for.
        let freed =
            make_current(&self.context).and_then(|()| unsafe { result::free_sync(self.address) });
        if let Err(error) = freed {
            tracing::debug!(%error, "Device memory could not be freed; it goes with its context.");
        }
    }
}

/// Page-locked host memory for `elements` values, zeroed, which every GPU copies from at full speed.
pub(crate) fn page_locked(
    gpu: &Gpu,
    element: Element,
    elements: usize,
) -> Result<HostBuffer, EngineError> {
    Ok(match element {
        Element::F32 => Box::new(PageLocked::<f32>::new(gpu, elements)?),
        Element::F16 => Box::new(PageLocked::<f16>::new(gpu, elements)?),
    })
}

struct PageLocked<T> {
    values: NonNull<T>,
    elements: usize,
    context: Arc<CudaContext>,
}

impl<T> PageLocked<T> {
    fn new(gpu: &Gpu, elements: usize) -> Result<Self, EngineError> {
        let bytes = elements.saturating_mul(size_of::<T>());
        let refused = |reason: Cause| EngineError::Memory { bytes, reason };
        gpu.context
            .bind_to_thread()
            .map_err(|error| refused(Cause::of(error)))?;
        // SAFETY: the context is current. PORTABLE makes it page-locked for all contexts, so that one slot serves the
        // lanes of every GPU.
        let pointer = unsafe { result::malloc_host(bytes.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(|error| refused(Cause::of(error)))?;
        let values = NonNull::new(pointer.cast::<T>())
            .ok_or_else(|| refused("the driver gave no address".into()))?;
        // SAFETY: `bytes` bytes were just allocated, page-aligned; all zeros is a valid f32 and a valid f16.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes) };
        Ok(Self {
            values,
            elements,
            context: Arc::clone(&gpu.context),
        })
    }

    fn slice(&self) -> &[T] {
        // SAFETY: `elements` initialised values live there for as long as `self`, and `&self` keeps writers away. The
        // GPU writes to them in a run only, which holds `&mut` and returns when the GPU is done.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.elements) }
    }

    fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`, and `&mut self` keeps everybody else away.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.elements) }
    }
}

// SAFETY: it is plain memory with one owner; page-locked memory belongs to no thread.
unsafe impl<T: Send> Send for PageLocked<T> {}

impl<T> Drop for PageLocked<T> {
    fn drop(&mut self) {
        // SAFETY: the address came from malloc_host and is freed once. All copies from and to it have returned.
        let freed = make_current(&self.context)
            .and_then(|()| unsafe { result::free_host(self.values.as_ptr().cast()) });
        if let Err(error) = freed {
            tracing::debug!(%error, "Page-locked memory could not be freed; it goes with the process.");
        }
    }
}

impl HostMemory for PageLocked<f32> {
    fn values(&self) -> Values<'_> {
        Values::F32(self.slice())
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        ValuesMut::F32(self.slice_mut())
    }
}

impl HostMemory for PageLocked<f16> {
    fn values(&self) -> Values<'_> {
        Values::F16(self.slice())
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        ValuesMut::F16(self.slice_mut())
    }
}
