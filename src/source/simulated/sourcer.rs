//! The implementation of the SDK's `Sourcer`: pixels, headers and offsets for the frames of the backlog.

use super::backlog::{Backlog, Standing};
use crate::lab::exposures::Exposures;
use crate::lab::stack::FrameStack;
use crate::telemetry::rate::RateLimit;
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Settings of the simulated detector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The times of frames.
    pub(crate) exposures: Exposures,
    /// The most unread frames that are kept.
    pub(crate) buffer: u64,
    /// A frame without an ack is delivered again after this time; `None`: never.
    pub(crate) ack_timeout: Option<Duration>,
    /// The number of this pod in its vertex: the partition of its offsets.
    pub(crate) replica: i32,
}

/// A simulated detector as a source; clones share their state.
#[derive(Clone)]
pub(crate) struct SimulatedSource(Arc<Shared>);

struct Shared {
    stack: FrameStack,
    exposures: Exposures,
    replica: i32,
    /// Distinguishes this process's offsets from those of an earlier process, which had the same frame numbers:
    /// the JetStream buffer discards a message whose offset it has seen as a duplicate.
    run: String,
    /// The wall-clock time at which the shutter opened.
    opened: OnceLock<SystemTime>,
    backlog: Mutex<Backlog>,
    /// Signals that an ack or a nack made frames available.
    changed: Notify,
    /// Set at shutdown: pending reads end.
    shutdown: CancellationToken,
    drops: Mutex<DropWatch>,
}

/// What was logged about drops so far.
struct DropWatch {
    told: u64,
    lines: RateLimit,
    full: RateLimit,
}

impl SimulatedSource {
    /// A source of the frames of `stack`, repeated without end. Pending reads end at `shutdown`.
    #[must_use]
    pub(crate) fn new(stack: FrameStack, settings: Settings, shutdown: CancellationToken) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ten_seconds = Duration::from_secs(10);
        Self(Arc::new(Shared {
            stack,
            exposures: settings.exposures,
            replica: settings.replica,
            run: since.unwrap_or_default().as_micros().to_string(),
            opened: OnceLock::new(),
            backlog: Mutex::new(Backlog::new(
                settings.exposures,
                settings.buffer,
                settings.ack_timeout,
            )),
            changed: Notify::new(),
            shutdown,
            drops: Mutex::new(DropWatch {
                told: 0,
                lines: RateLimit::new(1, ten_seconds),
                full: RateLimit::new(1, ten_seconds),
            }),
        }))
    }

    /// The frames so far, by state.
    #[must_use]
    pub(crate) fn standing(&self) -> Standing {
        let standing = self.0.backlog.lock().standing(Instant::now());
        self.0.warn();
        standing
    }
}

impl Shared {
    fn message(&self, number: u64) -> Message {
        let opened = *self.opened.get_or_init(SystemTime::now);
        let taken = opened.checked_add(self.exposures.at(number));
        // Frame 1 is the first of the stack.
        let index = (number - 1) % self.stack.frames().max(1) as u64;
        Message {
            value: self.stack.frame(index as usize).to_vec(),
            offset: Offset {
                offset: format!("{}-{number}", self.run).into_bytes(),
                partition_id: self.replica,
            },
            event_time: taken.unwrap_or(opened).into(),
            keys: Vec::new(),
            headers: self.stack.describe(number).headers().collect(),
            user_metadata: None,
        }
    }

    /// The frame of an offset of this process.
    fn number(&self, offset: &Offset) -> Option<u64> {
        let text = std::str::from_utf8(&offset.offset).ok()?;
        let (run, number) = text.split_once('-')?;
        (run == self.run)
            .then_some(number)
            .and_then(|number| number.parse().ok())
    }

    /// Logs, at a limited rate, that frames are dropped or held back.
    fn warn(&self) {
        let (dropped, is_full) = {
            let backlog = self.backlog.lock();
            (backlog.dropped(), backlog.is_full())
        };
        let mut drops = self.drops.lock();
        let now = Instant::now();
        if dropped > drops.told && drops.lines.pass(now).is_some() {
            tracing::warn!(
                frames = dropped - drops.told,
                in_all = dropped,
                "The reader is slower than the detector; frames that are not read in time are dropped."
            );
            drops.told = dropped;
        }
        if is_full && drops.full.pass(now).is_some() {
            tracing::warn!("Too many frames are read and not acked: no new one is given out.");
        }
    }

    /// Sends frames until `request` is complete, its timeout expires or the reader disconnects; returns the
    /// frames that were handed over.
    async fn hand_over(&self, request: &SourceReadRequest, to: &Sender<Message>) -> Vec<u64> {
        let deadline = Instant::now().checked_add(request.timeout);
        let mut given = Vec::new();
        loop {
            // The listener is registered before the backlog is read, so that no change in between is missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let (numbers, next) = {
                let mut backlog = self.backlog.lock();
                self.opened.get_or_init(SystemTime::now);
                let numbers = backlog.take(now, request.count - given.len());
                (numbers, backlog.next())
            };
            self.warn();
            given.extend(&numbers);
            for number in numbers {
                if to.send(self.message(number)).await.is_err() {
                    return given;
                }
            }
            let is_over = deadline.is_some_and(|deadline| now >= deadline);
            if given.len() >= request.count || is_over {
                return given;
            }
            let wake = next.into_iter().chain(deadline).min();
            tokio::select! {
                () = wait_until(wake) => {}
                () = changed => {}
                () = to.closed() => return given,
                () = self.shutdown.cancelled() => return given,
            }
        }
    }

    fn note_end(&self, was_over: bool) {
        if !was_over && self.backlog.lock().is_over() {
            tracing::info!("The last frame is taken, and every frame is acked or dropped.");
        }
    }
}

async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[async_trait::async_trait]
impl Sourcer for SimulatedSource {
    async fn read(&self, request: SourceReadRequest, transmitter: Sender<Message>) {
        let source = &self.0;
        let given = source.hand_over(&request, &transmitter).await;
        // The SDK drops its receiver when the reader has disconnected. No frame of this read is acked yet: a
        // reader acks only after it has read to the end.
        if transmitter.is_closed() {
            tracing::warn!(
                frames = given.len(),
                "The reader has gone in mid-read: its frames are delivered again."
            );
            source.backlog.lock().give_back(&given);
            source.changed.notify_waiters();
        }
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        let source = &self.0;
        let was_over = source.backlog.lock().is_over();
        let unknown = offsets
            .iter()
            .filter(|offset| match source.number(offset) {
                Some(number) => !source.backlog.lock().ack(number),
                None => true,
            })
            .count();
        if unknown > 0 {
            tracing::warn!(
                frames = unknown,
                "An ack names frames that are not out: acked before, or read from an earlier source."
            );
        }
        source.note_end(was_over);
        source.changed.notify_waiters();
    }

    async fn nack(&self, offsets: Vec<NackOffset>) {
        let source = &self.0;
        let now = Instant::now();
        for nacked in &offsets {
            let options = nacked.options.as_ref();
            let delay = options.and_then(|options| options.delay).unwrap_or(0);
            if let Some(number) = source.number(&nacked.offset) {
                let delay = Duration::from_millis(delay);
                source.backlog.lock().nack(number, now, delay);
            }
        }
        source.changed.notify_waiters();
    }

    async fn pending(&self) -> Option<usize> {
        usize::try_from(self.standing().pending()).ok()
    }

    async fn active_partitions(&self) -> Option<Vec<i32>> {
        Some(vec![self.0.replica])
    }
}

#[cfg(test)]
mod tests;
