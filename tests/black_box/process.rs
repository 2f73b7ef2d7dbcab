//! The program as Kubernetes sees it: exit codes, one-line errors, signals, files.

use crate::black_box::common::{MODES, NEVER, SIM, assert_result, good};
use beamflow::commands::child::ChildSidecar;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// The program without environment variables of this machine.
fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    // With a fixed port only the first process could listen.
    command.env("HTTP_ADDRESS", "off");
    for name in [
        "MODE",
        "MODEL_PATH",
        "BATCH_SIZE",
        "OUTPUT_SIZE",
        "DEBUG",
        "RUST_LOG",
    ] {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_mistake_in_a_flag_is_one_line_and_exit_code_64() {
    for (args, words) in [
        (
            &["--mode", "fast"][..],
            &["--mode", "'fast'", "pipelined"][..],
        ),
        (&["--bsz-size", "0"], &["--bsz-size", "'0'", "1 to 4096"]),
        (&["--output-size", "64"], &["--output-size", "'64'"]),
        (
            &["--frame-dtype", "int12"],
            &["--frame-dtype", "'int12'", "int16"],
        ),
        (&["--nonsense"], &["--nonsense"]),
        (&["--model-path", "sim:warp=9"], &["--model-path", "warp"]),
        (
            &["--model-path", "model.h5"],
            &["--model-path", "'model.h5'", ".onnx"],
        ),
        (
            &["--model-path", "sim:size=8x8"],
            &["--output-size", "64x64", "full"],
        ),
        (
            &[
                "--model-path",
                "sim:size=8x8,batch=4",
                "--output-size",
                "full",
            ],
            &["--bsz-size", "'8'", "4"],
        ),
    ] {
        let output = run(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        assert!(
            words.iter().all(|word| text.contains(word)),
            "{args:?}: {text}"
        );
    }
}

#[cfg(not(feature = "pva"))]
#[test]
fn a_build_without_pva_says_how_to_get_it() {
    let output = run(&["simulate-ioc", "--fps", "10"]);
    assert_eq!(output.status.code(), Some(64));
    let text = stderr(&output);
    assert!(
        text.lines().count() == 1 && text.contains("--features pva"),
        "{text}"
    );
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(!help.contains("simulate-ioc"), "{help}");
}

#[test]
fn a_wrong_environment_variable_is_like_a_wrong_flag() {
    let output = program().env("BATCH_SIZE", "lots").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        stderr(&output).contains("BATCH_SIZE: 'lots'"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_model_that_cannot_be_loaded_is_named_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.onnx");
    std::fs::write(&garbage, b"this is no model").unwrap();
    for path in [
        garbage.to_str().unwrap(),
        "/nowhere/model.onnx",
        "/nowhere/model.trt",
    ] {
        let output = run(&["--model-path", path]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(
            stderr(&output).contains(path),
            "{path}: {}",
            stderr(&output)
        );
        assert!(
            !stderr(&output).contains("panicked"),
            "{path}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn print_config_shows_every_setting_and_its_origin() {
    let output = program()
        .env("PIPELINE_DEPTH", "5")
        .env("PVA_QUEUE_SIZE", "100")
        .args(["--bsz-size", "16", "--print-config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let words = |flag: &str| -> Vec<String> {
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(flag));
        line.unwrap_or_else(|| panic!("{flag} is missing: {text}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words("--bsz-size"), ["--bsz-size", "16", "flag"]);
    assert_eq!(
        words("--pipeline-depth"),
        ["--pipeline-depth", "5", "PIPELINE_DEPTH"]
    );
    assert_eq!(words("--mode"), ["--mode", "pipelined", "default"]);
    assert_eq!(
        words("--queue-size"),
        ["--queue-size", "100", "PVA_QUEUE_SIZE"]
    );
}

fn sidecar(folder: &Path, flags: &[&str]) -> ChildSidecar {
    let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
    ChildSidecar::start(Path::new(PROGRAM), folder, &flags).unwrap()
}

#[tokio::test]
async fn sigterm_in_mid_call_finishes_the_call_answers_it_and_exits_0() {
    // A stream is not read to its end: see `streams`.
    for mode in ["sequential", "concurrent", "pipelined"] {
        let folder = tempfile::tempdir().unwrap();
        let flags = [
            "--debug",
            "--mode",
            mode,
            "--model-path",
            SIM,
            "--output-size",
            "full",
        ];
        let mut sidecar = sidecar(folder.path(), &flags);
        let mut driver = sidecar.connect().await.unwrap();
        for k in 0..11 {
            driver.send_datum(good(k)).await.unwrap();
        }
        // SIGTERM ends a stream between calls; this stream must be within one.
        let begun = || sidecar.log().contains("A call begins");
        crate::black_box::common::eventually("the call", begun).await;
        let stopping = tokio::spawn(sidecar.stop());
        // A draining sidecar reports that it is not ready; an error means the same.
        while driver.is_ready().await.unwrap_or(false) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        for k in 11..20 {
            driver.send_datum(good(k)).await.unwrap();
        }
        driver.end_of_transmission().await.unwrap();
        let answer = driver.answer().await.unwrap();
        (0..20).for_each(|k| assert_result(&answer, k));
        drop(driver);
        tokio::time::timeout(NEVER, stopping)
            .await
            .unwrap()
            .unwrap()
            .unwrap_or_else(|error| panic!("{mode}: {error}"));
        for name in ["batchmap.sock", "mapper-server-info"] {
            assert!(
                !folder.path().join(name).exists(),
                "{mode}: {name} is left behind"
            );
        }
    }
}

#[tokio::test]
async fn abort_ends_the_process_with_code_1_before_any_answer_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let model = format!("{SIM},error=1+2");
    let flags = [
        "--mode",
        "sequential",
        "--model-path",
        &model,
        "--output-size",
        "full",
        "--on-failure",
        "abort",
    ];
    let mut sidecar = sidecar(folder.path(), &flags);
    let mut driver = sidecar.connect().await.unwrap();
    let answer = driver.call(futures::stream::iter((0..9).map(good))).await;
    assert!(answer.is_err(), "an answer was sent: {answer:?}");
    let ended = sidecar.stop().await.unwrap_err().to_string();
    assert!(ended.contains("exit status: 1"), "{ended}");
    assert!(ended.contains("--on-failure is abort"), "{ended}");
}

#[tokio::test]
async fn nothing_is_announced_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let mut sidecar = sidecar(folder.path(), &["--model-path", "/nowhere/model.onnx"]);
    let error = sidecar.connect().await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/model.onnx"), "{error}");
    assert!(!folder.path().join("mapper-server-info").exists());
    assert!(!folder.path().join("batchmap.sock").exists());
}

#[tokio::test]
async fn each_call_is_logged_and_small_read_batches_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--model-path",
        SIM,
        "--output-size",
        "full",
        "--output-dtype",
        "float32",
    ];
    let mut sidecar = sidecar(folder.path(), &flags);
    let mut driver = sidecar.connect().await.unwrap();
    for _ in 0..30 {
        crate::black_box::common::call(&mut driver, 8).await;
    }
    driver.finish().await.unwrap();
    sidecar.stop().await.unwrap();
    let log = std::fs::read_to_string(folder.path().join("sidecar.log")).unwrap();
    let calls: Vec<_> = log
        .lines()
        .filter(|line| line.contains("A read batch is answered"))
        .collect();
    assert_eq!(calls.len(), 30, "{log}");
    for word in [
        "frames=8",
        "batches=1",
        "rejected=0",
        "failed=0",
        "collection_ms=",
        "inference_ms=",
        "total_ms=",
    ] {
        assert!(calls[0].contains(word), "{}", calls[0]);
    }
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("raise limits.readBatchSize"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("32"), "{}", warnings[0]);
    assert!(log.contains("SIMULATED"), "{log}");
}

#[test]
fn the_demo_reconstructs_in_every_mode_and_draws_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("demo.png");
    let output = run(&[
        "demo",
        "--points",
        "8",
        "--picture",
        picture.to_str().unwrap(),
    ]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(MODES.iter().all(|mode| text.contains(mode)), "{text}");
    assert!(text.contains("bit-identical"), "{text}");
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
}

#[cfg(all(feature = "pva", feature = "hdf5"))]
#[test]
fn the_live_demo_runs_a_whole_beamline() {
    let folder = tempfile::tempdir().unwrap();
    let (picture, results) = (
        folder.path().join("demo.png"),
        folder.path().join("results"),
    );
    let output = run(&[
        "demo",
        "--live",
        "--points",
        "8",
        "--picture",
        picture.to_str().unwrap(),
        "--results",
        results.to_str().unwrap(),
    ]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(
        text.contains("The mosaic grows at http://127.0.0.1:"),
        "{text}"
    );
    let (_, table) = text.split_once("without position\n").unwrap();
    let row: Vec<_> = table.split_whitespace().take(3).collect();
    // Each output to each of the two sinks.
    assert_eq!((row[0], row[2]), ("64", "256"), "{text}");
    let (_, error) = text.split_once("a median error of ").unwrap();
    let error: f64 = error.split(' ').next().unwrap().parse().unwrap();
    assert!(error < 0.18, "{text}");
    assert!(std::fs::read(&picture).unwrap().starts_with(b"\x89PNG"));
    let names: Vec<_> = std::fs::read_dir(&results)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert!(names.len() == 1 && names[0].ends_with(".h5"), "{names:?}");
    assert!(text.contains(&names[0]), "{text}");
}

#[tokio::test]
async fn send_drives_a_running_sidecar_and_saves_what_numpy_can_read() {
    for (mode, in_flight) in [
        ("pipelined", "--read-batch"),
        ("streaming", "--concurrency"),
    ] {
        send_in(mode, in_flight).await;
    }
}

async fn send_in(mode: &str, in_flight: &str) {
    let folder = tempfile::tempdir().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");
    // One batch shape: only then are the results of a real model the same to the bit.
    let flags = ["--model-path", model, "--mode", mode, "--batch-wait", "1s"];
    let mut sidecar = sidecar(folder.path(), &flags);
    drop(sidecar.connect().await.unwrap());
    let frames = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/ptychonn_64_frames.npy"
    );
    let results = folder.path().join("results");
    let output = tokio::process::Command::new(PROGRAM)
        .args(["send", "--frames", frames, "--count", "20", in_flight, "12"])
        .arg("--sock-path")
        .arg(folder.path().join("batchmap.sock"))
        .arg("--save")
        .arg(&results)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert!(text.contains("20 frames of 64x64 int16 in"), "{text}");
    // Frame 8 is frame 0 of the stack of eight, which starts again.
    let phase = |k: usize| std::fs::read(results.join(format!("{k}.phase.npy"))).unwrap();
    assert_eq!(crate::black_box::common::values(&phase(0)).len(), 64 * 64);
    assert_eq!(phase(0), phase(8));
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 40);
    sidecar.stop().await.unwrap();
}
