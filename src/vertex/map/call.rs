//! One call: datums to the handler, its answers back.
//!
//! In a batch map a call is a read batch, from its first message to its end of transmission. In a unary map it is the stream.
//! Datums go through a bounded channel to the handler, answers come back through another. The handler runs in its own task,
//! so that its panic does not end the stream. The call keeps the roll.
//!
//! What always holds: a read batch is read to its end even if the handler has returned or panicked; the host answers what the
//! handler did not; no answer that the handler gave is lost; a call that is dropped because numa disconnected aborts the task
//! of the handler and logs it once.
//!
//! A call is polled by the stream, which may be dropped at any await. So what is in hand is in the call and not in a future.

use std::future::pending;
use std::sync::Arc;

use numaflow::batchmap::Datum;
use numaflow::proto::map::{MapRequest, MapResponse, TransmissionStatus};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info, warn};

use super::roll::{Corrected, Roll};
use super::{Host, MapMode, Mapped, Mapper};

/// Bursts of answers between the handler and the socket. One waits while another is written; a handler that has more waits.
const ANSWERS_AHEAD: usize = 2;

/// What a call has for the stream.
pub(super) enum Step {
    /// Responses. The call goes on.
    Responses(Vec<MapResponse>),
    /// The last responses, in a batch map with the end of transmission.
    Last(Vec<MapResponse>),
}

/// What a call waits for.
#[allow(
    clippy::large_enum_variant,
    reason = "each lives for one step of the call"
)]
enum Event {
    /// The handler has answers, or has returned.
    Answers(Option<Vec<Mapped>>),
    /// The handler has room for the datum that waits.
    Room,
    /// The program is to stop.
    Stopped,
    /// Numa sent a message, or closed or broke the stream.
    Request(Result<Option<MapRequest>, Status>),
}

/// Where the datums of a call come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// More may come.
    Open,
    /// All have come.
    Ended,
    /// Numa has closed its half of the stream: no call comes after this one.
    Closed,
}

/// A call that is not answered to its end.
pub(super) struct Call {
    map_mode: MapMode,
    roll: Roll,
    reading: Reading,
    /// To the handler; `None` when it has all datums.
    datums: Option<mpsc::Sender<Datum>>,
    /// The datum that waits for room before the handler.
    waiting: Option<Datum>,
    answers: mpsc::Receiver<Vec<Mapped>>,
    /// The handler; `None` when it has returned.
    handler: Option<AbortOnDropHandle<()>>,
    /// In a batch map: the response after which no datum is open.
    held: Option<MapResponse>,
    end: End,
}

/// How a call ends if it is not answered.
enum End {
    /// The stream was dropped or broke.
    NumaLeft,
    /// A message came that the host does not take.
    Refused(String),
    /// It is answered.
    Answered,
}

impl Call {
    /// Starts the handler on a new call.
    pub(super) fn begin<H: Mapper>(host: &Host<H>) -> Self {
        let (datums, input) = mpsc::channel(host.read_ahead);
        let (output, answers) = mpsc::channel(ANSWERS_AHEAD);
        let handler = Arc::clone(&host.handler);
        let handler = tokio::spawn(async move { handler.map(input, output).await });
        Self {
            map_mode: host.map_mode,
            roll: Roll::default(),
            reading: Reading::Open,
            datums: Some(datums),
            waiting: None,
            answers,
            handler: Some(AbortOnDropHandle::new(handler)),
            held: None,
            end: End::NumaLeft,
        }
    }

    /// Whether numa has closed its half of the stream.
    pub(super) fn is_closed(&self) -> bool {
        self.reading == Reading::Closed
    }

    /// Reads, hands over and takes answers, whichever is possible, until there are responses to send.
    ///
    /// # Errors
    /// The status to end the stream with, when reading failed or a message broke the protocol.
    pub(super) async fn step<H: Mapper>(
        &mut self,
        host: &Host<H>,
        requests: &mut Streaming<MapRequest>,
    ) -> Result<Step, Status> {
        loop {
            if self.waiting.is_none() && self.reading != Reading::Open {
                self.datums = None;
            }
            // A read batch is read to its end first. A stream goes on with another call.
            let may_end = self.reading != Reading::Open || self.map_mode == MapMode::Unary;
            if self.handler.is_none() && may_end {
                return Ok(Step::Last(self.finish(host)));
            }
            let event = tokio::select! {
                // The handler first: what it waits for keeps lanes busy. Then what has come; answers that meanwhile wait leave
                // together. They are bounded, and a handler that may not leave more takes no more datums either.
                biased;
                () = stopped(host), if self.reading == Reading::Open => Event::Stopped,
                () = room(self.datums.as_ref()), if self.waiting.is_some() => Event::Room,
                request = requests.message(), if self.waiting.is_none() && self.reading == Reading::Open => {
                    Event::Request(request)
                }
                answers = self.answers.recv(), if self.handler.is_some() => Event::Answers(answers),
            };
            match event {
                Event::Answers(Some(mut answers)) => {
                    // To write once costs less than to write each.
                    while let Ok(more) = self.answers.try_recv() {
                        answers.extend(more);
                    }
                    let responses = self.settle(answers, host);
                    if !responses.is_empty() {
                        return Ok(Step::Responses(responses));
                    }
                }
                Event::Answers(None) => self.join().await?,
                Event::Room => self.hand_over(),
                Event::Stopped => self.reading = Reading::Ended,
                Event::Request(request) => {
                    let request = request.inspect_err(|status| self.cut_off(status))?;
                    self.take_in(request)?;
                }
            }
        }
    }

