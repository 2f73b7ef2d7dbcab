//! Device memory: too little of it, and leaks.

use crate::fixture::needs_the_stand_in_driver;
use crate::frames::{VALUES, assert_results, plan, usual};
use crate::sidecar::{Bench, MODES};

/// Bytes of a lane's workspace: much more than a batch needs.
const WORKSPACE: usize = 1 << 16;

/// An engine whose lanes need a little more than [`WORKSPACE`].
fn hungry() -> String {
    plan("f32", "8", &format!("workspace {WORKSPACE}"))
}

#[test]
fn lanes_that_do_not_fit_are_refused_with_the_remedy() {
    needs_the_stand_in_driver!("it sets the device's memory");
    for (mode, flag, lanes) in [
        ("pipelined", "--pipeline-depth", 3),
        ("concurrent", "--max-concurrent-batches", 4),
    ] {
        let bench = Bench::new(&hungry()).with("STAND_IN_MEMORY", WORKSPACE * 5 / 2);
        let said = bench.refused(&["--output-size", "full", "--mode", mode]);
        let fit = format!("2 of the {lanes} requested lanes fit on gpu-0");
        assert!(said.contains(&fit), "{said}");
        let lower = format!("lower {flag} to 2, or use an engine with a smaller batch");
        assert!(said.contains(&lower), "{said}");
        bench.assert_all_given_back();
    }
}

#[tokio::test]
async fn as_many_lanes_as_fit_can_be_used_even_one() {
    needs_the_stand_in_driver!("it sets the device's memory");
    for lanes in 1..=2 {
        let memory = WORKSPACE * (2 * lanes + 1) / 2;
        let bench = Bench::new(&hungry()).with("STAND_IN_MEMORY", memory);
        let flags = ["--pipeline-depth", &lanes.to_string()];
        let mut sidecar = bench.serve(&flags).await;
        assert_results(&sidecar.call(45).await, 45);
        sidecar.stop().await;
    }
}

#[test]
fn engine_too_large_for_the_gpu_is_refused_with_the_reason() {
    needs_the_stand_in_driver!("it sets the device's memory");
    let bench = Bench::new(&hungry()).with("STAND_IN_MEMORY", WORKSPACE / 2);
    let said = bench.refused(&["--output-size", "full"]);
    assert!(said.contains("CUDA_ERROR_OUT_OF_MEMORY"), "{said}");
    bench.assert_all_given_back();
}

#[tokio::test]
async fn automatic_batch_shrinks_until_the_lanes_fit() {
    needs_the_stand_in_driver!("it sets the device's memory");
    // One row has the input and both outputs; three lanes with 32 rows fit, three with 64 do not.
    let row = 3 * VALUES * 4;
    let bench = Bench::new(&plan("f32", "1 64 64", "")).with("STAND_IN_MEMORY", 3 * 40 * row);
    let mut sidecar = bench.serve(&["--bsz-size", "auto"]).await;
    let log = sidecar.log("The model is loaded and warm.").await;
    assert!(
        log.contains("a smaller one is tried. batch=64 smaller=32"),
        "{log}"
    );
    assert!(log.contains(" batch=32 "), "{log}");
    assert_results(&sidecar.call(100).await, 100);
    sidecar.stop().await;
}

#[tokio::test]
async fn device_memory_is_the_same_after_two_thousand_batches() {
    needs_the_stand_in_driver!("it reads the device memory in use");
    for (mode, lanes) in MODES {
        for flags in [&[][..], &["--no-cuda-graphs"]] {
            let flags = [&["--mode", mode, "--bsz-size", "1"], flags].concat();
            let peak = async |batches: usize| {
                let mut sidecar = Bench::new(&usual()).serve(&flags).await;
                assert_results(&sidecar.call(batches).await, batches);
                sidecar.stop().await.unwrap().peak_device_bytes
            };
            let first = peak(lanes).await;
            assert_eq!(peak(2000).await, first, "{flags:?}");
        }
    }
}
