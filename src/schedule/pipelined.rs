//! Each batch the moment it fills: the mode for a GPU, where copying, computing and receiving overlap.

use super::{Call, Collector, Depth, Resources, Schedule};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use numaflow::batchmap::Datum;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Computes each batch the moment it fills, with at most `depth` in flight; then waits for them all.
pub struct Pipelined {
    /// What all modes share.
    pub resources: Arc<Resources>,
    /// Batches in flight before the collector waits.
    pub depth: Arc<Depth>,
}

#[async_trait::async_trait]
impl Schedule for Pipelined {
    async fn run(&self, datums: mpsc::Receiver<Datum>) -> Call {
        let depth = self.depth.now();
        let mut call = Call::new(&self.resources.counts, Some(depth));
        let mut in_flight = FuturesUnordered::new();
        let mut collector = Collector::new(&self.resources, ReceiverStream::new(datums));
        while let Some(batch) = collector.next(&mut call).await {
            call.mark_filled(&batch);
            if in_flight.len() >= depth
                && let Some(computed) = in_flight.next().await
            {
                call.settle(computed);
            }
            call.mark_submission();
            in_flight.push(self.resources.start(batch));
        }
        call.mark_collected();
        while let Some(computed) = in_flight.next().await {
            call.settle(computed);
        }
        if let Some((collection, inference)) = call.per_batch() {
            self.depth.note(collection, inference);
        }
        call
    }
}
