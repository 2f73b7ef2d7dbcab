//! From the outcome of a frame to the messages that answer its datum, and what their metadata say.

use crate::inference::deliveries::Delivery;
use crate::inference::ledger::{Answer, Outcome, Results};
use numaflow::batchmap::{BatchResponse, Message};
use numaflow::shared::NackOptions;
use std::sync::Arc;

/// The tag by which a map asks Numaflow (releases after 1.8.3) for a retry by the vertex's `retryStrategy`. From numaflow-go,
/// `pkg/mapper/message.go`; version 0.6.0 of the Rust SDK has no name for it.
const FAIL: &str = "U+005C__FAIL__";

/// What is answered for a frame that is wrong in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// A DROP message.
    Drop,
    /// The original payload, with this tag, for a dead-letter edge.
    Tag(String),
}

/// What is answered for a frame whose results have values that are no finite numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnNonfinite {
    /// The results, like others.
    Send,
    /// A DROP message.
    Drop,
    /// The results, with this tag instead of the outputs' names.
    Tag(String),
}

/// What is answered for a frame that the engine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// A NACK message: Numaflow ≥ 1.8.2 delivers the datum again, after a delay that grows. After the last delivery a dead
    /// letter if [`OnInvalid`] has a tag, else a DROP message.
    Nack,
    /// A FAIL message: Numaflow after 1.8.3 delivers the datum again as the vertex's `retryStrategy` says.
    Fail,
    /// A DROP message.
    Drop,
    /// Nothing: the process ends with code 1, and Numaflow delivers the whole read batch again.
    Abort,
}

impl OnFailure {
    /// The message by which Numaflow delivers a failed frame again; none if it does not.
    fn again(self, delivery: Delivery) -> Option<Message> {
        match self {
            Self::Nack if delivery.is_last => None,
            Self::Nack => Some(Message::message_to_nack(Some(NackOptions {
                delay: u64::try_from(delivery.delay().as_millis()).ok(),
                ..NackOptions::default()
            }))),
            Self::Fail => Some(Message::new(Vec::new()).with_tags(vec![FAIL.to_owned()])),
            Self::Drop | Self::Abort => None,
        }
    }

    /// The response to a datum that the handler did not answer, or not with what can be sent. There is no payload for a dead
    /// letter: after its last delivery it is dropped.
    #[must_use]
    pub(crate) fn unanswered(self, id: String, delivery: Delivery) -> BatchResponse {
        let mut messages = BatchResponse::from_id(id);
        let again = self.again(delivery);
        messages.append(again.unwrap_or_else(Message::message_to_drop));
        messages
    }
}

