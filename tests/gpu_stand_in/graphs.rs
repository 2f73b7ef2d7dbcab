//! CUDA graphs, and the ways to wait for the device.

use crate::frames::{assert_results, plan, usual};
use crate::sidecar::{Bench, MODES};

/// Five full batches and a short one.
const FRAMES: usize = 45;

#[tokio::test]
async fn every_batch_is_launched_as_a_graph_short_ones_too() {
    for (mode, lanes) in MODES {
        for batch in ["8", "1 8 8"] {
            let bench = Bench::new(&plan("f32", batch, ""));
            let mut sidecar = bench.serve(&["--mode", mode]).await;
            assert_results(&sidecar.call(FRAMES).await, FRAMES);
            if let Some(report) = sidecar.stop().await {
                assert_eq!(report.graph_launches, 6, "{mode}, {batch}");
                assert_eq!(report.failed_captures, 0, "{mode}, {batch}");
                // Before the first launch: one for each lane, and for the two sessions that are measured.
                assert_eq!(report.graph_uploads, 2 + lanes, "{mode}, {batch}");
            }
        }
    }
}

#[tokio::test]
async fn full_batches_are_right_after_short_ones() {
    // On one lane, so that its graph is launched again after a batch of another size. The stand-in reports a
    // misuse if another shape was set in the graph's context.
    let bench = Bench::new(&plan("f32", "1 8 8", ""));
    let mut sidecar = bench.serve(&["--mode", "sequential"]).await;
    for frames in [FRAMES, 3, FRAMES, FRAMES] {
        assert_results(&sidecar.call(frames).await, frames);
    }
    if let Some(report) = sidecar.stop().await {
        assert_eq!(report.graph_launches, 6 + 1 + 6 + 6);
    }
}

#[tokio::test]
async fn without_graphs_nothing_is_captured_and_results_are_the_same() {
    for (mode, _) in MODES {
        let flags = ["--mode", mode, "--no-cuda-graphs"];
        let mut sidecar = Bench::new(&usual()).serve(&flags).await;
        assert_results(&sidecar.call(FRAMES).await, FRAMES);
        if let Some(report) = sidecar.stop().await {
            assert_eq!((report.graph_launches, report.captures), (0, 0), "{mode}");
        }
    }
}

#[tokio::test]
async fn failed_capture_is_logged_and_batches_run_without_graph() {
    let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", "capture-fails");
    let mut sidecar = bench.serve(&[]).await;
    assert_results(&sidecar.call(FRAMES).await, FRAMES);
    sidecar
        .log("Every batch is launched without a CUDA graph")
        .await;
    if let Some(report) = sidecar.stop().await {
        assert_eq!(report.graph_launches, 0);
        assert_eq!(report.failed_captures, report.captures);
        assert!(report.captures > 0);
    }
}

#[tokio::test]
async fn engine_that_allocates_in_its_first_run_is_captured() {
    let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", "lazy-alloc");
    let mut sidecar = bench.serve(&[]).await;
    assert_results(&sidecar.call(FRAMES).await, FRAMES);
    if let Some(report) = sidecar.stop().await {
        assert_eq!(report.failed_captures, 0);
        assert!(report.graph_launches > 0);
    }
}

#[tokio::test]
async fn a_lane_sleeps_while_it_waits_unless_spinning_is_set() {
    for (flags, sleeps) in [(&[][..], true), (&["--spin"], false)] {
        let mut sidecar = Bench::new(&usual()).serve(flags).await;
        assert_results(&sidecar.call(FRAMES).await, FRAMES);
        if let Some(report) = sidecar.stop().await {
            assert_eq!(report.blocking_sync_events > 0, sleeps, "{flags:?}");
        }
    }
}
