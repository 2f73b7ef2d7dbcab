//! A whole vertex in small: source → map → sink, driven as the numa container of release 1.8.3 drives them.
//!
//! ```text
//! source ──read batches──▶ map ──outputs──▶ sinks, fallback sink, onSuccess sink
//!    ▲                                         │
//!    └──────────── acks and nacks ◀────────────┘
//! ```
//!
//! Each part is a program behind its socket. The source may be a stream of datums in memory instead, the sink a closure, and
//! the map may be left out.
//!
//! What numa does, and this does too:
//!
//! - The id of a message is `{base64 of the offset}-{partition}` for the map, and `{vertex}-{that}-{index}` for the sink. It is
//!   valid UTF-8 whatever the offset is.
//! - An output has the headers, the event time and the system metadata of its parent, and the keys and the user metadata that
//!   the map gave it.
//! - A DROP output is not written. A NACK output gives its message back to the source, with its delay.
//! - A message that arrives while it is in hand is left out.
//! - A batch map gets a read batch at a time. A unary map gets the datums of all read batches in hand ([`Settings::read_ahead`]).
//! - The onSuccess sink gets what the sinks answered so, after they have answered the whole batch, and the fallback sink too.
//! - Failed messages are sent to the sink again. Numa does so without limit; here the number is bounded ([`Retry`]).
//! - A source is read, acked and nacked by one task, so an ack waits for the read in progress.
//! - A read batch is acked when every sink has answered for all of its outputs.
//! - If a part is gone, what is in hand is nacked, everything is connected again, and the source delivers it again
//!   ([`Settings::restarts`]).
//!
//! What always holds:
//!
//! 1. Each message read is acked once, nacked once, or still in hand ([`Report::is_balanced`]). No message is acked before all
//!    of its outputs are written, dropped or given up as [`GiveUp`] says.
//! 2. Memory is bounded: [`Settings::read_ahead`] read batches and their outputs are in hand; the ids of the latest messages
//!    are kept to count deliveries.
//! 3. Each call is bounded by [`Settings::patience`].
//! 4. [`Pipeline::run`] may be dropped at any point, as a numa container may be killed; the next run goes on.
//!
//! [`Retry`]: crate::vertex::client::pipeline::Retry
//! [`Settings::restarts`]: crate::vertex::client::pipeline::Settings::restarts
//! [`Report::is_balanced`]: crate::vertex::client::pipeline::Report::is_balanced
//! [`GiveUp`]: crate::vertex::client::pipeline::GiveUp
//! [`Settings::read_ahead`]: crate::vertex::client::pipeline::Settings::read_ahead
//! [`Settings::patience`]: crate::vertex::client::pipeline::Settings::patience
//! [`Pipeline::run`]: crate::vertex::client::pipeline::Pipeline::run

/// What is read and not yet acked, and the counts.
mod books;
/// Calls, bounded in time.
mod calls;
/// The parts: where they listen, and how they are used.
mod ends;
/// The stages between source and sink, from connecting to the end or the first error.
mod flow;
/// A source in memory.
mod memory;
/// What is kept of messages while they go from stage to stage.
mod parent;
/// Counts and latencies.
mod report;
/// The map stage over a unary map.
mod stream;
/// One batch of outputs to a sink, with retries.
mod writing;

use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::DriverError;
use books::Books;
pub use ends::{Address, Intake, Outlet};
pub use memory::Datums;
pub use report::{Calls, Report};

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never: only by its token.
    Stopped,
    /// After so many acks.
    Acked(u64),
    /// When a read is empty, nothing is in hand, and the source says that nothing is pending.
    Idle,
}

/// What happens to a message that the sink fails to write too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// The run ends with an error; its messages are nacked.
    Fail,
    /// The source delivers it again.
    Nack,
    /// It goes to the fallback sink.
    Fallback,
    /// It counts as failed, and is acked.
    Drop,
}

/// How messages are sent again that a sink failed to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// So often after the first time.
    pub times: usize,
    /// After this time.
    pub interval: Duration,
    /// What happens then.
    pub give_up: GiveUp,
}

/// How a pipeline runs. The defaults are Numaflow's where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the vertex: a part of the message ids.
    pub vertex: String,
    /// Messages in a read batch at most: `limits.readBatchSize`.
    pub read_batch: usize,
    /// The time for which a read waits: `limits.readTimeout`.
    pub read_timeout: Duration,
    /// Read batches in hand at most. 1 is no read-ahead.
    pub read_ahead: usize,
    /// For messages that the sink fails to write.
    pub retry: Retry,
    /// A call that takes longer is an error; for a read, longer than its timeout.
    pub patience: Duration,
    /// How often everything is connected again after a part is gone. 0: the first loss is an error.
    pub restarts: usize,
    /// When the run ends.
    pub until: Until,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            vertex: "vertex".to_owned(),
            read_batch: 500,
            read_timeout: Duration::from_secs(1),
            read_ahead: 1,
            retry: Retry {
                times: 10,
                interval: Duration::from_millis(10),
                give_up: GiveUp::Fail,
            },
            patience: Duration::from_secs(60),
            restarts: 0,
            until: Until::Idle,
        }
    }
}

/// Source → map → sinks; see the module documentation.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    source: Intake,
    map: Option<Address>,
    sinks: Vec<Outlet>,
    fallback: Option<Outlet>,
    on_success: Option<Outlet>,
    books: Mutex<Books>,
}

impl Pipeline {
    /// A pipeline with a source and one sink.
    #[must_use]
    pub fn new(settings: Settings, source: Intake, sink: Outlet) -> Self {
        Self {
            settings,
            source,
            map: None,
            sinks: vec![sink],
            fallback: None,
            on_success: None,
            books: Mutex::default(),
        }
    }

    /// Adds a map.
    #[must_use]
    pub fn with_map(self, map: Address) -> Self {
        Self {
            map: Some(map),
            ..self
        }
    }

    /// Adds another sink, which gets every output too, after those before it.
    #[must_use]
    pub fn with_sink(mut self, sink: Outlet) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Adds a fallback sink.
    #[must_use]
    pub fn with_fallback(self, sink: Outlet) -> Self {
        Self {
            fallback: Some(sink),
            ..self
        }
    }

    /// Adds an onSuccess sink.
    #[must_use]
    pub fn with_on_success(self, sink: Outlet) -> Self {
        Self {
            on_success: Some(sink),
            ..self
        }
    }

    /// Changes when the next run ends.
    pub fn set_until(&mut self, until: Until) {
        self.settings.until = until;
    }

    /// The counts of all runs so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.books.lock().report()
    }

    /// Runs until the settings say so, or until `stop`: then nothing more is read, and what is in hand is finished.
    ///
    /// # Errors
    /// When a part breaks its protocol, is overdue, or is gone more often than it may be; when the sink does not write.
    pub async fn run(&mut self, stop: &CancellationToken) -> Result<Report, DriverError> {
        let mut restarts = 0;
        loop {
            match flow::run(self, stop).await {
                Ok(()) => return Ok(self.report()),
                Err(error) if error.is_loss() && restarts < self.settings.restarts => {
                    restarts += 1;
                    self.books.lock().restarted();
                    tracing::debug!(%error, "A part of the pipeline is gone: all are connected again.");
                    if stop.is_cancelled() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
