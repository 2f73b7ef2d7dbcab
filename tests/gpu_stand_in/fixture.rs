//! Building the stand-in, once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The headers of the TensorRT-RTX that the feature `tensorrt-rtx` is compiled for.
const HEADERS: &str = "TensorRT-Headers/TRT-RTX-1.7";

/// The folder with the stand-in's libraries, built if they are not there or older than their sources.
pub fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand_in");
        std::fs::create_dir_all(&folder).unwrap();
        // Test runners that start a process for each test meet here.
        let lock = std::fs::File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let (headers, stamp) = (headers(), folder.join("stamp"));
        let wanted = fingerprint(&headers);
        if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            build(&headers, &folder);
            std::fs::write(&stamp, wanted).unwrap();
        }
        folder
    })
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in")
}

/// Which headers, and which sources as of when.
fn fingerprint(headers: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(sources())
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| {
            let changed = file.metadata().unwrap().modified().unwrap();
            format!("{:?} {changed:?}", file.file_name())
        })
        .collect();
    files.sort();
    format!("{}\n{}", headers.display(), files.join("\n"))
}

/// The headers lie in the package of the binding, wherever cargo keeps that.
fn headers() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        // Packages that only other systems need are not there when offline.
        .args(["--filter-platform", "host-tuple"])
        .args(["--features", "tensorrt-rtx"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let binding = packages.iter().find(|p| p["name"] == "trtx-sys").unwrap();
    let manifest = Path::new(binding["manifest_path"].as_str().unwrap());
    let headers = manifest.parent().unwrap().join(HEADERS);
    assert!(headers.is_dir(), "there are no {}", headers.display());
    headers
}

fn build(headers: &Path, folder: &Path) {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let found = Command::new(&compiler).arg("--version").output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "these tests need a C++ compiler, as the binding to TensorRT does, and {compiler} cannot be run: install g++ \
         or clang, or name one with CXX"
    );
    let output = Command::new("sh")
        .arg(sources().join("build.sh"))
        .args([headers, folder])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the stand-in's build.sh: {said}");
}

#[test]
fn the_stand_in_keeps_its_own_promises() {
    let output = Command::new(libraries().join("check"))
        .env("LD_LIBRARY_PATH", libraries())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
