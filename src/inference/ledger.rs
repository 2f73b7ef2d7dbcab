//! The ledger of one call: its datums that are not answered yet, and what came of the others.
//!
//! Every datum is entered once and gets a `Ticket`. The outcome of its frame is settled against that ticket, in any order.
//! `Ledger::settle` returns the `Answer`, which can leave at once. `Ledger::finish` returns the answers of those left.
//!
//! What always holds:
//! - as many answers come out as datums went in. An entry without an outcome becomes `Failure::Unsettled`: an answer can be
//!   wrong and say so, but it cannot be missing;
//! - the first outcome of a ticket counts. A later one changes nothing and is counted in `Tally::repeated`;
//! - entries differ by ticket, not by id: two datums with one id get two answers;
//! - it holds the open datums only, so that a stream without an end needs no more memory than what is in hand.
//!
//! There are two books. This one belongs to inference: it knows outcomes and their reasons, and holds wherever the handler is
//! hosted, by the SDK's server too. The roll (`crate::vertex::map`) belongs to the protocol: it trusts no handler, and answers
//! for one that panics or returns too little. Each of them alone would leave one kind of mistake without an answer.
//!
//! ```
//! use beamflow::inference::ledger::{Arrival, Ledger, Outcome};
//!
//! let mut ledger = Ledger::default();
//! let first = ledger.enter("a".into(), vec![], Arrival::now());
//! let _never_settled = ledger.enter("b".into(), vec![], Arrival::now());
//! let answer = ledger.settle(first, Outcome::Done([b"result".to_vec()].into_iter().collect()));
//! assert!(matches!(answer.unwrap().outcome, Outcome::Done(_)));
//!
//! let left = ledger.finish();
//! assert_eq!(left.len(), 1);
//! assert!(matches!(left[0].outcome, Outcome::Failed(_)));
//! ```

use crate::frame::Rejection;
use crate::inference::deliveries::Delivery;
use crate::inference::failure::Failure;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::mem::take;
use std::time::SystemTime;
use tokio::time::Instant;

/// One datum's place in the ledger that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// The results of a frame: one encoded payload per selected output of the model, in that order. For the two of PtychoNN no
/// list has to be allocated.
pub type Results = SmallVec<[Vec<u8>; 2]>;

/// The outcome of a frame.
#[derive(Debug)]
pub enum Outcome {
    /// The results.
    Done(Results),
    /// The results, of which some values are NaN or infinite.
    NotFinite(Results),
    /// The frame itself is wrong; it would fail again. Carries the original payload if there is a dead
    /// letter to carry it, else nothing.
    Rejected(Rejection, Vec<u8>),
    /// The engine failed; the frame is fine.
    Failed(Failure),
}

/// One datum on its way out.
#[derive(Debug)]
pub struct Answer {
    /// The datum's id, as it came.
    pub id: String,
    /// The datum's keys, as they came.
    pub(crate) keys: Vec<String>,
    /// When it came.
    pub(crate) arrival: Arrival,
    /// Its payload, if it was kept for a dead letter.
    pub(crate) payload: Vec<u8>,
    /// The outcome of its frame.
    pub outcome: Outcome,
}

/// When a datum came, and for which time.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// To this process.
    pub(crate) at: Instant,
    /// Into the pipeline: its event time, if it has one.
    pub(crate) event: Option<SystemTime>,
    /// Which delivery it is.
    pub(crate) delivery: Delivery,
}

impl Arrival {
    /// At this time, with this event time, as this delivery.
    #[must_use]
    pub fn new(at: Instant, event: Option<SystemTime>, delivery: Delivery) -> Self {
        Self {
            at,
            event,
            delivery,
        }
    }

    /// Now, for the first time, and without an event time.
    #[must_use]
    pub fn now() -> Self {
        Self::new(Instant::now(), None, Delivery::FIRST)
    }
}

/// How many of a call's datums ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datums entered.
    pub frames: usize,
    /// Settled as [`Outcome::Done`].
    pub done: usize,
    /// Settled as [`Outcome::NotFinite`].
    pub not_finite: usize,
    /// Settled as [`Outcome::Rejected`].
    pub rejected: usize,
    /// Settled as [`Outcome::Failed`].
    pub failed: usize,
    /// Settlements that came too late to count.
    pub repeated: usize,
}

impl Tally {
    /// Counts an outcome.
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => self.done += 1,
            Outcome::NotFinite(_) => self.not_finite += 1,
            Outcome::Rejected(..) => self.rejected += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
    }

    /// Both together.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            done: self.done + other.done,
            not_finite: self.not_finite + other.not_finite,
            rejected: self.rejected + other.rejected,
            failed: self.failed + other.failed,
            repeated: self.repeated + other.repeated,
        }
    }
}

#[derive(Debug)]
struct Entry {
    id: String,
    keys: Vec<String>,
    arrival: Arrival,
    payload: Vec<u8>,
}

impl Entry {
    fn answer(self, outcome: Outcome) -> Answer {
        let Self {
            id,
            keys,
            arrival,
            payload,
        } = self;
        Answer {
            id,
            keys,
            arrival,
            payload,
            outcome,
        }
    }
}

