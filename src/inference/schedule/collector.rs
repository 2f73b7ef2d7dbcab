//! From datums to filled slots: the receiving part of every mode.

use super::Call;
use crate::frame::{Rejection, Scratch, frame_id, frame_number};
use crate::inference::batch::{Close, Fill, Lease};
use crate::inference::decoding::{Decoding, Received};
use crate::inference::ledger::{Outcome, Ticket};
use crate::inference::model::Model;
use crate::inference::sync::timeout_at;
use futures::{Stream, StreamExt};
use numaflow::batchmap::Datum;
use std::mem::take;
use std::time::Duration;
use tokio::time::Instant;

/// A batch that has closed: its slot, and why it closed.
pub(crate) struct Filled {
    /// The slot, with at least one frame in it.
    pub(crate) lease: Lease,
    /// Why it closed.
    pub(crate) close: Close,
    /// How long its frames took to come and be converted, without the wait for a slot.
    pub(crate) filling: Duration,
    /// How long its frames took to be decoded and converted, one after the other; compressed ones are decoded side by side.
    pub(crate) decoding: Duration,
}

/// Draws datums from a source and fills slots with their frames.
///
/// A datum is entered in the ledger first. Then its frame is converted straight into the slot, or settled as rejected.
/// A slot is leased when the first valid frame has arrived, so that a call that waits for frames holds no slot.
pub(crate) struct Collector<'a, S> {
    model: &'a Model,
    source: Decoding<'a, S>,
    /// How long the present batch has waited for a slot.
    waited: Duration,
    /// How long its frames took to be decoded and converted.
    decoding: Duration,
}

impl<'a, S: Stream<Item = Datum> + Unpin> Collector<'a, S> {
    /// A collector that draws from `source`.
    pub(crate) fn new(model: &'a Model, source: S) -> Self {
        Self {
            model,
            source: model.decoders.stream(source),
            waited: Duration::ZERO,
            decoding: Duration::ZERO,
        }
    }

    /// The next closed batch; `None` once the source has ended and all its frames are in batches.
    pub(crate) async fn next(&mut self, call: &mut Call) -> Option<Filled> {
        let begun = Instant::now();
        self.waited = Duration::ZERO;
        self.decoding = Duration::ZERO;
        let mut filling: Option<(Lease, Fill)> = None;
        let close = loop {
            let deadline = filling.as_ref().and_then(|(_, fill)| fill.deadline());
            let received = match deadline {
                None => self.source.next().await,
                Some(deadline) => match timeout_at(deadline, self.source.next()).await {
                    Ok(received) => received,
                    Err(_) => break Close::TimedOut,
                },
            };
            let Some(received) = received else {
                break Close::EndOfStream;
            };
            call.mark_arrival();
            let datum = &received.datum;
            let number = frame_number(&datum.headers);
            call.intake
                .arrived(datum.value.len(), datum.event_time.into(), number);
            if self.put(received, number, &mut filling, call).await {
                break Close::Full;
            }
        };
        call.intake.count();
        let (lease, _) = filling.filter(|(lease, _)| lease.frames() > 0)?;
        Some(Filled {
            lease,
            close,
            filling: begun.elapsed().saturating_sub(self.waited),
            decoding: self.decoding,
        })
    }

    /// Puts a datum's frame into the slot being filled, leasing one if there is none; says whether the
    /// slot is now full.
    async fn put(
        &mut self,
        mut received: Received,
        number: Option<u64>,
        filling: &mut Option<(Lease, Fill)>,
        call: &mut Call,
    ) -> bool {
        let (begun, waited_before) = (Instant::now(), self.waited);
        self.decoding += received.took;
        let Received { datum, .. } = &mut received;
        let ticket = call
            .ledger
            .enter(take(&mut datum.id), take(&mut datum.keys));
        let mut spare = Scratch::default();
        let pixels = match received.pixels(&self.model.decoder, &mut spare) {
            Ok(pixels) => pixels,
            Err(rejection) => {
                self.reject(ticket, rejection, received.datum, call);
                return false;
            }
        };
        let (lease, fill) = match filling {
            Some(filling) => filling,
            None => {
                let asked = Instant::now();
                let lease = self.model.ring.lease().await;
                let now = Instant::now();
                self.waited += now.saturating_duration_since(asked);
                let fill = Fill::opened(now, lease.capacity(), self.model.limits.batch_timeout);
                filling.insert((lease, fill))
            }
        };
        match lease.push(ticket, &pixels, &self.model.bad_pixels) {
            Ok(0) => {}
            Ok(bad) => {
                let frame = frame_id(&received.datum.headers, call.ledger.id(ticket));
                self.model.metrics.bad_pixels(frame, bad);
            }
            Err(rejection) => {
                self.reject(ticket, rejection, received.datum, call);
                return false;
            }
        }
        lease.number_last(number);
        let waited = self.waited.saturating_sub(waited_before);
        self.decoding += begun.elapsed().saturating_sub(waited);
        fill.add()
    }

    /// Counts, logs and settles a frame that is wrong in itself.
    fn reject(&self, ticket: Ticket, rejection: Rejection, datum: Datum, call: &mut Call) {
        let frame = frame_id(&datum.headers, call.ledger.id(ticket));
        self.model.counts.rejection(frame, &rejection);
        // Only a dead letter needs the payload. Otherwise a read batch of rejected frames would stay in memory.
        let payload = if self.model.keep_rejected {
            datum.value
        } else {
            Vec::new()
        };
        let outcome = Outcome::Rejected(rejection, payload);
        call.ledger.settle(ticket, outcome);
    }
}
