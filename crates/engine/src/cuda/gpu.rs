//! The CUDA driver: GPUs, and page-locked host memory.

use crate::options::DeviceSelection;
use crate::tensorrt::request::ComputeCapability;
use crate::{Cause, EngineError, HostBuffer, HostMemory};
use beamflow_frame::values::{Element, Values, ValuesMut};
use cudarc::driver::sys::{self, CUdevice_attribute};
use cudarc::driver::{CudaContext, DriverError, result};
use half::f16;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;

/// Why there is no GPU to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoGpu {
    #[error(
        "there is no NVIDIA driver here (libcuda.so.1 is not found): install it, or in Kubernetes set nvidia.com/gpu \
         in the container's limits and runtimeClassName: nvidia"
    )]
    Driver,
    #[error("cannot initialise the NVIDIA driver: {0}")]
    DriverRefuses(#[source] Cause),
    #[error("--devices selects GPU {ordinal}, but this machine has {count}, numbered from 0")]
    Number { ordinal: usize, count: usize },
    #[error("there is a driver, but no NVIDIA GPU")]
    None,
}

/// A GPU and its primary context, which TensorRT and onnxruntime use as well.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub context: Arc<CudaContext>,
    /// `gpu-0`.
    pub name: String,
    /// `NVIDIA H100 80GB HBM3`.
    pub(crate) model: String,
    /// `9.0`.
    pub compute_capability: ComputeCapability,
}

/// Whether the driver library is installed.
pub(crate) fn has_driver() -> bool {
    // SAFETY: this only tries to open the driver's library by its usual names, and closes it again.
    unsafe { sys::is_culib_present() }
}

/// The CUDA version that a driver is for: 1000 times the major version, and 10 times the minor one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CudaVersion(pub(crate) i32);

impl std::fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CUDA {}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

/// The CUDA version that the driver is for. The driver must be open.
pub(crate) fn driver_version() -> Result<CudaVersion, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one number there. The driver is open.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(CudaVersion(version))
}

/// The primary contexts that this process uses, by the numbers of their GPUs. They are never released: CUDA libraries
/// keep modules, handles and caches in a context, and would meet another context if it were made again. It also saves the
/// time of making one for each engine.
static CONTEXTS: Mutex<BTreeMap<usize, Arc<CudaContext>>> = Mutex::new(BTreeMap::new());

/// The primary context of the GPU with number `ordinal`.
fn primary_context(ordinal: usize) -> Result<Arc<CudaContext>, DriverError> {
    let mut contexts = CONTEXTS.lock();
    if let Some(context) = contexts.get(&ordinal) {
        return Ok(Arc::clone(context));
    }
    let context = CudaContext::new(ordinal)?;
    // SAFETY: tracking orders accesses to cudarc's own slices between streams. This program uses no such slices: every
    // session has its own buffers and one stream.
    unsafe { context.disable_event_tracking() };
    contexts.insert(ordinal, Arc::clone(&context));
    Ok(context)
}

/// Opens the selected GPUs.
pub(crate) fn open(selection: &DeviceSelection) -> Result<Vec<Gpu>, NoGpu> {
    if !has_driver() {
        return Err(NoGpu::Driver);
    }
    let refused = |error: DriverError| NoGpu::DriverRefuses(Cause::of(error));
    result::init().map_err(|error| match error {
        DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE) => NoGpu::None,
        other => refused(other),
    })?;
    let count = CudaContext::device_count().map_err(refused)?;
    let count = usize::try_from(count).unwrap_or_default();
    if count == 0 {
        return Err(NoGpu::None);
    }
    let ordinals = match selection {
        DeviceSelection::All => (0..count).collect(),
        DeviceSelection::Some(ordinals) => ordinals.clone(),
    };
    ordinals
        .into_iter()
        .map(|ordinal| {
            if ordinal >= count {
                return Err(NoGpu::Number { ordinal, count });
            }
            Gpu::open(ordinal).map_err(refused)
        })
        .collect()
}

impl Gpu {
    fn open(ordinal: usize) -> Result<Self, DriverError> {
        let context = primary_context(ordinal)?;
        enter(&context)?;
        let attribute = |of| {
            context
                .attribute(of)
                .map(|n| u32::try_from(n).unwrap_or_default())
        };
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        Ok(Self {
            name: format!("gpu-{ordinal}"),
            model: context.name()?,
            compute_capability: ComputeCapability { major, minor },
            context,
        })
    }

    /// The name, the model and the compute capability, for the log.
    pub(crate) fn describe(&self) -> String {
        format!(
            "{} ({}, compute capability {})",
            self.name, self.model, self.compute_capability
        )
    }

