//! The roll of one call: the datums that came in and are not answered.
//!
//! What always holds: each datum entered gets exactly one response, from `Roll::settle` or from `Roll::finish`, with at least
//! one message, each message with the metadata that its datum came with. Equal ids are legal: they are answered as
//! many times as they came, and the answers taken for theirs in order of arrival; numa cannot tell them apart either. The roll
//! holds open datums only.
//!
//! There are two books. This one belongs to the protocol: it trusts no handler, works on ids, and answers for a handler that
//! panics, returns early, repeats itself or invents ids. The ledger (`crate::inference::ledger`) belongs to inference: it works
//! on tickets, knows why a frame has no result, and also serves where the SDK hosts the handler. Each of them alone would
//! leave one kind of mistake without an answer.

use std::collections::{HashMap, VecDeque};
use std::mem::take;

use super::{GROUP, Instead, Mapped, Notes, Why};
use numaflow::batchmap::Message;
use numaflow::proto::map::{MapResponse, map_response};
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use prost::Message as _;

/// The datums of a call that are not answered yet.
#[derive(Default)]
pub(super) struct Roll {
    /// By id, in order of arrival.
    waiting: HashMap<String, VecDeque<Arrival>>,
    entered: usize,
    open: usize,
    corrected: Corrected,
}

/// A datum, as far as the roll is concerned.
struct Arrival {
    place: usize,
    metadata: Option<Metadata>,
}

