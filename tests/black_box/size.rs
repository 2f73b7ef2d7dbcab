//! `beamflow size`: the output shown in the README, JSON, and mistakes.

use std::process::{Command, Output};

fn size(flags: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .env_remove("RUST_LOG")
        .arg("size")
        .args(flags.split(' '))
        .output()
        .unwrap()
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let flags = "--frame-size 512x512 --batch-time 4ms --fps 1000,5000";
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("beamflow size {flags}\n")));
    let output = size(flags);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(readme.contains(&text), "{text}");
}

#[test]
fn json_holds_the_same_figures_and_what_does_not_fit() {
    let output = size("--frame-size 1024x1024 --batch-time 4ms --fps 10,1000 --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let at = |pointer: &str| json.pointer(pointer).unwrap().clone();
    assert_eq!(at("/messages/frame_bytes"), 2_097_152);
    assert_eq!(at("/messages/frame_fits"), false);
    assert_eq!(at("/messages/result_fits"), true);
    assert_eq!(at("/rates/1/device_load"), 0.5);
    assert_eq!(at("/rates/1/devices"), 1);
    let notes = at("/notes");
    let notes: Vec<_> = notes.as_array().unwrap().iter().collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].as_str().unwrap().contains("max_payload"));
    assert!(notes[1].as_str().unwrap().contains("At 10 frames/s"));
}

#[test]
fn a_read_batch_that_is_too_large_for_the_buffer_is_noted() {
    let notes = |read_batch: &str| {
        let flags = "--frame-size 512x512 --batch-time 4ms --fps 1000 --json --read-batch";
        let output = size(&format!("{flags} {read_batch}"));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["notes"].to_string()
    };
    // 64 × 512 KiB is 32 MiB.
    assert_eq!(notes("64"), "[]");
    let note = notes("65");
    for words in ["65 frames is 32.5 MiB", "limits.readBatchSize to 64"] {
        assert!(note.contains(words), "{note}");
    }
}

#[test]
fn a_mistake_is_one_line_and_exit_code_64() {
    for (flags, words) in [
        ("--fps 10", &["--batch-time", "is required"][..]),
        ("--fps 0 --batch-time 4ms", &["--fps", "'0'"]),
        ("--fps 10 --batch-time 4", &["--batch-time", "'4'", "ms"]),
        (
            "--fps 10 --batch-time 4ms --frame-size 32x32",
            &["--output-size", "'64x64'", "32x32"],
        ),
        (
            "--fps 10 --batch-time 4ms --max-payload 1GB",
            &["--max-payload", "'1GB'", "1MiB"],
        ),
    ] {
        let output = size(flags);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags}: {text}");
        assert_eq!(text.lines().count(), 1, "{flags}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
