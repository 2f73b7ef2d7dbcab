//! What one model has to do in a call: its ledger, its batches, its times.
//!
//! In a batch map a call is one read batch, in streaming mode it is a whole stream. With several models each has a `Call` of its
//! own for its datums; the intake is that of the whole call. The collector enters datums and the batches
//! are settled side by side, so the books are behind a lock. It is held for a few steps and never across an await.
//!
//! What always holds: an answer goes to the outlet as soon as its frame is settled, each once; a datum that entered a call
//! that is dropped is counted as abandoned.

use super::{Computed, Filled};
use crate::frame::Rejection;
use crate::frame::frame_id;
use crate::inference::batch::Close;
use crate::inference::common::Common;
use crate::inference::deliveries::{self, Delivery};
use crate::inference::failure::Failure;
use crate::inference::ledger::{Answer, Arrival, Ledger, Outcome, Tally, Ticket};
use crate::inference::metrics::intake::{Intake, event_time};
use crate::inference::sync::{JoinError, Mutex};
use numaflow::batchmap::Datum;
use std::mem::take;
use std::time::Duration;
use tokio::time::Instant;

/// Where answers go.
#[async_trait::async_trait]
pub(crate) trait Outlet: Send + Sync {
    /// Takes answers. False if the call is given up: then they are not taken.
    async fn answer(&self, answers: Vec<Answer>) -> bool;
}

/// One call, from its first datum to its last answer. See the module's essay.
pub(crate) struct Call<'a> {
    common: &'a Common,
    intake: &'a Mutex<Intake>,
    books: Mutex<Books>,
    outlet: &'a dyn Outlet,
}

/// What is under the call's lock.
struct Books {
    ledger: Ledger,
    report: Report,
    collection: Mean,
    inference: Mean,
    first_arrival: Option<Instant>,
    collected: Option<Instant>,
    first_submission: Option<Instant>,
    last_computed: Option<Instant>,
}

/// A call that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// Its datums by outcome.
    pub(crate) tally: Tally,
    /// Batches computed, whatever their outcome.
    pub(crate) batches: usize,
    /// Rows computed beyond the frames, because the model's batch is fixed.
    pub(crate) padding: usize,
    /// Batches that were run a second time.
    pub(crate) retried: usize,
    /// Batches that could be in flight, where the mode has such a limit.
    pub(crate) depth: Option<usize>,
    /// Where its time went.
    pub(crate) times: CallTimes,
}

impl Report {
    /// The report of a call from those of its models, whose times overlap.
    #[must_use]
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            tally: self.tally.join(other.tally),
            batches: self.batches + other.batches,
            padding: self.padding + other.padding,
            retried: self.retried + other.retried,
            // Each model has its own.
            depth: None,
            times: CallTimes {
                collection: self.times.collection.max(other.times.collection),
                inference: self.times.inference.max(other.times.inference),
            },
        }
    }
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
}

impl<'a> Call<'a> {
    /// A call without datums, whose answers go to `outlet`. Its datums have come through `intake`.
    #[must_use]
    pub(crate) fn new(
        common: &'a Common,
        intake: &'a Mutex<Intake>,
        outlet: &'a dyn Outlet,
    ) -> Self {
        let books = Books {
            ledger: Ledger::default(),
            report: Report::default(),
            collection: Mean::default(),
            inference: Mean::default(),
            first_arrival: None,
            collected: None,
            first_submission: None,
            last_computed: None,
        };
        Self {
            common,
            intake,
            books: Mutex::new(books),
            outlet,
        }
    }

    /// Notes how many batches may be in flight.
    pub(crate) fn mark_depth(&self, depth: usize) {
        self.books.lock().report.depth = Some(depth);
    }

    /// Notes that the last datum has come.
    pub(crate) fn mark_collected(&self) {
        let collected = &mut self.books.lock().collected;
        collected.get_or_insert_with(Instant::now);
    }

    /// Notes that a batch is submitted.
    pub(crate) fn mark_submission(&self) {
        let first = &mut self.books.lock().first_submission;
        first.get_or_insert_with(Instant::now);
    }

    /// Notes how long a batch took to fill. A batch that closed early is not counted.
    pub(crate) fn mark_filled(&self, batch: &Filled) {
        if batch.close == Close::Full {
            self.books.lock().collection.add(batch.filling);
        }
    }

