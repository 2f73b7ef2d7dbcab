//! Streams do not delay each other, and a client that disconnects leaves nothing behind.

use crate::black_box::common::{
    Host, MODES, NEVER, SIM, assert_result, call, eventually, good, result, values,
};
use crate::black_box::served::Served;
use beamflow::vertex::client::pipeline::{
    Address, Datums, Intake, Outlet, Pipeline, Settings, Until,
};
use beamflow::vertex::client::{Datum, Verdict};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_stalled_stream_delays_no_other_stream() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut stalled = host.driver().await;
        for k in 0..3 {
            stalled.send_datum(good(k)).await.unwrap();
        }
        let mut other = host.driver().await;
        for _ in 0..3 {
            let answer = call(&mut other, 40).await;
            (0..40).for_each(|k| assert_result(&answer, k));
        }
        stalled.end_of_transmission().await.unwrap();
        let answer = stalled.answer().await.unwrap();
        (0..3).for_each(|k| assert_result(&answer, k));
        host.stop().await;
    }
}

/// As a MonoVertex with NUMAFLOW_READ_AHEAD drives it: the datums of several read batches are in flight together, and no read
/// batch is a barrier.
#[tokio::test]
async fn read_batches_follow_each_other_through_a_stream_without_a_gap() {
    const FRAMES: usize = 1_000;
    let model = format!("{SIM},error-every=50");
    let host = Host::start(&["--mode", "streaming", "--model-path", &model]).await;
    let map = Address::new(&host.sock, &host.server_info);
    let settings = Settings {
        read_batch: 16,
        read_timeout: Duration::from_millis(20),
        read_ahead: 4,
        until: Until::Idle,
        ..Settings::default()
    };
    let results = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&results);
    let sink = Outlet::memory(move |output: &Datum| {
        let k: usize = output.headers["x-txn-id"].parse().unwrap();
        assert_eq!(values(&output.value), result(0, k));
        written.lock().push(k);
        Verdict::Written
    });
    let datum = |k| good(k).with_header("x-txn-id", k.to_string());
    let frames = Datums::of((0..FRAMES).map(datum));
    let mut pipeline = Pipeline::new(settings, Intake::Memory(frames), sink).with_map(map);
    let report = pipeline.run(&CancellationToken::new()).await.unwrap();
    assert!(report.is_balanced(), "{report:?}");
    let mut results = results.lock().clone();
    results.sort_unstable();
    assert!(results.into_iter().eq(0..FRAMES));
    host.stop().await;
}

/// On SIGTERM a stream is not read any further. What has come is answered, then the stream ends.
#[tokio::test]
async fn a_shutdown_answers_the_frames_of_a_stream_that_have_come() {
    let model = format!("{SIM},compute=20ms");
    let host = Host::start(&["--mode", "streaming", "--model-path", &model]).await;
    let mut driver = host.driver().await;
    for k in 0..40 {
        driver.send_datum(good(k)).await.unwrap();
    }
    eventually("a batch", || host.counts.totals().batches > 0).await;
    host.shutdown.cancel();
    let mut answered = Vec::new();
    while let Some(response) = driver.next_response().await.unwrap() {
        let k: usize = response.id.parse().unwrap();
        assert_eq!(values(&response.results[0].value), result(0, k));
        answered.push(k);
    }
    answered.sort_unstable();
    // All that had come, and none after them.
    assert!(
        answered.iter().copied().eq(0..answered.len()),
        "{answered:?}"
    );
    let totals = host.counts.totals();
    assert_eq!(
        (totals.frames, totals.abandoned),
        (answered.len() as u64, 0)
    );
    assert!(!answered.is_empty());
    host.serving.await.unwrap().unwrap();
}

/// Without a wait the load alone sets the size of batches: frames that come one by one run one by one.
#[tokio::test]
async fn a_frame_alone_in_a_stream_does_not_wait_for_others() {
    let host = Host::start(&["--mode", "streaming", "--model-path", SIM]).await;
    let mut driver = host.driver().await.with_concurrency(1);
    let answer = call(&mut driver, 20).await;
    (0..20).for_each(|k| assert_result(&answer, k));
    assert_eq!(host.counts.totals().batches, 20);
    host.stop().await;
}

