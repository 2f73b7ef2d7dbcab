//! What every subject does with one kind of frame, in turns.

use super::BenchError;
use super::figures::{Case, Round};
use super::stage::Stage;
use super::subject::{Plan, Subject};
use super::vertex;
use crate::commands::table;
use crate::vertex::client::{Answer, Answered, Datum, MapMode};
use futures::stream;
use std::time::Duration;
use tokio::time::Instant;

/// Measures every subject of `plan` with the frames of `stage`.
pub(crate) async fn measure(
    plan: &Plan<'_>,
    stage: &Stage,
    rounds: usize,
    turn: Duration,
) -> Result<Vec<Case>, BenchError> {
    let folder = tempfile::tempdir().map_err(|source| BenchError::File {
        doing: "make",
        path: "a temporary folder".into(),
        source,
    })?;
    let mut subjects = Subject::start_all(plan, stage, folder.path()).await?;
    let mut cases: Vec<_> = subjects
        .iter()
        .map(|subject| Case {
            bound_bytes: subject.bound,
            ..Case::new(&subject.name, &stage.frame(), stage.model())
        })
        .collect();
    let bar = table::progress(&stage.frame(), ((rounds + 1) * subjects.len()) as u64);
    for round in 0..=rounds {
        for (subject, case) in subjects.iter_mut().zip(&mut cases) {
            let mut measured = take_turn(subject, stage, plan.read_batch, turn).await?;
            if let Some(read_ahead) = plan.read_ahead {
                let size = (plan.read_batch, read_ahead);
                let rate = vertex::frames_per_second(subject, stage, size, turn).await?;
                measured.vertex_frames_per_second = Some(rate);
            }
            // The first is to warm up, and to learn what the answers are.
            if round > 0 {
                case.rounds.push(measured);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    for subject in subjects {
        subject.stop().await?;
    }
    Ok(cases)
}

/// Drives the subject until the turn is over; checks every response.
async fn take_turn(
    subject: &mut Subject,
    stage: &Stage,
    read_batch: usize,
    turn: Duration,
) -> Result<Round, BenchError> {
    let before = subject.used()?;
    let Turn {
        frames,
        answering,
        mut calls,
    } = match subject.driver.map_mode() {
        MapMode::Batch => read_batches(subject, stage, read_batch, turn).await?,
        MapMode::Unary => stream_of(subject, stage, turn).await?,
    };
    let after = subject.used()?;
    calls.sort_unstable();
    let seconds = |fraction| table::percentile(&calls, fraction).as_secs_f64();
    Ok(Round {
        frames_per_second: frames as f64 / answering.as_secs_f64(),
        cpu_seconds_per_frame: (after.cpu - before.cpu) / frames as f64,
        call_seconds_p50: seconds(0.5),
        call_seconds_p99: seconds(0.99),
        resident_bytes: after.resident,
        vertex_frames_per_second: None,
    })
}

/// What a subject did in a turn.
struct Turn {
    frames: usize,
    answering: Duration,
    /// The times of the read batches, or of the frames of a stream.
    calls: Vec<Duration>,
}

/// Sends read batch after read batch.
async fn read_batches(
    subject: &mut Subject,
    stage: &Stage,
    read_batch: usize,
    turn: Duration,
) -> Result<Turn, BenchError> {
    let (mut frames, mut answering) = (0, Duration::ZERO);
    let mut calls = Vec::new();
    while answering < turn {
        // Made before the clock runs: the client's own work is not what is measured.
        let datums: Vec<_> = (0..read_batch)
            .map(|n| Datum {
                id: n.to_string(),
                ..stage.datum((frames + n) % stage.distinct())
            })
            .collect();
        let begun = Instant::now();
        let answer = subject.driver.call(stream::iter(datums)).await;
        let took = begun.elapsed();
        let answer = answer.map_err(|source| subject.broke(source))?;
        check(subject, stage, frames, &answer)?;
        answering += took;
        calls.push(took);
        frames += read_batch;
    }
    Ok(Turn {
        frames,
        answering,
        calls,
    })
}

/// Sends one stream of frames.
async fn stream_of(
    subject: &mut Subject,
    stage: &Stage,
    turn: Duration,
) -> Result<Turn, BenchError> {
    let begun = Instant::now();
    let datum = |n: usize| Datum {
        id: n.to_string(),
        ..stage.datum(n % stage.distinct())
    };
    let frames = (0..).map(datum).take_while(|_| begun.elapsed() < turn);
    let mut calls = Vec::new();
    let mut wrong = None;
    let Subject {
        driver, expected, ..
    } = subject;
    let take = |answered: Answered| {
        calls.push(answered.duration);
        let payloads: Vec<_> = answered.messages.iter().map(|m| &*m.value).collect();
        let frame = answered.id.parse().unwrap_or_default();
        let checked = expected.check(frame % stage.distinct(), &payloads);
        wrong = wrong.take().or(checked.err().map(|reason| (frame, reason)));
    };
    let streamed = driver.stream(stream::iter(frames), take).await;
    let answering = streamed.map_err(|source| subject.broke(source))?;
    if let Some((frame, reason)) = wrong {
        let subject = subject.name.clone();
        return Err(BenchError::Wrong {
            subject,
            frame,
            reason,
        });
    }
    Ok(Turn {
        frames: calls.len(),
        answering,
        calls,
    })
}

fn check(
    subject: &mut Subject,
    stage: &Stage,
    sent: usize,
    answer: &Answer,
) -> Result<(), BenchError> {
    for n in 0..answer.len() {
        let messages = answer.get(&n.to_string()).unwrap_or_default();
        let payloads: Vec<_> = messages.iter().map(|m| m.value.as_slice()).collect();
        let frame = sent + n;
        let checked = subject.expected.check(frame % stage.distinct(), &payloads);
        checked.map_err(|reason| BenchError::Wrong {
            subject: subject.name.clone(),
            frame,
            reason,
        })?;
    }
    Ok(())
}
