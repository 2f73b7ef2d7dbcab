//! Tests of `--device onnxruntime-cuda` that need an NVIDIA GPU. They are ignored by default:
//! `cargo test --features onnxruntime --test gpu_onnxruntime -- --ignored`.
//!
//! They need a driver for CUDA 13, a GPU, onnxruntime-gpu's library in `ORT_DYLIB_PATH`, and CUDA 13 and cuDNN 9 on the
//! library path. The model is the project's own, or the `.onnx` file in `BEAMFLOW_MODEL` with square frames and results.
//! `scripts/gpu-check.sh --onnxruntime` runs these tests and others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code)] // Shared with the black-box tests, which use more of it.
#[path = "../black_box/common.rs"]
mod common;
#[path = "../gpu/shared.rs"]
mod shared;

use beamflow::engine::EngineOptions;
use beamflow::engine::options::DeviceKind;
use beamflow::vertex::client::Datum;
use common::{Host, MODES, values};
use shared::{MODEL, answered, relative_errors, resident, run};

const MEBIBYTE: usize = 1 << 20;

/// The model to test with.
fn model() -> String {
    std::env::var("BEAMFLOW_MODEL").unwrap_or_else(|_| MODEL.to_owned())
}

/// The lines of the model's frames.
fn side(model: &str) -> usize {
    let engine = beamflow::engine::load(model, &EngineOptions::default()).unwrap();
    *engine.model().input.shape.last().unwrap()
}

/// Frames for the model: of the simulated experiment if they have its size, otherwise counts that differ from frame to frame.
fn frames(model: &str, count: usize) -> Vec<Datum> {
    let side = side(model);
    if side == 64 {
        return shared::frames(count);
    }
    let pixel = |k: usize, at: usize| ((k * 7919 + at * at / 3) % 997) as i16;
    let frame = |k: usize| (0..side * side).flat_map(move |at| pixel(k, at).to_le_bytes());
    let datum = |k: usize| Datum {
        id: k.to_string(),
        value: frame(k).collect(),
        ..Datum::default()
    };
    (0..count).map(datum).collect()
}

/// The flags for a sidecar on the GPU.
fn flags<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut flags = vec!["--model-path", model, "--device", "onnxruntime-cuda"];
    flags.extend(more);
    flags
}

async fn agrees(precision: &str, limit: f32) {
    let model = model();
    let datums = frames(&model, 64);
    let cpu = run(&["--model-path", &model], &datums).await;
    let gpu = run(&flags(&model, &["--precision", precision]), &datums).await;
    let errors = relative_errors(&gpu, &cpu);
    println!("{precision}: largest relative errors against the CPU engine {errors:?}");
    assert!(errors.iter().all(|error| *error < limit), "{errors:?}");
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_single_precision() {
    agrees("fp32", 1e-3).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_tf32() {
    agrees("tf32", 2e-2).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_half_precision() {
    agrees("fp16", 2e-2).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_in_all_modes_and_depths_with_graphs_and_without() {
    let model = model();
    let datums = frames(&model, 100);
    let expected = run(&flags(&model, &["--mode", "sequential"]), &datums).await;
    let mut different = 0;
    for mode in MODES {
        for (depth, graphs) in [("1", true), ("4", true), ("4", false)] {
            let mut more = vec!["--mode", mode, "--pipeline-depth", depth];
            more.extend(["--max-concurrent-batches", depth]);
            if !graphs {
                more.push("--no-cuda-graphs");
            }
            let got = run(&flags(&model, &more), &datums).await;
            different += usize::from(got != expected);
            // Not the same bits: nobody promises that each session chooses the same algorithms.
            let errors = relative_errors(&got, &expected);
            assert!(
                errors.iter().all(|e| *e < 1e-5),
                "{mode}, {depth}, {graphs}: {errors:?}"
            );
        }
    }
    println!("{different} of 9 runs differ from the first in a bit");
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_cropped_results_are_the_centres_of_whole_ones() {
    let model = model();
    let datums = frames(&model, 20);
    let whole = run(&flags(&model, &[]), &datums).await;
    let cropped = run(&flags(&model, &["--output-size", "32x16"]), &datums).await;
    let side = side(&model);
    let (top, left) = ((side - 16) / 2, (side - 32) / 2);
    for (whole, cropped) in whole.iter().flatten().zip(cropped.iter().flatten()) {
        let whole = values(whole);
        let lines = whole.chunks(side).skip(top).take(16);
        let centre: Vec<f32> = lines
            .flat_map(|line| line[left..left + 32].to_vec())
            .collect();
        assert!(centre == values(cropped));
    }
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_short_batches_agree_with_full_ones() {
    let model = model();
    let datums = frames(&model, 19);
    let full = run(&flags(&model, &["--bsz-size", "1"]), &datums).await;
    let short = run(&flags(&model, &["--bsz-size", "8"]), &datums).await;
    let errors = relative_errors(&short, &full);
    assert!(errors.iter().all(|error| *error < 1e-3), "{errors:?}");
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_memory_does_not_grow_over_ten_thousand_batches() {
    const FRAMES: usize = 800;
    let model = model();
    let datums = frames(&model, FRAMES);
    let options = EngineOptions {
        device: DeviceKind::OnnxruntimeCuda,
        ..EngineOptions::default()
    };
    // Asks for free memory, and has no session.
    let asking = beamflow::engine::load(&model, &options).unwrap();
    let free = || asking.memory(1).unwrap().unwrap()[0].free;
    let host = Host::start(&flags(&model, &[])).await;
    let mut driver = host.driver().await;
    answered(&mut driver, 10, &datums).await;
    let (free_before, resident_before) = (free(), resident());
    answered(&mut driver, 100, &datums).await;
    let (free_after, resident_after) = (free(), resident());
    assert_eq!(host.counts.totals().batches, 110 * FRAMES as u64 / 8);
    println!(
        "free on the GPU {free_before} then {free_after}, resident {resident_before} then {resident_after} bytes"
    );
    assert!(free_after + 2 * MEBIBYTE >= free_before);
    assert!(resident_after <= resident_before + 16 * MEBIBYTE);
    drop(driver);
    host.stop().await;
}
