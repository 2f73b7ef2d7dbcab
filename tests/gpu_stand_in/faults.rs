//! Faults of the device, and the outcomes of frames.

use crate::fixture::{needs_the_stand_in_driver, on_a_card};
use crate::frames::{assert_results, nacks, usual};
use crate::sidecar::{Bench, MODES, Sidecar, runs_before_the_first_batch};
use beamflow::vertex::client::Answer;

/// Batches as graphs, and without graphs.
const LAUNCHES: [&[&str]; 2] = [&[], &["--no-cuda-graphs"]];

/// Those whose launches can fail: on a card, the TensorRT stand-in can fail an enqueue but not a graph launch.
fn refusable() -> impl Iterator<Item = &'static [&'static str]> {
    LAUNCHES.into_iter().skip(usize::from(on_a_card()))
}

#[tokio::test]
async fn refused_launch_is_retried_without_a_nack() {
    for launch in refusable() {
        for (mode, _) in MODES {
            let flags = [&["--mode", mode], launch].concat();
            let before = runs_before_the_first_batch(&flags).await;
            let fault = format!("enqueue-error@{}", before + 2);
            let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", fault);
            let mut sidecar = bench.serve(&flags).await;
            assert_results(&sidecar.call(40).await, 40);
            let log = sidecar.log("A read batch is answered.").await;
            let again = log.matches("it is run once more").count();
            assert_eq!(again, 1, "{flags:?}: {log}");
            if let Some(report) = sidecar.stop().await {
                assert_eq!(report.enqueues, before + 6, "{flags:?}");
            }
        }
    }
}

