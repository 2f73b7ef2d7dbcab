//! The messages of a batch, and which are answered.
//!
//! What always holds: as many results as messages, in their order, each with the id of its message.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use numaflow::proto::sink::sink_response;
use numaflow::sink::Response;

/// The ids of a batch, in order.
#[derive(Default)]
pub(super) struct Roll {
    ids: Vec<String>,
}

/// The results of a batch, and what had to be corrected.
pub(super) struct Settled {
    /// One for each message.
    pub(super) results: Vec<sink_response::Result>,
    /// Messages that the sink did not answer.
    pub(super) unanswered: usize,
    /// Responses to no open message.
    pub(super) stray: usize,
}

impl Roll {
    pub(super) fn enter(&mut self, id: String) {
        self.ids.push(id);
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Gives each message its response: the first of several, and a failure with the text `missing` for none.
    pub(super) fn settle(self, responses: Vec<Response>, missing: &str) -> Settled {
        let given = responses.len();
        let mut by_id: HashMap<String, Vec<Response>> = HashMap::new();
        for response in responses {
            match by_id.entry(response.id.clone()) {
                Entry::Occupied(mut entry) => entry.get_mut().push(response),
                Entry::Vacant(entry) => drop(entry.insert(vec![response])),
            }
        }
        // From the front: an id that is twice in a batch has two responses, in order.
        for responses in by_id.values_mut() {
            responses.reverse();
        }
        let mut unanswered = 0;
        let results: Vec<_> = self
            .ids
            .into_iter()
            .map(|id| {
                let response = by_id.get_mut(&id).and_then(Vec::pop).unwrap_or_else(|| {
                    unanswered += 1;
                    Response::failure(id, missing.to_owned())
                });
                response.into()
            })
            .collect();
        let stray = given + unanswered - results.len();
        Settled {
            results,
            unanswered,
            stray,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numaflow::proto::sink::Status;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_message_has_one_result_whatever_the_sink_returns(
            ids in prop::collection::vec(0..6u8, 0..8),
            returned in prop::collection::vec(0..8u8, 0..12),
        ) {
            let mut roll = Roll::default();
            for id in &ids {
                roll.enter(id.to_string());
            }
            let ok = |id: &u8| Response::ok(id.to_string());
            let settled = roll.settle(returned.iter().map(ok).collect(), "missing");
            let names: Vec<String> = ids.iter().map(u8::to_string).collect();
            prop_assert!(settled.results.iter().map(|result| &result.id).eq(&names));
            let failed = settled.results.iter().filter(|result| result.status() == Status::Failure);
            prop_assert_eq!(failed.count(), settled.unanswered);
            for id in 0..8u8 {
                let count = |of: &[u8]| of.iter().filter(|other| **other == id).count();
                let written = settled.results.iter().filter(|result| {
                    result.id == id.to_string() && result.status() == Status::Success
                });
                prop_assert_eq!(written.count(), count(&ids).min(count(&returned)));
            }
            prop_assert_eq!(settled.stray + settled.results.len(), returned.len() + settled.unanswered);
        }
    }
}