    /// Free device memory, in bytes.
    pub(crate) fn free_memory(&self) -> Result<usize, EngineError> {
        enter(&self.context)
            .and_then(|()| result::mem_get_info())
            .map(|(free, _)| free)
            .map_err(lost)
    }
}

/// The memory that a session takes on `gpu`, in bytes. `open` opens one on a lane. The first session loads what all
/// sessions share, so the second one is measured, if there is room for it.
pub(crate) fn taken_by_session<S>(
    gpu: &Gpu,
    open: impl Fn(usize) -> Result<S, EngineError>,
) -> Result<usize, EngineError> {
    let empty = gpu.free_memory()?;
    let first = open(0)?;
    let one = gpu.free_memory()?;
    let taken = match open(1) {
        Ok(_second) => one.saturating_sub(gpu.free_memory()?),
        Err(EngineError::Session { .. } | EngineError::Run(_)) => empty.saturating_sub(one),
        Err(error) => return Err(error),
    };
    drop(first);
    Ok(taken)
}

/// The error of a device whose context is unreliable: even waiting for its work fails.
pub(crate) fn lost(error: DriverError) -> EngineError {
    EngineError::DeviceLost(in_words(error))
}

/// `error`, named as one of the driver.
pub(crate) fn in_words(error: DriverError) -> Cause {
    Cause::of(error).in_words(format!("CUDA driver error: {error}"))
}

/// Makes `context` current on this thread. cudarc keeps the error of an object that could not be freed in the context, and
/// its next call on any thread would return that error. It is not this caller's, so it is only logged.
pub(crate) fn enter(context: &CudaContext) -> Result<(), DriverError> {
    if let Err(error) = context.check_err() {
        tracing::debug!(%error, "Something on the GPU could not be freed.");
    }
    make_current(context)
}

/// Makes `context` current on this thread.
pub(crate) fn make_current(context: &CudaContext) -> Result<(), DriverError> {
    // SAFETY: the reference keeps the context alive.
    unsafe { result::ctx::set_current(context.cu_ctx()) }
}

/// A piece of device memory: its address and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub(crate) address: sys::CUdeviceptr,
    pub(crate) bytes: usize,
}

/// Page-locked host memory for `elements` values, zeroed. Every GPU copies from it at full speed, regardless of which one
/// allocates it. A lost GPU cannot allocate, so the next one is tried.
pub(crate) fn page_locked(
    gpus: &[Gpu],
    element: Element,
    elements: usize,
) -> Result<HostBuffer, EngineError> {
    let mut gpus = gpus.iter();
    let Some(first) = gpus.next() else {
        return crate::ordinary_memory(element, elements);
    };
    gpus.fold(page_locked_by(first, element, elements), |had, gpu| {
        had.or_else(|_| page_locked_by(gpu, element, elements))
    })
}

fn page_locked_by(gpu: &Gpu, element: Element, elements: usize) -> Result<HostBuffer, EngineError> {
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
        enter(&gpu.context).map_err(|error| refused(Cause::of(error)))?;
        // SAFETY: the context is current. PORTABLE makes the memory page-locked for all contexts, so that the lanes of
        // every GPU can use one slot.
        let pointer = unsafe { result::malloc_host(bytes.max(1), sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(|error| refused(Cause::of(error)))?;
        let values = NonNull::new(pointer.cast::<T>())
            .ok_or_else(|| refused("the driver returned no address".into()))?;
        // SAFETY: `bytes` bytes were just allocated, page-aligned; all zeros is a valid f32 and a valid f16.
        unsafe { std::ptr::write_bytes(pointer.cast::<u8>(), 0, bytes) };
        Ok(Self {
            values,
            elements,
            context: Arc::clone(&gpu.context),
        })
    }

    fn slice(&self) -> &[T] {
        // SAFETY: the memory holds `elements` initialised values for as long as `self` lives, and `&self` excludes
        // writers. The GPU writes to it only during a run, which holds `&mut` and returns when the GPU is done.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.elements) }
    }

    fn slice_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `slice`, and `&mut self` excludes all other accesses.
        unsafe { std::slice::from_raw_parts_mut(self.values.as_ptr(), self.elements) }
    }
}

// SAFETY: this is plain memory with one owner; page-locked memory is not bound to a thread.
unsafe impl<T: Send> Send for PageLocked<T> {}

impl<T> Drop for PageLocked<T> {
    fn drop(&mut self) {
        // SAFETY: the address came from malloc_host and is freed once. All copies from and to it are complete.
        let freed = make_current(&self.context)
            .and_then(|()| unsafe { result::free_host(self.values.as_ptr().cast()) });
        if let Err(error) = freed {
            tracing::debug!(%error, "Cannot free page-locked memory; it is freed when the process ends.");
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
