use super::rig::{By, Numbers, Rig, finish, number_of, settings};
use beamflow::vertex::client::pipeline::{
    GiveUp, Intake, Outlet, Pipeline, Report, Retry, Settings,
};
use beamflow::vertex::client::{Datum, DriverError, Verdict};
use numaflow::shared::NackOptions;
use numaflow::sink::{KeyValueGroup, Message, Response, SinkRequest};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs twenty messages through a sink that answers number 5 by `verdict` of its n-th time. There is no map.
async fn run(
    give_up: GiveUp,
    with_fallback: bool,
    verdict: impl Fn(String, usize) -> Response + Send + Sync + 'static,
) -> (Result<Report, DriverError>, Report, Numbers) {
    let rig = Rig::new();
    let source = Numbers::new(20);
    let times = Mutex::new(BTreeMap::new());
    let sink = By(move |request: &SinkRequest| {
        let number = number_of(request);
        let mut times = times.lock().unwrap();
        let time = times.entry(number).or_insert(0);
        *time += 1;
        match number {
            5 => verdict(request.id.clone(), *time),
            _ => {
                assert_eq!(*time, 1, "only what failed is sent again");
                Response::ok(request.id.clone())
            }
        }
    });
    let five = By(|request: &SinkRequest| {
        assert_eq!(number_of(request), 5);
        Response::ok(request.id.clone())
    });
    let _programs = (
        rig.source(&source),
        rig.sink("sink", sink),
        rig.sink("fallback", five),
    );
    let settings = Settings {
        retry: Retry {
            times: 3,
            interval: Duration::from_millis(1),
            give_up,
        },
        ..settings()
    };
    let intake = Intake::Source(rig.address("source"));
    let outlet = Outlet::Sink(rig.address("sink"));
    let mut pipeline = Pipeline::new(settings, intake, outlet);
    if with_fallback {
        pipeline = pipeline.with_fallback(Outlet::Sink(rig.address("fallback")));
    }
    let result = finish(&mut pipeline).await;
    assert!(pipeline.report().is_balanced());
    (result, pipeline.report(), source)
}

fn failure(id: String) -> Response {
    Response::failure(id, "disk full".to_owned())
}

#[tokio::test]
async fn a_failed_message_is_sent_again_until_it_is_written() {
    let (result, report, _) = run(GiveUp::Fail, false, |id, time| match time {
        1..=3 => failure(id),
        _ => Response::ok(id),
    })
    .await;
    result.unwrap();
    assert_eq!((report.written, report.retried, report.failed), (20, 3, 0));
    assert_eq!(report.acked, 20);
}

#[tokio::test]
async fn a_sink_that_never_writes_is_an_error_that_names_it() {
    let (result, report, source) = run(GiveUp::Fail, false, |id, _| failure(id)).await;
    let error = result.unwrap_err();
    assert!(!error.is_loss());
    let text = error.to_string();
    assert!(
        text.contains("sink: ") && text.contains("4 times: disk full"),
        "{text}"
    );
    // The batch is not acked: all of it is nacked, as numa does before it ends.
    assert_eq!((report.acked, report.returned, report.failed), (0, 16, 1));
    assert_eq!(source.stock(|stock| stock.nacked.len()), 16);
}

#[tokio::test]
async fn what_is_given_up_is_dropped_nacked_or_falls_back() {
    let (result, report, _) = run(GiveUp::Drop, false, |id, _| failure(id)).await;
    result.unwrap();
    assert_eq!((report.acked, report.written, report.failed), (20, 19, 1));

    let (result, report, source) = run(GiveUp::Nack, false, |id, time| match time {
        1..=4 => failure(id),
        _ => Response::ok(id),
    })
    .await;
    result.unwrap();
    assert_eq!((report.acked, report.nacked, report.again), (20, 1, 1));
    assert_eq!(source.stock(|stock| stock.nacked.clone()), [(5, None)]);

    let (result, report, _) = run(GiveUp::Fallback, true, |id, _| failure(id)).await;
    result.unwrap();
    assert_eq!(
        (report.acked, report.written, report.fell_back),
        (20, 20, 1)
    );
}

