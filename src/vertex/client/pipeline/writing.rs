//! One batch of outputs to the sink: failed ones again, then to the fallback sink.

use parking_lot::Mutex;

use super::books::Books;
use super::calls::{Fate, within};
use super::ends::Drain;
use super::{GiveUp, Settings};
use crate::vertex::client::{Datum, DriverError, Verdict};

/// An output, with the place of its parent.
type Output = (usize, Datum);

/// The sinks of a life.
pub(super) struct Writer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) books: &'a Mutex<Books>,
    pub(super) drains: Vec<Drain<'a>>,
    pub(super) fallback: Option<Drain<'a>>,
}

/// What a sink has left.
#[derive(Default)]
struct Left {
    written: u64,
    /// For the fallback sink.
    fallback: Vec<Output>,
    /// Failed, however often they were sent.
    failed: Vec<Output>,
    /// What the sink said of the first of them.
    reason: String,
    /// Parents to nack.
    nacked: Vec<(usize, Fate)>,
}

impl Writer<'_> {
    /// Writes the outputs, and returns the parents that are not to be acked.
    ///
    /// # Errors
    /// When a sink breaks the protocol, is overdue or gone; when a message stays unwritten and the settings do not give it up.
    pub(super) async fn write(
        &mut self,
        outputs: Vec<Output>,
    ) -> Result<Vec<(usize, Fate)>, DriverError> {
        let Self {
            settings,
            books,
            drains,
            fallback,
        } = self;
        let (mut nacked, mut rest) = (Vec::new(), Vec::new());
        for drain in drains {
            let mut left = push(settings, books, drain, "sink", outputs.clone()).await?;
            nacked.append(&mut left.nacked);
            rest.append(&mut left.fallback);
            if settings.retry.give_up == GiveUp::Fallback {
                rest.append(&mut left.failed);
            }
            give_up(settings, books, left, "sink", &mut nacked)?;
        }
        if let Some((_, first)) = rest.first() {
            let none = || DriverError::NoFallback {
                id: first.id.clone(),
            };
            let drain = fallback.as_mut().ok_or_else(none)?;
            let mut left = push(settings, books, drain, "fallback sink", rest).await?;
            if let Some((_, first)) = left.fallback.first() {
                let id = first.id.clone();
                return Err(DriverError::NoFallback { id }.of("fallback sink"));
            }
            nacked.append(&mut left.nacked);
            books.lock().counts.fell_back += left.written;
            give_up(settings, books, left, "fallback sink", &mut nacked)?;
        }
        Ok(nacked)
    }
}

/// Sends outputs to one sink until none fails, or the settings say that it is enough.
async fn push(
    settings: &Settings,
    books: &Mutex<Books>,
    drain: &mut Drain<'_>,
    part: &'static str,
    outputs: Vec<Output>,
) -> Result<Left, DriverError> {
    let mut left = Left::default();
    let (mut parents, mut datums): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
    let mut again = 0;
    while !datums.is_empty() {
        let writing = drain.write(&datums);
        let (verdicts, time) = within(settings.patience, part, "writing", writing).await?;
        let mut failed = Vec::new();
        let before = left.written;
        for ((parent, datum), verdict) in parents.into_iter().zip(datums).zip(verdicts) {
            match verdict {
                Verdict::Written => left.written += 1,
                Verdict::Fallback => left.fallback.push((parent, datum)),
                Verdict::Nacked(delay) => left.nacked.push((parent, Fate::Nack(delay))),
                Verdict::Failed(reason) => {
                    if failed.is_empty() {
                        left.reason = reason;
                    }
                    failed.push((parent, datum));
                }
            }
        }
        let gives_up = again == settings.retry.times;
        {
            let mut books = books.lock();
            books.counts.writes.enter(time);
            books.counts.written += left.written - before;
            if !gives_up {
                books.counts.retried += failed.len() as u64;
            }
        }
        if gives_up {
            left.failed = failed;
            break;
        }
        again += 1;
        (parents, datums) = failed.into_iter().unzip();
        if !datums.is_empty() {
            tokio::time::sleep(settings.retry.interval).await;
        }
    }
    Ok(left)
}

/// Does with failed outputs what the settings say.
fn give_up(
    settings: &Settings,
    books: &Mutex<Books>,
    left: Left,
    part: &'static str,
    nacked: &mut Vec<(usize, Fate)>,
) -> Result<(), DriverError> {
    let failed = left.failed;
    if failed.is_empty() {
        return Ok(());
    }
    books.lock().counts.failed += failed.len() as u64;
    match settings.retry.give_up {
        GiveUp::Drop => {}
        GiveUp::Nack => {
            nacked.extend(failed.iter().map(|(parent, _)| (*parent, Fate::Nack(None))));
        }
        GiveUp::Fail | GiveUp::Fallback => {
            let ids = failed.into_iter().map(|(_, datum)| datum.id).collect();
            let attempts = settings.retry.times + 1;
            let reason = left.reason;
            let unwritten = DriverError::Unwritten {
                ids,
                attempts,
                reason,
            };
            return Err(unwritten.of(part));
        }
    }
    Ok(())
}
