//! Each batch the moment it fills: the mode for a GPU, where copying, computing and receiving overlap.

use super::{Call, Collector, Resources, Schedule};
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
    pub depth: usize,
}

#[async_trait::async_trait]
impl Schedule for Pipelined {
    async fn run(&self, datums: mpsc::Receiver<Datum>) -> Call {
        let mut call = Call::default();
        let mut in_flight = FuturesUnordered::new();
        let mut collector = Collector::new(&self.resources, ReceiverStream::new(datums));
        while let Some(batch) = collector.next(&mut call).await {
            if in_flight.len() >= self.depth
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
        call
    }
}