#[tokio::test]
async fn a_sink_may_choose_the_fallback_or_the_source() {
    let (result, report, _) = run(GiveUp::Fail, true, |id, _| Response::fallback(id)).await;
    result.unwrap();
    assert_eq!(
        (report.written, report.fell_back, report.retried),
        (20, 1, 0)
    );

    let (result, ..) = run(GiveUp::Fail, false, |id, _| Response::fallback(id)).await;
    let error = result.unwrap_err();
    assert!(matches!(error, DriverError::NoFallback { .. }), "{error}");

    let (result, report, source) = run(GiveUp::Fail, false, |id, time| match time {
        1 => Response::nack(
            id,
            Some(NackOptions {
                delay: Some(1),
                ..NackOptions::default()
            }),
        ),
        _ => Response::ok(id),
    })
    .await;
    result.unwrap();
    assert_eq!((report.acked, report.nacked, report.again), (20, 1, 1));
    assert_eq!(source.stock(|stock| stock.nacked.clone()), [(5, Some(1))]);
}

/// Runs twenty messages through a sink that passes on those from number 15, the last of them as another message.
async fn pass_on(
    with_outlet: bool,
    mut write: impl FnMut(&Datum) -> Verdict + Send + 'static,
) -> (Result<Report, DriverError>, Vec<Datum>) {
    let rig = Rig::new();
    let source = Numbers::new(20);
    let sink = By(|request: &SinkRequest| {
        let id = request.id.clone();
        let mut other = Message::new(b"other".to_vec()).with_keys(vec!["k".to_owned()]);
        let group = HashMap::from([("n".to_owned(), vec![9])]);
        other = other.with_user_metadata(HashMap::from([(
            "scan".to_owned(),
            KeyValueGroup::from(group),
        )]));
        match number_of(request) {
            19 => Response::on_success(id, Some(other)),
            15.. => Response::on_success(id, None),
            _ => Response::ok(id),
        }
    });
    let _programs = (rig.source(&source), rig.sink("sink", sink));
    let intake = Intake::Source(rig.address("source"));
    let outlet = Outlet::Sink(rig.address("sink"));
    let mut pipeline = Pipeline::new(settings(), intake, outlet);
    let seen = Arc::new(Mutex::new(Vec::new()));
    if with_outlet {
        let to = Arc::clone(&seen);
        pipeline = pipeline.with_on_success(Outlet::memory(move |datum| {
            to.lock().unwrap().push(datum.clone());
            write(datum)
        }));
    }
    let result = finish(&mut pipeline).await;
    assert!(pipeline.report().is_balanced());
    let seen = seen.lock().unwrap().clone();
    (result, seen)
}

#[tokio::test]
async fn what_a_sink_passes_on_reaches_the_on_success_sink_as_numa_sends_it() {
    let (result, seen) = pass_on(true, |_| Verdict::Written).await;
    let report = result.unwrap();
    let counts = (report.acked, report.written, report.passed_on);
    assert_eq!(counts, (20, 20, 5));
    let values: Vec<_> = seen.iter().map(|datum| &datum.value[..]).collect();
    assert_eq!(values, [b"15", b"16", b"17", b"18", &b"other"[..]]);
    let (same, other) = (&seen[3], &seen[4]);
    assert_eq!(other.headers["x-txn-id"], "19");
    assert!(same.keys.is_empty() && other.keys == ["k"]);
    let scan = |datum: &Datum| {
        let metadata = datum.metadata.clone().unwrap().user_metadata;
        metadata["scan"].key_value["n"].clone()
    };
    assert_eq!((scan(same), scan(other)), (vec![7], vec![9]));
}

#[tokio::test]
async fn what_the_on_success_sink_fails_to_write_is_sent_to_it_again() {
    let mut failures = 3;
    let (result, seen) = pass_on(true, move |datum| {
        if datum.value == b"16" && failures > 0 {
            failures -= 1;
            return Verdict::Failed("disk full".to_owned());
        }
        Verdict::Written
    })
    .await;
    let report = result.unwrap();
    let counts = (report.written, report.passed_on, report.retried);
    assert_eq!(counts, (20, 5, 3));
    assert_eq!(seen.len(), 5 + 3);
}

#[tokio::test]
async fn a_message_for_an_on_success_sink_that_is_not_there_is_an_error() {
    let (result, _) = pass_on(false, |_| Verdict::Written).await;
    let error = result.unwrap_err();
    assert!(matches!(error, DriverError::NoOnSuccess { .. }), "{error}");
    // Behind the onSuccess sink there is no other one.
    let (result, _) = pass_on(true, |_| Verdict::Fallback).await;
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with("onSuccess sink: "), "{error}");
}
