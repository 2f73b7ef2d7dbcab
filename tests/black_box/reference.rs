//! Numbers compared with an independent reference, onnxruntime.

use crate::black_box::common::{Host, values};
use beamflow::vertex::client::Datum;
use beamflow_needs::needs;
use futures::stream;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn floats(name: &str) -> Vec<f32> {
    values(&std::fs::read(data(name)).unwrap())
}

/// Sends the frames of a stack through a sidecar on `model` and returns each output's values.
async fn outputs(model: &Path, device: &str, frames: &str, names: &[&str]) -> Vec<Vec<f32>> {
    let stack = beamflow::lab::stack::FrameStack::read(&data(frames)).unwrap();
    let flags = ["--model-path", model.to_str().unwrap(), "--device", device];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let datums: Vec<Datum> = (0..stack.frames())
        .map(|k| beamflow::commands::drive::datum(&stack, k))
        .collect();
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    host.stop().await;
    let output = |n: usize, name: &str| {
        (0..stack.frames())
            .flat_map(|k| {
                let messages = answer.get(&k.to_string()).unwrap();
                if names.len() > 1 {
                    assert_eq!(messages[n].tags, [name]);
                }
                values(&messages[n].value)
            })
            .collect()
    };
    names
        .iter()
        .enumerate()
        .map(|(n, name)| output(n, name))
        .collect()
}

/// Largest error, relative to the largest value of the reference.
fn relative_error(got: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(got.len(), reference.len());
    let scale = reference.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(scale > 0.0, "the reference is all zeros");
    let error = got
        .iter()
        .zip(reference)
        .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    error / scale
}

#[tokio::test]
async fn the_projects_model_matches_onnxruntime() {
    check_the_projects_model("cpu").await;
}

#[cfg(feature = "onnxruntime")]
#[needs(onnxruntime)]
#[tokio::test]
async fn the_sidecar_with_onnxruntime_matches_onnxruntime() {
    check_the_projects_model("onnxruntime").await;
}

#[cfg(feature = "onnxruntime")]
#[needs(onnxruntime, shared)]
#[tokio::test]
async fn the_shared_ptychonn_matches_with_onnxruntime() {
    check_the_shared_model("onnxruntime").await;
}

async fn check_the_projects_model(device: &str) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
    let names = ["amplitude", "phase"];
    let got = outputs(&model, device, "ptychonn_64_frames.npy", &names).await;
    for (values, name) in got
        .iter()
        .zip(["ptychonn_64_amplitude.npy", "ptychonn_64_phase.npy"])
    {
        let error = relative_error(values, &floats(name));
        assert!(error < 1e-4, "{name}: relative error {error}");
    }
}

#[needs(shared)]
#[tokio::test]
async fn the_shared_ptychonn_matches_onnxruntime() {
    check_the_shared_model("cpu").await;
}

async fn check_the_shared_model(device: &str) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/ptychoNN_8.onnx");
    let names = ["the only one"];
    let got = outputs(&model, device, "shared_ptychonn_8_input.npy", &names).await;
    let error = relative_error(&got[0], &floats("shared_ptychonn_8_output.npy"));
    assert!(error < 1e-4, "relative error {error}");
}
