//! beamflow: a Numaflow sidecar that runs detector frames through a neural network, in batches.
//!
//! ```text
//!   numa ══ gRPC over a Unix socket ══▶ server ── datums ──▶ handler ──▶ schedule ──▶ answer
//!                                                                         │   ▲
//!                                                    frame ▶ slot ▶ lane ─┘   └─ ledger
//! ```
//!
//! A datum is decoded into a frame ([`frame`]), converted into a row of a slot ([`batch`]), computed on a lane ([`engine`])
//! when the mode says so ([`schedule`]), and settled in the call's [`ledger`], which gives exactly one answer
//! per datum. Arrows point one way: handler → schedule → (batch, ledger) → (engine, frame).

// The walls. `pub` is only what tests, benches and fuzz targets use; clippy.toml gives a reason for each ban.
#![deny(unreachable_pub)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, clippy::disallowed_types, dead_code)
)]

/// Wiring, from start to drained stop.
pub mod app;
/// Where frames wait to be computed together.
pub mod batch;
/// How fast a sidecar is, driven as Numaflow does.
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
/// The command line.
pub mod cli;
/// The settings of a serving sidecar, checked.
pub mod config;
/// The newcomer's first command.
pub(crate) mod demo;
/// The simulated experiment: object, probe, scan, diffraction, noise.
pub mod detector;
/// Many read batches through a running sidecar, and what came of it.
pub mod drive;
/// A client that drives a sidecar as Numaflow's numa does.
pub mod driver;
/// What turns a batch of frames into a batch of results.
#[allow(
    clippy::disallowed_methods,
    reason = "synchronous code: no clock is ever paused here"
)]
pub mod engine;
/// How the process ends when something hangs.
mod exit;
/// The experiment that the demo and `send` simulate.
pub mod experiment;
/// What the settings come to on the engine at hand.
pub(crate) mod fitting;
/// What a datum means, and what a result looks like.
pub mod frame;
/// The SDK's `BatchMapper`, implemented.
pub mod handler;
/// What a model file holds.
pub(crate) mod inspect;
/// One outcome per datum.
pub mod ledger;
/// Host memory: what may be used, and what is needed.
pub mod memory;
/// `.onnx` models rewritten in half precision.
pub mod onnx_model;
/// What a panic said.
pub mod panic;
/// The demo's picture.
pub mod picture;
/// From outcomes to messages.
pub mod policy;
/// From the command line to the exit code.
mod program;
/// Notices read batches that are too small.
pub(crate) mod read_batch;
/// When the batches of a call are computed.
pub mod schedule;
/// The driver as a command.
pub(crate) mod send;
/// The gRPC host of a `BatchMapper`.
pub mod server;
/// SIGTERM and SIGINT.
pub(crate) mod signals;
/// A simulated detector as a Numaflow source.
pub(crate) mod simulated_source;
/// What a rate asks for, in devices, settings and bytes.
pub mod sizing;
/// A stack of frames to send.
pub mod stack;
/// Patches of phase into one image.
pub(crate) mod stitch;
/// What threads and tasks wait for each other with.
mod sync;
/// Tables and progress bars.
pub(crate) mod table;
/// What the sidecar tells of itself.
pub mod telemetry;

pub use program::run;
