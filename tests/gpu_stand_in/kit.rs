//! `scripts/gpu-kit.sh`, built and run here with the stand-in driver instead of a card.

use crate::fixture::{needs_the_stand_in_driver, program};
use std::path::Path;
use std::process::Command;

#[test]
fn the_gpu_kit_runs_every_part_and_reports_it() {
    needs_the_stand_in_driver!("it is run by the kit");
    let folder = tempfile::tempdir().unwrap();
    let (kit, out) = (folder.path().join("kit"), folder.path().join("out"));
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-kit.sh");
    let mut build = Command::new(build);
    build
        .arg("build")
        .arg(&kit)
        .env("BEAMFLOW", program())
        .env("GPU_STAND_IN_TESTS", std::env::current_exe().unwrap())
        .env("XZ_OPT", "-0");
    succeeds(&mut build);
    let mut run = Command::new(kit.join("gpu-kit.sh"));
    run.arg("run").args([&kit, &out]).arg("--dry-run");
    let printed = succeeds(run.current_dir("/"));

    let report = std::fs::read(out.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["failed"], 0, "{printed}");
    let parts = report["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 11, "{printed}");
    let figures = |title: &str, pointer: &str| {
        let part = parts.iter().find(|part| part["title"] == title).unwrap();
        let figure = part["figures"].pointer(pointer);
        figure
            .unwrap_or_else(|| panic!("{title}: no {pointer} in {part}"))
            .clone()
    };
    // Tests ran in the same way as on a card: some were skipped.
    assert!(
        figures("Faults", "/passed").as_u64() >= Some(3),
        "{printed}"
    );
    let skipped = figures("Results, graphs, commands", "/skipped");
    assert!(skipped.as_u64() >= Some(1), "{printed}");
    for (title, pointer) in [
        ("What the card and its driver do", "/0/value"),
        (
            "Engine bench, nothing to compute",
            "/64-f32/runs/7/frames_per_second",
        ),
        ("Modes, 512 x 512 f16, 700 us a batch", "/pipelined"),
        ("Memory", "/resident_growth_kib"),
    ] {
        assert!(figures(title, pointer).is_number(), "{printed}");
    }
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(text.contains("0 of 11 parts failed."), "{text}");
    assert!(out.join("logs.tar.gz").exists());
}

#[test]
fn a_part_that_takes_too_long_is_cut_off_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let script = "set -uo pipefail; . \"$0\"; report_begin . Title; part 1 Slow sleep 60; part 60 Quick true; report_end";
    let report = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu-report.sh");
    let ended = Command::new("bash")
        .args(["-c", script])
        .arg(report)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["parts"][0]["ended"], "cut off at 1 s");
    assert_eq!(report["parts"][1]["ended"], "passed");
    assert_eq!(report["failed"], 1);
}

/// Runs a command that must succeed; returns its output.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}
