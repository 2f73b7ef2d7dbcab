//! One batch of outputs to the sinks: failed ones again, then to the fallback sink, and what is to be passed on to the onSuccess
//! sink.

use parking_lot::Mutex;

use super::books::Books;
use super::calls::{Fate, within};
use super::ends::Drain;
use super::{GiveUp, Settings};
use crate::vertex::client::{Datum, DriverError, Verdict};

/// An output, with the place of its parent.
type Output = (usize, Datum);

/// Which sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Sink,
    Fallback,
    OnSuccess,
}

impl Part {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Fallback => "fallback sink",
            Self::OnSuccess => "onSuccess sink",
        }
    }
}

/// The sinks of a life.
pub(super) struct Writer<'a> {
    pub(super) settings: &'a Settings,
    pub(super) books: &'a Mutex<Books>,
    pub(super) drains: Vec<Drain<'a>>,
    pub(super) fallback: Option<Drain<'a>>,
    pub(super) on_success: Option<Drain<'a>>,
}

/// What a sink has left.
#[derive(Default)]
struct Left {
    written: u64,
    /// For the fallback sink.
    fallback: Vec<Output>,
    /// For the onSuccess sink.
    on_success: Vec<Output>,
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
            on_success,
        } = self;
        let (mut nacked, mut rest, mut passed_on) = (Vec::new(), Vec::new(), Vec::new());
        for drain in drains {
            let mut left = push(settings, books, drain, Part::Sink, outputs.clone()).await?;
            nacked.append(&mut left.nacked);
            passed_on.append(&mut left.on_success);
            rest.append(&mut left.fallback);
            if settings.retry.give_up == GiveUp::Fallback {
                rest.append(&mut left.failed);
            }
            give_up(settings, books, left, Part::Sink, &mut nacked)?;
        }
        if let Some((_, first)) = rest.first() {
            let none = || DriverError::NoFallback {
                id: first.id.clone(),
            };
            let drain = fallback.as_mut().ok_or_else(none)?;
            let mut left = push(settings, books, drain, Part::Fallback, rest).await?;
            left.is_last(Part::Fallback)?;
            nacked.append(&mut left.nacked);
            books.lock().counts.fell_back += left.written;
            give_up(settings, books, left, Part::Fallback, &mut nacked)?;
        }
        if let Some((_, first)) = passed_on.first() {
            let none = || DriverError::NoOnSuccess {
                id: first.id.clone(),
            };
            let drain = on_success.as_mut().ok_or_else(none)?;
            let mut left = push(settings, books, drain, Part::OnSuccess, passed_on).await?;
            left.is_last(Part::OnSuccess)?;
            nacked.append(&mut left.nacked);
            give_up(settings, books, left, Part::OnSuccess, &mut nacked)?;
        }
        Ok(nacked)
    }
}

impl Left {
    /// Checks that nothing is for a further sink: behind this one there is none.
    fn is_last(&self, part: Part) -> Result<(), DriverError> {
        match self.fallback.first() {
            Some((_, first)) => {
                let id = first.id.clone();
                Err(DriverError::NoFallback { id }.of(part.name()))
            }
            None => Ok(()),
        }
    }
}

/// Sends outputs to one sink until none fails, or the settings say that it is enough.
async fn push(
    settings: &Settings,
    books: &Mutex<Books>,
    drain: &mut Drain<'_>,
    part: Part,
    outputs: Vec<Output>,
) -> Result<Left, DriverError> {
    let mut left = Left::default();
    let (mut parents, mut datums): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
    let mut again = 0;
    while !datums.is_empty() {
        let writing = drain.write(&datums);
        let (verdicts, time) = within(settings.patience, part.name(), "writing", writing).await?;
        let mut failed = Vec::new();
        let before = left.written;
        for ((parent, datum), verdict) in parents.into_iter().zip(datums).zip(verdicts) {
            match verdict {
                Verdict::Written => left.written += 1,
                Verdict::OnSuccess(other) => {
                    left.written += 1;
                    let passed_on = match other {
                        Some(other) => other.of(datum),
                        None => datum,
                    };
                    left.on_success.push((parent, passed_on));
                }
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
            let written = left.written - before;
            match part {
                Part::Sink | Part::Fallback => books.counts.written += written,
                Part::OnSuccess => books.counts.passed_on += written,
            }
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
    part: Part,
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
            return Err(unwritten.of(part.name()));
        }
    }
    Ok(())
}
