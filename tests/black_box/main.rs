//! The sidecar from outside: a real socket, real gRPC, a real model, the real program.
//!
//! One file per promise. They are modules of one test program, so that it is linked once.

// Tests and their helpers stop at the first surprise; clippy.toml's leave reaches only the tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

/// Every datum is answered exactly once, with its own result.
mod answers;
/// How fast a sidecar is.
mod bench;
/// A sidecar on a temporary socket, frames, and what they must become.
mod common;
/// Several devices, and how much is in flight on them.
mod devices;
/// Out of disk.
mod disk;
/// inspect, bench-engine, build-engine.
mod engine_commands;
/// Whatever the engine does, every datum is answered.
mod faults;
/// Results do not depend on mode, depth, batch, neighbours or position.
mod identical;
/// Under a memory limit.
mod limits;
/// What the log tells.
mod logs;
/// Metrics, stats and health over HTTP.
mod metrics;
/// The status page, in a browser.
mod page;
/// Exit codes, one-line mistakes, signals, files, commands.
mod process;
/// The README tells the truth about the flags.
mod readme;
/// Numbers checked against onnxruntime's.
mod reference;
/// The handler under the SDK's own server.
mod sdk;
/// A sidecar whose HTTP side is asked.
mod served;
/// What a rate asks for.
mod size;
/// A simulated source, and a sidecar behind it.
mod source;
/// Streams do not delay each other.
mod streams;
