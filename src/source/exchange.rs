//! What numa does with a source: reads, acks and nacks, the same for every supply of frames.
//!
//! A read ends when it has as many frames as were asked for, when its time is over, or, with at least one frame, when no other
//! has come for the *linger*: an impatient reader gets what there is, a busy source gives full reads. The frames of a reader
//! that goes in mid-read are given back.

use crate::telemetry::rate::RateLimit;
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What frames are taken from.
pub(crate) trait Supply {
    /// What a frame is given back by.
    type Id: Clone;
    /// A frame that was taken, without a copy of its pixels.
    type Taken;

    /// Takes up to `most` frames that are available at `now`. They are unacked from then on.
    fn take(&self, now: Instant, most: usize) -> Vec<(Self::Id, Self::Taken)>;

    /// The message of a frame that was taken: the pixels are copied here.
    fn message(&self, taken: Self::Taken) -> Message;

    /// When the next frame becomes available by itself.
    fn next(&self) -> Option<Instant>;

    /// The frame that `offset` stands for, if it is one of this supply's.
    fn id(&self, offset: &Offset) -> Option<Self::Id>;

    /// Forgets an acked frame; `None` is a frame of another supply. Returns whether it was unacked.
    fn ack(&self, id: Option<Self::Id>) -> bool;

    /// Makes an unacked frame available again, `delay` after `now`.
    fn nack(&self, id: Self::Id, now: Instant, delay: Duration);

    /// Makes unacked frames available again, whose reader has gone.
    fn give_back(&self, ids: &[Self::Id]);
}

/// What reads, acks and nacks of a supply share.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Frames have become available.
    changed: Notify,
    /// The process ends: so does the read.
    shutdown: CancellationToken,
    /// `None`: for as long as the read lasts.
    linger: Option<Duration>,
    unknown_lines: Mutex<RateLimit>,
}

impl Exchange {
    /// Reads with at least one frame wait for more for the time `linger`, or to their end; and they end at `shutdown`.
    pub(crate) fn new(linger: Option<Duration>, shutdown: CancellationToken) -> Self {
        Self {
            changed: Notify::new(),
            shutdown,
            linger,
            unknown_lines: Mutex::new(RateLimit::new(1, Duration::from_secs(10))),
        }
    }

    /// Frames have become available: a read that waits looks again.
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// One read. The host drops its end of `to` when the reader has disconnected.
    pub(crate) async fn read<S: Supply>(
        &self,
        supply: &S,
        request: &SourceReadRequest,
        to: &Sender<Message>,
    ) {
        let given = self.serve(supply, request, to).await;
        // No frame of this read is acked yet: a reader acks only after it has read to the end.
        if to.is_closed() {
            tracing::warn!(
                frames = given.len(),
                "The reader has gone in mid-read: its frames are delivered again."
            );
            supply.give_back(&given);
            self.changed();
        }
    }

    /// Acks frames. Those that are not out are counted in the log.
    pub(crate) fn ack<S: Supply>(&self, supply: &S, offsets: &[Offset]) {
        let acked = offsets.iter().map(|offset| supply.ack(supply.id(offset)));
        let unknown = acked.filter(|was_out| !was_out).count();
        if unknown > 0
            && let Some(more) = self.unknown_lines.lock().pass(Instant::now())
        {
            tracing::warn!(
                frames = unknown,
                more,
                "An ack names frames that are not out: acked before, or read from an earlier source."
            );
        }
        self.changed();
    }

    /// Nacks frames; each has a delay in ms, or none.
    pub(crate) fn nack<S: Supply>(&self, supply: &S, nacked: &[NackOffset]) {
        let now = Instant::now();
        for NackOffset {
            offset, options, ..
        } in nacked
        {
            let delay = options.as_ref().and_then(|options| options.delay);
            if let Some(id) = supply.id(offset) {
                supply.nack(id, now, Duration::from_millis(delay.unwrap_or(0)));
            }
        }
        self.changed();
    }

