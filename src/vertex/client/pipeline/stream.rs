//! The map stage over a unary map: the datums of all read batches in hand are in flight together.
//!
//! Numa gives a unary map each message by itself, and knows a read batch only by what it acks. So here: datums go out as they are
//! read, and a read batch goes on when all of its own are answered, in the order in which the read batches came.
//!
//! What always holds: a read batch that is not answered within the patience is an error, as a call of a batch map is.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use numaflow::proto::map::map_response;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::flow::Life;
use super::parent::{Mapped, Parent, ReadBatch, part};
use crate::vertex::client::{Answered, Driver, DriverError};

/// How often the time of the oldest read batch is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A read batch in hand.
struct Open {
    batch: ReadBatchInHand,
    /// Answers by id.
    answers: HashMap<String, Vec<map_response::Result>>,
    since: Instant,
}

/// What is kept of a read batch.
struct ReadBatchInHand {
    parents: Vec<Parent>,
    permit: tokio::sync::OwnedSemaphorePermit,
}

impl Open {
    fn is_answered(&self) -> bool {
        self.answers.len() == self.batch.parents.len()
    }
}

/// Maps read batches until there are no more.
///
/// # Errors
/// When the map broke a promise or the stream breaks, and when a read batch takes too long.
pub(super) async fn map_on(
    life: &Life<'_>,
    driver: &mut Driver,
    mut from_read: mpsc::Receiver<ReadBatch>,
    to_write: mpsc::Sender<Mapped>,
) -> Result<(), DriverError> {
    let open: Mutex<VecDeque<Open>> = Mutex::default();
    // The driver bounds what is in flight behind it.
    let (send, datums) = mpsc::channel(1);
    let feed = async {
        let send = send;
        while let Some(ReadBatch { messages, permit }) = from_read.recv().await {
            let (parents, datums) = part(messages);
            open.lock().push_back(Open {
                batch: ReadBatchInHand { parents, permit },
                answers: HashMap::new(),
                since: Instant::now(),
            });
            for datum in datums {
                if send.send(datum).await.is_err() {
                    return;
                }
            }
        }
    };
    let take = |Answered { id, messages, .. }: Answered| {
        let mut open = open.lock();
        let holds = |open: &&mut Open| {
            let has = |parent: &Parent| parent.id == id;
            !open.answers.contains_key(&id) && open.batch.parents.iter().any(has)
        };
        if let Some(of) = open.iter_mut().find(holds) {
            of.answers.insert(id, messages);
        }
        while open.front().is_some_and(Open::is_answered)
            && let Some(Open {
                batch,
                answers,
                since,
            }) = open.pop_front()
        {
            let ReadBatchInHand {
                mut parents,
                permit,
            } = batch;
            let outputs = life.outputs(&mut parents, answers);
            life.mapped(since.elapsed());
            // The permits bound what is in the channel. If the next stage has ended, so does this one.
            let _ = to_write.try_send(Mapped {
                parents,
                outputs,
                permit,
            });
        }
    };
    let patience = life.patience();
    let overdue = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let oldest = open.lock().front().map(|open| open.since.elapsed());
            if oldest.is_some_and(|age| age > patience) {
                return;
            }
        }
    };
    let streamed = tokio::select! {
        streamed = driver.stream(ReceiverStream::new(datums), take) => streamed.map(drop),
        // At its end the stream of datums ends, and then the answers.
        never = async { feed.await; pending().await } => never,
        () = overdue => Err(DriverError::Overdue {
            doing: "mapping",
            waited: patience,
        }),
        () = to_write.closed() => Ok(()),
    };
    streamed.map_err(|error| error.of("map"))
}
