//! The roll of one call: which datums came in, and which of them are answered.
//!
//! What always holds: `Roll::settle` returns exactly one response for each datum entered, with at least one message, each
//! message with the metadata that its datum came with. Equal ids are legal: they are answered in order of arrival, as many
//! times as they came.
//!
//! There are two books. This one belongs to the protocol: it trusts no handler, works on ids, and answers for a handler that
//! panics, returns early, repeats itself or invents ids. The ledger (`crate::inference::ledger`) belongs to inference: it works
//! on tickets, knows why a frame has no result, and also serves where the SDK hosts the handler. Each of them alone would
//! leave one kind of mistake without an answer.

use std::collections::{HashMap, VecDeque};

use super::{GROUP, Mapped, Notes, Why};
use numaflow::batchmap::Message;
use numaflow::proto::map::{MapResponse, map_response};
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use prost::Message as _;

/// The datums of a call that are not answered yet.
#[derive(Default)]
pub(super) struct Roll {
    /// By id, in order of arrival. An id stays after its last datum is answered, so that a repeated answer differs from an
    /// answer to an unknown id.
    waiting: HashMap<String, VecDeque<Arrival>>,
    datums: usize,
}

/// A datum, as far as the roll is concerned.
struct Arrival {
    place: usize,
    metadata: Option<Metadata>,
}

/// The responses of a call, and what had to be corrected.
#[derive(Default)]
pub(super) struct Settled {
    /// One per datum.
    pub(super) responses: Vec<MapResponse>,
    /// Datums the handler did not answer.
    pub(super) unanswered: usize,
    /// Responses to a datum already answered; left out.
    pub(super) repeated: usize,
    /// Responses to an id that never came; left out.
    pub(super) unknown: usize,
    /// The id of the first response left out.
    pub(super) first_stray: Option<String>,
    /// Responses without a message; made drops.
    pub(super) empty: usize,
    /// Responses that are larger than a message may be; replaced.
    pub(super) too_large: usize,
    /// The id of the first of them.
    pub(super) first_too_large: Option<String>,
}

impl Roll {
    /// Enters a datum.
    pub(super) fn enter(&mut self, id: &str, metadata: Option<Metadata>) {
        let arrival = Arrival {
            place: self.datums,
            metadata,
        };
        self.datums += 1;
        // Look up before inserting: only a new id needs its own string.
        match self.waiting.get_mut(id) {
            Some(arrivals) => arrivals.push_back(arrival),
            None => {
                self.waiting
                    .insert(id.to_owned(), VecDeque::from([arrival]));
            }
        }
    }

    /// Datums entered.
    pub(super) fn len(&self) -> usize {
        self.datums
    }

    /// Matches the handler's responses with the datums entered; `instead` answers the rest, in the order in which they came,
    /// and those whose response has more than `largest` bytes.
    pub(super) fn settle(
        mut self,
        responses: Vec<Mapped>,
        instead: &super::Instead,
        largest: usize,
    ) -> Settled {
        let mut settled = Settled {
            // One more: the end of transmission is pushed behind them.
            responses: Vec::with_capacity(self.datums + 1),
            ..Settled::default()
        };
        for Mapped { response, notes } in responses {
            let arrivals = self.waiting.get_mut(&response.id);
            let known = arrivals.is_some();
            match arrivals.and_then(VecDeque::pop_front) {
                Some(arrival) => {
                    settled.empty += usize::from(response.message.is_empty());
                    let (id, metadata) = (response.id, arrival.metadata);
                    let mapped = map_response(id, response.message, &notes, metadata.as_ref());
                    if mapped.encoded_len() <= largest {
                        settled.responses.push(mapped);
                        continue;
                    }
                    settled.too_large += 1;
                    settled
                        .first_too_large
                        .get_or_insert_with(|| mapped.id.clone());
                    let messages = instead(mapped.id.clone(), Why::TooLarge).message;
                    let replaced = map_response(mapped.id, messages, &[], metadata.as_ref());
                    settled.responses.push(replaced);
                }
                None => {
                    settled.repeated += usize::from(known);
                    settled.unknown += usize::from(!known);
                    settled.first_stray.get_or_insert(response.id);
                }
            }
        }

        let mut rest: Vec<(String, Arrival)> = Vec::new();
        for (id, arrivals) in self.waiting {
            rest.extend(arrivals.into_iter().map(|arrival| (id.clone(), arrival)));
        }
        rest.sort_unstable_by_key(|(_, arrival)| arrival.place);
        settled.unanswered = rest.len();
        for (id, arrival) in rest {
            let messages = instead(id.clone(), Why::Unanswered).message;
            let response = map_response(id, messages, &[], arrival.metadata.as_ref());
            settled.responses.push(response);
        }
        settled
    }
}

