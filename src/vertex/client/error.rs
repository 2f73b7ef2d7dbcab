//! What can go wrong between a client and a sidecar. Where the sidecar broke a promise, the error
//! names the ids: that is what one searches its logs for.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};

/// Why a sidecar could not be driven, or what it did wrong.
#[derive(Debug, Error)]
pub enum DriverError {
    /// No process listens.
    #[error("socket {}: cannot connect ({source}); is the sidecar running?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What tonic says.
        source: tonic::transport::Error,
    },
    /// The sidecar is still loading, or is shutting down.
    #[error("socket {}: the sidecar says it is not ready; try again when it is", path.display())]
    NotReady {
        /// The socket.
        path: PathBuf,
    },
    /// There is no server-info file yet, or only a part of one.
    #[error("server-info file {}: not written to its end; is the sidecar running?", path.display())]
    NotAnnounced {
        /// The file.
        path: PathBuf,
    },
    /// The server-info file says what numa refuses.
    #[error("server-info file {}: {problem}; Numaflow would not start this vertex", path.display())]
    ServerInfo {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The sidecar did not become ready in time.
    #[error(
        "the sidecar was not ready within {timeout:?} ({}); see its log, or wait longer",
        last.as_ref().map_or_else(|| "it did not answer".to_owned(), ToString::to_string)
    )]
    TimedOut {
        /// The time given.
        timeout: Duration,
        /// What the last look at it found.
        last: Option<Box<DriverError>>,
    },
    /// The sidecar answered with a status.
    #[error("{doing}: the sidecar ended it with {:?} ({}); see its log", status.code(), status.message())]
    Status {
        /// What the driver was at.
        doing: &'static str,
        /// The sidecar's status.
        status: Box<Status>,
    },
    /// The first response is not the handshake's echo.
    #[error("the handshake was not echoed: the sidecar's first response was {}; it does not speak {method}",
        got.as_ref().map_or_else(|| "none".to_owned(), |id| format!("one to id {id:?}")))]
    Handshake {
        /// The method called.
        method: &'static str,
        /// The id in what came instead; `None` if the stream ended.
        got: Option<String>,
    },
    /// End of transmission, and datums unanswered: numa nacks the batch and exits, or sends it again.
    #[error("{} datums were not answered before the end of transmission: {}", unanswered.len(), some(unanswered))]
    Missing {
        /// Their ids.
        unanswered: Vec<String>,
    },
    /// A response to an id that was not sent.
    #[error("id {id:?} was answered and never sent")]
    Unknown {
        /// The id.
        id: String,
    },
    /// A second response to a datum.
    #[error("id {id:?} was answered more often than it was sent")]
    Repeated {
        /// The id.
        id: String,
    },
    /// A response without messages: legal, and stalls Numaflow's sink.
    #[error(
        "id {id:?} was answered by an empty list; a DROP message is what does not stall the sink"
    )]
    Empty {
        /// The id.
        id: String,
    },
    /// The sidecar ended the transmission before the driver did.
    #[error("the sidecar's end of transmission came before the driver's, with {} datums unanswered: {}",
        unanswered.len(), some(unanswered))]
    EarlyEot {
        /// The ids not answered so far.
        unanswered: Vec<String>,
    },
    /// Something came between two read batches.
    #[error("a response came after the end of transmission, to id {id:?}")]
    AfterEot {
        /// The id.
        id: String,
    },
    /// The sidecar ended the stream in mid-call.
    #[error("the sidecar ended the stream in mid-call, with {} datums unanswered: {}",
        unanswered.len(), some(unanswered))]
    Ended {
        /// The ids not answered.
        unanswered: Vec<String>,
    },
    /// A message without an offset: numa ends at it.
    #[error("a message of the source has no offset, or an empty one; numa ends at such a message")]
    NoOffset,
    /// A message without an event time: numa ends at it.
    #[error("message {id:?} of the source has no event time; numa ends at such a message")]
    NoEventTime {
        /// The id that numa makes of its offset.
        id: String,
    },
    /// A response without content.
    #[error("a response of the source has neither a message nor an end of transmission")]
    Hollow,
    /// A read with more messages than were requested.
    #[error("a read of at most {count} messages got more")]
    TooMany {
        /// Those requested.
        count: usize,
    },
    /// A reply that does not say that the call succeeded.
    #[error("{doing}: the source's reply is no success")]
    NoSuccess {
        /// What the client was at.
        doing: &'static str,
    },
    /// A call of the pipeline took too long.
    #[error("{doing}: no answer within {waited:?}")]
    Overdue {
        /// What the pipeline was at.
        doing: &'static str,
        /// Its patience.
        waited: Duration,
    },
    /// The sink did not write a message, however often it was sent.
    #[error("the sink failed to write {} messages, the first {attempts} times: {reason}", ids.len())]
    Unwritten {
        /// Their ids.
        ids: Vec<String>,
        /// How often they were sent.
        attempts: usize,
        /// What the sink said of the first.
        reason: String,
    },
    /// A message for a fallback sink that there is not.
    #[error("message {id:?} is for the fallback sink, and there is none")]
    NoFallback {
        /// Its id.
        id: String,
    },
    /// A message for an onSuccess sink that there is not.
    #[error("message {id:?} is for the onSuccess sink, and there is none")]
    NoOnSuccess {
        /// Its id.
        id: String,
    },
    /// An error of one part of a pipeline.
    #[error("{part}: {source}")]
    Part {
        /// Which.
        part: &'static str,
        /// What is wrong.
        source: Box<DriverError>,
    },
    /// The stream is closed, or an earlier error made it useless.
    #[error("the stream is closed; connect again")]
    Closed,
}

impl DriverError {
    /// A status, boxed: it is larger than all else in here.
    pub(super) fn status(doing: &'static str, status: Status) -> Self {
        Self::Status {
            doing,
            status: Box::new(status),
        }
    }

    /// The error of a part of a pipeline.
    pub(super) fn of(self, part: &'static str) -> Self {
        Self::Part {
            part,
            source: Box::new(self),
        }
    }

    /// Whether the sidecar is gone, rather than wrong: it was killed, has ended, or does not come up.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Part { source, .. } => source.is_loss(),
            Self::Status { status, .. } => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Cancelled
                    | Code::Unknown
                    | Code::Internal
                    | Code::Aborted
            ),
            Self::Connect { .. }
            | Self::NotReady { .. }
            | Self::NotAnnounced { .. }
            | Self::TimedOut { .. }
            | Self::Handshake { got: None, .. }
            | Self::Ended { .. }
            | Self::Closed => true,
            _ => false,
        }
    }

    /// Whether waiting may help: the sidecar is not up, rather than wrong.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::NotReady { .. }
                | Self::NotAnnounced { .. }
                | Self::Status { .. }
        )
    }
}

/// The first few of many ids.
fn some(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut shown = ids
        .iter()
        .take(SHOWN)
        .map(|id| format!("{id:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    if ids.len() > SHOWN {
        shown.push_str(", …");
    }
    shown
}
