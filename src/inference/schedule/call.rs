//! The state of one call: its ledger, its batches, its times.

use super::{Computed, Filled};
use crate::inference::batch::Close;
use crate::inference::ledger::Ledger;
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::intake::Intake;
use crate::inference::sync::JoinError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One call, from its first datum to its answer.
#[derive(Debug)]
pub(crate) struct Call {
    /// Every datum of the call, with its outcome.
    pub(crate) ledger: Ledger,
    /// Counts them on arrival.
    pub(crate) intake: Intake,
    /// Batches computed, whatever their outcome.
    pub(crate) batches: usize,
    /// Rows computed beyond the frames, because the model's batch is fixed.
    pub(crate) padding: usize,
    /// Batches that were run a second time.
    pub(crate) retried: usize,
    /// Batches that could be in flight, where the mode has such a limit.
    pub(crate) depth: Option<usize>,
    collection: Mean,
    inference: Mean,
    first_arrival: Option<Instant>,
    collected: Option<Instant>,
    first_submission: Option<Instant>,
    last_computed: Option<Instant>,
}

/// The mean of some times.
#[derive(Debug, Default)]
struct Mean {
    sum: Duration,
    times: u32,
}

impl Mean {
    fn add(&mut self, time: Duration) {
        self.sum += time;
        self.times += 1;
    }

    fn get(&self) -> Option<Duration> {
        self.sum.checked_div(self.times)
    }
}

/// Where the time of a call went. The parts overlap where the mode overlaps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallTimes {
    /// First datum to end of transmission.
    pub(crate) collection: Duration,
    /// First batch submitted to last batch computed.
    pub(crate) inference: Duration,
    /// First datum to answer.
    pub(crate) total: Duration,
}

impl Call {
    /// A call without datums. `depth` is the number of batches that may be in flight, if the mode has such a limit.
    #[must_use]
    pub(crate) fn new(counts: &Arc<Counts>, depth: Option<usize>) -> Self {
        Self {
            ledger: Ledger::default(),
            intake: Intake::new(counts),
            batches: 0,
            padding: 0,
            retried: 0,
            depth,
            collection: Mean::default(),
            inference: Mean::default(),
            first_arrival: None,
            collected: None,
            first_submission: None,
            last_computed: None,
        }
    }

    /// Notes that a datum has come.
    pub(crate) fn mark_arrival(&mut self) {
        self.first_arrival.get_or_insert_with(Instant::now);
    }

    /// Notes that the last datum has come.
    pub(crate) fn mark_collected(&mut self) {
        self.collected.get_or_insert_with(Instant::now);
    }

    /// Notes that a batch is submitted.
    pub(crate) fn mark_submission(&mut self) {
        self.first_submission.get_or_insert_with(Instant::now);
    }

    /// Notes how long a batch took to fill. A batch that closed early is not counted.
    pub(crate) fn mark_filled(&mut self, batch: &Filled) {
        if batch.close == Close::Full {
            self.collection.add(batch.filling);
        }
    }

    /// The mean time in which a full batch filled, and that for which a batch was on its lane.
    #[must_use]
    pub(crate) fn per_batch(&self) -> Option<(Duration, Duration)> {
        Some((self.collection.get()?, self.inference.get()?))
    }

    /// Takes the outcome of a batch into the ledger.
    pub(crate) fn settle(&mut self, computed: Result<Computed, JoinError>) {
        self.batches += 1;
        match computed {
            Ok(computed) => {
                self.last_computed = self.last_computed.max(Some(computed.at));
                self.padding += computed.padding;
                if let Some(times) = computed.times {
                    self.inference.add(times.total());
                }
                self.retried += usize::from(computed.retried);
                for (ticket, outcome) in computed.outcomes {
                    self.ledger.settle(ticket, outcome);
                }
            }
            // The frames have no outcome, so the ledger answers them as failed.
            Err(error) => tracing::error!(
                %error,
                "A batch was lost in this program, not in the engine; its frames are answered as failed."
            ),
        }
    }

    /// The times of this call, if it ends now.
    #[must_use]
    pub(crate) fn times(&self) -> CallTimes {
        let Some(start) = self.first_arrival else {
            return CallTimes::default();
        };
        let inference = match (self.first_submission, self.last_computed) {
            (Some(from), Some(to)) => to.saturating_duration_since(from),
            _ => Duration::ZERO,
        };
        CallTimes {
            collection: self
                .collected
                .map_or(Duration::ZERO, |at| at.saturating_duration_since(start)),
            inference,
            total: start.elapsed(),
        }
    }
}