/// The entries of one call. See the module's essay.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    open: BTreeMap<Ticket, Entry>,
    tally: Tally,
}

impl Ledger {
    /// Enters a datum.
    pub fn enter(&mut self, id: String, keys: Vec<String>, arrival: Arrival) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.tally.frames += 1;
        let entry = Entry {
            id,
            keys,
            arrival,
            payload: Vec::new(),
        };
        self.open.insert(ticket, entry);
        ticket
    }

    /// Keeps the payload of an open datum for its answer, if the datum is not delivered again.
    pub fn keep(&mut self, ticket: Ticket, payload: Vec<u8>) {
        let entry = self.open.get_mut(&ticket);
        if let Some(entry) = entry.filter(|entry| entry.arrival.delivery.is_last) {
            entry.payload = payload;
        }
    }

    /// The id that an open datum was entered with; empty for any other ticket.
    #[must_use]
    pub fn id(&self, ticket: Ticket) -> &str {
        self.open.get(&ticket).map_or("", |entry| entry.id.as_str())
    }

    /// Datums that are not settled.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Settles a datum: its answer, unless it was settled before.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) -> Option<Answer> {
        let Some(entry) = self.open.remove(&ticket) else {
            self.tally.repeated += 1;
            return None;
        };
        self.tally.add(&outcome);
        Some(entry.answer(outcome))
    }

    /// Counts of entries and outcomes so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Closes the ledger: the answers of the datums that are not settled, in order of arrival.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Answer> {
        let left = take(&mut self.open).into_values();
        let answers: Vec<_> = left
            .map(|entry| entry.answer(Outcome::Failed(Failure::Unsettled)))
            .collect();
        self.tally.failed += answers.len();
        answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smallvec::smallvec;

    fn result(of: usize) -> Outcome {
        Outcome::Done(smallvec![of.to_le_bytes().to_vec()])
    }

    fn enter(ledger: &mut Ledger, id: &str) -> Ticket {
        ledger.enter(id.to_owned(), vec![], Arrival::now())
    }

    #[test]
    fn a_datum_without_an_outcome_is_answered_as_failed() {
        let mut ledger = Ledger::default();
        enter(&mut ledger, "lost");
        let answers = ledger.finish();
        assert!(matches!(
            answers.as_slice(),
            [Answer {
                outcome: Outcome::Failed(Failure::Unsettled),
                ..
            }]
        ));
        assert_eq!(ledger.tally().failed, 1);
    }

    #[test]
    fn two_datums_with_one_id_get_two_answers() {
        let mut ledger = Ledger::default();
        for key in ["k1", "k2"] {
            let ticket = ledger.enter("same".into(), vec![key.into()], Arrival::now());
            let answer = ledger.settle(ticket, result(1)).unwrap();
            assert_eq!(
                (answer.id.as_str(), answer.keys),
                ("same", vec![key.into()])
            );
        }
    }

    #[test]
    fn the_first_settlement_counts_and_the_second_is_counted() {
        let mut ledger = Ledger::default();
        let ticket = enter(&mut ledger, "a");
        assert!(ledger.settle(ticket, result(1)).is_some());
        let again = ledger.settle(ticket, Outcome::Failed(Failure::Unsettled));
        assert!(again.is_none());
        let tally = ledger.tally();
        assert_eq!((tally.repeated, tally.done, tally.failed), (1, 1, 0));
    }

    proptest! {
        /// Any interleaving of entries and settlements, with settlements missing and repeated.
        #[test]
        fn every_id_is_answered_once_for_any_interleaving(
            steps in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>()), 0..300),
        ) {
            let mut ledger = Ledger::default();
            let mut tickets = Vec::new();
            let mut answered = std::collections::HashMap::new();
            for (n, (is_new, which)) in steps.into_iter().enumerate() {
                if is_new || tickets.is_empty() {
                    let id = tickets.len().to_string();
                    tickets.push(enter(&mut ledger, &id));
                } else {
                    let k = which.index(tickets.len());
                    let answer = ledger.settle(tickets[k], result(n));
                    prop_assert_eq!(answer.is_some(), !answered.contains_key(&k.to_string()));
                    if let Some(Answer { id, outcome: Outcome::Done(results), .. }) = answer {
                        prop_assert_eq!(&id, &k.to_string());
                        prop_assert_eq!(results.as_slice(), [n.to_le_bytes().to_vec()]);
                        answered.insert(id, true);
                    }
                }
                prop_assert_eq!(ledger.open() + answered.len(), tickets.len());
            }
            prop_assert_eq!(ledger.tally().done, answered.len());
            let left = ledger.finish();
            prop_assert!(left.iter().map(|a| a.id.parse::<u64>().unwrap()).is_sorted());
            for answer in left {
                prop_assert!(matches!(answer.outcome, Outcome::Failed(Failure::Unsettled)));
                prop_assert!(answered.insert(answer.id, false).is_none());
            }
            prop_assert_eq!(answered.len(), tickets.len());
            let tally = ledger.tally();
            prop_assert_eq!((tally.frames, tally.done + tally.failed), (tickets.len(), tickets.len()));
        }
    }
}
