//! Tests that need something of the machine: where it is missing, they are ignored and not passed.
//!
//! ```text
//! #[needs(promtool, shared)]
//! #[test]
//! fn every_alert_fires() { … }
//! ```
//!
//! The attribute becomes `#[ignore = "promtool is not installed"]` where something is missing, so that the test
//! runner's summary counts the test as ignored. The check happens when the test is compiled: after an installation,
//! touch the file of the test.

#![forbid(unsafe_code)]
#![deny(unreachable_pub)]

use proc_macro::TokenStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Ignores a test where one of the named things is missing, with the reason of the first.
///
/// | name | needed |
/// |---|---|
/// | `chromedriver`, `docker`, `kubectl`, `promtool`, `shellcheck`, `taskset`, `unshare` | the program, on `PATH` |
/// | `onnxruntime` | `ORT_DYLIB_PATH` names its library |
/// | `tensorrt` | `TENSORRT_PATH` names the folder with its libraries |
/// | `pva_peers` | `BEAMFLOW_PYTHON` names a Python that has p4p and pvapy; scripts/pva-peers.sh makes one |
/// | `shared` | `../shared`, beside the repository |
/// | `mounts` | a file system can be mounted in a namespace of its own |
/// | `memory_limits` | a control group with a memory limit can be made |
/// | `no_gpu` | no NVIDIA driver |
/// | `other_user` | the tests run as root, and another user can read the repository |
#[proc_macro_attribute]
pub fn needs(names: TokenStream, test: TokenStream) -> TokenStream {
    let names = names.to_string();
    let mut names = names.split(',').map(str::trim);
    let attribute = match names.find_map(|name| missing(name).transpose()) {
        None => String::new(),
        Some(Ok(reason)) => format!("#[ignore = {reason:?}]"),
        Some(Err(name)) => format!("::core::compile_error!(\"{name}: no test can need this\");"),
    };
    // The parts are literals of this crate, which are tokens.
    let mut tokens: TokenStream = attribute.parse().unwrap_or_default();
    tokens.extend(test);
    tokens
}

/// Why there is no `name`; nothing if it is there; the name as an error if it is none of the table.
fn missing(name: &str) -> Result<Option<String>, &str> {
    let (there, reason) = match name {
        "chromedriver" | "docker" | "kubectl" | "promtool" | "shellcheck" | "taskset"
        | "unshare" => (is_installed(name), format!("{name} is not installed")),
        "onnxruntime" => names_a_path("ORT_DYLIB_PATH"),
        "tensorrt" => names_a_path("TENSORRT_PATH"),
        "pva_peers" => names_a_path("BEAMFLOW_PYTHON"),
        "shared" => (
            root().join("../shared").is_dir(),
            "../shared is absent".to_owned(),
        ),
        "mounts" => (can_mount(), "no file system can be mounted here".to_owned()),
        "memory_limits" => (
            can_limit_memory(),
            "no control group with a memory limit can be made here".to_owned(),
        ),
        "no_gpu" => (
            !Path::new("/proc/driver/nvidia").exists(),
            "there is an NVIDIA driver here".to_owned(),
        ),
        "other_user" => (
            can_be_another_user(),
            "no program of the repository can be run as another user here".to_owned(),
        ),
        other => return Err(other),
    };
    Ok((!there).then_some(reason))
}

/// The package of the test.
fn root() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_default()
        .into()
}

fn names_a_path(variable: &str) -> (bool, String) {
    let named = std::env::var_os(variable).is_some_and(|path| Path::new(&path).exists());
    (named, format!("{variable} names no path"))
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn can_be_another_user() -> bool {
    let mut test = Command::new("test");
    test.arg("-r").arg(root().join("Cargo.toml"));
    let status = test.uid(65532).gid(65532).current_dir("/").status();
    status.is_ok_and(|status| status.success())
}

fn can_mount() -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--user", "--map-root-user"]);
    unshare.args(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/tmp"]);
    let status = unshare.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Tries it: whether the folder may be written says too little.
fn can_limit_memory() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = |kind: &str| {
        let line = groups.lines().find_map(|line| line.split_once(kind));
        line.map_or("", |(_, path)| path.trim_start_matches('/'))
            .to_owned()
    };
    let (v1, v2) = (
        Path::new("/sys/fs/cgroup/memory"),
        Path::new("/sys/fs/cgroup"),
    );
    let places = [
        (v1.join(own(":memory:")), "memory.limit_in_bytes"),
        (v1.to_owned(), "memory.limit_in_bytes"),
        (v2.join(own("0::")), "memory.max"),
        (v2.to_owned(), "memory.max"),
    ];
    places.iter().any(|(parent, limit)| {
        let group = parent.join(format!("beamflow-needs-{}", std::process::id()));
        // Only a file of the kernel's makes a limit.
        let made = std::fs::create_dir(&group).is_ok();
        let limited = made && group.join(limit).exists();
        made && std::fs::remove_dir(&group).is_ok() && limited
    })
}
