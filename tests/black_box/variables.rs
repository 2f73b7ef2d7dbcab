//! Settings as pods have them: blank, with line breaks, with the variables of other programs, in one argument.

use crate::black_box::common::ended;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// Runs the program with these variables and no others but the path of the machine's programs.
async fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(args);
    command.envs(variables.iter().copied());
    let Output {
        status,
        stdout,
        stderr,
    } = ended(command).await;
    let told = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    (status.code(), told.into_owned())
}

/// The value and the origin of a setting in the output of --print-config.
fn setting<'t>(told: &'t str, flag: &str) -> Vec<&'t str> {
    let mut lines = told.lines().map(str::split_whitespace);
    let line = lines.find(|line| line.clone().next() == Some(flag));
    line.map(|words| words.skip(1).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn settings_as_templates_write_them_are_understood() {
    let variables = [
        ("TENSORRT_PATH", ""),
        ("BATCH_SIZE", ""),
        ("OUTPUT_NAMES", " \n"),
        ("ON_INVALID", "tag:rejected\n"),
        ("DEBUG", "false\n"),
        ("SPIN", "off "),
        ("MODE", "Sequential\n"),
        ("PIPELINE_DEPTH", "5\n"),
    ];
    let (code, told) = run(&["--print-config", "--precision", ""], &variables).await;
    assert_eq!(code, Some(0), "{told}");
    for (flag, expected) in [
        ("--bsz-size", &["8", "default"][..]),
        ("--tensorrt-path", &[]),
        ("--output", &[]),
        ("--precision", &["fp32", "default"]),
        ("--on-invalid", &["tag:rejected", "ON_INVALID"]),
        ("--debug", &["false", "DEBUG"]),
        ("--spin", &["false", "SPIN"]),
        ("--pipeline-depth", &["5", "PIPELINE_DEPTH"]),
    ] {
        assert_eq!(setting(&told, flag), expected, "{flag}: {told}");
    }
}

#[tokio::test]
async fn a_mistake_in_a_variable_is_one_line_that_names_it() {
    for (variables, words) in [
        (
            ("BATCH_SIZE", "x"),
            &["BATCH_SIZE: 'x' is not allowed: use auto"][..],
        ),
        (
            ("DEBUG", "disabled"),
            &["DEBUG: 'disabled' is not allowed: use yes or no"],
        ),
        (("NO_PICTURES", "none"), &["NO_PICTURES: 'none'"]),
        (
            ("BATCH_TIMEOUT", "100m"),
            &[
                "BATCH_TIMEOUT: '100m'",
                "ms (milliseconds)",
                "min (minutes)",
            ],
        ),
        (
            ("ON_INVALID", "tag:a\nb"),
            &["ON_INVALID: 'tag:a\\nb'", "line breaks"],
        ),
        // Only the model can tell that its outputs are smaller.
        (
            ("OUTPUT_SIZE", "99x99"),
            &["OUTPUT_SIZE: '99x99' is not allowed: "],
        ),
    ] {
        let (code, told) = run(
            &["--model-path", "sim:size=8x8"],
            &[variables, ("HTTP_ADDRESS", "off")],
        )
        .await;
        let last = told.lines().last().unwrap();
        assert_eq!(code, Some(64), "{told}");
        for word in words {
            assert!(last.contains(word), "no {word:?} in: {last}");
        }
    }
    let (code, told) = run(
        &[
            "--output",
            "y,y",
            "--model-path",
            "sim:size=8x8",
            "--output-size",
            "full",
        ],
        &[("HTTP_ADDRESS", "off")],
    )
    .await;
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("--output: 'y' is not allowed"), "{told}");
}

#[tokio::test]
async fn variables_of_other_programs_stop_no_command() {
    let foreign = [
        ("MODE", "production"),
        ("DEVICE", "cuda:0"),
        ("DEVICES", "gpu"),
        ("PRECISION", "double"),
        ("DEBUG", "*"),
        ("LOG_FORMAT", "pretty"),
        ("BATCH_SIZE", "many"),
        ("OUTPUT_SIZE", "large"),
        ("RUST_LOG", "a=b=c[["),
    ];
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("demo.png");
    let picture = picture.to_str().unwrap();
    for args in [
        &["inspect", model][..],
        &["size", "--fps", "10", "--batch-time", "4ms"],
        &[
            "bench-engine",
            "sim:size=4x4",
            "--batches",
            "2",
            "--lanes",
            "1",
        ],
        &[
            "bench",
            "--frame-sizes",
            "8x8",
            "--modes",
            "sequential",
            "--rounds",
            "1",
            "--turn",
            "10ms",
        ],
        // Its sidecars are processes of their own.
        &["demo", "--points", "4", "--picture", picture],
    ] {
        let (code, told) = run(args, &foreign).await;
        assert_eq!(code, Some(0), "{args:?}: {told}");
    }
    // The source has a log of its own, and serves in a pod.
    let (code, told) = run(&["simulate-source"], &[("LOG_FORMAT", "pretty")]).await;
    assert_eq!(code, Some(64), "{told}");
    assert!(told.starts_with("beamflow: LOG_FORMAT: 'pretty'"), "{told}");
}

#[tokio::test]
async fn an_argument_with_a_space_in_it_is_shown_whole() {
    for (args, words) in [
        (
            &["--bsz-size 8"][..],
            &["'--bsz-size 8' is one argument", "two list items"][..],
        ),
        (
            &["--batch-size", "8"],
            &["--batch-size", "did you mean --bsz-size?"],
        ),
        (&["--mode pipelined --debug"], &["a list item of its own"]),
    ] {
        let (code, told) = run(args, &[]).await;
        assert_eq!((code, told.lines().count()), (Some(64), 1), "{told}");
        for word in words {
            assert!(told.contains(word), "no {word:?} in: {told}");
        }
    }
}
