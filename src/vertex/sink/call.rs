//! One batch, from its first message to its end of transmission.
//!
//! Messages go through a bounded channel to the sink, which runs in a task of its own: its panic does not end the stream, and
//! numa's disconnect does not end its work.
//!
//! What always holds: the batch is read to its end even if the sink has returned or panicked; the host answers what the sink
//! did not; the responses end with exactly one end of transmission.

use std::sync::Arc;

use numaflow::proto::sink::{SinkRequest, SinkResponse, TransmissionStatus};
use numaflow::sink::{self, Sinker};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use super::Host;
use super::roll::{Roll, Settled};

/// Responses in one message to numa. An id has less than 100 bytes.
const RESULTS_IN_A_MESSAGE: usize = 1_000;

/// A batch that reached its end.
pub(super) struct Answered {
    /// The responses, and the end of transmission last.
    pub(super) responses: Vec<SinkResponse>,
    /// Numa has closed its half of the stream: this was the last batch.
    pub(super) over: bool,
}

/// Reads one batch, whose first message is `first`, has the sink write it, and answers it.
///
/// # Errors
/// The status to end the stream with, when reading failed or a message broke the protocol.
pub(super) async fn run<S: Sinker + Send + Sync + 'static>(
    host: &Host<S>,
    first: SinkRequest,
    requests: &mut Streaming<SinkRequest>,
) -> Result<Answered, Status> {
    let mut in_hand = InHand::default();
    let (messages, input) = mpsc::channel(host.read_ahead);
    let sink = Arc::clone(&host.sink);
    // Tracked: the shutdown waits for it also after numa has gone.
    let writing = host.work.spawn(async move { sink.sink(input).await });
    let mut message = Some(first);
    let over = loop {
        let Some(request) = message else {
            warn!(
                messages = in_hand.roll.len(),
                "Numa closed the stream within a batch: what came of it is answered."
            );
            break true;
        };
        if in_hand.take_in(request, &messages).await? {
            break false;
        }
        message = requests
            .message()
            .await
            .inspect_err(|status| in_hand.cut_off(status))?;
    };
    drop(messages);
    let returned = match writing.await {
        Err(failure) if failure.is_cancelled() => {
            // The runtime is shutting down: the batch is not answered.
            return Err(Status::unavailable(
                "the sink ends before the batch is answered",
            ));
        }
        returned => returned,
    };
    let responses = in_hand.answer(returned);
    Ok(Answered { responses, over })
}

/// A batch that is not answered yet. If it is dropped, it logs what is lost.
#[derive(Default)]
struct InHand {
    roll: Roll,
    answered: bool,
    /// Why a message was refused, which ends the batch.
    refused: Option<String>,
}

impl InHand {
    /// Enters a message in the roll and hands it to the sink. True for the one that ends the batch.
    async fn take_in(
        &mut self,
        message: SinkRequest,
        messages: &mpsc::Sender<sink::SinkRequest>,
    ) -> Result<bool, Status> {
        let eot = message.status.is_some_and(|status| status.eot);
        let Some(request) = message.request else {
            return match eot {
                true => Ok(true),
                false => Err(Status::invalid_argument(
                    "the SinkFn protocol does not allow a message without a request or an end of transmission",
                )),
            };
        };
        self.roll.enter(request.id.clone());
        if messages.send(request.into()).await.is_err() {
            // The sink has returned or panicked. Read on: the roll knows which messages are unanswered.
            debug!("A message came after the sink had stopped reading.");
        }
        Ok(eot)
    }

    /// Notes why reading failed, unless numa disconnected.
    fn cut_off(&mut self, status: &Status) {
        match status.code() {
            Code::OutOfRange => self.refused = Some(status.message().to_owned()),
            code => debug!(
                ?code,
                error = status.message(),
                "Reading the stream failed."
            ),
        }
    }

    /// Makes the responses of what the sink returned.
    fn answer(mut self, returned: Result<Vec<sink::Response>, JoinError>) -> Vec<SinkResponse> {
        self.answered = true;
        let roll = std::mem::take(&mut self.roll);
        let messages = roll.len();
        let settled = match returned {
            Ok(responses) => {
                let settled = roll.settle(responses, "the sink did not answer the message");
                report(messages, &settled);
                settled
            }
            Err(failure) => {
                let panic = failure.into_panic();
                error!(
                    messages,
                    panic = %crate::telemetry::panic::message(panic.as_ref()),
                    "The sink panicked: every message of the batch counts as failed, and numa sends it again."
                );
                roll.settle(Vec::new(), "the sink panicked; see its log")
            }
        };
        let mut responses: Vec<SinkResponse> = settled
            .results
            .chunks(RESULTS_IN_A_MESSAGE)
            .map(|results| SinkResponse {
                results: results.to_vec(),
                ..SinkResponse::default()
            })
            .collect();
        // Numa reads no results from the message that ends the batch.
        responses.push(SinkResponse {
            status: Some(TransmissionStatus { eot: true }),
            ..SinkResponse::default()
        });
        responses
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let messages = self.roll.len();
        if let Some(why) = &self.refused {
            warn!(
                messages,
                why,
                "A message was refused within a batch: the batch's messages will be redelivered."
            );
        } else if !self.answered {
            info!(
                messages,
                "A batch ended before it was answered: numa went away, or this process is ending. Its messages will be redelivered."
            );
        }
    }
}

/// Logs what the host had to correct.
fn report(messages: usize, settled: &Settled) {
    let &Settled {
        unanswered, stray, ..
    } = settled;
    if unanswered > 0 {
        error!(
            messages,
            unanswered,
            "The sink left messages unanswered: they count as failed, and numa sends them again."
        );
    }
    if stray > 0 {
        warn!(
            messages,
            stray, "The sink returned responses to no open message; they are dropped."
        );
    }
}
