//! Each batch the moment it fills: the mode for a GPU, where copying, computing and receiving overlap.

use super::{Call, Collector, Depth, Schedule};
use crate::inference::model::Model;
use crate::inference::sync::Semaphore;
use numaflow::batchmap::Datum;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Computes each batch as soon as it is full, with at most `depth` in flight, then waits for all of them. A batch counts as
/// in flight only while a lane holds it. Encoding its results does not block the next batch.
pub(crate) struct Pipelined {
    pub(crate) model: Arc<Model>,
    /// Batches in flight, and handed over, before the collector waits.
    pub(crate) depth: Arc<Depth>,
}

#[async_trait::async_trait]
impl Schedule for Pipelined {
    async fn run(&self, datums: mpsc::Receiver<Datum>) -> Call {
        let depth = self.depth.now();
        let mut call = Call::new(&self.model.counts, Some(depth));
        let places = Arc::new(Semaphore::new(self.depth.places()));
        let mut computing = Vec::new();
        let mut collector = Collector::new(&self.model, ReceiverStream::new(datums));
        while let Some(batch) = collector.next(&mut call).await {
            call.mark_filled(&batch);
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            call.mark_submission();
            computing.push(self.model.start_batch(batch, place));
        }
        call.mark_collected();
        for computed in computing {
            call.settle(computed.await);
        }
        if let Some((collection, inference)) = call.per_batch() {
            self.depth.note(collection, inference);
        }
        call
    }
}
