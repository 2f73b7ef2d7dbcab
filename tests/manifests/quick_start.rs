//! `scripts/quick-start.sh` with fakes of Docker, kind, k3d and kubectl, which note how they are called. It was never run with
//! the real ones here.

use crate::manifests::documents::{read, root};
use beamflow_needs::needs;
use std::path::Path;
use std::process::{Command, Output};

/// What a fake does: it notes the call, and answers as a cluster whose third answer has frames.
const FAKE: &str = r#"#!/usr/bin/env bash
name=${0##*/}
[ "$name" = sleep ] || echo "$name $*" >> "$FAKES/calls"
case "$name $*" in
    *" get pods "*) echo pod/ptychography-reconstruct-0-x ;;
    *" get --raw "*)
        echo >> "$FAKES/asked"
        frames=0
        [ "$(wc -l < "$FAKES/asked")" -lt "${THIRD:-3}" ] || frames=42
        echo 'beamflow_frames_completed_total{outcome="failed"} 7'
        echo "beamflow_frames_completed_total{outcome=\"done\"} $frames"
        ;;
    "kind get clusters") printf '%s' "${CLUSTERS:-}" ;;
    "k3d cluster get "*) exit 1 ;;
    "docker build "*) exit "${BUILT:-0}" ;;
esac
"#;

/// Programs of the system that the script uses.
const REAL: [&str; 8] = [
    "bash", "cat", "dirname", "env", "grep", "head", "sed", "seq",
];

/// The script's output, and the calls of the fakes. `tools` are there.
fn quick_start(
    tools: &[&str],
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Output, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let fakes = folder.path().join("bin");
    std::fs::create_dir(&fakes).unwrap();
    for name in REAL.iter().chain(&["wc"]) {
        let places = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(name));
        let real = places.into_iter().find(|place| place.exists()).unwrap();
        std::os::unix::fs::symlink(real, fakes.join(name)).unwrap();
    }
    let fake = folder.path().join("fake");
    std::fs::write(&fake, FAKE).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&fake, mode).unwrap();
    for name in tools.iter().chain(&["sleep"]) {
        std::fs::copy(&fake, fakes.join(name)).unwrap();
    }
    let output = Command::new(root().join("scripts/quick-start.sh"))
        .args(arguments)
        .env_clear()
        .env("PATH", &fakes)
        .env("FAKES", folder.path())
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
    (output, calls.lines().map(str::to_owned).collect())
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// The lines that begin with a plus sign.
fn shown(output: &Output) -> Vec<String> {
    let text = said(output);
    let lines = text.lines().filter_map(|line| line.strip_prefix("+ "));
    lines
        .filter(|line| !line.starts_with("wait "))
        .map(str::to_owned)
        .collect()
}

/// Calls that change something.
fn deeds(calls: &[String]) -> Vec<&String> {
    calls
        .iter()
        .filter(|call| !call.contains(" get "))
        .collect()
}

const ALL: [&str; 3] = ["docker", "kubectl", "kind"];

#[test]
fn the_pipeline_is_deployed_and_its_cluster_removed_at_the_end() {
    let (output, calls) = quick_start(&ALL, &[], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let calls = deeds(&calls);
    let words = [
        "docker build --tag beamflow:",
        "kind create cluster --name beamflow",
        "kind load docker-image beamflow:",
        "create namespace numaflow-system",
        "/releases/download/v1.8.3/install.yaml",
        "rollout status deployment/numaflow-controller",
        "create namespace beamline",
        "--kustomize k8s/overlays/laptop",
        "port-forward pod/ptychography-reconstruct-0-x 9100",
        "kind delete cluster --name beamflow",
    ];
    assert_eq!(calls.len(), words.len(), "{calls:?}");
    for (call, words) in calls.iter().zip(words) {
        assert!(call.contains(words), "{call}");
        let elsewhere = call.starts_with("kubectl") && !call.contains("--context kind-beamflow ");
        assert!(!elsewhere, "another cluster is changed: {call}");
    }
    let said = said(&output);
    assert!(said.contains("\n42 frames are answered.\n"), "{said}");
    assert!(said.contains("http://localhost:9100"), "{said}");
    let version = format!("beamflow:{}", env!("CARGO_PKG_VERSION"));
    assert!(calls[0].ends_with(&format!("{version} .")), "{}", calls[0]);
    let overlay = read("k8s/overlays/laptop/kustomization.yaml");
    assert!(overlay.contains("simulated-detector"));
}

#[test]
fn a_dry_run_prints_every_command_and_runs_none() {
    let (done, calls) = quick_start(&ALL, &[], &[]);
    let (dry, none) = quick_start(&ALL, &["--dry-run"], &[]);
    assert!(dry.status.success(), "{}", said(&dry));
    assert!(none.is_empty(), "{none:?}");
    let printed: Vec<_> = shown(&dry)
        .iter()
        .map(|line| line.replace("pod/NAME", "pod/ptychography-reconstruct-0-x"))
        .collect();
    assert_eq!(printed, shown(&done));
    assert_eq!(printed.iter().collect::<Vec<_>>(), deeds(&calls));
    // Nothing needs to be installed for it.
    let (dry, _) = quick_start(&[], &["--dry-run"], &[]);
    assert!(dry.status.success(), "{}", said(&dry));
}

#[test]
fn k3d_does_where_there_is_no_kind() {
    let (output, calls) = quick_start(&["docker", "kubectl", "k3d"], &[], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let calls = deeds(&calls);
    for words in [
        "k3d cluster create beamflow",
        "k3d image import beamflow:",
        "--context k3d-beamflow apply",
        "k3d cluster delete beamflow",
    ] {
        assert!(calls.iter().any(|call| call.contains(words)), "{words}");
    }
}

#[test]
fn what_fails_leaves_no_cluster_behind() {
    let (output, calls) = quick_start(&ALL, &[], &[("THIRD", "1000")]);
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("no frame was answered"), "{text}");
    assert!(calls.last().unwrap().contains("kind delete cluster"));
    // The image comes first: without it there is nothing to remove.
    let (output, calls) = quick_start(&ALL, &[], &[("BUILT", "3")]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(deeds(&calls).len(), 1, "{calls:?}");
}

#[test]
fn a_cluster_that_was_there_or_is_to_stay_is_not_removed() {
    let (output, calls) = quick_start(&ALL, &[], &[("CLUSTERS", "other\nbeamflow\n")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(deeds(&calls).is_empty(), "{calls:?}");
    let text = said(&output);
    assert!(
        text.contains("there is a cluster named beamflow already"),
        "{text}"
    );
    let (output, calls) = quick_start(&ALL, &["--keep"], &[("CLUSTERS", "beamflow-2\n")]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        !calls.iter().any(|call| call.contains("delete")),
        "{calls:?}"
    );
}

#[test]
fn a_missing_tool_and_an_unknown_flag_are_named() {
    for (tools, words) in [
        (
            &["docker", "kubectl"][..],
            "neither kind nor k3d is installed",
        ),
        (&["kubectl", "kind"], "docker is not installed"),
        (&["docker", "kind"], "kubectl is not installed"),
    ] {
        let (output, calls) = quick_start(tools, &[], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(words), "{}", said(&output));
        assert!(deeds(&calls).is_empty(), "{calls:?}");
    }
    let (output, _) = quick_start(&ALL, &["--help"], &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).starts_with("usage: "));
}

#[needs(shellcheck)]
#[test]
fn shellcheck_finds_nothing() {
    let output = Command::new("shellcheck")
        .arg(root().join("scripts/quick-start.sh"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
