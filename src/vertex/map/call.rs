//! One call: a read batch from its first message to its end of transmission.
//!
//! Datums go through a bounded channel to the handler. The handler runs in its own task, so that its panic does not end the
//! stream. The call keeps the roll.
//!
//! What always holds: the batch is read to its end even if the handler has returned or panicked; the host answers what the
//! handler did not; the responses end with exactly one end of transmission; a call that is dropped because numa disconnected
//! aborts the task of the handler and logs it once.

use std::sync::Arc;

use numaflow::batchmap::Datum;
use numaflow::proto::map::{MapRequest, MapResponse, TransmissionStatus};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use super::roll::{Roll, Settled};
use super::{Host, Mapped, Mapper};

/// What a handler panicked with.
type Panic = Box<dyn std::any::Any + Send>;

/// A call that reached its end.
pub(super) struct Answered {
    /// One response per datum, and the end of transmission last.
    pub(super) responses: Vec<MapResponse>,
    /// Numa has closed its half of the stream: this was the last batch.
    pub(super) over: bool,
}

/// Reads one batch, whose first message is `first`, has the handler work on it, and answers it.
///
/// # Errors
/// The status to end the stream with, when reading failed or a message broke the protocol.
pub(super) async fn run<H: Mapper>(
    host: &Host<H>,
    first: MapRequest,
    requests: &mut Streaming<MapRequest>,
) -> Result<Answered, Status> {
    debug!("A read batch begins.");
    let mut in_hand = InHand::default();
    let (datums, input) = mpsc::channel(host.read_ahead);
    let handler = Arc::clone(&host.handler);
    let handler = AbortOnDropHandle::new(tokio::spawn(async move { handler.map(input).await }));

    let mut message = Some(first);
    let over = loop {
        let Some(request) = message else {
            warn!(
                datums = in_hand.roll.len(),
                "Numa closed the stream within a batch: what came of it is answered."
            );
            break true;
        };
        if in_hand.take_in(request, &datums).await? {
            break false;
        }
        message = requests
            .message()
            .await
            .inspect_err(|status| in_hand.cut_off(status))?;
    };
    drop(datums);

    let returned = match handler.await {
        Err(failure) if failure.is_cancelled() => {
            // The runtime is shutting down: the call is not answered.
            return Err(Status::unavailable(
                "the sidecar ends before the call is answered",
            ));
        }
        returned => returned.map_err(JoinError::into_panic),
    };
    Ok(Answered {
        responses: in_hand.answer(returned, &host.instead, host.max_message_size),
        over,
    })
}

/// How a call ends if it is not answered.
#[derive(Default)]
enum End {
    /// The stream was dropped or broke.
    #[default]
    NumaLeft,
    /// A message came that the host does not take.
    Refused(String),
    /// It is answered.
    Answered,
}

/// The datums of a call that is not answered yet. If it is dropped, it logs what is lost.
#[derive(Default)]
struct InHand {
    roll: Roll,
    end: End,
}

impl InHand {
    /// Enters a message's datum in the roll and hands it to the handler. True for the message that
    /// ends the batch.
    async fn take_in(
        &mut self,
        mut request: MapRequest,
        datums: &mpsc::Sender<Datum>,
    ) -> Result<bool, Status> {
        let eot = request.status.as_ref().is_some_and(|status| status.eot);
        let Some(payload) = request.request.as_mut() else {
            if eot {
                return Ok(true);
            }
            let found = match request.handshake {
                Some(_) => "a second handshake on one stream",
                None => "a message with neither payload nor end of transmission nor handshake",
            };
            self.end = End::Refused(found.to_owned());
            return Err(Status::invalid_argument(format!(
                "the MapFn protocol does not allow {found} (id {:?})",
                request.id
            )));
        };
        // The SDK's datum has no field for it: it is kept here and returned with the results.
        let metadata = payload.metadata.take();
        self.roll.enter(&request.id, metadata);
        let datum = Datum::try_from(request)?;
        if datums.send(datum).await.is_err() {
            // The handler has returned or panicked. Read on: numa accepts no end of transmission before it has sent
            // its own. The roll knows which datums are unanswered.
            debug!("A datum came after the handler had stopped reading.");
        }
        Ok(eot)
    }

    /// Notes why reading failed, unless numa disconnected.
    fn cut_off(&mut self, status: &Status) {
        match status.code() {
            Code::OutOfRange => self.end = End::Refused(status.message().to_owned()),
            code => debug!(
                ?code,
                error = status.message(),
                "Reading the stream failed."
            ),
        }
    }

    /// Makes the call's responses of what the handler returned.
    fn answer(
        mut self,
        returned: Result<Vec<Mapped>, Panic>,
        instead: &super::Instead,
        largest: usize,
    ) -> Vec<MapResponse> {
        self.end = End::Answered;
        let roll = std::mem::take(&mut self.roll);
        let datums = roll.len();
        let settled = match returned {
            Ok(responses) => {
                let settled = roll.settle(responses, instead, largest);
                report(datums, &settled);
                settled
            }
            Err(panic) => {
                error!(
                    datums,
                    panic = %crate::telemetry::panic::message(panic.as_ref()),
                    "The handler panicked: the host answers every datum of the call, and goes on."
                );
                roll.settle(Vec::new(), instead, largest)
            }
        };
        let mut responses = settled.responses;
        responses.push(MapResponse {
            status: Some(TransmissionStatus { eot: true }),
            ..MapResponse::default()
        });
        responses
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let datums = self.roll.len();
        match &self.end {
            End::NumaLeft => info!(
                datums,
                "A call ended before it was answered: numa went away, or this process is ending. Its datums will be redelivered."
            ),
            End::Refused(why) => warn!(
                datums,
                why, "A message was refused in mid-call: the call's datums will be redelivered."
            ),
            End::Answered => {}
        }
    }
}

/// Logs what the host had to correct.
fn report(datums: usize, settled: &Settled) {
    let &Settled {
        unanswered,
        repeated,
        unknown,
        empty,
        too_large,
        ..
    } = settled;
    if unanswered > 0 {
        error!(
            datums,
            unanswered, "The handler left datums unanswered: the host answered in its place."
        );
    }
    if repeated + unknown > 0 {
        warn!(
            datums,
            repeated,
            unknown,
            first = settled.first_stray.as_deref().unwrap_or_default(),
            "The handler returned responses to no open datum; they are dropped."
        );
    }
    if empty > 0 {
        warn!(
            datums,
            empty,
            "The handler returned responses without a message: sent on as drops, for an empty list \
             stalls Numaflow's sink."
        );
    }
    if too_large > 0 {
        error!(
            datums,
            too_large,
            first = settled.first_too_large.as_deref().unwrap_or_default(),
            "Responses are larger than a gRPC message may be and cannot be sent: the host answered in their place."
        );
    }
    debug!(datums, "The call is answered.");
}