#[tokio::test]
async fn launch_refused_twice_nacks_that_batch_only() {
    for launch in refusable() {
        // One batch at a time, so that the second and third runs are the same batch.
        let flags = [&["--mode", "sequential"], launch].concat();
        let before = runs_before_the_first_batch(&flags).await;
        let (second, third) = (before + 2, before + 3);
        let fault = format!("enqueue-error@{second},enqueue-error@{third}");
        let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", fault);
        let mut sidecar = bench.serve(&flags).await;
        let answer = sidecar.call(40).await;
        assert_eq!(nacks(&answer, 40), Vec::from_iter(8..16), "{launch:?}");
        assert_results(&sidecar.call(40).await, 40);
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn loss_of_one_of_two_gpus_loses_no_frame() {
    needs_the_stand_in_driver!("it needs two devices");
    for (mode, launch) in [
        ("pipelined", LAUNCHES[0]),
        ("pipelined", LAUNCHES[1]),
        ("concurrent", LAUNCHES[0]),
    ] {
        let flags = [&["--mode", mode, "--devices", "all"], launch].concat();
        let two = || Bench::new(&usual()).with("STAND_IN_DEVICES", 2);
        // Each device has as many lanes as a single one.
        let before = two().serve(&flags).await.stop().await.unwrap().enqueues;
        let fault = format!("device-fault@{}", before + 3);
        let mut sidecar = two().with("STAND_IN_FAULTS", fault).serve(&flags).await;
        for _ in 0..3 {
            assert_results(&sidecar.call(80).await, 80);
        }
        let log = sidecar.log("The device is lost.").await;
        let lost = |gpu: &str| log.contains(&format!("The device is lost. device=\"{gpu}\""));
        assert!(lost("gpu-0") != lost("gpu-1"), "{flags:?}: {log}");
        sidecar.stop().await;
    }
}

#[tokio::test]
async fn loss_of_the_only_gpu_nacks_its_frames_and_exits_1() {
    for launch in LAUNCHES {
        for (mode, _) in MODES {
            let flags = [&["--mode", mode], launch].concat();
            let before = runs_before_the_first_batch(&flags).await;
            let fault = format!("device-fault@{}", before + 1);
            let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", fault);
            let mut sidecar = bench.serve(&flags).await;
            let answer = sidecar.call(80).await;
            // Batches on other lanes may have finished before the device was lost.
            let nacked = nacks(&answer, 80);
            assert!(nacked.len() >= 8, "{flags:?}: {nacked:?}");
            assert!(mode != "sequential" || nacked.len() == 80, "{nacked:?}");
            let (code, log) = sidecar.ended().await;
            assert_eq!(code, Some(1), "{flags:?}: {log}");
            assert!(log.contains("the last lane is lost"), "{flags:?}: {log}");
        }
    }
}

/// Longer than any healthy batch, however busy the machine: the time after which a batch counts as hanging.
const HANGING: [&str; 2] = ["--inference-timeout", "4s"];

/// A sidecar whose second batch hangs: for some seconds, or for ever. On a card, the kit sets how long that is.
async fn hanging(flags: &[&str], seconds: Option<usize>) -> Sidecar {
    let flags = [flags, &HANGING].concat();
    let before = runs_before_the_first_batch(&flags).await;
    let mut bench = Bench::new(&usual()).with("STAND_IN_FAULTS", format!("hang@{}", before + 2));
    if let Some(seconds) = seconds {
        bench = bench.with("STAND_IN_HANG_S", seconds);
    }
    bench.serve(&flags).await
}

/// Asserts that of 80 frames one full batch was nacked, whichever ran second.
fn assert_one_batch_nacked(answer: &Answer) {
    let nacked = nacks(answer, 80);
    assert_eq!(nacked.len(), 8, "{nacked:?}");
    let begins_a_batch = nacked[0].is_multiple_of(8) && nacked[7] == nacked[0] + 7;
    assert!(begins_a_batch, "{nacked:?}");
}

#[tokio::test]
async fn hung_batch_is_nacked_and_the_other_lanes_go_on() {
    // A session that is opened now would wait for the hung kernel, and others that open for it.
    let check = async |launch: &[&str]| {
        let mut sidecar = hanging(&[&["--mode", "pipelined"], launch].concat(), None).await;
        assert_one_batch_nacked(&sidecar.call(80).await);
        for _ in 0..3 {
            assert_results(&sidecar.call(80).await, 80);
        }
        sidecar
            .log("the lane is replaced when its run returns")
            .await;
        sidecar.stop_with_a_lane_hanging().await;
    };
    tokio::join!(check(LAUNCHES[0]), check(LAUNCHES[1]));
}

#[tokio::test]
async fn a_gpu_whose_only_lane_hangs_is_lost_after_one_timeout() {
    for launch in LAUNCHES {
        let mut sidecar = hanging(&[&["--mode", "sequential"], launch].concat(), None).await;
        let nacked = nacks(&sidecar.call(80).await, 80);
        assert_eq!(nacked, Vec::from_iter(8..80), "{launch:?}");
        let (code, log) = sidecar.ended_with_a_lane_hanging().await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains("the last lane is lost"), "{log}");
        assert!(!log.contains("No lane takes up work any more"), "{log}");
    }
}

#[tokio::test]
async fn a_lane_whose_hang_ends_is_replaced() {
    // The hang is longer than the timeout.
    let mut sidecar = hanging(&["--mode", "pipelined"], Some(8)).await;
    assert_one_batch_nacked(&sidecar.call(80).await);
    sidecar
        .log("The run that hung has returned; another lane takes its place.")
        .await;
    for _ in 0..3 {
        assert_results(&sidecar.call(80).await, 80);
    }
    sidecar.stop().await;
}

#[tokio::test]
async fn a_driver_call_that_fails_costs_the_session_and_not_the_device() {
    needs_the_stand_in_driver!("it fails a call of the driver");
    for launch in LAUNCHES {
        for (mode, _) in MODES {
            // Four events of the first batch, and one of the second.
            let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", "record-error@6");
            let flags = [&["--mode", mode], launch].concat();
            let mut sidecar = bench.serve(&flags).await;
            assert_results(&sidecar.call(80).await, 80);
            let log = sidecar.log("A read batch is answered.").await;
            assert!(log.contains("the lane opens another"), "{flags:?}: {log}");
            assert!(!log.contains("The device is lost"), "{flags:?}: {log}");
            sidecar.stop().await;
        }
    }
}
