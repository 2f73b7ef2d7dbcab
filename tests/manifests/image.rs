//! The Dockerfile and the files that it copies. Docker is not needed: the test copies the build context into a
//! folder and runs Cargo there.

use crate::manifests::documents::{read, root};
use beamflow_needs::needs;
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
    let build = lines.iter().find(|line| line.contains(" build --profile"));
    // `${FLAVOUR#cpu}` is empty for the flavour cpu, which has no feature of its own.
    for part in [
        r#"features="pva,hdf5,${FLAVOUR#cpu}""#,
        r#"--features "$features""#,
    ] {
        assert!(build.unwrap().contains(part), "{part}: {build:?}");
    }
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

/// Cargo compares times, and the target folder is that of every checkout on the builder: without new times it may take the
/// program of a newer one for that of these sources.
#[test]
fn no_build_finds_an_older_program_up_to_date() {
    let lines = instructions();
    let build = lines.iter().find(|line| line.contains(" build --profile"));
    let build = build.unwrap();
    let touched = build.find("find src crates models -type f -exec touch {} +");
    assert!(touched.unwrap() < build.find(" build --profile").unwrap());
    let mounts = lines.iter().flat_map(|line| line.split(' '));
    let caches = mounts.filter(|word| word.starts_with("--mount=type=cache"));
    let unlocked: Vec<_> = caches
        .filter(|mount| !mount.ends_with("sharing=locked"))
        .collect();
    assert!(unlocked.is_empty(), "{unlocked:?}");
}

#[test]
fn the_image_says_what_it_is_and_has_the_notices_of_its_crates() {
    let lines = instructions();
    let last = lines.iter().rposition(|line| line.starts_with("FROM "));
    let image = &lines[last.unwrap()..];
    let labels = image.iter().find(|line| line.starts_with("LABEL "));
    let version = concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"");
    for label in [version, "image.revision=", "image.licenses=\"Apache-2.0\""] {
        assert!(labels.unwrap().contains(label), "{label}: {labels:?}");
    }
    let notices = "COPY --from=build /out/THIRD-PARTY.txt /usr/share/doc/beamflow/".to_owned();
    assert!(image.contains(&notices), "{image:?}");
    // The base has no shell.
    assert!(!image.iter().any(|line| line.starts_with("RUN ")));
}

#[test]
fn packages_from_an_index_are_compared_with_their_hashes() {
    for list in ["scripts/tensorrt-rtx.txt", "scripts/onnxruntime-cuda.txt"] {
        let text = read(list);
        let packages = text.lines().filter(|line| !line.starts_with('#'));
        for package in packages.filter(|line| !line.is_empty()) {
            assert!(package.contains("--hash=sha256:"), "{list}: {package}");
        }
    }
    for script in ["fetch-tensorrt-rtx", "fetch-onnxruntime-cuda"] {
        let text = read(&format!("scripts/{script}.sh"));
        assert!(text.contains("--require-hashes"), "{script}");
    }
}

#[test]
fn the_flavour_tensorrt_is_built_only_where_its_libraries_are() {
    let lines = instructions();
    let stage = lines
        .iter()
        .position(|line| line.ends_with(" AS on-tensorrt"));
    let check = &lines[stage.unwrap() + 1];
    for library in [
        "libnvinfer.so.11",
        "libnvonnxparser.so.11",
        "libnvinfer_builder_resource",
    ] {
        assert!(check.contains(library), "{library}: {check}");
    }
    assert!(check.contains("exit 1"), "{check}");
}

#[needs(shellcheck)]
#[test]
fn shellcheck_finds_nothing_in_the_scripts_of_the_image() {
    let scripts = [
        "check-image",
        "fetch-onnxruntime-cuda",
        "fetch-tensorrt",
        "fetch-tensorrt-rtx",
        "third-party-notices",
    ];
    let output = Command::new("shellcheck")
        .args(scripts.map(|name| root().join(format!("scripts/{name}.sh"))))
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{found}");
}

/// Every argument that the script gives is one of the Dockerfile, and a dry run changes nothing.
#[test]
fn a_dry_run_of_the_images_check_prints_the_build_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("absent");
    let output = Command::new(root().join("scripts/check-image.sh"))
        .args(["--dry-run", "tensorrt-rtx"])
        .env("CHECK_IMAGE_FOLDER", &folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!folder.exists());
    let said = String::from_utf8(output.stdout).unwrap();
    let build = said.lines().find(|line| line.contains("docker build"));
    let words: Vec<_> = build.unwrap().split(' ').collect();
    let given = words.iter().zip(&words[1..]);
    let given = given.filter(|(flag, _)| **flag == "--build-arg");
    let given: Vec<_> = given.map(|(_, value)| *value).collect();
    assert!(given.contains(&"FLAVOUR=tensorrt-rtx"), "{given:?}");
    for (name, _) in given.iter().filter_map(|value| value.split_once('=')) {
        let declared = |line: &String| {
            let name_of = |rest: &str| rest.split('=').next() == Some(name);
            line.strip_prefix("ARG ").is_some_and(name_of)
        };
        assert!(instructions().iter().any(declared), "{name}");
    }
}
