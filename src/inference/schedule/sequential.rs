//! Everything first, then one batch after another: the simplest mode, and the reference for the others.

use super::{Call, Collector, Datums, Deadline, Schedule};
use crate::inference::model::Model;
use futures::{StreamExt, stream};
use std::sync::Arc;

/// Collects the whole read batch, then computes it batch by batch, one in flight.
pub(crate) struct Sequential {
    pub(crate) model: Arc<Model>,
}

#[async_trait::async_trait]
impl Schedule for Sequential {
    async fn run(&self, mut datums: Datums<'_>, call: &Call<'_>) {
        let mut collected = Vec::new();
        while let Some(datum) = datums.next().await {
            collected.push(datum);
        }
        call.mark_collected();

        let source = stream::iter(collected);
        let mut collector = Collector::new(&self.model, call, source, Deadline);
        while let Some(batch) = collector.next().await {
            call.mark_submission();
            let (tickets, computed) = self.model.start_batch(batch, ()).done().await;
            call.settle(tickets, computed).await;
        }
    }
}
