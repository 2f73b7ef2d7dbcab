//! Engines built by the real TensorRT-RTX on a machine without a GPU.
//!
//! Needs the libraries, whose folder is in `TENSORRT_PATH` (`.ci/run` fetches them); without it the tests
//! are ignored. `tests/gpu` holds the tests for machines with a GPU.

use beamflow_needs::needs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");
const SHARED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../shared/models/ptychoNN_8.onnx"
);

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(args)
        .env_remove("RUST_LOG")
        .env("HTTP_ADDRESS", "off")
        .output()
        .unwrap()
}

fn built(model: &str, engine: &Path, more: &[&str]) -> String {
    let common = ["build-engine", model, "-o", engine.to_str().unwrap()];
    let output = run(&[&common[..], more].concat());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn inspected(engine: &Path) -> serde_json::Value {
    let output = run(&["inspect", "--json", engine.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn engine(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("model.engine")
}

#[needs(tensorrt)]
#[test]
fn an_engine_for_another_gpu_is_built_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let text = built(
        OWN,
        &engine,
        &["--compute-capability", "8.0", "--batch", "1:8:16"],
    );
    assert!(text.contains("compute capability 8.0, fp32"), "{text}");
    assert!(text.contains(" convolution"), "a layer summary: {text}");

    let inspection = inspected(&engine);
    let model = &inspection["model"];
    assert_eq!(model["batch"]["within"]["best"], 8);
    assert_eq!(model["input"]["name"], "diffraction");
    assert_eq!(model["input"]["element"], "f32");
    assert_eq!(model["outputs"][1]["name"], "phase");
    assert_eq!(inspection["description"]["source"], "ptychonn_64.onnx");
    let size = std::fs::metadata(&engine).unwrap().len();
    assert_eq!(inspection["bytes"], size);
}

#[needs(tensorrt)]
#[test]
fn the_cache_gets_one_engine_for_each_compute_capability_and_each_is_built_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let fill = |capability| {
        let to = ["--engine-cache", cache.to_str().unwrap()];
        let output = run(&[
            &["build-engine", OWN, "--compute-capability", capability][..],
            &to,
        ]
        .concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        let target = format!("compute capability {capability}, fp32");
        assert!(text.contains(&target), "{text}");
        let files = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .map(|file| {
                (
                    file.file_name(),
                    file.metadata().unwrap().modified().unwrap(),
                )
            })
            .filter(|(name, _)| name != "lock")
            .collect();
        files.sort();
        files
    };
    let first = fill("8.6");
    assert_eq!(first.len(), 2, "the engine and its description: {first:?}");
    assert_eq!(fill("8.6"), first);
    let both = fill("8.9");
    assert_eq!(both.len(), 4, "{both:?}");
    assert!(first.iter().all(|file| both.contains(file)));
}

#[needs(tensorrt)]
#[test]
fn half_precision_gives_a_half_input_and_single_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let (single, half) = (
        folder.path().join("single.engine"),
        folder.path().join("half.engine"),
    );
    let common = ["--compute-capability", "8.9", "--batch", "8"];
    built(OWN, &single, &common);
    built(
        OWN,
        &half,
        &[&common[..], &["--precision", "fp16"]].concat(),
    );
    let [single, half] = [single, half].map(|engine| inspected(&engine));
    assert_eq!(half["model"]["input"]["element"], "f16");
    assert_eq!(half["model"]["outputs"][0]["element"], "f32");
    assert_eq!(half["model"]["batch"]["static"], 8);
    assert!(half["bytes"].as_u64() < single["bytes"].as_u64());
}

#[needs(tensorrt)]
#[test]
fn tf32_gives_another_engine_than_single_precision() {
    let folder = tempfile::tempdir().unwrap();
    let build = |precision| {
        let engine = engine(&folder);
        let common = ["--compute-capability", "8.6", "--batch", "8"];
        built(
            OWN,
            &engine,
            &[&common[..], &["--precision", precision]].concat(),
        );
        std::fs::read(engine).unwrap()
    };
    let single = build("fp32");
    assert!(build("fp32") == single, "the build is reproducible");
    assert!(build("tf32") != single);
}

#[needs(tensorrt, shared)]
#[test]
fn the_shared_ptychonn_is_built_in_every_precision() {
    let folder = tempfile::tempdir().unwrap();
    for precision in ["fp32", "tf32", "fp16"] {
        let engine = engine(&folder);
        let common = ["--compute-capability", "8.6", "--precision", precision];
        built(SHARED, &engine, &common);
        let inspection = inspected(&engine);
        assert_eq!(inspection["model"]["batch"]["static"], 8);
        assert_eq!(inspection["description"]["precision"], precision);
    }
    let error = refused(&[
        "build-engine",
        SHARED,
        "-o",
        engine(&folder).to_str().unwrap(),
        "--compute-capability",
        "8.6",
        "--batch",
        "4",
    ]);
    assert!(error.contains("fixed at 8: use --batch 8"), "{error}");
}

#[needs(tensorrt)]
#[test]
fn a_failed_build_names_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    let engine = engine.to_str().unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (model, capability, words) in [
        (
            OWN,
            "9.0",
            &[
                "does not support compute capability 9.0",
                "onnxruntime-cuda",
            ][..],
        ),
        (OWN, "12.2", &["not for 12.2", "on the GPU itself"]),
        (manifest, "8.0", &["Cargo.toml", "TensorRT's log:"]),
        ("absent.onnx", "8.0", &["absent.onnx", "No such file"]),
    ] {
        let args = ["build-engine", model, "-o", engine];
        let error = refused(&[&args[..], &["--compute-capability", capability]].concat());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    assert!(
        !Path::new(engine).exists(),
        "a failed build leaves no engine"
    );
}

#[needs(tensorrt)]
#[test]
fn a_damaged_engine_does_not_match_its_description() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    built(OWN, &engine, &["--compute-capability", "8.0"]);
    let mut bytes = std::fs::read(&engine).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&engine, bytes).unwrap();
    let error = refused(&["inspect", engine.to_str().unwrap()]);
    assert!(error.contains("describes another file"), "{error}");
}

#[needs(tensorrt, no_gpu)]
#[test]
fn without_a_driver_the_error_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder);
    built(OWN, &engine, &["--compute-capability", "8.0"]);
    let engine = engine.to_str().unwrap();
    for args in [
        &["--model-path", engine][..],
        &["bench-engine", engine],
        &["--model-path", OWN, "--device", "cuda"],
    ] {
        let error = refused(args);
        assert!(error.contains("no NVIDIA driver"), "{args:?}: {error}");
        assert!(error.contains("nvidia.com/gpu"), "{args:?}: {error}");
    }
    let error = refused(&["build-engine", OWN, "-o", engine]);
    assert!(error.contains("--compute-capability"), "{error}");
}

#[needs(tensorrt, mounts)]
#[test]
fn a_full_disk_leaves_no_partial_engine() {
    let folder = tempfile::tempdir().unwrap();
    // A file system of 256 KiB: it has room for the description, but not for the engine.
    let script = "mount -t tmpfs -o size=256k tmpfs \"$0\" || exit 77; \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let engine = engine(&folder);
    let output = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user", "sh", "-c", script])
        .arg(folder.path())
        .args([env!("CARGO_BIN_EXE_beamflow"), "build-engine", OWN, "-o"])
        .arg(&engine)
        .args(["--compute-capability", "8.9"])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [engine.to_str().unwrap(), "No space left"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let left = String::from_utf8_lossy(&output.stdout);
    assert_eq!(left.trim(), "model.engine.json", "{said}");
}