/// A datum's response. Each message has the metadata that the datum came with, and what `notes` say of it.
fn map_response(
    id: String,
    mut messages: Vec<Message>,
    notes: &[Notes],
    metadata: Option<&Metadata>,
) -> MapResponse {
    if messages.is_empty() {
        messages.push(Message::message_to_drop());
    }
    let results = messages.into_iter().enumerate().map(|(n, message)| {
        let mut metadata = metadata.cloned();
        if let Some(notes) = notes.get(n).filter(|notes| !notes.is_empty()) {
            let entry =
                |(key, value): &(&str, String)| ((*key).to_owned(), value.clone().into_bytes());
            let group = KeyValueGroup {
                key_value: notes.iter().map(entry).collect(),
            };
            let metadata = metadata.get_or_insert_default();
            metadata.user_metadata.insert(GROUP.to_owned(), group);
        }
        map_response::Result {
            metadata,
            ..map_response::Result::from(message)
        }
    });
    MapResponse {
        results: results.collect(),
        id,
        ..MapResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numaflow::batchmap::BatchResponse;

    fn metadata(vertex: &str) -> Option<Metadata> {
        Some(Metadata {
            previous_vertex: vertex.to_owned(),
            ..Metadata::default()
        })
    }

    /// The largest response.
    const LARGEST: usize = 4096;

    fn answer(id: &str, text: &str) -> Mapped {
        let response = BatchResponse {
            id: id.to_owned(),
            message: vec![Message::new(text.as_bytes().to_vec())],
        };
        Mapped {
            response,
            notes: Vec::new(),
        }
    }

    fn by_host(id: String, _: Why) -> BatchResponse {
        answer(&id, "by the host").response
    }

    /// Id, first message and previous vertex of each response.
    fn seen(settled: &Settled) -> Vec<(&str, &[u8], &str)> {
        settled
            .responses
            .iter()
            .map(|response| {
                let result = &response.results[0];
                let vertex = result.metadata.as_ref().map_or("", |m| &m.previous_vertex);
                (response.id.as_str(), result.value.as_slice(), vertex)
            })
            .collect()
    }

    #[test]
    fn equal_ids_are_answered_each_with_its_own_metadata() {
        let mut roll = Roll::default();
        roll.enter("a", metadata("first"));
        roll.enter("a", metadata("second"));
        let settled = roll.settle(
            vec![answer("a", "1"), answer("a", "2"), answer("a", "3")],
            &by_host,
            LARGEST,
        );
        assert_eq!(
            seen(&settled),
            [
                ("a", b"1".as_slice(), "first"),
                ("a", b"2".as_slice(), "second")
            ]
        );
        assert_eq!((settled.repeated, settled.unknown), (1, 0));
    }

    #[test]
    fn who_is_left_is_answered_by_the_host_in_the_order_of_arrival() {
        let mut roll = Roll::default();
        for id in ["d", "c", "b", "a"] {
            roll.enter(id, metadata(id));
        }
        let settled = roll.settle(vec![answer("c", "1")], &by_host, LARGEST);
        assert_eq!(
            seen(&settled),
            [
                ("c", b"1".as_slice(), "c"),
                ("d", b"by the host".as_slice(), "d"),
                ("b", b"by the host".as_slice(), "b"),
                ("a", b"by the host".as_slice(), "a")
            ]
        );
        assert_eq!(settled.unanswered, 3);
    }

    #[test]
    fn a_stray_response_is_left_out_and_named() {
        let mut roll = Roll::default();
        roll.enter("a", None);
        let settled = roll.settle(vec![answer("x", "?"), answer("a", "1")], &by_host, LARGEST);
        assert_eq!(seen(&settled), [("a", b"1".as_slice(), "")]);
        assert_eq!((settled.repeated, settled.unknown), (0, 1));
        assert_eq!(settled.first_stray.as_deref(), Some("x"));
    }

    #[test]
    fn every_empty_response_becomes_a_drop() {
        let mut roll = Roll::default();
        roll.enter("a", None);
        roll.enter("b", None);
        let settled = roll.settle(
            vec![Mapped {
                response: BatchResponse::from_id("a".to_owned()),
                notes: Vec::new(),
            }],
            &|id, _| BatchResponse::from_id(id),
            LARGEST,
        );
        for response in &settled.responses {
            assert_eq!(response.results[0].tags, [numaflow::shared::DROP]);
        }
        assert_eq!(settled.responses.len(), 2);
        assert_eq!((settled.empty, settled.unanswered), (1, 1));
    }

    #[test]
    fn notes_are_added_to_the_metadata_that_came() {
        let came = Metadata {
            user_metadata: [("scan".to_owned(), KeyValueGroup::default())].into(),
            ..metadata("source").unwrap()
        };
        let mut roll = Roll::default();
        roll.enter("a", Some(came));
        roll.enter("b", None);
        let noted = |id| Mapped {
            notes: vec![Notes::from([("output", "phase".to_owned())])],
            ..answer(id, "1")
        };
        let settled = roll.settle(vec![noted("a"), noted("b")], &by_host, LARGEST);
        let of = |n: usize| settled.responses[n].results[0].metadata.as_ref().unwrap();
        for n in [0, 1] {
            let group = &of(n).user_metadata["beamflow"].key_value;
            assert_eq!(group["output"], b"phase");
        }
        assert_eq!(of(0).previous_vertex, "source");
        assert!(of(0).user_metadata.contains_key("scan"));
    }

    #[test]
    fn a_response_too_large_to_send_is_replaced_and_named() {
        let mut roll = Roll::default();
        roll.enter("a", metadata("first"));
        roll.enter("b", None);
        let large = "x".repeat(LARGEST);
        let settled = roll.settle(
            vec![answer("a", &large), answer("b", "1")],
            &by_host,
            LARGEST,
        );
        assert_eq!(
            seen(&settled),
            [
                ("a", b"by the host".as_slice(), "first"),
                ("b", b"1".as_slice(), "")
            ]
        );
        assert_eq!(settled.too_large, 1);
        assert_eq!(settled.first_too_large.as_deref(), Some("a"));
    }
}
