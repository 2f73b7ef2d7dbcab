//! The ledger of one call: its datums, and the outcome of each.
//!
//! Every datum is entered once and gets a `Ticket`. The outcome of its frame is settled against that ticket, in any order.
//! `Ledger::finish` returns one `Answer` per entry, in order of arrival.
//!
//! What always holds:
//! - as many answers come out as datums went in. An entry without an outcome becomes `Failure::Unsettled`: an answer can be
//!   wrong and say so, but it cannot be missing;
//! - the first outcome of a ticket counts. A later one changes nothing and is counted in `Tally::repeated`;
//! - entries differ by ticket, not by id: two datums with one id get two answers.
//!
//! There are two books. This one belongs to inference: it knows outcomes and their reasons, and holds wherever the handler is
//! hosted, by the SDK's server too. The roll (`crate::vertex::map`) belongs to the protocol: it trusts no handler, and answers
//! for one that panics or returns too little. Each of them alone would leave one kind of mistake without an answer.
//!
//! ```
//! use beamflow::inference::ledger::{Ledger, Outcome};
//!
//! let mut ledger = Ledger::default();
//! let first = ledger.enter("a".into(), vec![]);
//! let _never_settled = ledger.enter("b".into(), vec![]);
//! ledger.settle(first, Outcome::Done([b"result".to_vec()].into_iter().collect()));
//!
//! let answers = ledger.finish();
//! assert_eq!(answers.len(), 2);
//! assert!(matches!(answers[0].outcome, Outcome::Done(_)));
//! assert!(matches!(answers[1].outcome, Outcome::Failed(_)));
//! ```

use crate::frame::Rejection;
use crate::inference::failure::Failure;
use smallvec::SmallVec;

/// One datum's place in the ledger that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(usize);

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
    /// The outcome of its frame.
    pub outcome: Outcome,
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
    /// Settled as [`Outcome::Failed`], or not at all so far.
    pub failed: usize,
    /// Settlements that came too late to count.
    pub repeated: usize,
}

#[derive(Debug)]
struct Entry {
    id: String,
    keys: Vec<String>,
    outcome: Option<Outcome>,
}

/// The entries of one call. See the module's essay.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    repeated: usize,
}

impl Ledger {
    /// Enters a datum.
    pub fn enter(&mut self, id: String, keys: Vec<String>) -> Ticket {
        self.entries.push(Entry {
            id,
            keys,
            outcome: None,
        });
        Ticket(self.entries.len() - 1)
    }

    /// The id that a datum was entered with; empty for a ticket of another ledger.
    #[must_use]
    pub fn id(&self, ticket: Ticket) -> &str {
        self.entries
            .get(ticket.0)
            .map_or("", |entry| entry.id.as_str())
    }

    /// Settles a datum, if it is not settled yet.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        match self.entries.get_mut(ticket.0) {
            Some(entry) if entry.outcome.is_none() => entry.outcome = Some(outcome),
            _ => self.repeated += 1,
        }
    }

    /// Counts of entries and outcomes so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            frames: self.entries.len(),
            repeated: self.repeated,
            ..Tally::default()
        };
        for entry in &self.entries {
            match entry.outcome {
                Some(Outcome::Done(_)) => tally.done += 1,
                Some(Outcome::NotFinite(_)) => tally.not_finite += 1,
                Some(Outcome::Rejected(..)) => tally.rejected += 1,
                Some(Outcome::Failed(_)) | None => tally.failed += 1,
            }
        }
        tally
    }

    /// Closes the ledger: one answer per entry, in order of arrival.
    #[must_use]
    pub fn finish(self) -> Vec<Answer> {
        self.entries
            .into_iter()
            .map(|entry| Answer {
                id: entry.id,
                keys: entry.keys,
                outcome: entry.outcome.unwrap_or(Outcome::Failed(Failure::Unsettled)),
            })
            .collect()
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

    #[test]
    fn a_datum_without_an_outcome_is_answered_as_failed() {
        let mut ledger = Ledger::default();
        ledger.enter("lost".into(), vec![]);
        let answers = ledger.finish();
        assert!(matches!(
            answers.as_slice(),
            [Answer {
                outcome: Outcome::Failed(Failure::Unsettled),
                ..
            }]
        ));
    }

    #[test]
    fn two_datums_with_one_id_get_two_answers() {
        let mut ledger = Ledger::default();
        let tickets = [
            ledger.enter("same".into(), vec!["k1".into()]),
            ledger.enter("same".into(), vec!["k2".into()]),
        ];
        for (n, ticket) in tickets.into_iter().enumerate() {
            ledger.settle(ticket, result(n));
        }
        let answers = ledger.finish();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].keys, ["k1"]);
        assert_eq!(answers[1].keys, ["k2"]);
    }

    #[test]
    fn the_first_settlement_counts_and_the_second_is_counted() {
        let mut ledger = Ledger::default();
        let ticket = ledger.enter("a".into(), vec![]);
        ledger.settle(ticket, result(1));
        ledger.settle(ticket, Outcome::Failed(Failure::Unsettled));
        assert_eq!(ledger.tally().repeated, 1);
        assert_eq!(ledger.tally().done, 1);
    }

    proptest! {
        /// Any interleaving of entries and settlements, with settlements missing and repeated.
        #[test]
        fn every_id_is_answered_once_in_order_for_any_interleaving(
            steps in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>()), 0..300),
        ) {
            let mut ledger = Ledger::default();
            let mut tickets = Vec::new();
            let mut settled_first = std::collections::HashMap::new();
            for (n, (enter, which)) in steps.into_iter().enumerate() {
                if enter || tickets.is_empty() {
                    tickets.push(ledger.enter(tickets.len().to_string(), vec![]));
                } else {
                    let k = which.index(tickets.len());
                    ledger.settle(tickets[k], result(n));
                    settled_first.entry(k).or_insert(n);
                }
            }
            let tally = ledger.tally();
            prop_assert_eq!(tally.done, settled_first.len());
            prop_assert_eq!(tally.done + tally.failed, tally.frames);
            let answers = ledger.finish();
            prop_assert_eq!(answers.len(), tickets.len());
            for (k, answer) in answers.iter().enumerate() {
                prop_assert_eq!(&answer.id, &k.to_string());
                match (&answer.outcome, settled_first.get(&k)) {
                    (Outcome::Done(outputs), Some(n)) =>
                        prop_assert_eq!(outputs.as_slice(), [n.to_le_bytes().to_vec()]),
                    (Outcome::Failed(Failure::Unsettled), None) => {}
                    other => prop_assert!(false, "entry {} came out as {:?}", k, other),
                }
            }
        }
    }
}
