//! Collector, queue and workers: collecting never waits for computing, until the slots are used up.

use super::{Call, Collector, Schedule};
use crate::inference::model::Model;
use futures::StreamExt;
use numaflow::batchmap::Datum;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A collector fills slots into a bounded queue; up to `workers` batches are computed side by side,
/// and their results are taken as they come, in any order.
pub(crate) struct Concurrent {
    pub(crate) model: Arc<Model>,
    /// Batches computed side by side.
    pub(crate) workers: usize,
}

#[async_trait::async_trait]
impl Schedule for Concurrent {
    async fn run(&self, datums: mpsc::Receiver<Datum>) -> Call {
        let mut call = Call::new(&self.model.counts, None);
        // One place for each worker. The ring is the tighter bound.
        let (queue, filled) = mpsc::channel(self.workers);
        let collect = async {
            let mut collector = Collector::new(&self.model, ReceiverStream::new(datums));
            while let Some(batch) = collector.next(&mut call).await {
                call.mark_submission();
                if queue.send(batch).await.is_err() {
                    break; // Never: the workers below outlive the queue.
                }
                // The workers are polled in the same task: yield, so that they start this batch now.
                tokio::task::yield_now().await;
            }
            call.mark_collected();
            drop(queue);
        };
        let work = ReceiverStream::new(filled)
            .map(|batch| self.model.start_batch(batch, ()))
            .buffer_unordered(self.workers)
            .collect::<Vec<_>>();
        let ((), computed) = tokio::join!(collect, work);
        computed
            .into_iter()
            .for_each(|computed| call.settle(computed));
        call
    }
}
