//! Read batches, passed to the handler directly. The input is a mode, then datums.
//!
//! Each datum has one response, in any order, with at least one message; valid frames are
//! answered with their own results, all others as `--on-invalid` sets.

use super::datums::{self, MODES, Said, check_all, runtime, subject};
use super::feed::Feed;
use beamflow::vertex::client::Datum;
use numaflow::batchmap::{self, BatchMapper, BatchResponse};
use numaflow::proto::map::MapRequest;
use tokio::sync::mpsc;

/// Datums in a read batch: several batches, and a short one.
const MOST: usize = 21;

pub fn target(data: &[u8]) {
    let mut feed = Feed(data);
    let subject = subject(feed.below(MODES));
    let mut read_batch = Vec::new();
    while !feed.is_empty() && read_batch.len() < MOST {
        read_batch.push(datums::datum(&mut feed));
    }
    let responses = runtime().block_on(answer(&*subject.sidecar.handler, &read_batch));
    assert_eq!(responses.len(), read_batch.len());
    let said = |response: BatchResponse| {
        let messages = response.message.into_iter();
        (response.id, messages.map(said).collect())
    };
    check_all(subject, &read_batch, responses.into_iter().map(said));
}

async fn answer(handler: &impl BatchMapper, read_batch: &[Datum]) -> Vec<BatchResponse> {
    let (sender, receiver) = mpsc::channel(MOST);
    for datum in read_batch {
        let datum = batchmap::Datum::try_from(MapRequest::from(datum.clone())).unwrap();
        sender.send(datum).await.unwrap();
    }
    drop(sender);
    handler.batchmap(receiver).await
}

fn said(message: batchmap::Message) -> Said {
    Said {
        keys: message.keys.unwrap_or_default(),
        tags: message.tags.unwrap_or_default(),
        value: message.value,
    }
}
