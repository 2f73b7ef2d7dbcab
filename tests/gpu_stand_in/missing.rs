//! Missing parts of a machine or an engine file: one line of error says what was found and what is needed.

use crate::fixture::{FLAVOUR, LIBRARY, VERSION, libraries, needs_the_stand_in_driver};
use crate::frames::{plan, usual};
use crate::sidecar::Bench;
use beamflow::engine::options::Precision;
use beamflow::engine::tensorrt::description::{Description, sha256};
use beamflow::engine::{BatchDimension, ModelSpec, TensorSpec};
use beamflow::frame::values::Element;

fn assert_refused(bench: &Bench, flags: &[&str], words: &[&str]) {
    let said = bench.refused(&[&["--output-size", "full"], flags].concat());
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

/// The two commands that build an engine.
const BUILDS: [&[&str]; 2] = [
    &["build-engine", MODEL, "-o", "new.engine"],
    &[
        "--model-path",
        MODEL,
        "--device",
        "cuda",
        "--engine-cache",
        ".",
    ],
];

#[test]
fn without_a_driver_there_is_no_nvidia_driver() {
    needs_the_stand_in_driver!("there is a driver");
    if std::path::Path::new("/proc/driver/nvidia").exists() {
        eprintln!("skipped: there is an NVIDIA driver here");
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let bench = Bench::new(&usual()).with_libraries(empty.path());
    let remedy = "runtimeClassName: nvidia";
    assert_refused(&bench, &[], &["there is no NVIDIA driver here", remedy]);
}

#[test]
fn missing_tensorrt_is_named_with_the_remedy() {
    needs_the_stand_in_driver!("it copies the driver");
    let folder = tempfile::tempdir().unwrap();
    for driver in ["libcuda.so.1", "libcuda.so"] {
        std::fs::copy(libraries().join(driver), folder.path().join(driver)).unwrap();
    }
    let bench = Bench::new(&usual()).with_libraries(folder.path());
    let missing = format!("{LIBRARY} cannot be opened");
    assert_refused(&bench, &[], &[&missing, "--tensorrt-path"]);
    // The library may be outside the system's library path.
    let path = libraries().to_str().unwrap();
    let bench = bench.with("STAND_IN_DEVICES", 1);
    let output = bench.run(&["inspect", "model.engine", "--tensorrt-path", path]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn a_missing_gpu_is_named_in_the_error() {
    needs_the_stand_in_driver!("it sets how many devices there are");
    let bench = Bench::new(&usual()).with("STAND_IN_DEVICES", 0);
    assert_refused(&bench, &[], &["there is a driver, but no NVIDIA GPU"]);
}

#[test]
fn a_gpu_that_is_not_there_is_named_with_how_many_there_are() {
    needs_the_stand_in_driver!("it sets how many devices there are");
    let bench = Bench::new(&usual());
    let words = ["--devices selects GPU 3", "this machine has 1"];
    assert_refused(&bench, &["--devices", "3"], &words);
    assert_refused(&bench, &["--devices", "0,3"], &words);
}

#[test]
fn a_tensorrt_of_another_version_is_named_with_the_one_needed() {
    let (versions, needed) = if FLAVOUR == "TensorRT-RTX" {
        (["1.5.0", "2.0.0"], "this build needs 1.7 or a later 1.x")
    } else {
        (
            ["10.9.0", "11.1.0"],
            "this build needs 11.4 or a later 11.x",
        )
    };
    for version in versions {
        let bench = Bench::new(&usual()).with("STAND_IN_TENSORRT_VERSION", version);
        assert_refused(&bench, &[], &[version, needed]);
    }
}

#[tokio::test]
async fn a_later_tensorrt_is_accepted() {
    let later = if FLAVOUR == "TensorRT-RTX" {
        "1.8.0"
    } else {
        "11.5.0"
    };
    let bench = Bench::new(&usual()).with("STAND_IN_TENSORRT_VERSION", later);
    let mut sidecar = bench.serve(&[]).await;
    crate::frames::assert_results(&sidecar.call(9).await, 9);
    sidecar.stop().await;
}

#[test]
fn invalid_engine_file_is_refused_with_tensorrts_message() {
    let words = ["cannot load the model model.engine", "not a plan"];
    assert_refused(&Bench::new("rubbish"), &[], &words);
}

#[test]
fn unsuitable_engine_is_refused_with_the_reason() {
    let two_inputs = usual().replace("output amplitude", "input amplitude");
    let integers = usual().replace("phase f32", "phase i32");
    let other_rows = plan("f32", "8", "").replace("phase f32 N 1", "phase f32 1 1");
    for (text, reason) in [
        (two_inputs, "exactly one input"),
        (integers, "its tensor phase is"),
        (other_rows, "the first dimension of both must be the batch"),
    ] {
        let words = ["cannot take frames", reason];
        assert_refused(&Bench::new(&text), &[], &words);
    }
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");

#[test]
fn a_card_that_tensorrt_does_not_support_is_named_with_the_remedy() {
    needs_the_stand_in_driver!("it sets the compute capability");
    let (cards, remedy) = if FLAVOUR == "TensorRT-RTX" {
        (["9.0", "10.0", "7.0"], "use --device onnxruntime-cuda")
    } else {
        (["7.0", "6.1", "5.2"], "runs on 7.5 and later")
    };
    for card in cards {
        let bench = Bench::new(&usual()).with("STAND_IN_COMPUTE_CAPABILITY", card);
        let named = format!("gpu-0 (Stand-in device 0, compute capability {card})");
        if FLAVOUR == "TensorRT-RTX" {
            assert_refused(&bench, &[], &[&named, "cannot load the model", remedy]);
        }
        // Before anything is built: the stand-in cannot build, and would say so.
        for build in BUILDS {
            let output = bench.run(build);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            let refusal = format!("{FLAVOUR} does not support {named}");
            assert!(said.contains(&refusal) && said.contains(remedy), "{said}");
        }
    }
}

#[test]
fn an_engine_that_cannot_be_built_without_its_card_is_refused_with_the_reason() {
    let (card, reason) = if FLAVOUR == "TensorRT-RTX" {
        ("9.0", "does not support compute capability 9.0")
    } else {
        ("8.9", "builds only for a GPU of this machine")
    };
    let bench = Bench::new(&usual());
    for target in [["-o", "new.engine"], ["--engine-cache", "cache"]] {
        let build = ["build-engine", MODEL, "--compute-capability", card];
        let output = bench.run(&[&build[..], &target].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!bench.engine().with_file_name(target[1]).exists());
    }
}

#[test]
fn a_driver_that_is_too_old_for_the_library_is_named_with_the_version_needed() {
    needs_the_stand_in_driver!("it sets the driver's version");
    let old = |bench: Bench| bench.with("STAND_IN_CUDA_VERSION", 12_080);
    let bench = old(Bench::new(&usual()));
    let words = ["driver is for CUDA 12.8", "is for CUDA 13", "driver 580"];
    assert_refused(&bench, &[], &words);
    for build in BUILDS {
        let said = String::from_utf8(bench.run(build).stderr).unwrap();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    // The library that is made with CUDA 12 runs on it.
    let folder = tempfile::tempdir().unwrap();
    for name in ["libcuda.so.1", "libcuda.so", LIBRARY] {
        let mut library = std::fs::read(libraries().join(name)).unwrap();
        const MARK: &[u8] = b"Cuda compilation tools, release 13";
        let at = library.windows(MARK.len()).position(|part| part == MARK);
        if let Some(at) = at {
            library[at + MARK.len() - 1] = b'2';
        }
        std::fs::write(folder.path().join(name), library).unwrap();
    }
    let bench = old(Bench::new(&usual()).with_libraries(folder.path()));
    let output = bench.run(&["inspect", "model.engine"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// Writes a description of `of`, built by TensorRT `version`, next to the bench's engine file.
fn describe(bench: &Bench, of: &str, version: &str) {
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        shape: vec![1, 4, 4],
        element: Element::F32,
    };
    let description = Description {
        flavour: FLAVOUR.to_owned(),
        version: version.to_owned(),
        compute_capability: "8.6".to_owned(),
        precision: Precision::Fp32,
        model: ModelSpec {
            input: tensor("diffraction"),
            outputs: vec![tensor("amplitude"), tensor("phase")],
            batch: BatchDimension::within(1, 8, 8),
        },
        layers: [("Convolution".to_owned(), 12)].into(),
        source: "the_model.onnx".to_owned(),
        source_sha256: sha256(b"onnx"),
        engine_sha256: sha256(of.as_bytes()),
        engine_bytes: of.len(),
    };
    let text = serde_json::to_vec(&description).unwrap();
    std::fs::write(Description::path(&bench.engine()), text).unwrap();
}

#[test]
fn engine_of_another_version_is_refused_with_the_remedy() {
    let bench = Bench::new(&usual());
    describe(&bench, &usual(), "1.6.0");
    let built = format!("it was built by {FLAVOUR} 1.6.0");
    let here = format!("this machine has {FLAVOUR} {VERSION}");
    assert_refused(
        &bench,
        &[],
        &[&built, &here, "build it again from the_model.onnx"],
    );
}

#[test]
fn a_description_of_another_file_is_refused() {
    let bench = Bench::new(&usual());
    describe(&bench, "another file", VERSION);
    assert_refused(&bench, &[], &["describes another file"]);
}

#[test]
fn without_a_gpu_inspect_uses_the_description() {
    needs_the_stand_in_driver!("it sets how many devices there are");
    let bench = Bench::new(&usual()).with("STAND_IN_DEVICES", 0);
    describe(&bench, &usual(), VERSION);
    let output = bench.run(&["inspect", "model.engine"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("not opened: there is a driver, but no NVIDIA GPU"),
        "{text}"
    );
    assert!(text.contains("12 Convolution"), "{text}");
}