/// What the host had to correct.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Corrected {
    /// Datums the handler did not answer.
    pub(super) unanswered: usize,
    /// Responses to no open datum: their id never came, or is answered. They are left out.
    pub(super) stray: usize,
    /// The id of the first of them.
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
            place: self.entered,
            metadata,
        };
        self.entered += 1;
        self.open += 1;
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
    pub(super) fn entered(&self) -> usize {
        self.entered
    }

    /// Datums that are not answered.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// What was corrected since the last time.
    pub(super) fn corrected(&mut self) -> Corrected {
        take(&mut self.corrected)
    }

    /// Matches an answer of the handler with a datum. `instead` answers if the response has more than `largest` bytes. None if
    /// no datum with this id is open.
    pub(super) fn settle(
        &mut self,
        answer: Mapped,
        instead: &Instead,
        largest: usize,
    ) -> Option<MapResponse> {
        let Mapped { response, notes } = answer;
        let Some(arrival) = self.take(&response.id) else {
            self.corrected.stray += 1;
            self.corrected.first_stray.get_or_insert(response.id);
            return None;
        };
        self.corrected.empty += usize::from(response.message.is_empty());
        let metadata = arrival.metadata.as_ref();
        let mapped = map_response(response.id, response.message, &notes, metadata);
        if mapped.encoded_len() <= largest {
            return Some(mapped);
        }
        self.corrected.too_large += 1;
        let first = &mut self.corrected.first_too_large;
        first.get_or_insert_with(|| mapped.id.clone());
        let messages = instead(mapped.id.clone(), Why::TooLarge).message;
        Some(map_response(mapped.id, messages, &[], metadata))
    }

    /// Answers the datums that are left, by `instead`, in the order in which they came.
    pub(super) fn finish(&mut self, instead: &Instead) -> Vec<MapResponse> {
        let mut rest: Vec<(String, Arrival)> = Vec::with_capacity(self.open);
        for (id, arrivals) in self.waiting.drain() {
            rest.extend(arrivals.into_iter().map(|arrival| (id.clone(), arrival)));
        }
        rest.sort_unstable_by_key(|(_, arrival)| arrival.place);
        self.open = 0;
        self.corrected.unanswered += rest.len();
        let answer = |(id, arrival): (String, Arrival)| {
            let messages = instead(id.clone(), Why::Unanswered).message;
            map_response(id, messages, &[], arrival.metadata.as_ref())
        };
        rest.into_iter().map(answer).collect()
    }

    /// The oldest open datum with this id.
    fn take(&mut self, id: &str) -> Option<Arrival> {
        // An id without an open datum is removed at once, so there always is one.
        let arrivals = self.waiting.get_mut(id)?;
        let arrival = arrivals.pop_front();
        if arrivals.is_empty() {
            self.waiting.remove(id);
        }
        self.open -= usize::from(arrival.is_some());
        arrival
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

    /// The largest response.
    const LARGEST: usize = 4096;

    fn metadata(vertex: &str) -> Option<Metadata> {
        Some(Metadata {
            previous_vertex: vertex.to_owned(),
            ..Metadata::default()
        })
    }

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

    fn settle(roll: &mut Roll, answer: Mapped) -> Option<MapResponse> {
        roll.settle(answer, &by_host, LARGEST)
    }

    /// Id, first message and previous vertex.
    fn seen(response: &MapResponse) -> (&str, &[u8], &str) {
        let result = &response.results[0];
        let vertex = result.metadata.as_ref().map_or("", |m| &m.previous_vertex);
        (response.id.as_str(), result.value.as_slice(), vertex)
    }

    #[test]
    fn equal_ids_are_answered_each_with_its_own_metadata() {
        let mut roll = Roll::default();
        roll.enter("a", metadata("first"));
        roll.enter("a", metadata("second"));
        for (text, vertex) in [("1", "first"), ("2", "second")] {
            let response = settle(&mut roll, answer("a", text)).unwrap();
            assert_eq!(seen(&response), ("a", text.as_bytes(), vertex));
        }
        assert!(settle(&mut roll, answer("a", "3")).is_none());
        assert_eq!((roll.open(), roll.corrected().stray), (0, 1));
    }

    #[test]
    fn who_is_left_is_answered_by_the_host_in_the_order_of_arrival() {
        let mut roll = Roll::default();
        for id in ["d", "c", "b", "a"] {
            roll.enter(id, metadata(id));
        }
        settle(&mut roll, answer("c", "1")).unwrap();
        let left = roll.finish(&by_host);
        let seen: Vec<_> = left.iter().map(seen).collect();
        let by_host = b"by the host".as_slice();
        assert_eq!(seen, ["d", "b", "a"].map(|id| (id, by_host, id)));
        assert_eq!((roll.open(), roll.corrected().unanswered), (0, 3));
    }

    #[test]
    fn a_stray_response_is_left_out_and_named() {
        let mut roll = Roll::default();
        roll.enter("a", None);
        assert!(settle(&mut roll, answer("x", "?")).is_none());
        assert!(settle(&mut roll, answer("a", "1")).is_some());
        let corrected = roll.corrected();
        assert_eq!(corrected.stray, 1);
        assert_eq!(corrected.first_stray.as_deref(), Some("x"));
        assert_eq!(roll.corrected(), Corrected::default());
    }

    #[test]
    fn every_empty_response_becomes_a_drop() {
        let mut roll = Roll::default();
        roll.enter("a", None);
        roll.enter("b", None);
        let empty = Mapped {
            response: BatchResponse::from_id("a".to_owned()),
            notes: Vec::new(),
        };
        let settled = settle(&mut roll, empty);
        let left = roll.finish(&|id, _| BatchResponse::from_id(id));
        assert_eq!(left.len(), 1);
        for response in left.iter().chain(&settled) {
            assert_eq!(response.results[0].tags, [numaflow::shared::DROP]);
        }
        let corrected = roll.corrected();
        assert_eq!((corrected.empty, corrected.unanswered), (1, 1));
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
        let mut noted = |id| {
            let answer = Mapped {
                notes: vec![Notes::from([("output", "phase".to_owned())])],
                ..answer(id, "1")
            };
            let mut response = settle(&mut roll, answer).unwrap();
            response.results.remove(0).metadata.unwrap()
        };
        let [first, second] = ["a", "b"].map(&mut noted);
        for metadata in [&first, &second] {
            let group = &metadata.user_metadata["beamflow"].key_value;
            assert_eq!(group["output"], b"phase");
        }
        assert_eq!(first.previous_vertex, "source");
        assert!(first.user_metadata.contains_key("scan"));
    }

    #[test]
    fn a_response_too_large_to_send_is_replaced_and_named() {
        let mut roll = Roll::default();
        roll.enter("a", metadata("first"));
        let large = answer("a", &"x".repeat(LARGEST));
        let response = settle(&mut roll, large).unwrap();
        assert_eq!(seen(&response), ("a", b"by the host".as_slice(), "first"));
        let corrected = roll.corrected();
        assert_eq!(corrected.too_large, 1);
        assert_eq!(corrected.first_too_large.as_deref(), Some("a"));
    }
}
