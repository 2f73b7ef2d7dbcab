//! The Dockerfile and the files that it copies. Docker is not needed: the test copies the build context into a
//! folder and runs Cargo there.

use crate::manifests::documents::{read, root};
use std::path::Path;
use std::process::Command;

/// The Dockerfile's instructions, each on one line, comments left out.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile");
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

/// Sources and target folder of each COPY from the build context, in the stage named `stage` or in all stages.
fn copied(stage: Option<&str>) -> Vec<(Vec<String>, String)> {
    let mut current = String::new();
    let mut found = Vec::new();
    for line in instructions() {
        if let Some(from) = line.strip_prefix("FROM ") {
            current = from.split(" AS ").nth(1).unwrap_or("").to_owned();
        }
        let Some(words) = line
            .strip_prefix("COPY ")
            .filter(|words| !words.starts_with("--from"))
        else {
            continue;
        };
        let mut words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        let folder = words.pop().unwrap();
        if stage.is_none_or(|stage| stage == current) {
            found.push((words, folder));
        }
    }
    found
}

/// Whether `path` is in the build context. Supports only the two kinds of pattern that are used.
fn is_sent(path: &str) -> bool {
    let mut sent = true;
    for pattern in read(".dockerignore")
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        match pattern.strip_prefix('!') {
            None => {
                assert_eq!(pattern, "*");
                sent = false;
            }
            Some(kept) => {
                assert!(!kept.contains('*'), "{pattern}");
                sent |= Path::new(path).starts_with(kept);
            }
        }
    }
    sent
}

/// Copies a file or a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn all_files_of_the_image_are_sent_to_the_builder() {
    let all = copied(None);
    assert!(all.len() >= 3, "{all:?}");
    for (sources, _) in all {
        for source in sources {
            assert!(root().join(&source).exists(), "{source} is absent");
            assert!(is_sent(&source), "{source} is not in the build context");
        }
    }
    assert!(!is_sent(".git/config") && !is_sent("target/release/beamflow"));
}

#[test]
fn cargo_can_build_from_what_the_image_copies() {
    let context = tempfile::tempdir().unwrap();
    for (sources, folder) in copied(Some("build")) {
        for source in sources {
            // COPY copies the contents of a folder, not the folder.
            let from = root().join(&source);
            let target = context.path().join(&folder);
            let to = if from.is_dir() {
                target
            } else {
                target.join(from.file_name().unwrap())
            };
            copy(&from, &to);
        }
    }
    let output = Command::new(env!("CARGO"))
        .args(["fetch", "--offline", "--locked"])
        .current_dir(context.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // Files that the source includes at compile time.
    assert!(context.path().join("models/ptychonn_64.onnx").exists());
}

#[test]
fn the_image_runs_as_nobody_and_builds_no_engine() {
    let lines = instructions();
    let last_stage = lines
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .unwrap();
    let last_stage = &lines[last_stage..];
    assert_eq!(last_stage[0], "FROM on-${FLAVOUR}");
    assert!(
        last_stage.contains(&"USER 65532:65532".to_owned()),
        "{last_stage:?}"
    );
    assert!(last_stage.contains(&r#"ENTRYPOINT ["/usr/local/bin/beamflow"]"#.to_owned()));
    for line in &lines {
        assert!(
            !line.contains("build-engine") && !line.contains("bench-engine"),
            "{line}"
        );
    }
}

/// The figures in docs/reliability.md were measured with this setting; the last stage is the image.
#[test]
fn the_image_sets_the_heap_as_the_guide_says() {
    let lines = instructions();
    let last = lines.iter().rposition(|line| line.starts_with("FROM "));
    let image = &lines[last.unwrap()..];
    let set = image.iter().find_map(|line| line.strip_prefix("ENV "));
    let set = set.unwrap();
    assert!(set.starts_with("GLIBC_TUNABLES="), "{set}");
    for document in ["docs/operations.md", "docs/reliability.md"] {
        assert!(read(document).contains(set), "{document}: {set}");
    }
}

#[test]
fn every_flavour_has_a_stage_and_a_feature() {
    let lines = instructions();
    let stages = lines.iter().filter_map(|line| line.split(" AS on-").nth(1));
    let mut stages: Vec<_> = stages.collect();
    stages.sort_unstable();
    assert_eq!(stages, ["cpu", "onnxruntime", "tensorrt", "tensorrt-rtx"]);
    let manifest = read("Cargo.toml");
    for feature in ["onnxruntime", "tensorrt", "tensorrt-rtx"] {
        assert!(manifest.contains(&format!("\n{feature} = [")), "{feature}");
    }
}

#[test]
fn every_flavour_has_the_epics_commands_and_their_licence_and_hdf5() {
    let lines = instructions();
    let build = lines.iter().find(|line| line.contains("cargo build"));
    // `${FLAVOUR#cpu}` is empty for the flavour cpu, which has no feature of its own.
    let features = r#"--features "pva,hdf5,${FLAVOUR#cpu}""#;
    assert!(build.unwrap().contains(features), "{build:?}");
    for feature in ["pva", "hdf5"] {
        assert!(
            read("Cargo.toml").contains(&format!("\n{feature} = [")),
            "{feature}"
        );
    }
    let last = lines.iter().rposition(|line| line.starts_with("FROM "));
    let image = &lines[last.unwrap()..];
    let licences = "COPY LICENSE LICENSES /usr/share/doc/beamflow/".to_owned();
    assert!(image.contains(&licences), "{image:?}");
    assert!(root().join("LICENSES/EPICS.txt").exists());
    assert!(is_sent("LICENSES/EPICS.txt"));
}