    /// Gives the datum that waits to the handler, which has room.
    fn hand_over(&mut self) {
        let sent = match (&self.datums, self.waiting.take()) {
            (Some(datums), Some(datum)) => datums.try_send(datum).is_ok(),
            _ => false,
        };
        if !sent {
            // The handler has returned or panicked. Read on: numa accepts no end of transmission before it has sent its
            // own. The roll knows which datums are unanswered.
            debug!("A datum came after the handler had stopped reading.");
        }
    }

    /// Enters a message's datum in the roll and keeps it for the handler.
    ///
    /// # Errors
    /// The status of a message that the protocol does not allow.
    pub(super) fn take_in(&mut self, request: Option<MapRequest>) -> Result<(), Status> {
        let Some(mut request) = request else {
            if self.map_mode == MapMode::Batch {
                warn!(
                    datums = self.roll.entered(),
                    "Numa closed the stream within a batch: what came of it is answered."
                );
            }
            self.reading = Reading::Closed;
            return Ok(());
        };
        let eot = request.status.as_ref().is_some_and(|status| status.eot);
        let Some(payload) = request.request.as_mut() else {
            if eot {
                self.end_of_transmission();
                return Ok(());
            }
            let found = match request.handshake {
                Some(_) => "a second handshake on one stream",
                None => "a message with neither payload nor end of transmission nor handshake",
            };
            return Err(self.refuse(&request, found));
        };
        // The SDK's datum has no field for it: it is kept here and returned with the results.
        let metadata = payload.metadata.take();
        self.roll.enter(&request.id, metadata);
        self.waiting = Some(Datum::try_from(request)?);
        if eot {
            self.end_of_transmission();
        }
        Ok(())
    }

    /// A unary map has none: the SDK's server reads on, and so does this one.
    fn end_of_transmission(&mut self) {
        if self.map_mode == MapMode::Batch {
            self.reading = Reading::Ended;
        }
    }

    fn refuse(&mut self, request: &MapRequest, found: &str) -> Status {
        self.end = End::Refused(found.to_owned());
        Status::invalid_argument(format!(
            "the MapFn protocol does not allow {found} (id {:?})",
            request.id
        ))
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

    /// Makes responses of answers. In a batch map the one after which no datum is open is held.
    fn settle<H>(&mut self, answers: Vec<Mapped>, host: &Host<H>) -> Vec<MapResponse> {
        let mut responses = Vec::with_capacity(answers.len() + 1);
        responses.extend(self.held.take());
        for answer in answers {
            let (instead, largest) = (&host.instead, host.max_message_size);
            responses.extend(self.roll.settle(answer, instead, largest));
        }
        if self.map_mode == MapMode::Batch && self.roll.open() == 0 {
            self.held = responses.pop();
        }
        report(&self.roll.corrected());
        responses
    }

    /// Takes the end of the handler, which has given all its answers.
    ///
    /// # Errors
    /// When the runtime is shutting down: the call is not answered.
    async fn join(&mut self) -> Result<(), Status> {
        let Some(handler) = &mut self.handler else {
            return Ok(());
        };
        let returned = handler.await;
        self.handler = None;
        let Err(failure) = returned else {
            return Ok(());
        };
        if failure.is_cancelled() {
            let reason = "the sidecar ends before the call is answered";
            return Err(Status::unavailable(reason));
        }
        error!(
            datums = self.roll.open(),
            panic = %crate::telemetry::panic::message(failure.into_panic().as_ref()),
            "The handler panicked: the host answers the datums that are left, and goes on."
        );
        Ok(())
    }

    /// The last responses of the call.
    fn finish<H>(&mut self, host: &Host<H>) -> Vec<MapResponse> {
        self.end = End::Answered;
        let mut responses: Vec<_> = self.held.take().into_iter().collect();
        responses.extend(self.roll.finish(&host.instead));
        report(&self.roll.corrected());
        if self.map_mode == MapMode::Batch {
            responses.push(MapResponse {
                status: Some(TransmissionStatus { eot: true }),
                ..MapResponse::default()
            });
        }
        let datums = self.roll.entered();
        match self.map_mode {
            MapMode::Batch => debug!(datums, "The call is answered."),
            MapMode::Unary => info!(datums, "The stream is answered to its end."),
        }
        responses
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let datums = self.roll.open();
        match &self.end {
            End::NumaLeft if self.map_mode == MapMode::Unary => info!(
                datums,
                "The stream broke off. What was in hand will be redelivered; the model stays loaded for the next one."
            ),
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

/// Resolves when the handler has room for a datum, which no other sender can take, or when it takes no more.
async fn room(datums: Option<&mpsc::Sender<Datum>>) {
    match datums {
        Some(datums) => drop(datums.reserve().await),
        None => pending().await,
    }
}

/// Resolves when a stream of a unary map is not to be read any further.
async fn stopped<H>(host: &Host<H>) {
    let shutdown: &CancellationToken = &host.shutdown;
    match host.map_mode {
        MapMode::Batch => pending().await,
        MapMode::Unary => shutdown.cancelled().await,
    }
}

/// Logs what the host had to correct.
fn report(corrected: &Corrected) {
    let &Corrected {
        unanswered,
        stray,
        empty,
        too_large,
        ..
    } = corrected;
    if unanswered > 0 {
        error!(
            unanswered,
            "The handler left datums unanswered: the host answered in its place."
        );
    }
    if stray > 0 {
        warn!(
            stray,
            first = corrected.first_stray.as_deref().unwrap_or_default(),
            "The handler returned responses to no open datum; they are dropped."
        );
    }
    if empty > 0 {
        warn!(
            empty,
            "The handler returned responses without a message: sent on as drops, for an empty list \
             stalls Numaflow's sink."
        );
    }
    if too_large > 0 {
        error!(
            too_large,
            first = corrected.first_too_large.as_deref().unwrap_or_default(),
            "Responses are larger than a gRPC message may be and cannot be sent: the host answered in their place."
        );
    }
}
