//! Tests that need an NVIDIA GPU. They are ignored by default: `cargo test --features tensorrt-rtx -- --ignored
//! gpu`.
//!
//! They need a driver, a GPU, and the TensorRT-RTX libraries on the system's library path or in
//! `TENSORRT_PATH`. The engines are built for the GPU of the machine, from the project's own model.
//! `scripts/gpu-check.sh` runs these tests and others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code)] // Shared with the black-box tests, which use more of it.
#[path = "../black_box/common.rs"]
mod common;
/// Memory after many batches.
mod memory;
/// Results, compared with the CPU engine and with each other.
mod results;
/// What the tests of every engine on a GPU share.
mod shared;

use beamflow::engine::options::Precision;
use beamflow::engine::tensorrt::request::{BatchRequest, BuildRequest};
use beamflow::engine::tensorrt::{self, BuildProgress};
use shared::MODEL;
use std::path::{Path, PathBuf};

struct Unwatched;

impl BuildProgress for Unwatched {
    fn step(&self, _: &str, _: usize, _: usize) {}
}

/// An engine for the GPU of this machine.
pub fn engine(folder: &Path, precision: Precision, batch: BatchRequest) -> PathBuf {
    let engine = folder.join(format!("{precision}-{}.engine", batch.most));
    let request = BuildRequest {
        model: MODEL.into(),
        engine: engine.clone(),
        batch: Some(batch),
        rows_if_open: 8,
        precision,
        compute_capability: None,
        devices: beamflow::engine::options::DeviceSelection::default(),
        library_path: std::env::var_os("TENSORRT_PATH").map(PathBuf::from),
    };
    tensorrt::build(&request, Box::new(Unwatched)).unwrap();
    engine
}

/// The flags for a sidecar on the GPU.
pub fn flags<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--model-path", model];
    flags.extend(more);
    if let Some(folder) = std::env::var_os("TENSORRT_PATH") {
        let folder: &'static str = folder.into_string().unwrap().leak();
        flags.extend(["--tensorrt-path", folder]);
    }
    flags
}