/// What a message's metadata say, in Numaflow's user metadata: keys and values of the group `beamflow`.
pub type Notes = Arc<[(&'static str, String)]>;

/// What is answered to a datum.
pub struct Response {
    /// Its messages, at least one.
    pub messages: BatchResponse,
    /// What the metadata of each message say; none beyond its end.
    pub notes: Vec<Notes>,
}

/// An output as its messages name it.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredOutput {
    /// The tag of its messages; none where there is one output only.
    pub(crate) tag: Option<String>,
    /// What the metadata of its messages say.
    pub(crate) notes: Notes,
}

/// How outcomes become messages.
#[derive(Clone, Debug)]
pub struct AnswerPolicy {
    /// For rejected frames.
    pub(crate) on_invalid: OnInvalid,
    /// For frames with results that are not finite.
    pub(crate) on_nonfinite: OnNonfinite,
    /// For failed frames.
    pub(crate) on_failure: OnFailure,
    /// The outputs sent on, in order.
    pub(crate) outputs: Vec<AnsweredOutput>,
}

impl AnswerPolicy {
    /// The response to one datum.
    #[must_use]
    pub(crate) fn respond(&self, answer: Answer) -> Response {
        let Answer {
            id,
            keys,
            arrival,
            payload,
            outcome,
        } = answer;
        let mut messages = BatchResponse::from_id(id);
        let mut notes = Vec::new();
        match outcome {
            Outcome::Done(results) => {
                self.results(results, None, &keys, &mut messages, &mut notes);
            }
            Outcome::NotFinite(results) => match &self.on_nonfinite {
                OnNonfinite::Send => self.results(results, None, &keys, &mut messages, &mut notes),
                OnNonfinite::Drop => {}
                OnNonfinite::Tag(tag) => {
                    self.results(results, Some(tag), &keys, &mut messages, &mut notes);
                }
            },
            Outcome::Rejected(rejection, payload) => {
                if let OnInvalid::Tag(tag) = &self.on_invalid {
                    let message = Message::new(payload).with_keys(keys);
                    messages.append(message.with_tags(vec![tag.clone()]));
                    notes.push(Notes::from([("reason", rejection.to_string())]));
                }
            }
            Outcome::Failed(failure) => {
                if let Some(message) = self.on_failure.again(arrival.delivery) {
                    messages.append(message);
                } else if let Some(tag) = self.exhausted() {
                    let message = Message::new(payload).with_keys(keys);
                    messages.append(message.with_tags(vec![tag.clone()]));
                    let deliveries = arrival.delivery.number;
                    let reason = format!("no result after {deliveries} deliveries: {failure}");
                    notes.push(Notes::from([("reason", reason)]));
                }
            }
        }
        if messages.message.is_empty() {
            messages.append(Message::message_to_drop());
        }
        Response { messages, notes }
    }

    /// Appends one message per output, with `tag` if there is one, else with the output's own.
    fn results(
        &self,
        results: Results,
        tag: Option<&String>,
        keys: &[String],
        messages: &mut BatchResponse,
        notes: &mut Vec<Notes>,
    ) {
        for (value, output) in results.into_iter().zip(&self.outputs) {
            let message = Message::new(value).with_keys(keys.to_vec());
            messages.append(match tag.or(output.tag.as_ref()) {
                Some(tag) => message.with_tags(vec![tag.clone()]),
                None => message,
            });
            notes.push(Arc::clone(&output.notes));
        }
    }

    /// The tag of a frame that has failed in its last delivery; none if it is dropped.
    #[must_use]
    pub(crate) fn exhausted(&self) -> Option<&String> {
        match (self.on_failure, &self.on_invalid) {
            (OnFailure::Nack, OnInvalid::Tag(tag)) => Some(tag),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, Dtype, FrameShape, Scratch};
    use crate::inference::failure::Failure;
    use crate::inference::ledger::Arrival;
    use smallvec::smallvec;
    use std::collections::HashMap;

    const DROP: &str = "U+005C__DROP__";
    const NACK: &str = "U+005C__NACK__";

    fn policy(on_invalid: OnInvalid, on_failure: OnFailure, tags: &[&str]) -> AnswerPolicy {
        let output = |n: usize, name: &str| AnsweredOutput {
            tag: tags.get(n).map(ToString::to_string),
            notes: Notes::from([("output", name.to_owned())]),
        };
        let outputs = ["amplitude", "phase"].into_iter().enumerate();
        AnswerPolicy {
            on_invalid,
            on_nonfinite: OnNonfinite::Send,
            on_failure,
            outputs: outputs.map(|(n, name)| output(n, name)).collect(),
        }
    }

    fn answer(outcome: Outcome) -> Answer {
        Answer {
            id: "7".into(),
            keys: vec!["k".into()],
            arrival: Arrival::now(),
            payload: Vec::new(),
            outcome,
        }
    }

    fn rejected() -> Outcome {
        let shape = FrameShape {
            height: 2,
            width: 2,
        };
        let rejection = Decoder::new(Dtype::U8, shape)
            .decode(b"short", &HashMap::new(), &mut Scratch::default())
            .unwrap_err();
        Outcome::Rejected(rejection, b"short".to_vec())
    }

    fn tags(message: &Message) -> Vec<&str> {
        message.tags.iter().flatten().map(String::as_str).collect()
    }

    #[test]
    fn every_outcome_is_answered_with_a_message() {
        let drop = policy(OnInvalid::Drop, OnFailure::Drop, &[]);
        for outcome in [
            rejected(),
            Outcome::Failed(Failure::NoLane),
            Outcome::Done(smallvec![]),
        ] {
            let response = drop.respond(answer(outcome));
            assert_eq!(response.messages.message.len(), 1);
            assert_eq!(tags(&response.messages.message[0]), [DROP]);
        }
    }

    #[test]
    fn a_failed_frame_is_nacked_when_so_configured() {
        let response = policy(OnInvalid::Drop, OnFailure::Nack, &[])
            .respond(answer(Outcome::Failed(Failure::NoLane)));
        let message = &response.messages.message[0];
        assert_eq!(tags(message), [NACK]);
        let options = message.nack_options.as_ref().unwrap();
        assert_eq!(options.delay, Some(1000));
    }

    #[test]
    fn a_frame_that_fails_in_its_last_delivery_is_a_dead_letter_or_dropped() {
        let mut last = answer(Outcome::Failed(Failure::NoLane));
        last.payload = b"frame".to_vec();
        last.arrival.delivery = Delivery {
            number: 5,
            is_last: true,
        };
        let policy = policy(OnInvalid::Tag("bad".into()), OnFailure::Nack, &[]);
        let response = policy.respond(last);
        let [message] = response.messages.message.as_slice() else {
            panic!("one message")
        };
        assert_eq!(
            (tags(message), &message.value[..]),
            (vec!["bad"], &b"frame"[..])
        );
        assert_eq!(message.keys, Some(vec!["k".into()]));
        let reason = "no result after 5 deliveries: no lane is left to run on";
        assert_eq!(response.notes[0].as_ref(), [("reason", reason.to_owned())]);
        let unanswered = policy.on_failure.unanswered(
            "7".into(),
            Delivery {
                number: 5,
                is_last: true,
            },
        );
        assert_eq!(tags(&unanswered.message[0]), [DROP]);
    }

    #[test]
    fn a_rejected_frame_is_a_dead_letter_with_payload_and_keys() {
        let response =
            policy(OnInvalid::Tag("bad".into()), OnFailure::Nack, &[]).respond(answer(rejected()));
        assert_eq!(response.messages.message[0].value, b"short");
        assert_eq!(tags(&response.messages.message[0]), ["bad"]);
        assert_eq!(response.messages.message[0].keys, Some(vec!["k".into()]));
    }

    #[test]
    fn only_several_outputs_are_tagged_with_their_names() {
        let one = policy(OnInvalid::Drop, OnFailure::Nack, &[])
            .respond(answer(Outcome::Done(smallvec![b"a".to_vec()])));
        assert!(tags(&one.messages.message[0]).is_empty());

        let two = policy(OnInvalid::Drop, OnFailure::Nack, &["amplitude", "phase"]).respond(
            answer(Outcome::Done(smallvec![b"a".to_vec(), b"p".to_vec()])),
        );
        assert_eq!(tags(&two.messages.message[0]), ["amplitude"]);
        assert_eq!(tags(&two.messages.message[1]), ["phase"]);
        assert_eq!(two.messages.message[1].value, b"p");
        assert_eq!(two.messages.message[1].keys, Some(vec!["k".into()]));
    }

    #[test]
    fn a_retry_by_numaflows_strategy_is_asked_for_by_its_tag() {
        let fail = policy(OnInvalid::Drop, OnFailure::Fail, &[]);
        let response = fail.respond(answer(Outcome::Failed(Failure::NoLane)));
        assert_eq!(tags(&response.messages.message[0]), ["U+005C__FAIL__"]);
        assert!(response.messages.message[0].value.is_empty());
    }

    #[test]
    fn results_that_are_not_finite_are_answered_as_configured() {
        let mut policy = policy(OnInvalid::Drop, OnFailure::Nack, &["amplitude", "phase"]);
        let mut answered = |on_nonfinite| {
            policy.on_nonfinite = on_nonfinite;
            let results = smallvec![b"a".to_vec(), b"p".to_vec()];
            let response = policy.respond(answer(Outcome::NotFinite(results)));
            let messages = response.messages.message;
            let of = |m: &Message| (tags(m).join(","), m.value.clone());
            (messages.iter().map(of).collect::<Vec<_>>(), response.notes)
        };
        let (sent, _) = answered(OnNonfinite::Send);
        assert_eq!(
            sent,
            [
                ("amplitude".into(), b"a".to_vec()),
                ("phase".into(), b"p".to_vec())
            ]
        );
        let (dropped, notes) = answered(OnNonfinite::Drop);
        assert_eq!(dropped, [(DROP.to_owned(), Vec::new())]);
        assert!(notes.is_empty());
        let (tagged, notes) = answered(OnNonfinite::Tag("odd".into()));
        assert_eq!(
            tagged,
            [("odd".into(), b"a".to_vec()), ("odd".into(), b"p".to_vec())]
        );
        assert_eq!(notes[1].as_ref(), [("output", "phase".to_owned())]);
    }

    #[test]
    fn results_say_what_made_them_and_dead_letters_why() {
        let policy = policy(OnInvalid::Tag("bad".into()), OnFailure::Nack, &[]);
        let done = policy.respond(answer(Outcome::Done(smallvec![b"a".to_vec()])));
        assert_eq!(
            done.notes,
            [Notes::from([("output", "amplitude".to_owned())])]
        );
        let letter = policy.respond(answer(rejected()));
        let [(key, reason)] = letter.notes[0].as_ref() else {
            panic!("one note: {:?}", letter.notes)
        };
        assert_eq!(*key, "reason");
        assert!(reason.starts_with("the payload has 5 bytes"), "{reason}");
    }
}
