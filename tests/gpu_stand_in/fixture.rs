//! Paths of the stand-in's libraries and of the program.
//!
//! By default the libraries are built here, once, and the program is cargo's. Two variables name other files,
//! for machines without Rust or a compiler; `scripts/gpu-kit.sh` uses them to run these tests on a card:
//!
//! - `BEAMFLOW`: the program.
//! - `STAND_IN_LIBRARIES`: the folder of the libraries. If it holds no `libcuda.so.1`, the machine's driver is
//!   used: the tests run on its card, and tests that need the stand-in driver are skipped. `STAND_IN_BARE=1`
//!   with the stand-in driver on the library path tests this case without a card.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The flavour of TensorRT that the program is compiled for.
#[cfg(feature = "tensorrt-rtx")]
pub const FLAVOUR: &str = "TensorRT-RTX";
#[cfg(not(feature = "tensorrt-rtx"))]
pub const FLAVOUR: &str = "TensorRT";

/// Its cargo feature, the version of its headers, and the file of its library.
#[cfg(feature = "tensorrt-rtx")]
mod flavour {
    pub const FEATURE: &str = "tensorrt-rtx";
    pub const HEADERS: &str = "TensorRT-Headers/TRT-RTX-1.7";
    pub const VERSION: &str = "1.7.1";
    pub const LIBRARY: &str = "libtensorrt_rtx.so.1";
}
#[cfg(not(feature = "tensorrt-rtx"))]
mod flavour {
    pub const FEATURE: &str = "tensorrt";
    pub const HEADERS: &str = "TensorRT-Headers/TRT-Enterprise-11.4";
    pub const VERSION: &str = "11.4.0";
    pub const LIBRARY: &str = "libnvinfer.so.11";
}
use flavour::{FEATURE, HEADERS};
pub use flavour::{LIBRARY, VERSION};

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("BEAMFLOW")
        .map_or_else(|| env!("CARGO_BIN_EXE_beamflow").into(), PathBuf::from)
}

/// Whether the driver is a real one.
pub fn on_a_card() -> bool {
    given_libraries().is_some_and(|folder| !folder.join("libcuda.so.1").exists())
}

/// Returns from a test that needs the stand-in driver if the driver is a real one, and prints the reason.
macro_rules! needs_the_stand_in_driver {
    ($why:literal) => {
        if $crate::fixture::on_a_card() {
            eprintln!("skipped: {}", $why);
            return;
        }
    };
}
pub(crate) use needs_the_stand_in_driver;

fn given_libraries() -> Option<PathBuf> {
    std::env::var_os("STAND_IN_LIBRARIES").map(PathBuf::from)
}

/// The folder with the stand-in's libraries, built if they are missing or older than their sources.
pub fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = given_libraries() {
            return folder;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand_in-{FEATURE}"));
        std::fs::create_dir_all(&folder).unwrap();
        // Test runners with one process per test build here at the same time.
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

/// The folder of the headers, and the modification times of the sources.
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

/// The folder of the headers: they are in the package of the binding.
fn headers() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline"])
        // Packages for other systems are missing when offline.
        .args(["--filter-platform", "host-tuple"])
        .args(["--features", FEATURE])
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
fn the_stand_in_passes_its_own_checks() {
    needs_the_stand_in_driver!("it checks the stand-in driver");
    let output = Command::new(libraries().join("check"))
        .env("LD_LIBRARY_PATH", libraries())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
