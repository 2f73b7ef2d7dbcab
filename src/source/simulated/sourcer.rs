//! The implementation of the SDK's `Sourcer`: pixels, headers and offsets for the frames of the backlog.

use super::backlog::{Backlog, Standing};
use crate::frame::headers;
use crate::lab::exposures::Exposures;
use crate::lab::stack::FrameStack;
use crate::source::exchange::{Exchange, Supply};
use crate::telemetry::rate::RateLimit;
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
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
    /// How long a read with at least one frame waits for more.
    pub(crate) linger: Option<Duration>,
    /// The number of this pod in its vertex: the partition of its offsets.
    pub(crate) replica: i32,
}

/// A simulated detector as a source; clones share their state.
#[derive(Clone)]
pub(crate) struct SimulatedSource(Arc<Shared>);

struct Shared {
    stack: FrameStack,
    /// Of each frame of the stack, in metres.
    positions: Vec<(f64, f64)>,
    exposures: Exposures,
    exchange: Exchange,
    replica: i32,
    /// Distinguishes this process's offsets from those of an earlier process, which had the same frame numbers:
    /// the JetStream buffer discards a message whose offset it has seen as a duplicate.
    run: String,
    /// The wall-clock time at which the shutter opened.
    opened: OnceLock<SystemTime>,
    backlog: Mutex<Backlog>,
    drops: Mutex<DropWatch>,
}

/// What was logged about drops so far.
struct DropWatch {
    told: u64,
    lines: RateLimit,
    full: RateLimit,
}

impl SimulatedSource {
    /// A source of the frames of `stack`, repeated without end, each taken at its of `positions`. Pending reads end at
    /// `shutdown`.
    #[must_use]
    pub(crate) fn new(
        stack: FrameStack,
        positions: Vec<(f64, f64)>,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ten_seconds = Duration::from_secs(10);
        Self(Arc::new(Shared {
            stack,
            positions,
            exposures: settings.exposures,
            exchange: Exchange::new(settings.linger, shutdown),
            replica: settings.replica,
            run: since.unwrap_or_default().as_micros().to_string(),
            opened: OnceLock::new(),
            backlog: Mutex::new(Backlog::new(
                settings.exposures,
                settings.buffer,
                settings.ack_timeout,
            )),
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
    fn numbered(&self, number: u64) -> Message {
        let opened = *self.opened.get_or_init(SystemTime::now);
        let at = |number| {
            opened
                .checked_add(self.exposures.at(number))
                .unwrap_or(opened)
        };
        let taken = at(number);
        // Frame 1 is the first of the stack.
        let index = (number - 1) % self.stack.frames().max(1) as u64;
        let nanoseconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_nanos().to_string()
        };
        let mut headers: HashMap<String, String> = self.stack.describe(number).headers().collect();
        let mut told = |name: &str, value: String| headers.insert(name.to_owned(), value);
        told(headers::SERIES_START, nanoseconds(at(1)));
        told(headers::FRAME_TIME, nanoseconds(taken));
        if let Some((x, y)) = self.positions.get(index as usize) {
            told(headers::POSITION_X, x.to_string());
            told(headers::POSITION_Y, y.to_string());
        }
        Message {
            value: self.stack.frame(index as usize).to_vec(),
            offset: Offset {
                offset: format!("{}-{number}", self.run).into_bytes(),
                partition_id: self.replica,
            },
            event_time: taken.into(),
            keys: Vec::new(),
            headers,
            user_metadata: None,
        }
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

    fn note_end(&self, was_over: bool) {
        if !was_over && self.backlog.lock().is_over() {
            tracing::info!("The last frame is taken, and every frame is acked or dropped.");
        }
    }
}

impl Supply for Shared {
    type Id = u64;
    /// The number of the frame.
    type Taken = u64;

    fn take(&self, now: Instant, most: usize) -> Vec<(u64, u64)> {
        let numbers = {
            let mut backlog = self.backlog.lock();
            self.opened.get_or_init(SystemTime::now);
            backlog.take(now, most)
        };
        self.warn();
        numbers.into_iter().map(|number| (number, number)).collect()
    }

    fn message(&self, number: u64) -> Message {
        self.numbered(number)
    }

    fn next(&self) -> Option<Instant> {
        self.backlog.lock().next()
    }

    /// A frame of this process.
    fn id(&self, offset: &Offset) -> Option<u64> {
        let text = std::str::from_utf8(&offset.offset).ok()?;
        let (run, number) = text.split_once('-')?;
        (run == self.run)
            .then_some(number)
            .and_then(|number| number.parse().ok())
    }

    fn ack(&self, id: Option<u64>) -> bool {
        id.is_some_and(|number| self.backlog.lock().ack(number))
    }

    fn nack(&self, id: u64, now: Instant, delay: Duration) {
        self.backlog.lock().nack(id, now, delay);
    }

    fn give_back(&self, ids: &[u64]) {
        self.backlog.lock().give_back(ids);
    }
}

#[async_trait::async_trait]
impl Sourcer for SimulatedSource {
    async fn read(&self, request: SourceReadRequest, transmitter: Sender<Message>) {
        let source = &*self.0;
        source.exchange.read(source, &request, &transmitter).await;
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        let was_over = self.0.backlog.lock().is_over();
        self.0.exchange.ack(&*self.0, &offsets);
        self.0.note_end(was_over);
    }

    async fn nack(&self, offsets: Vec<NackOffset>) {
        self.0.exchange.nack(&*self.0, &offsets);
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
