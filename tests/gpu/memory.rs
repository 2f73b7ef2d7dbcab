//! Memory after many batches: neither the GPU's nor the host's memory grows.

use crate::common::Host;
use crate::shared::{answered, frames, resident};
use crate::{engine, flags};
use beamflow::engine::options::Precision;
use beamflow::engine::tensorrt::request::BatchRequest;
use beamflow::engine::{Engine, EngineOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MEBIBYTE: usize = 1 << 20;

/// The engine, loaded once: to ask it for the free memory of its GPU loads and compiles nothing.
fn loaded(engine: &Path) -> Arc<dyn Engine> {
    let options = EngineOptions {
        library_path: std::env::var_os("TENSORRT_PATH").map(PathBuf::from),
        ..EngineOptions::default()
    };
    beamflow::engine::load(engine.to_str().unwrap(), &options).unwrap()
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_memory_does_not_grow_over_ten_thousand_batches() {
    const FRAMES: usize = 800;
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), Precision::Fp32, BatchRequest::exactly(8));
    let gpu = loaded(&engine);
    let host = Host::start(&flags(engine.to_str().unwrap(), &[])).await;
    let mut driver = host.driver().await;
    let datums = frames(FRAMES);
    let mut batches = async |calls| {
        answered(&mut driver, calls, &datums).await;
        (gpu.memory(8).unwrap().unwrap()[0].free, resident())
    };
    // The first round is warm-up: the heap of this process holds what the compiler of the kernels left.
    batches(10).await;
    let (free_before, resident_before) = batches(10).await;
    let (free_after, resident_after) = batches(100).await;
    assert_eq!(host.counts.totals().batches, 120 * FRAMES as u64 / 8);
    println!(
        "free on the GPU {free_before} then {free_after}, resident {resident_before} then {resident_after} bytes"
    );
    assert!(free_after + 2 * MEBIBYTE >= free_before);
    assert!(resident_after <= resident_before + 16 * MEBIBYTE);
    drop(driver);
    host.stop().await;
}