    /// Sends frames of `supply` until the read is complete, its time is over or the reader has gone. Returns what was taken:
    /// all of it was sent, unless the reader has gone. A message is made when there is room for it, so that a read holds few
    /// copies of pixels at a time.
    async fn serve<S: Supply>(
        &self,
        supply: &S,
        request: &SourceReadRequest,
        to: &Sender<Message>,
    ) -> Vec<S::Id> {
        let mut deadline = Instant::now().checked_add(request.timeout);
        let mut given = Vec::new();
        loop {
            // The listener is registered before the frames are taken, so that no change in between is missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let taken = supply.take(now, request.count - given.len());
            if given.is_empty() && !taken.is_empty() {
                let lingered = self.linger.and_then(|linger| now.checked_add(linger));
                deadline = deadline.into_iter().chain(lingered).min();
            }
            given.extend(taken.iter().map(|(id, _)| id.clone()));
            for (_, taken) in taken {
                let Ok(room) = to.reserve().await else {
                    return given;
                };
                room.send(supply.message(taken));
            }
            let is_over = deadline.is_some_and(|deadline| now >= deadline);
            if given.len() >= request.count || is_over {
                return given;
            }
            let wake = supply.next().into_iter().chain(deadline).min();
            tokio::select! {
                () = wait_until(wake) => {}
                () = changed => {}
                () = to.closed() => return given,
                () = self.shutdown.cancelled() => return given,
            }
        }
    }
}

async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::sync::mpsc;

    /// A frame every 100 ms, five in all; the first is there at the start.
    struct Slow {
        begun: Instant,
        taken: Mutex<u64>,
    }

    const PERIOD: Duration = Duration::from_millis(100);

    impl Supply for Slow {
        type Id = u64;
        type Taken = ();

        fn take(&self, now: Instant, most: usize) -> Vec<(u64, ())> {
            let mut taken = self.taken.lock();
            let due = now.duration_since(self.begun).as_millis() / PERIOD.as_millis() + 1;
            let new = (due.min(5) as u64).saturating_sub(*taken).min(most as u64);
            let first = *taken + 1;
            *taken += new;
            (first..first + new).map(|id| (id, ())).collect()
        }

        fn message(&self, (): ()) -> Message {
            Message {
                value: Vec::new(),
                offset: Offset {
                    offset: vec![1],
                    partition_id: 0,
                },
                event_time: Default::default(),
                keys: Vec::new(),
                headers: Default::default(),
                user_metadata: None,
            }
        }

        fn id(&self, _: &Offset) -> Option<u64> {
            None
        }

        fn ack(&self, _: Option<u64>) -> bool {
            false
        }

        fn nack(&self, _: u64, _: Instant, _: Duration) {}

        fn give_back(&self, _: &[u64]) {}

        fn next(&self) -> Option<Instant> {
            let taken = *self.taken.lock();
            (taken < 5).then(|| self.begun + PERIOD * taken as u32)
        }
    }

    /// The frames of one read, and how long it took in ms.
    async fn read(count: usize, timeout_ms: u64, linger_ms: Option<u64>) -> (usize, u128) {
        let begun = Instant::now();
        let supply = Slow {
            begun,
            taken: Mutex::new(0),
        };
        let linger = linger_ms.map(Duration::from_millis);
        let exchange = Exchange::new(linger, CancellationToken::new());
        let request = SourceReadRequest {
            count,
            timeout: Duration::from_millis(timeout_ms),
        };
        let (to, mut messages) = mpsc::channel(100);
        let given = exchange.serve(&supply, &request, &to).await;
        let took = begun.elapsed().as_millis();
        drop(to);
        let mut sent = 0;
        while messages.recv().await.is_some() {
            sent += 1;
        }
        assert_eq!(sent, given.len());
        (sent, took)
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_was_taken_is_returned_when_the_reader_goes() {
        let supply = Slow {
            begun: Instant::now() - PERIOD * 10,
            taken: Mutex::new(0),
        };
        let exchange = Exchange::new(None, CancellationToken::new());
        let request = SourceReadRequest {
            count: 5,
            timeout: PERIOD,
        };
        // There is room for one message, the reader takes one, and five were taken from the supply.
        let (to, mut messages) = mpsc::channel(1);
        let serving = exchange.serve(&supply, &request, &to);
        let leaving = async move {
            messages.recv().await.unwrap();
        };
        let (given, ()) = tokio::join!(serving, leaving);
        assert_eq!(given, [1, 2, 3, 4, 5]);
    }

    // The clock is paused: it jumps to whatever is waited for.
    #[tokio::test(start_paused = true)]
    async fn a_read_ends_at_its_count_its_time_or_after_the_linger() {
        for (count, timeout, linger, expected) in [
            (3, 1000, None, (3, 200)),
            (9, 250, None, (3, 250)),
            (9, 2000, None, (5, 2000)),
            (9, 2000, Some(0), (1, 0)),
            (9, 2000, Some(150), (2, 150)),
            (9, 120, Some(5000), (2, 120)),
            (1, 2000, Some(50), (1, 0)),
        ] {
            let found = read(count, timeout, linger).await;
            assert_eq!(
                found, expected,
                "{count} frames in {timeout} ms, linger {linger:?}"
            );
        }
    }
}
