//! Faults of the device, and the outcomes of frames.

use crate::fixture::{needs_the_stand_in_driver, on_a_card};
use crate::frames::{assert_results, nacks, usual};
use crate::sidecar::{Bench, MODES, runs_before_the_first_batch};

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

#[tokio::test]
async fn hung_batch_is_nacked_and_its_lane_replaced() {
    let check = async |mode: &str, launch: &[&str]| {
        // The timeout ends the hang: it is longer than any healthy batch, however busy the machine.
        let flags = [&["--mode", mode, "--inference-timeout", "4s"], launch].concat();
        let before = runs_before_the_first_batch(&flags).await;
        let fault = format!("hang@{}", before + 2);
        let bench = Bench::new(&usual()).with("STAND_IN_FAULTS", fault);
        let mut sidecar = bench.serve(&flags).await;
        let nacked = nacks(&sidecar.call(80).await, 80);
        // Any batch may be the second to run, and it is a full one.
        assert_eq!(nacked.len(), 8, "{flags:?}: {nacked:?}");
        assert!(
            nacked[0].is_multiple_of(8) && nacked[7] == nacked[0] + 7,
            "{nacked:?}"
        );
        assert_results(&sidecar.call(80).await, 80);
        sidecar.log("takes the hung one's place").await;
        sidecar.stop_with_a_lane_hanging().await;
    };
    // With one lane, nothing would be computed if no lane replaced it.
    tokio::join!(
        check("sequential", LAUNCHES[0]),
        check("pipelined", LAUNCHES[0]),
        check("pipelined", LAUNCHES[1]),
    );
}
