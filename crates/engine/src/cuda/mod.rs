//! What engines on NVIDIA GPUs share: the driver, memory, and the way of a batch over a stream.
//!
//! The driver's library is opened when the first GPU is used, so a build with GPU support runs on every machine.

/// GPUs, and page-locked host memory.
pub(crate) mod gpu;
/// What a session has on a GPU, and how it is given up.
pub(crate) mod on_device;
/// A batch's way over a stream: in, computed, out.
pub(crate) mod timeline;
