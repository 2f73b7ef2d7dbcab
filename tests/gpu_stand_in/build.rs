//! Engines built by the real TensorRT-RTX for the GPU at hand, which is the stand-in driver's.

use crate::fixture::{libraries, needs_the_stand_in_driver};
use crate::frames::usual;
use crate::sidecar::Bench;
use beamflow_needs::needs;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ptychonn_64.onnx");

/// The part of an engine file's header that says which compute capabilities it is for.
const TARGETS: std::ops::Range<usize> = 0x20..0x28;

#[needs(tensorrt)]
#[test]
fn an_engine_for_the_gpu_at_hand_is_for_its_compute_capability_alone() {
    needs_the_stand_in_driver!("it sets the compute capability");
    let driver = tempfile::tempdir().unwrap();
    for name in ["libcuda.so.1", "libcuda.so"] {
        std::fs::copy(libraries().join(name), driver.path().join(name)).unwrap();
    }
    let tensorrt = std::env::var("TENSORRT_PATH").unwrap();
    for card in ["7.5", "8.6", "8.9"] {
        let bench = Bench::new(&usual())
            .with_libraries(driver.path())
            .with("STAND_IN_COMPUTE_CAPABILITY", card);
        let build = |more: &[&str]| {
            let build = ["build-engine", MODEL, "-o", "built.engine", "--batch", "8"];
            let output = bench.run(&[&build[..], &["--tensorrt-path", &tensorrt], more].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            let engine = std::fs::read(bench.engine().with_file_name("built.engine")).unwrap();
            (engine[TARGETS].to_vec(), engine.len())
        };
        let named = build(&["--compute-capability", card]);
        assert_eq!(build(&[]), named, "{card}");
        assert_eq!(named.0.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
    }
}
