//! A subject as the map of a whole vertex: source → map → sink, with read-ahead.
//!
//! Source and sink are in memory. The rate is that of the vertex, the work of the client included: it makes, writes and acks
//! some frames while the subject works on others. What always holds: every result is checked, and none is missing.

use super::BenchError;
use super::stage::Stage;
use super::subject::Subject;
use crate::frame::headers;
use crate::vertex::client::pipeline::{
    Datums, GiveUp, Intake, Outlet, Pipeline, Retry, Settings, Until,
};
use crate::vertex::client::{Datum, Verdict};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Frames that are acked per second of a turn. `size` is the datums in a read batch, and the read batches in hand.
pub(crate) async fn frames_per_second(
    subject: &Subject,
    stage: &Stage,
    size: (usize, usize),
    turn: Duration,
) -> Result<f64, BenchError> {
    let (read_batch, read_ahead) = size;
    let settings = Settings {
        vertex: "bench".to_owned(),
        read_batch,
        read_ahead,
        // A wrong result ends the bench.
        retry: Retry {
            times: 0,
            interval: Duration::ZERO,
            give_up: GiveUp::Fail,
        },
        // The source is never empty before its end.
        read_timeout: Duration::from_millis(1),
        until: Until::Idle,
        ..Settings::default()
    };
    // The first frame is read when everything is connected.
    let begun = Arc::new(OnceLock::new());
    let clock = Arc::clone(&begun);
    let is_on = move |_: &Datum| clock.get_or_init(Instant::now).elapsed() < turn;
    let intake = Intake::Memory(Datums::of(frames(stage).take_while(is_on)));
    let mut pipeline = Pipeline::new(settings, intake, sink(subject)).with_map(subject.address());
    let ran = pipeline.run(&CancellationToken::new()).await;
    let took = begun.get().map(Instant::elapsed).unwrap_or_default();
    let report = ran.map_err(|source| BenchError::Driver {
        subject: subject.name.clone(),
        source,
    })?;
    let count = report.dropped + report.nacked;
    if count > 0 {
        let subject = subject.name.clone();
        return Err(BenchError::Unwritten { subject, count });
    }
    Ok(report.acked as f64 / took.as_secs_f64())
}

/// The frames of `stage`, again and again.
fn frames(stage: &Stage) -> impl Iterator<Item = Datum> + Send + use<> {
    let frames: Vec<_> = (0..stage.distinct()).map(|k| stage.datum(k)).collect();
    let numbered = |(n, datum): (usize, Datum)| Datum {
        id: n.to_string(),
        ..datum
    };
    frames.into_iter().cycle().enumerate().map(numbered)
}

/// Checks the results. An output has the headers of its frame.
fn sink(subject: &Subject) -> Outlet {
    let expected = subject.expected.clone();
    Outlet::memory(move |output| {
        let number = output.headers.get(headers::TXN_ID);
        match number.and_then(|number| number.parse().ok()) {
            Some(k) if expected.has(k, &output.value) => Verdict::Written,
            _ => Verdict::Failed("its values are not those of the frame".to_owned()),
        }
    })
}
