//! Several devices: all are used, the loss of one is tolerated, and the loss of the last ends the process.

use crate::black_box::common::{Host, NEVER, SIM, assert_result, call, eventually};
use beamflow::app::map::AppError;

#[tokio::test]
async fn one_lost_device_costs_no_frame_and_the_other_goes_on() {
    for (mode, balance) in [
        ("pipelined", "queue-depth"),
        ("pipelined", "round-robin"),
        ("concurrent", "queue-depth"),
    ] {
        let model = format!("{SIM},devices=2,device-lost=3");
        let flags = ["--mode", mode, "--balance", balance, "--model-path", &model];
        let host = Host::start(&flags).await;
        let mut driver = host.driver().await;
        for _ in 0..3 {
            let answer = call(&mut driver, 80).await;
            (0..80).for_each(|k| assert_result(&answer, k));
        }
        assert_eq!(host.health.devices_lost(), 1, "{mode}, {balance}");
        assert!(host.counts.totals().retries >= 1, "{mode}, {balance}");
        assert_eq!(host.counts.totals().failed, 0, "{mode}, {balance}");
        host.stop().await;
    }
}

#[tokio::test]
async fn the_loss_of_the_last_device_ends_the_process() {
    // The second run of the batch that lost the first device loses the second one.
    let model = format!("{SIM},devices=2,device-lost=1+2");
    let flags = [
        "--mode",
        "concurrent",
        "--max-concurrent-batches",
        "2",
        "--model-path",
        &model,
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 80).await;
    assert_eq!(answer.len(), 80);
    assert_eq!(host.health.devices_lost(), 2);
    drop(driver);
    let ended = tokio::time::timeout(NEVER, host.serving)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(ended, Err(AppError::DeviceLost)), "{ended:?}");
}

#[tokio::test]
async fn a_lane_that_hangs_while_it_opens_delays_no_other_lane() {
    // The lane of the batch that hangs is replaced by one whose session (the third) hangs while it opens. The
    // next batch fails on the only remaining lane and must be run again on that lane.
    let model = format!("{SIM},hang=1,error=3,hang-session=3");
    let flags = [
        "--mode",
        "pipelined",
        "--pipeline-depth",
        "2",
        "--inference-timeout",
        "3s",
        "--model-path",
        &model,
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let hung = call(&mut driver, 8).await;
    assert_eq!(hung.len(), 8);
    let answer = call(&mut driver, 24).await;
    (0..24).for_each(|k| assert_result(&answer, k));
    assert!(!host.health.lost().is_cancelled());
    host.stop().await;
}

#[tokio::test]
async fn lanes_that_all_hang_while_they_open_end_the_process() {
    // No healthy batch runs here, so a short timeout costs nothing.
    let model = format!("{SIM},hang=1,hang-session=2");
    let flags = [
        "--pipeline-depth",
        "1",
        "--inference-timeout",
        "500ms",
        "--model-path",
        &model,
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    assert_eq!(call(&mut driver, 8).await.len(), 8);
    assert!(!host.health.lost().is_cancelled());
    assert_eq!(call(&mut driver, 8).await.len(), 8);
    drop(driver);
    let ended = tokio::time::timeout(NEVER, host.serving)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(ended, Err(AppError::DeviceLost)), "{ended:?}");
}

#[tokio::test]
async fn a_half_precision_engine_answers_alike() {
    let model = format!("{SIM},input=f16");
    let host = Host::start(&["--model-path", &model]).await;
    let mut driver = host.driver().await;
    // Pixels up to 2048 are exact in half precision.
    let answer = call(&mut driver, 100).await;
    (0..100).for_each(|k| assert_result(&answer, k));
    host.stop().await;
}

#[tokio::test]
async fn an_automatic_depth_follows_the_speed_of_the_device() {
    for (compute, depth) in [("0", 1), ("24h", 8)] {
        // With the virtual clock a batch reports a time but takes none.
        let model = format!("{SIM},clock=virtual,compute={compute}");
        let flags = ["--pipeline-depth", "auto", "--model-path", &model];
        let host = Host::start(&flags).await;
        let mut driver = host.driver().await;
        for _ in 0..6 {
            let answer = call(&mut driver, 80).await;
            (0..80).for_each(|k| assert_result(&answer, k));
        }
        eventually("the depth follows", || host.depth.now() == depth).await;
        host.stop().await;
    }
}

#[test]
fn lanes_beyond_the_devices_memory_are_refused_at_start() {
    // A batch of eight frames of 512 × 512 takes 16 MiB, input and output together.
    let load = |flags: &[&str]| {
        let config = crate::black_box::common::config(flags);
        beamflow::app::map::Sidecar::load(&config)
    };
    let model = ["--model-path", "sim:size=512,memory=40"];
    let refused = load(&[&model[..], &["--pipeline-depth", "3"]].concat());
    let text = refused.err().unwrap().to_string();
    assert!(
        text.starts_with("2 of the 3 requested lanes fit on sim-0"),
        "{text}"
    );
    assert!(text.contains("--pipeline-depth to 2"), "{text}");
    assert!(load(&[&model[..], &["--pipeline-depth", "2"]].concat()).is_ok());
    // With an automatic batch size, the batch is made smaller until the lanes fit.
    let sidecar = load(&[&model[..], &["--pipeline-depth", "3", "--bsz-size", "auto"]].concat());
    assert_eq!(sidecar.unwrap().batch_size, 4);
}
