//! Kernels are compiled when a session opens, once for all lanes and all starts, and never for a batch of frames.

use crate::fixture::{FLAVOUR, needs_the_stand_in_driver};
use crate::frames::{assert_results, plan};
use crate::sidecar::{Bench, MODES};
use std::path::PathBuf;

/// Compilations of the first start: with a range, the engine is examined with its smallest batch, and lanes run full ones.
const FIRST: [(&str, usize); 2] = [("8", 1), ("1 8 8", 2)];

/// Expected compilations: TensorRT compiles when it builds the engine, and only TensorRT-RTX later.
fn expected(compilations: usize) -> usize {
    if FLAVOUR == "TensorRT-RTX" {
        compilations
    } else {
        0
    }
}

/// Runs the engine bench; returns what it compiled, and its log.
fn compilations(bench: &Bench) -> (usize, String) {
    let output = bench.run(&[
        "bench-engine",
        "model.engine",
        "--lanes",
        "3",
        "--batches",
        "5",
    ]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    (bench.report().unwrap().compilations, log)
}

/// The file of the kept kernels of the bench's engine.
fn kept(bench: &Bench) -> PathBuf {
    let name = "model.engine.Stand-in-device-0.kernels";
    bench.engine().with_file_name(name)
}

#[tokio::test]
async fn short_batches_of_any_size_compile_nothing() {
    for (mode, _) in MODES {
        for flags in [&[][..], &["--no-cuda-graphs"]] {
            for (batch, first) in FIRST {
                let bench = Bench::new(&plan("f32", batch, ""));
                let mut sidecar = bench.serve(&[&["--mode", mode], flags].concat()).await;
                for frames in [45, 1, 2, 3, 4, 5, 6, 7, 45] {
                    assert_results(&sidecar.call(frames).await, frames);
                }
                if let Some(report) = sidecar.stop().await {
                    let case = format!("{mode}, {flags:?}, {batch}");
                    assert_eq!(report.compilations, expected(first), "{case}");
                }
            }
        }
    }
}

#[test]
fn the_next_start_compiles_nothing() {
    needs_the_stand_in_driver!("it counts compilations");
    for (batch, first) in FIRST {
        let bench = Bench::new(&plan("f32", batch, ""));
        assert_eq!(compilations(&bench).0, expected(first), "{batch}");
        assert_eq!(compilations(&bench).0, 0, "{batch}");
    }
}

#[test]
fn kept_kernels_that_do_not_fit_are_compiled_again_and_replaced() {
    needs_the_stand_in_driver!("it sets the driver's version");
    if FLAVOUR != "TensorRT-RTX" {
        return;
    }
    let bench = Bench::new(&plan("f32", "8", ""));
    assert_eq!(compilations(&bench).0, 1);
    let bench = bench.with("STAND_IN_CUDA_VERSION", 13_010);
    let (again, log) = compilations(&bench);
    assert_eq!(again, 1);
    assert!(
        log.contains("do not fit this GPU, driver or TensorRT"),
        "{log}"
    );
    assert_eq!(compilations(&bench).0, 0);
    std::fs::write(kept(&bench), "damaged").unwrap();
    assert_eq!(compilations(&bench).0, 1);
    assert_eq!(compilations(&bench).0, 0);
}

#[test]
fn kernels_that_cannot_be_kept_are_compiled_at_every_start_with_a_warning() {
    needs_the_stand_in_driver!("it counts compilations");
    if FLAVOUR != "TensorRT-RTX" {
        return;
    }
    let bench = Bench::new(&plan("f32", "8", ""));
    // A folder in the place of the file: nothing can be renamed onto it.
    std::fs::create_dir(kept(&bench)).unwrap();
    for _ in 0..2 {
        let (again, log) = compilations(&bench);
        assert_eq!(again, 1);
        assert!(log.contains("the next start compiles them again"), "{log}");
    }
}

#[test]
fn a_range_without_a_description_is_found_and_nothing_is_compiled_for_it() {
    needs_the_stand_in_driver!("it counts compilations");
    for (batch, said) in [
        ("65 80 100", "batch N: 65 to 100"),
        ("2 4 6", "batch N: 2 to 6"),
        ("1100 1200 1300", "batch N: 1100 to 1300"),
    ] {
        let bench = Bench::new(&plan("f32", batch, ""));
        let output = bench.run(&["inspect", "model.engine"]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(said), "{text}");
        // For the smallest batch, with which the memory of a lane is measured.
        let report = bench.report().unwrap();
        assert_eq!(report.compilations, expected(1), "{batch}");
    }
}