/// A batch hangs, so that the only device is busy to the end. A short batch would not start sooner, so frames that come one by
/// one become a full one.
#[tokio::test]
async fn frames_of_a_stream_wait_for_a_full_batch_while_the_device_is_busy() {
    let model = format!("{SIM},hang=1,hang-time=1h");
    let patient = ["--mode", "streaming", "--inference-timeout", "1h"];
    let mut served = Served::start(&[&patient[..], &["--model-path", &model]].concat()).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let device = async || served.stats().await["devices"][0].clone();
    driver.send_datum(good(0)).await.unwrap();
    let begun = async {
        while device().await["queue_depth"] != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(NEVER, begun).await.unwrap();
    for k in 1..=8 {
        driver.send_datum(good(k)).await.unwrap();
        // Until the frame is in a slot, or wrongly on its way alone.
        let seen = async {
            loop {
                let told = served.stats().await;
                if told["slots_in_use"] == 2 || told["devices"][0]["batches"] != 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(NEVER, seen).await.unwrap();
    }
    let mut ids = Vec::new();
    while ids.len() < 8 {
        let next = tokio::time::timeout(NEVER, driver.next_response()).await;
        ids.push(next.unwrap().unwrap().unwrap().id);
    }
    ids.sort();
    assert_eq!(ids, (1..=8).map(|k| k.to_string()).collect::<Vec<_>>());
    let device = device().await;
    assert_eq!(
        (&device["batches"], &device["frames"]),
        (&1.into(), &8.into())
    );
}

/// With enough frames in flight every batch is full, whatever comes first: a wait keeps even the first one open.
#[tokio::test]
async fn a_wait_fills_the_batches_of_a_stream() {
    let flags = [
        "--mode",
        "streaming",
        "--batch-wait",
        "1h",
        "--model-path",
        SIM,
    ];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let answer = call(&mut driver, 80).await;
    (0..80).for_each(|k| assert_result(&answer, k));
    let totals = host.counts.totals();
    assert_eq!((totals.batches, totals.full_batches), (10, 10));
    host.stop().await;
}

#[tokio::test]
async fn one_stalled_stream_per_slot_delays_no_other_stream() {
    // Each stalled stream would keep its slot if the timeout did not close its batch.
    let flags = [
        "--mode",
        "pipelined",
        "--pipeline-depth",
        "1",
        "--model-path",
        SIM,
        "--batch-timeout",
        "5ms",
    ];
    let host = Host::start(&flags).await;
    let mut stalled = Vec::new();
    for k in 0..4 {
        let mut driver = host.driver().await;
        driver.send_datum(good(k)).await.unwrap();
        stalled.push(driver);
    }
    let mut other = host.driver().await;
    let answer = call(&mut other, 40).await;
    (0..40).for_each(|k| assert_result(&answer, k));
    for (k, mut driver) in stalled.into_iter().enumerate() {
        driver.end_of_transmission().await.unwrap();
        assert_result(&driver.answer().await.unwrap(), k);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_batch_whose_oldest_frame_has_waited_is_computed_short() {
    for mode in ["concurrent", "pipelined"] {
        let flags = [
            "--mode",
            mode,
            "--model-path",
            SIM,
            "--batch-timeout",
            "5ms",
        ];
        let host = Host::start(&flags).await;
        let mut driver = host.driver().await;
        driver.send_datum(good(0)).await.unwrap();
        // Without an end of transmission only the timeout closes the batch.
        let closed = || host.counts.totals().timed_out_batches > 0;
        eventually("a batch closed by its time-out", closed).await;
        driver.send_datum(good(1)).await.unwrap();
        driver.end_of_transmission().await.unwrap();
        let answer = driver.answer().await.unwrap();
        (0..2).for_each(|k| assert_result(&answer, k));
        host.stop().await;
    }
}

#[tokio::test]
async fn without_a_batch_time_out_a_batch_waits_for_its_frames() {
    let flags = ["--model-path", SIM, "--batch-timeout", "off"];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    driver.send_datum(good(0)).await.unwrap();
    let mut other = host.driver().await;
    call(&mut other, 40).await;
    driver.end_of_transmission().await.unwrap();
    assert_result(&driver.answer().await.unwrap(), 0);
    assert_eq!(host.counts.totals().timed_out_batches, 0);
    host.stop().await;
}

#[tokio::test]
async fn a_disconnect_in_mid_call_returns_slots_and_lanes() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        // More often than there are slots: if each leaked one, none would be left.
        for _ in 0..12 {
            let mut driver = host.driver().await;
            for k in 0..13 {
                driver.send_datum(good(k)).await.unwrap();
            }
            drop(driver);
        }
        let mut driver = host.driver().await;
        let answer = call(&mut driver, 100).await;
        assert_eq!(answer.len(), 100, "{mode}");
        (0..100).for_each(|k| assert_result(&answer, k));
        host.stop().await;
    }
}

#[tokio::test]
async fn many_streams_at_once_get_their_own_results() {
    for mode in MODES {
        let host = Host::start(&["--mode", mode, "--model-path", SIM]).await;
        let mut calls = tokio::task::JoinSet::new();
        for stream in 0..6 {
            let mut driver = host.driver().await;
            calls.spawn(async move {
                let frames = (stream * 1000)..(stream * 1000 + 45);
                let answer = driver
                    .call(futures::stream::iter(frames.clone().map(good)))
                    .await
                    .unwrap();
                frames.for_each(|k| assert_result(&answer, k));
            });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        host.stop().await;
    }
}

/// What numa has in flight may be too little to use every slot. The log says so once, and names the setting.
#[tokio::test]
async fn too_little_in_flight_is_told_with_the_setting() {
    for (mode, in_flight, named) in [
        (
            "pipelined",
            500,
            "limits.readBatchSize of the vertex to at least 32",
        ),
        (
            "streaming",
            4,
            "limits.concurrency of the vertex to at least 32",
        ),
    ] {
        let mut served = Served::start(&["--mode", mode, "--model-path", SIM]).await;
        let driver = served.sidecar.connect().await.unwrap();
        let mut driver = driver.with_concurrency(in_flight);
        for _ in 0..10 {
            call(&mut driver, 20).await;
        }
        let told = || served.sidecar.log().matches(named).count();
        eventually("the warning", || told() == 1).await;
        drop(driver);
        served.sidecar.stop().await.unwrap();
    }
}
