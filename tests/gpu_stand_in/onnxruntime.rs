//! Missing parts of a machine for `--device onnxruntime-cuda`: the error says what was found and what is needed. The
//! library is the one for the CPU, which has no CUDA provider.

use crate::fixture::needs_the_stand_in_driver;
use crate::frames::usual;
use crate::sidecar::Bench;
use beamflow_needs::needs;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");

fn assert_refused(bench: &Bench, words: &[&str]) {
    let output = bench.run(&["--model-path", MODEL, "--device", "onnxruntime-cuda"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn without_a_driver_onnxruntime_cuda_names_the_driver() {
    needs_the_stand_in_driver!("there is a driver");
    if std::path::Path::new("/proc/driver/nvidia").exists() {
        eprintln!("skipped: there is an NVIDIA driver here");
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let bench = Bench::new(&usual()).with_libraries(empty.path());
    assert_refused(&bench, &["there is no NVIDIA driver here"]);
}

#[test]
#[needs(onnxruntime)]
fn a_driver_for_an_older_cuda_is_refused_with_the_version_needed() {
    needs_the_stand_in_driver!("it sets the driver's version");
    let bench = Bench::new(&usual()).with("STAND_IN_CUDA_VERSION", 12_080);
    assert_refused(
        &bench,
        &[
            "the NVIDIA driver is for CUDA 12.8",
            "install driver 580 or later",
        ],
    );
}

#[test]
#[needs(onnxruntime)]
fn a_library_without_the_cuda_provider_is_named_with_the_remedy() {
    needs_the_stand_in_driver!("it sets the driver's version");
    let bench = Bench::new(&usual());
    assert_refused(
        &bench,
        &[
            "has no CUDA provider (libonnxruntime_providers_cuda.so is not beside it)",
            "ORT_DYLIB_PATH",
        ],
    );
}
