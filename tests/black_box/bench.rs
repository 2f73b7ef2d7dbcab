//! `beamflow bench` measures the named cases, checks every response, and writes figures that can be compared.

use beamflow::commands::bench::BenchReport;
use std::path::Path;
use std::process::{Command, Output};

fn bench(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .current_dir(folder)
        .arg("bench")
        .args(["--rounds", "2", "--turn", "20ms", "--read-batch", "32"])
        .args(flags)
        .output()
        .unwrap()
}

#[test]
fn every_case_is_measured_and_can_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--frame-sizes", "16x16,8x24", "--depths", "1,2"];
    let vertex = ["--read-ahead", "2"];
    let first = bench(
        folder.path(),
        &[&flags[..], &vertex, &["--json", "old.json"]].concat(),
    );
    let text = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.status.success(), "{text}{first:?}");
    let json = std::fs::read_to_string(folder.path().join("old.json")).unwrap();
    let report: BenchReport = serde_json::from_str(&json).unwrap();
    assert_eq!(report.frames(), ["16x16", "8x24"]);
    let subjects: Vec<_> = report
        .of_frame("16x16")
        .map(|c| c.subject.as_str())
        .collect();
    let expected = [
        "sequential × 8",
        "concurrent × 8",
        "pipelined 1 × 8",
        "pipelined 2 × 8",
        "streaming 1 × 8",
        "streaming 2 × 8",
    ];
    assert_eq!(subjects, expected);
    for case in &report.cases {
        assert_eq!(case.rounds.len(), 2);
        for round in &case.rounds {
            assert!(
                round.frames_per_second > 0.0 && round.resident_bytes > 0,
                "{case:?}"
            );
            assert!(round.call_seconds_p50 <= round.call_seconds_p99);
            assert!(round.vertex_frames_per_second.unwrap() > 0.0);
        }
    }

    let vertex = "as a whole vertex, read batches in hand: 2";
    assert!(text.contains(vertex), "{text}");

    let files = ["--compare", "old.json"];
    let second = bench(folder.path(), &[&flags[..2], &files].concat());
    let text = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(text.contains("against the older figures"), "{text}");
    assert!(!text.contains("as a whole vertex"), "{text}");
}

#[test]
fn a_peer_that_answers_another_frames_result_is_caught() {
    let folder = tempfile::tempdir().unwrap();
    // A peer whose device fails once, so that a frame that had a result before is dropped.
    let peer = format!(
        "flaky={} --http-address off --mode sequential --model-path sim:size=8x8,error=5+6 --output-size full --on-failure drop",
        env!("CARGO_BIN_EXE_beamflow")
    );
    let flags = [
        "--frame-sizes",
        "8x8",
        "--modes",
        "sequential",
        "--peer",
        &peer,
    ];
    let output = bench(folder.path(), &flags);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("flaky: the response to frame"), "{text}");
}

#[test]
fn unreadable_figures_are_refused_with_file_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.json"), "{}").unwrap();
    let output = bench(folder.path(), &["--compare", "old.json"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("old.json") && text.contains("--json"),
        "{text}"
    );
}
