//! Results, compared with the CPU engine and with each other.

use crate::common::{MODES, values};
use crate::shared::{MODEL, frames, relative_errors, run};
use crate::{engine, flags};
use beamflow::engine::options::Precision;
use beamflow::engine::tensorrt::request::BatchRequest;
use std::path::Path;

async fn agrees(precision: Precision, limit: f32) {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), precision, BatchRequest::exactly(8));
    let datums = frames(64);
    let cpu = run(&["--model-path", MODEL], &datums).await;
    let gpu = run(&flags(engine.to_str().unwrap(), &[]), &datums).await;
    let errors = relative_errors(&gpu, &cpu);
    println!("{precision}: largest relative errors against the CPU engine {errors:?}");
    assert!(errors.iter().all(|error| *error < limit), "{errors:?}");
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_single_precision() {
    agrees(Precision::Fp32, 1e-3).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_tf32() {
    agrees(Precision::Tf32, 2e-2).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_agree_with_the_cpu_engines_in_half_precision() {
    agrees(Precision::Fp16, 2e-2).await;
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_results_are_bit_identical_in_all_modes_and_depths() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), Precision::Fp32, BatchRequest::exactly(8));
    let engine = engine.to_str().unwrap();
    let datums = frames(100);
    // Every start after the first uses the kernels that the first compiled and wrote next to the engine.
    let expected = run(&flags(engine, &["--mode", "sequential"]), &datums).await;
    for mode in MODES {
        for depth in ["1", "4"] {
            let more = [
                "--mode",
                mode,
                "--pipeline-depth",
                depth,
                "--max-concurrent-batches",
                depth,
            ];
            assert!(
                run(&flags(engine, &more), &datums).await == expected,
                "{mode}, {depth}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_cropped_results_are_the_centres_of_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path(), Precision::Fp32, BatchRequest::exactly(8));
    let engine = engine.to_str().unwrap();
    let datums = frames(20);
    let whole = run(&flags(engine, &[]), &datums).await;
    let cropped = run(&flags(engine, &["--output-size", "32x16"]), &datums).await;
    for (whole, cropped) in whole.iter().flatten().zip(cropped.iter().flatten()) {
        let (whole, cropped) = (values(whole), values(cropped));
        let centre: Vec<f32> = whole
            .chunks(64)
            .skip(24)
            .take(16)
            .flat_map(|line| line[16..48].to_vec())
            .collect();
        assert!(centre == cropped);
    }
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_short_batches_agree_with_full_ones() {
    let folder = tempfile::tempdir().unwrap();
    let range = BatchRequest {
        least: 1,
        best: 8,
        most: 16,
    };
    let engine = engine(folder.path(), Precision::Fp32, range);
    let engine = engine.to_str().unwrap();
    let datums = frames(19);
    let full = run(&flags(engine, &["--bsz-size", "1"]), &datums).await;
    let short = run(&flags(engine, &["--bsz-size", "16"]), &datums).await;
    let errors = relative_errors(&short, &full);
    assert!(errors.iter().all(|error| *error < 1e-3), "{errors:?}");
}

#[tokio::test]
#[ignore = "needs an NVIDIA GPU"]
async fn gpu_engine_of_an_onnx_model_is_built_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let more = [
        "--device",
        "cuda",
        "--engine-cache",
        cache.to_str().unwrap(),
    ];
    let datums = frames(9);
    let cpu = run(&["--model-path", MODEL], &datums).await;
    let first = run(&flags(MODEL, &more), &datums).await;
    let kept = |folder: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap());
        // The lock file of the builder is in the same folder.
        let mut kept: Vec<_> = entries
            .filter(|entry| entry.file_name() != "lock")
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect();
        kept.sort();
        kept
    };
    let before = kept(&cache);
    assert_eq!(
        before.len(),
        3,
        "the engine, its description and its compiled kernels: {before:?}"
    );
    assert!(run(&flags(MODEL, &more), &datums).await == first);
    assert_eq!(kept(&cache), before);
    assert!(
        relative_errors(&first, &cpu)
            .iter()
            .all(|error| *error < 1e-3)
    );
}
