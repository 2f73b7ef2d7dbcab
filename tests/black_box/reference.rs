//! Numbers checked against a reference that is not ours: onnxruntime's.

use crate::common::{Host, values};
use beamflow::driver::Datum;
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

/// Sends the frames of a stack through a sidecar on `model` and gives each output's values.
async fn outputs(model: &Path, frames: &str, names: &[&str]) -> Vec<Vec<f32>> {
    let stack = beamflow::stack::FrameStack::read(&data(frames)).unwrap();
    let host = Host::start(&["--model-path", model.to_str().unwrap()]).await;
    let mut driver = host.driver().await;
    let datums: Vec<Datum> = (0..stack.frames()).map(|k| stack.datum(k)).collect();
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
    assert!(scale > 0.0, "the reference is all zeros and proves nothing");
    let error = got
        .iter()
        .zip(reference)
        .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    error / scale
}

#[tokio::test]
async fn the_projects_model_gives_what_onnxruntime_gives() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
    let got = outputs(&model, "ptychonn_64_frames.npy", &["amplitude", "phase"]).await;
    for (values, name) in got
        .iter()
        .zip(["ptychonn_64_amplitude.npy", "ptychonn_64_phase.npy"])
    {
        let error = relative_error(values, &floats(name));
        assert!(error < 1e-4, "{name}: relative error {error}");
    }
}

#[tokio::test]
async fn the_shared_ptychonn_gives_what_onnxruntime_gives() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/ptychoNN_8.onnx");
    if !model.exists() {
        eprintln!("skipped: {} is absent", model.display());
        return;
    }
    let got = outputs(&model, "shared_ptychonn_8_input.npy", &["the only one"]).await;
    let error = relative_error(&got[0], &floats("shared_ptychonn_8_output.npy"));
    assert!(error < 1e-4, "relative error {error}");
}
