//! What the program does besides serving. A command that needs a sidecar starts this program once more as a child process
//! and talks to it as numa does.

/// How fast a sidecar is, driven as numa drives it.
pub mod bench;
/// How fast an engine is by itself.
#[allow(
    clippy::disallowed_methods,
    reason = "synchronous code: no clock is ever paused here"
)]
pub(crate) mod bench_engine;
/// From `.onnx` to a TensorRT engine file.
pub(crate) mod build_engine;
/// A sidecar in a process of its own.
pub mod child;
/// A simulated scan, reconstructed and drawn.
pub(crate) mod demo;
/// Many read batches through a running sidecar, and a report of them.
pub mod drive;
/// What a model file holds.
pub(crate) mod inspect;
/// The whole beamline on one machine.
#[cfg(all(feature = "pva", feature = "hdf5"))]
pub(crate) mod live;
/// Frames to a running sidecar.
pub(crate) mod send;
/// The simulated detector as an EPICS PV.
#[cfg(feature = "pva")]
pub(crate) mod simulate_ioc;
/// Devices, settings and bytes for a given frame rate.
pub mod size;
/// Tables and progress bars.
mod table;
