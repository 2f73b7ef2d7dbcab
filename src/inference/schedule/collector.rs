//! From datums to filled slots: the receiving part of every mode.

use super::{Arrived, Call};
use crate::frame::{Scratch, frame_id, frame_number};
use crate::inference::batch::{Close, Fill, Lease};
use crate::inference::decoding::{Decoding, Received};
use crate::inference::model::Model;
use crate::inference::routes::Choice;
use crate::inference::sync::sleep_until;
use futures::{Stream, StreamExt};
use std::future::{Future, pending};
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

/// Decides when a batch that is not full closes.
pub(crate) trait Closing: Sync {
    /// Resolves when the batch is to close, and says why. Dropped when a datum comes.
    fn due(&self, fill: Fill) -> impl Future<Output = Close> + Send;
}

/// When the oldest frame has waited as long as the batch's deadline allows.
pub(crate) struct Deadline;

impl Closing for Deadline {
    async fn due(&self, fill: Fill) -> Close {
        match fill.deadline() {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
        Close::TimedOut
    }
}

/// Draws datums from a source and fills slots with their frames.
///
/// A datum is entered in the ledger first. Then its frame is converted straight into the slot, or rejected and answered.
/// A slot is leased when the first valid frame has arrived, so that a call that waits for frames holds no slot.
pub(crate) struct Collector<'a, S, C> {
    model: &'a Model,
    call: &'a Call<'a>,
    source: Decoding<'a, S>,
    closing: C,
    /// How long the present batch has waited for a slot.
    waited: Duration,
    /// How long its frames took to be decoded and converted.
    decoding: Duration,
}

impl<'a, S: Stream<Item = Arrived> + Unpin, C: Closing> Collector<'a, S, C> {
    /// A collector that draws from `source`. A batch that is not full closes when `closing` says so, or at the end.
    pub(crate) fn new(model: &'a Model, call: &'a Call<'a>, source: S, closing: C) -> Self {
        Self {
            model,
            call,
            source: model.decoders.stream(source),
            closing,
            waited: Duration::ZERO,
            decoding: Duration::ZERO,
        }
    }

    /// The next closed batch; `None` once the source has ended and all its frames are in batches.
    pub(crate) async fn next(&mut self) -> Option<Filled> {
        let begun = Instant::now();
        self.waited = Duration::ZERO;
        self.decoding = Duration::ZERO;
        let mut filling: Option<(Lease, Fill)> = None;
        let close = loop {
            let fill = filling.as_ref().map(|(_, fill)| *fill);
            let received = match fill {
                None => self.source.next().await,
                Some(fill) => tokio::select! {
                    biased;
                    received = self.source.next() => received,
                    close = self.closing.due(fill) => break close,
                },
            };
            let Some(received) = received else {
                break Close::EndOfStream;
            };
            if self.put(received, &mut filling).await {
                break Close::Full;
            }
        };
        self.call.count();
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
    async fn put(&mut self, mut received: Received, filling: &mut Option<(Lease, Fill)>) -> bool {
        let (begun, waited_before) = (Instant::now(), self.waited);
        self.decoding += received.took;
        let number = frame_number(&received.datum.headers);
        let (ticket, delivery) = self.call.enter(&mut received.datum, received.at);
        match self.model.common.routes.choose(&received.datum.headers) {
            Ok(Choice::Chosen(_)) => {}
            Ok(Choice::Unlisted(_)) => {
                let id = self.call.id(ticket);
                let frame = frame_id(&received.datum.headers, &id);
                self.model.common.counts.unlisted(frame);
            }
            Err(rejection) => {
                self.call.reject(ticket, rejection, received.datum).await;
                return false;
            }
        }
        let mut spare = Scratch::default();
        let pixels = match received.pixels(&self.model.decoder, &mut spare) {
            Ok(pixels) => pixels,
            Err(rejection) => {
                self.call.reject(ticket, rejection, received.datum).await;
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
                let id = self.call.id(ticket);
                let frame = frame_id(&received.datum.headers, &id);
                self.model.metrics.bad_pixels(frame, bad);
            }
            Err(rejection) => {
                // An empty batch does not close.
                if lease.frames() == 0 {
                    *filling = None;
                }
                self.call.reject(ticket, rejection, received.datum).await;
                return false;
            }
        }
        lease.number_last(number);
        if delivery.is_last && self.model.common.dead_letters {
            self.call.keep(ticket, received.datum.value);
        }
        let waited = self.waited.saturating_sub(waited_before);
        self.decoding += begun.elapsed().saturating_sub(waited);
        fill.add()
    }
}
