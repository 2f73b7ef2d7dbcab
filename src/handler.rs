//! The SDK's `BatchMapper`, implemented: glue between the schedule and Numaflow's messages.
//!
//! What always holds: one `BatchResponse` per datum, with at least one message in it. A datum with
//! nothing to say gets a DROP message, because an empty list stalls Numaflow's sink.

use crate::config::{OnFailure, OnInvalid};
use crate::ledger::{Answer, Outcome};
use crate::read_batch::ReadBatchWatch;
use crate::schedule::{Call, Schedule};
use crate::telemetry::counts::Counts;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum, Message};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How outcomes become messages.
#[derive(Clone, Debug)]
pub struct AnswerPolicy {
    /// For rejected frames.
    pub on_invalid: OnInvalid,
    /// For failed frames.
    pub on_failure: OnFailure,
    /// The tags of the results, one per selected output; empty where there is one output only.
    pub tags: Vec<String>,
}

impl AnswerPolicy {
    /// The response to one datum.
    #[must_use]
    pub fn respond(&self, answer: Answer) -> BatchResponse {
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

    /// The response to a datum whose call broke off inside this program.
    #[must_use]
    pub fn unanswered(&self, id: String) -> BatchResponse {
        self.respond(Answer {
            id,
            keys: Vec::new(),
            outcome: Outcome::Failed(crate::engine::failure::Failure::Unsettled),
        })
    }
}

/// Answers read batches by running their frames through a schedule.
pub struct FrameHandler {
    schedule: Box<dyn Schedule>,
    policy: AnswerPolicy,
    counts: Arc<Counts>,
    read_batches: Mutex<ReadBatchWatch>,
    abort: CancellationToken,
}

impl FrameHandler {
    /// A handler that computes with `schedule`, answers by `policy`, and cancels `abort` when
    /// [`OnFailure::Abort`] asks for it.
    #[must_use]
    pub fn new(
        schedule: Box<dyn Schedule>,
        policy: AnswerPolicy,
        counts: Arc<Counts>,
        read_batches: ReadBatchWatch,
        abort: CancellationToken,
    ) -> Self {
        Self {
            schedule,
            policy,
            counts,
            read_batches: Mutex::new(read_batches),
            abort,
        }
    }

    fn note_read_batch(&self, datums: usize) {
        let mut watch = self.read_batches.lock();
        if let Some(largest) = watch.note(datums) {
            tracing::warn!(
                largest,
                needed = watch.needed(),
                "Read batches never hold more than {largest} datums, too few to use every slot. If the \
                 detector is faster than this, raise limits.readBatchSize of the vertex to at least {}.",
                watch.needed()
            );
        }
    }

    /// Logs and counts a call, and turns it into responses.
    fn answer(&self, mut call: Call) -> Vec<BatchResponse> {
        let tally = call.ledger.tally();
        let times = call.times();
        call.intake.answered();
        self.counts.call(tally, times.total);
        self.note_read_batch(tally.frames);
        if tally.repeated > 0 {
            tracing::error!(
                repeated = tally.repeated,
                "Frames were settled more than once; the first outcome is answered."
            );
        }
        if tally.frames > 0 {
            let ms = |duration: std::time::Duration| duration.as_micros() as f64 / 1000.0;
            tracing::info!(
                frames = tally.frames,
                batches = call.batches,
                rejected = tally.rejected,
                failed = tally.failed,
                retried = call.retried,
                padding = call.padding,
                depth = call.depth,
                collection_ms = ms(times.collection),
                inference_ms = ms(times.inference),
                total_ms = ms(times.total),
                "A read batch is answered."
            );
        }
        let answers = call.ledger.finish().into_iter();
        let responses: Vec<_> = answers.map(|a| self.policy.respond(a)).collect();
        let messages = responses.iter().flat_map(|response| &response.message);
        self.counts
            .sent(messages.map(|message| message.value.len()).sum());
        responses
    }
}

#[tonic::async_trait]
impl BatchMapper for FrameHandler {
    async fn batchmap(&self, input: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        let call = self.schedule.run(input).await;
        if self.policy.on_failure == OnFailure::Abort && call.ledger.tally().failed > 0 {
            tracing::error!(
                failed = call.ledger.tally().failed,
                "Frames have no result and --on-failure is abort: the process ends without an answer, \
                 so that Numaflow delivers the read batch again."
            );
            self.abort.cancel();
            // No answer may leave before the process is gone.
            return std::future::pending().await;
        }
        self.answer(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::failure::Failure;
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
    fn a_rejected_frame_goes_to_the_dead_letter_with_its_payload_and_keys() {
        let response =
            policy(OnInvalid::Tag("bad".into()), OnFailure::Nack, &[]).respond(answer(rejected()));
        assert_eq!(response.message[0].value, b"short");
        assert_eq!(tags(&response.message[0]), ["bad"]);
        assert_eq!(response.message[0].keys, Some(vec!["k".into()]));
    }

    #[test]
    fn one_output_has_no_tag_and_several_are_tagged_with_their_names() {
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
