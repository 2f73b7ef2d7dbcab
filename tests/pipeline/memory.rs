use super::rig::settings;
use beamflow::vertex::client::pipeline::{Datums, Intake, Outlet, Pipeline, Settings, Until};
use beamflow::vertex::client::{Datum, Verdict};
use futures::StreamExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

fn datums(count: usize) -> impl Iterator<Item = Datum> + Send {
    (0..count).map(|n| Datum::new(n.to_string(), vec![]).with_header("n", n.to_string()))
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_in_memory_needs_no_program() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&written);
    let sink = Outlet::memory(move |datum| {
        to.lock().unwrap().push(datum.headers["n"].clone());
        Verdict::Written
    });
    let source = Intake::Memory(Datums::of(datums(100)));
    let mut pipeline = Pipeline::new(settings(), source, sink);
    let report = pipeline.run(&CancellationToken::new()).await.unwrap();
    assert_eq!((report.read, report.acked, report.written), (100, 100, 100));
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(*written.lock().unwrap(), expected, "in order");
}

#[tokio::test(start_paused = true)]
async fn a_nack_in_memory_keeps_its_delay() {
    let begun = Instant::now();
    let times = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&times);
    let sink = Outlet::memory(move |datum| {
        if datum.headers["n"] != "3" {
            return Verdict::Written;
        }
        let mut times = to.lock().unwrap();
        times.push(begun.elapsed());
        match times.len() {
            1 => Verdict::Nacked(Some(Duration::from_secs(5))),
            2 => Verdict::Nacked(None),
            _ => Verdict::Written,
        }
    });
    let source = Intake::Memory(Datums::of(datums(8)));
    let mut pipeline = Pipeline::new(settings(), source, sink);
    let report = pipeline.run(&CancellationToken::new()).await.unwrap();
    assert_eq!((report.acked, report.nacked, report.again), (8, 2, 2));
    let times = times.lock().unwrap();
    let waited = times[1] - times[0];
    // The runtime's timer counts whole milliseconds.
    let expected = Duration::from_secs(5)..Duration::from_millis(5_010);
    assert!(expected.contains(&waited), "{waited:?}");
    assert_eq!(times[2], times[1]);
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_at_its_count_or_its_timeout() {
    let paced = futures::stream::iter(datums(40)).then(|datum| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        datum
    });
    let batches = Arc::new(Mutex::new(Vec::new()));
    let to = Arc::clone(&batches);
    let begun = Instant::now();
    let sink = Outlet::memory(move |_| {
        to.lock().unwrap().push(begun.elapsed().as_millis());
        Verdict::Written
    });
    let settings = Settings {
        read_timeout: Duration::from_millis(95),
        ..settings()
    };
    let mut pipeline = Pipeline::new(settings, Intake::Memory(Datums::new(paced)), sink);
    pipeline.run(&CancellationToken::new()).await.unwrap();
    let batches = batches.lock().unwrap();
    let at = |time| batches.iter().filter(|other| **other == time).count();
    assert_eq!((at(95), at(190)), (9, 10), "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_in_hand() {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let sink = Outlet::memory(move |_| {
        token.cancel();
        Verdict::Written
    });
    let source = Intake::Memory(Datums::of(datums(100)));
    let settings = Settings {
        until: Until::Stopped,
        ..settings()
    };
    let mut pipeline = Pipeline::new(settings, source, sink);
    let report = pipeline.run(&stop).await.unwrap();
    assert_eq!((report.read, report.acked, report.in_hand), (16, 16, 0));
    // A later run goes on behind it.
    pipeline.set_until(Until::Acked(40));
    let report = pipeline.run(&CancellationToken::new()).await.unwrap();
    assert_eq!((report.read, report.again, report.acked), (48, 0, 48));
}

#[tokio::test(start_paused = true)]
async fn what_a_dropped_run_had_in_hand_comes_again() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let sink = Outlet::memory(move |_| match tell.take() {
        // The first batch fails, and the run is dropped while it waits.
        Some(tell) => {
            tell.send(()).unwrap();
            Verdict::Failed("not now".to_owned())
        }
        None => Verdict::Written,
    });
    let source = Intake::Memory(Datums::of(datums(20)));
    let mut pipeline = Pipeline::new(settings(), source, sink);
    let stop = CancellationToken::new();
    tokio::select! {
        biased;
        _ = told => {}
        ended = pipeline.run(&stop) => panic!("{ended:?}"),
    }
    assert_eq!(pipeline.report().in_hand, 16);
    let report = pipeline.run(&stop).await.unwrap();
    assert_eq!((report.read, report.again, report.returned), (36, 16, 16));
    assert_eq!(report.acked, 20);
    assert!(report.is_balanced());
}
