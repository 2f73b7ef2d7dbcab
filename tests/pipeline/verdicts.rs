use super::rig::{By, Numbers, Rig, finish, number_of, settings};
use beamflow::vertex::client::DriverError;
use beamflow::vertex::client::pipeline::{
    GiveUp, Intake, Outlet, Pipeline, Report, Retry, Settings,
};
use numaflow::shared::NackOptions;
use numaflow::sink::{Response, SinkRequest};
use std::collections::BTreeMap;
use std::sync::Mutex;
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