    /// Enters a datum that came at `at`, and says which delivery it is. Its id and keys are moved out of it.
    pub(crate) fn enter(&self, datum: &mut Datum, at: Instant) -> (Ticket, Delivery) {
        let given = deliveries::given(&datum.headers);
        let delivery = self.common.deliveries.of(&datum.id, given);
        let arrival = Arrival::new(at, event_time(datum), delivery);
        let (id, keys) = (take(&mut datum.id), take(&mut datum.keys));
        let mut books = self.books.lock();
        books.first_arrival.get_or_insert(at);
        (books.ledger.enter(id, keys, arrival), delivery)
    }

    /// Keeps the payload of an open datum for its dead letter, if this is its last delivery.
    pub(crate) fn keep(&self, ticket: Ticket, payload: Vec<u8>) {
        self.books.lock().ledger.keep(ticket, payload);
    }

    /// Adds what has arrived to the count: once per batch.
    pub(crate) fn count(&self) {
        self.intake.lock().count();
    }

    /// The id of an open datum.
    pub(crate) fn id(&self, ticket: Ticket) -> String {
        self.books.lock().ledger.id(ticket).to_owned()
    }

    /// The mean time in which a full batch filled, and that for which a batch was on its lane, since the last time this was
    /// asked with at least `least` full batches.
    pub(crate) fn per_batch(&self, least: u32) -> Option<(Duration, Duration)> {
        let mut books = self.books.lock();
        if books.collection.times < least {
            return None;
        }
        let (collection, inference) = (take(&mut books.collection), take(&mut books.inference));
        Some((collection.get()?, inference.get()?))
    }

    /// Counts, logs, settles and answers a frame that is wrong in itself.
    pub(crate) async fn reject(&self, ticket: Ticket, rejection: Rejection, datum: Datum) {
        let id = self.id(ticket);
        let frame = frame_id(&datum.headers, &id);
        self.common.counts.rejection(frame, &rejection);
        // Only a dead letter needs the payload. Otherwise it would stay in memory until it is answered.
        let payload = if self.common.dead_letters {
            datum.value
        } else {
            Vec::new()
        };
        let outcome = Outcome::Rejected(rejection, payload);
        let answer = self.books.lock().ledger.settle(ticket, outcome);
        self.answer(answer.into_iter().collect()).await;
    }

    /// Settles and answers the frames of a batch.
    pub(crate) async fn settle(&self, tickets: Vec<Ticket>, computed: Result<Computed, JoinError>) {
        let answers = self.settled(tickets, computed);
        self.answer(answers).await;
    }

    fn settled(&self, tickets: Vec<Ticket>, computed: Result<Computed, JoinError>) -> Vec<Answer> {
        let mut books = self.books.lock();
        books.report.batches += 1;
        let outcomes = match computed {
            Ok(computed) => {
                books.last_computed = books.last_computed.max(Some(computed.at));
                books.report.padding += computed.padding;
                books.report.retried += usize::from(computed.retried);
                if let Some(times) = computed.times {
                    books.inference.add(times.total());
                }
                computed.outcomes
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "A batch was lost in this program, not in the engine; its frames are answered as failed."
                );
                let failed = |ticket| (ticket, Outcome::Failed(Failure::Unsettled));
                tickets.into_iter().map(failed).collect()
            }
        };
        let settle = |(ticket, outcome)| books.ledger.settle(ticket, outcome);
        outcomes.into_iter().filter_map(settle).collect()
    }

    async fn answer(&self, answers: Vec<Answer>) {
        let answered = answers.len();
        if answered == 0 {
            return;
        }
        // No frame counts as answered before it counts as received.
        self.count();
        if self.outlet.answer(answers).await {
            self.intake.lock().answered(answered);
        }
    }

    /// Answers the datums that have no outcome, and closes the books.
    pub(crate) async fn finish(self) -> Report {
        let left = self.books.lock().ledger.finish();
        self.answer(left).await;
        let books = self.books.lock();
        Report {
            tally: books.ledger.tally(),
            times: books.times(),
            ..books.report
        }
    }
}

impl Books {
    /// The times of this call, if it ends now.
    fn times(&self) -> CallTimes {
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
        }
    }
}
