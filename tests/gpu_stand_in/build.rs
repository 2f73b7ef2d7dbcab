//! Engines built by the real TensorRT-RTX: for the GPU at hand, which is the stand-in driver's, and for one elsewhere.

use crate::fixture::{libraries, needs_the_stand_in_driver};
use crate::frames::{assert_results, usual};
use crate::sidecar::Bench;
use beamflow::engine::tensorrt::description::{Description, sha256};
use beamflow_needs::needs;
use std::path::{Path, PathBuf};

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

/// The engine files in a cache.
fn engines(cache: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(cache)
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|ending| ending == "engine"))
        .collect()
}

/// A cache with an engine of [`MODEL`] for a GPU elsewhere, built without a driver. The stand-in opens no real engine, so the
/// engine's content is then that of one for the stand-in.
fn prebuilt(capability: &str) -> tempfile::TempDir {
    let (cache, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tensorrt = std::env::var("TENSORRT_PATH").unwrap();
    let bench = Bench::new(&usual()).with_libraries(empty.path());
    let output = bench.run(&[
        "build-engine",
        MODEL,
        "--engine-cache",
        cache.path().to_str().unwrap(),
        "--compute-capability",
        capability,
        "--tensorrt-path",
        &tensorrt,
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let engines = engines(cache.path());
    let [engine] = engines.as_slice() else {
        panic!("not one engine: {engines:?}");
    };
    let built = std::fs::read(engine).unwrap();
    let mut description = Description::read(engine, &built).unwrap().unwrap();
    assert_eq!(description.compute_capability, capability);
    let plan = usual();
    description.engine_sha256 = sha256(plan.as_bytes());
    description.engine_bytes = plan.len();
    std::fs::write(engine, plan).unwrap();
    let text = serde_json::to_vec(&description).unwrap();
    std::fs::write(Description::path(engine), text).unwrap();
    cache
}

fn cuda<'a>(cache: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let cache = cache.to_str().unwrap();
    [
        &[
            "--model-path",
            MODEL,
            "--device",
            "cuda",
            "--engine-cache",
            cache,
        ][..],
        more,
    ]
    .concat()
}

#[needs(tensorrt)]
#[tokio::test]
async fn a_sidecar_takes_the_engine_that_was_built_without_a_gpu_for_its_compute_capability() {
    needs_the_stand_in_driver!("it sets the compute capability");
    let cache = prebuilt("8.9");
    let on = |card| Bench::new("").with("STAND_IN_COMPUTE_CAPABILITY", card);
    // The stand-in cannot build: the sidecar is ready only if the engine is found.
    let mut sidecar = on("8.9").serve(&cuda(cache.path(), &[])).await;
    assert_results(&sidecar.call(9).await, 9);
    sidecar.stop().await;
    // Not for another card, another batch size, another precision.
    for (card, more) in [
        ("8.6", &[][..]),
        ("8.9", &["--bsz-size", "16"]),
        ("8.9", &["--precision", "fp16"]),
    ] {
        let output = on(card).run(&cuda(cache.path(), more));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("The cache has no engine for this model"),
            "{said}"
        );
    }
    assert_eq!(engines(cache.path()).len(), 1);
}
