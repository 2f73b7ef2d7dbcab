//! Collector, queue and workers: collecting never waits for computing, until the slots are used up.

use super::{Call, Collector, Datums, Deadline, Schedule, answer};
use crate::inference::model::Model;
use futures::StreamExt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// A collector fills slots into a bounded queue; up to `workers` batches are computed side by side,
/// and their results are answered as they come, in any order.
pub(crate) struct Concurrent {
    pub(crate) model: Arc<Model>,
    /// Batches computed side by side.
    pub(crate) workers: usize,
}

#[async_trait::async_trait]
impl Schedule for Concurrent {
    async fn run(&self, datums: Datums<'_>, call: &Call<'_>) {
        // One place for each worker. The ring is the tighter bound.
        let (queue, filled) = mpsc::channel(self.workers);
        let collect = async move {
            let mut collector = Collector::new(&self.model, call, datums, Deadline);
            while let Some(batch) = collector.next().await {
                call.mark_submission();
                if queue.send(batch).await.is_err() {
                    break; // Never: the workers below outlive the queue.
                }
                // The workers are polled in the same task: yield, so that they start this batch now.
                tokio::task::yield_now().await;
            }
            call.mark_collected();
        };
        let started = ReceiverStream::new(filled).map(|batch| self.model.start_batch(batch, ()));
        tokio::join!(collect, answer(call, started, self.workers));
    }
}
