//! Engine faults: every datum is answered, and other frames keep their results.

use crate::black_box::common::{Host, MODES, NEVER, SIM, assert_result, call, good};
use beamflow::app::map::AppError;
use beamflow::vertex::client::{Answer, DriverError};
use futures::stream;

const NACK: &str = "U+005C__NACK__";

/// How many of the first `frames` were answered with a (correct) result and how many with a nack.
fn results_and_nacks(answer: &Answer, frames: usize) -> (usize, usize) {
    let nacked = (0..frames)
        .filter(|k| answer.tags(&k.to_string()).any(|tag| tag == NACK))
        .inspect(|k| assert_eq!(answer.get(&k.to_string()).unwrap().len(), 1))
        .count();
    let answered = (0..frames)
        .filter(|k| !answer.tags(&k.to_string()).any(|tag| tag == NACK))
        .inspect(|k| assert_result(answer, *k))
        .count();
    (answered, nacked)
}

#[tokio::test]
async fn a_batch_that_fails_once_is_retried_without_a_nack() {
    for mode in MODES {
        for fault in ["error", "panic", "lost"] {
            let model = format!("{SIM},{fault}=2");
            let host = Host::start(&["--mode", mode, "--model-path", &model]).await;
            let mut driver = host.driver().await;
            let answer = call(&mut driver, 40).await;
            assert_eq!(results_and_nacks(&answer, 40), (40, 0), "{mode}, {fault}");
            assert_eq!(host.counts.totals().retries, 1, "{mode}, {fault}");
            host.stop().await;
        }
    }
}

#[tokio::test]
async fn a_batch_that_fails_twice_is_nacked() {
    for fault in ["error", "panic", "lost"] {
        // One batch at a time, so that the second and third runs are the same batch.
        let model = format!("{SIM},{fault}=2+3");
        let host = Host::start(&["--mode", "sequential", "--model-path", &model]).await;
        let mut driver = host.driver().await;
        let answer = call(&mut driver, 40).await;
        assert_eq!(results_and_nacks(&answer, 40), (32, 8), "{fault}");
        assert_result(&answer, 0);
        assert_result(&answer, 16);
        let again = call(&mut driver, 40).await;
        assert_eq!(results_and_nacks(&again, 40), (40, 0), "{fault}");
        assert_eq!(host.counts.totals().failed, 8, "{fault}");
        host.stop().await;
    }
}

#[tokio::test]
async fn every_datum_is_answered_if_every_second_run_fails() {
    for mode in MODES {
        let model = format!("{SIM},error-every=2");
        let host = Host::start(&["--mode", mode, "--model-path", &model]).await;
        let mut driver = host.driver().await;
        let answer = call(&mut driver, 400).await;
        let (results, nacks) = results_and_nacks(&answer, 400);
        assert_eq!(results + nacks, 400, "{mode}");
        assert!(results > 0, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn failed_frames_are_dropped_when_so_configured() {
    let model = format!("{SIM},error=1+2");
    let flags = [
        "--mode",
        "sequential",
        "--model-path",
        &model,
        "--on-failure",
        "drop",
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 9).await;
    assert!((0..8).all(|k| answer.is_dropped(&k.to_string())));
    assert_result(&answer, 8);
    host.stop().await;
}

#[tokio::test]
async fn a_hung_batch_is_nacked_and_its_lane_replaced() {
    let check = async |mode: &str| {
        let model = format!("{SIM},hang=2");
        // The hang lasts longer than any test. The timeout ends it; it is long enough for every healthy batch,
        // however busy the machine.
        let flags = [
            "--mode",
            mode,
            "--model-path",
            &model,
            "--inference-timeout",
            "3s",
        ];
        let host = Host::start(&flags).await;
        let mut driver = host.driver().await;
        let answer = call(&mut driver, 80).await;
        let (results, nacks) = results_and_nacks(&answer, 80);
        // A stream has short batches too.
        let hung = if mode == "streaming" { 1..=8 } else { 8..=8 };
        assert!(hung.contains(&nacks), "{mode}: {nacks}");
        assert_eq!(results + nacks, 80, "{mode}");
        assert_eq!(host.counts.totals().lanes_replaced, 1, "{mode}");
        let again = call(&mut driver, 80).await;
        assert_eq!(results_and_nacks(&again, 80), (80, 0), "{mode}");
        host.stop().await;
    };
    futures::future::join_all(MODES.map(check)).await;
}

#[tokio::test]
async fn the_loss_of_the_last_lane_ends_the_process() {
    for mode in MODES {
        // As many sessions as there were lanes at the start, and no more.
        let lanes = match mode {
            "sequential" => 1,
            "concurrent" => 4,
            _ => 3,
        };
        let faults: Vec<_> = (1..=lanes + 1).map(|n| n.to_string()).collect();
        let model = format!(
            "{SIM},refuse-sessions-after={lanes},lost={}",
            faults.join("+")
        );
        let host = Host::start(&["--mode", mode, "--model-path", &model]).await;
        let mut driver = host.driver().await;
        let answer = driver.call(stream::iter((0..80).map(good))).await;
        match answer {
            Ok(answer) => assert_eq!(results_and_nacks(&answer, 80), (0, 80), "{mode}"),
            // A stream is not read to its end: what did not come in is delivered again.
            Err(DriverError::Ended { .. }) if mode == "streaming" => {}
            Err(error) => panic!("{mode}: {error}"),
        }
        drop(driver);
        let ended = tokio::time::timeout(NEVER, host.serving)
            .await
            .unwrap()
            .unwrap();
        assert!(
            matches!(ended, Err(AppError::DeviceLost)),
            "{mode}: {ended:?}"
        );
    }
}
