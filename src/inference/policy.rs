//! From the outcome of a frame to the messages that answer its datum.

use crate::inference::failure::Failure;
use crate::inference::ledger::{Answer, Outcome};
use numaflow::batchmap::{BatchResponse, Message};

/// What is answered for a frame that is wrong in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnInvalid {
    /// A DROP message.
    Drop,
    /// The original payload, with this tag, for a dead-letter edge.
    Tag(String),
}

/// What is answered for a frame that the engine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// A NACK message: Numaflow ≥ 1.8.2 delivers the datum again.
    Nack,
    /// A DROP message.
    Drop,
    /// Nothing: the process ends with code 1, and Numaflow delivers the whole read batch again.
    Abort,
}

/// How outcomes become messages.
#[derive(Clone, Debug)]
pub struct AnswerPolicy {
    /// For rejected frames.
    pub(crate) on_invalid: OnInvalid,
    /// For failed frames.
    pub(crate) on_failure: OnFailure,
    /// The tags of the results, one per selected output; empty where there is one output only.
    pub(crate) tags: Vec<String>,
}

impl AnswerPolicy {
    /// The response to one datum.
    #[must_use]
    pub(crate) fn respond(&self, answer: Answer) -> BatchResponse {
        let Answer { id, keys, outcome } = answer;
        let mut response = BatchResponse::from_id(id);
        match outcome {
            Outcome::Done(outputs) => {
                for (n, value) in outputs.into_iter().enumerate() {
                    let message = Message::new(value).with_keys(keys.clone());
                    response.append(match self.tags.get(n) {
                        Some(tag) => message.with_tags(vec![tag.clone()]),
                        None => message,
                    });
                }
            }
            Outcome::Rejected(_, payload) => {
                if let OnInvalid::Tag(tag) = &self.on_invalid {
                    let message = Message::new(payload).with_keys(keys);
                    response.append(message.with_tags(vec![tag.clone()]));
                }
            }
            Outcome::Failed(_) => {
                if self.on_failure == OnFailure::Nack {
                    response.append(Message::message_to_nack(None));
                }
            }
        }
        if response.message.is_empty() {
            response.append(Message::message_to_drop());
        }
        response
    }

    /// The response to a datum whose call ended early because of a defect.
    #[must_use]
    pub fn unanswered(&self, id: String) -> BatchResponse {
        self.respond(Answer {
            id,
            keys: Vec::new(),
            outcome: Outcome::Failed(Failure::Unsettled),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, Dtype, FrameShape};
    use smallvec::smallvec;
    use std::collections::HashMap;

    const DROP: &str = "U+005C__DROP__";
    const NACK: &str = "U+005C__NACK__";

    fn policy(on_invalid: OnInvalid, on_failure: OnFailure, tags: &[&str]) -> AnswerPolicy {
        AnswerPolicy {
            on_invalid,
            on_failure,
            tags: tags.iter().map(ToString::to_string).collect(),
        }
    }

    fn answer(outcome: Outcome) -> Answer {
        Answer {
            id: "7".into(),
            keys: vec!["k".into()],
            outcome,
        }
    }

    fn rejected() -> Outcome {
        let shape = FrameShape {
            height: 2,
            width: 2,
        };
        let rejection = Decoder::new(Dtype::U8, shape)
            .decode(b"short", &HashMap::new())
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
            assert_eq!(response.message.len(), 1);
            assert_eq!(tags(&response.message[0]), [DROP]);
        }
    }

    #[test]
    fn a_failed_frame_is_nacked_when_so_configured() {
        let response = policy(OnInvalid::Drop, OnFailure::Nack, &[])
            .respond(answer(Outcome::Failed(Failure::NoLane)));
        assert_eq!(tags(&response.message[0]), [NACK]);
    }

    #[test]
    fn a_rejected_frame_is_a_dead_letter_with_payload_and_keys() {
        let response =
            policy(OnInvalid::Tag("bad".into()), OnFailure::Nack, &[]).respond(answer(rejected()));
        assert_eq!(response.message[0].value, b"short");
        assert_eq!(tags(&response.message[0]), ["bad"]);
        assert_eq!(response.message[0].keys, Some(vec!["k".into()]));
    }

    #[test]
    fn only_several_outputs_are_tagged_with_their_names() {
        let one = policy(OnInvalid::Drop, OnFailure::Nack, &[])
            .respond(answer(Outcome::Done(smallvec![b"a".to_vec()])));
        assert!(tags(&one.message[0]).is_empty());

        let two = policy(OnInvalid::Drop, OnFailure::Nack, &["amplitude", "phase"]).respond(
            answer(Outcome::Done(smallvec![b"a".to_vec(), b"p".to_vec()])),
        );
        assert_eq!(tags(&two.message[0]), ["amplitude"]);
        assert_eq!(tags(&two.message[1]), ["phase"]);
        assert_eq!(two.message[1].value, b"p");
        assert_eq!(two.message[1].keys, Some(vec!["k".into()]));
    }
}
