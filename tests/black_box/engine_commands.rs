//! The engine commands print correct figures: inspect, bench-engine, build-engine.

use std::process::{Command, Output};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .env("HTTP_ADDRESS", "off")
        .args(args)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn inspect_prints_the_tensors_and_the_batch() {
    let text = stdout(&run(&["inspect", MODEL]));
    for words in [
        "diffraction   input   f32  N×1×64×64",
        "phase        output   f32  N×1×64×64",
        "batch N: dynamic",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let text = stdout(&run(&[
        "inspect",
        "--json",
        "sim:size=32,batch=1:8:16,input=f16",
    ]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["input"]["element"], "f16");
    assert_eq!(json["batch"]["within"]["best"], 8);
}

#[test]
fn the_engine_bench_runs_every_lane_count_and_runs_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let model = "sim:size=16,batch=1:4:8,devices=2,compute=1ms";
    let text = stdout(&run(&[
        "bench-engine",
        model,
        "--lanes",
        "3",
        "--batches",
        "20",
        "--json",
        file.to_str().unwrap(),
    ]));
    assert!(text.contains("frames/s"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(json["batch"], 4);
    let runs = json["runs"].as_array().unwrap();
    let lanes: Vec<_> = runs
        .iter()
        .map(|run| run["lanes"].as_u64().unwrap())
        .collect();
    assert_eq!(lanes, [1, 2, 3]);
    for run in runs {
        // A device computes one batch per millisecond, so two devices compute at most two, with any number of
        // lanes.
        let rate = run["batches_per_second"].as_f64().unwrap();
        assert!(rate > 0.0 && rate <= 2000.0, "{run}");
        let frames = run["frames_per_second"].as_f64().unwrap();
        assert!((frames / rate - 4.0).abs() < 1e-6, "{run}");
        assert!(
            run["compute"]["p50_us"].as_f64().unwrap() >= 1000.0,
            "{run}"
        );
        assert!(
            run["cuda_graphs"].is_null(),
            "a simulated device knows no graphs"
        );
    }
}

#[test]
fn a_model_that_cannot_be_measured_is_an_error_in_one_line() {
    let output = run(&["bench-engine", "sim:size=16", "--output-size", "64x64"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("64x64") && text.lines().count() == 1,
        "{text}"
    );
}

#[cfg(not(any(feature = "tensorrt", feature = "tensorrt-rtx")))]
#[test]
fn a_build_without_tensorrt_says_so_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = folder.path().join("model.engine");
    std::fs::write(&engine, b"plan").unwrap();
    let engine = engine.to_str().unwrap();
    for args in [
        &["build-engine", MODEL, "-o", engine][..],
        &["inspect", engine],
        &["bench-engine", engine],
        &["--model-path", engine],
        &["--model-path", MODEL, "--device", "cuda"],
    ] {
        let output = run(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains("--features tensorrt"), "{args:?}: {text}");
    }
}
