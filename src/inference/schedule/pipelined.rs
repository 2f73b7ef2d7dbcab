//! Each batch the moment it fills: the mode for a GPU, where copying, computing and receiving overlap.

use super::{Call, Collector, Datums, Deadline, Depth, Schedule, answer};
use crate::inference::model::Model;
use crate::inference::sync::Semaphore;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Computes each batch as soon as it is full, with at most `depth` in flight, and answers it when it is done. A batch counts
/// as in flight only while a lane holds it. Encoding its results does not block the next batch.
pub(crate) struct Pipelined {
    pub(crate) model: Arc<Model>,
    /// Batches in flight, and handed over, before the collector waits.
    pub(crate) depth: Arc<Depth>,
}

#[async_trait::async_trait]
impl Schedule for Pipelined {
    async fn run(&self, datums: Datums<'_>, call: &Call<'_>) {
        call.mark_depth(self.depth.now());
        let places = Arc::new(Semaphore::new(self.depth.places()));
        let slots = self.model.ring.slots();
        let (start, started) = mpsc::channel(slots);
        let collect = async move {
            let mut collector = Collector::new(&self.model, call, datums, Deadline);
            while let Some(batch) = collector.next().await {
                call.mark_filled(&batch);
                // The semaphore is never closed.
                let place = Arc::clone(&places).acquire_owned().await.ok();
                call.mark_submission();
                let running = self.model.start_batch(batch, place);
                if start.send(running).await.is_err() {
                    break; // Never: the receiver below outlives it.
                }
            }
            call.mark_collected();
        };
        tokio::join!(collect, answer(call, ReceiverStream::new(started), slots));
        if let Some((collection, inference)) = call.per_batch(1) {
            self.depth.note(collection, inference);
        }
    }
}
