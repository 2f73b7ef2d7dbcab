//! Frames that were received and are not acked: unread, read, or waiting to be delivered again.
//!
//! Plain data; the caller gives the time. What always holds:
//!
//! 1. Every frame taken in is in exactly one state: `taken = acked + dropped + unread + unacked + waiting`.
//! 2. At most `frames` are unread, and all of them together have at most `bytes` bytes. Beyond that the oldest unread one is
//!    dropped and counted, because a detector does not wait; if none is unread, the new one.
//! 3. A frame that was read is never dropped. It is delivered again after a nack, when its reader has gone, or if its ack does
//!    not come in time; never after its ack.

use super::identity::Identity;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// About how many bytes a frame takes in addition to its pixels.
const BESIDE: usize = 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BacklogLimits {
    /// Unread frames.
    pub(crate) frames: usize,
    /// Bytes of all frames.
    pub(crate) bytes: usize,
    /// How long to wait for an ack; `None`: without limit.
    pub(crate) ack_timeout: Option<Duration>,
}

/// The frames; see the module's essay.
#[derive(Debug)]
pub(crate) struct Backlog<F> {
    limits: BacklogLimits,
    frames: HashMap<Identity, Held<F>>,
    /// In order of arrival.
    unread: VecDeque<Identity>,
    /// To be delivered again now, before the unread ones.
    again: VecDeque<Identity>,
    bytes: usize,
    books: Books,
}

#[derive(Debug)]
struct Held<F> {
    frame: Arc<F>,
    bytes: usize,
    deliveries: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unread,
    /// Read; delivered again at this time.
    Unacked(Option<Instant>),
    /// Nacked with a delay that ends then.
    Delayed(Instant),
    /// In `again`.
    Again,
}

/// Frames by state, and what has happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Books {
    /// Frames taken in.
    pub(crate) taken: u64,
    pub(crate) acked: u64,
    pub(crate) dropped: u64,
    pub(crate) unread: u64,
    pub(crate) unacked: u64,
    /// Waiting to be delivered again.
    pub(crate) waiting: u64,
    /// Nacks of frames.
    pub(crate) nacked: u64,
    /// Deliveries after the first.
    pub(crate) again: u64,
    /// Acks of frames that are not here.
    pub(crate) unknown_acks: u64,
    /// Bytes of all frames.
    pub(crate) bytes: u64,
}

impl Books {
    /// Frames that are to be read or acked: what an autoscaler looks at.
    pub(crate) const fn pending(&self) -> u64 {
        self.unread + self.unacked + self.waiting
    }
}

/// A frame on its way to a reader.
#[derive(Clone, Debug)]
pub(crate) struct Delivery<F> {
    pub(crate) identity: Identity,
    pub(crate) frame: Arc<F>,
    /// The first is 1.
    pub(crate) count: u32,
}

/// The result of putting a frame in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// Kept; so many older ones were dropped for it.
    Kept(u64),
    /// Not kept: everything that is kept has been read.
    Dropped,
    /// A frame of this identity is here already.
    Known,
}

impl<F> Backlog<F> {
    pub(crate) fn new(limits: BacklogLimits) -> Self {
        Self {
            limits,
            frames: HashMap::new(),
            unread: VecDeque::new(),
            again: VecDeque::new(),
            bytes: 0,
            books: Books::default(),
        }
    }

    /// How much is kept.
    pub(crate) fn limits(&self) -> BacklogLimits {
        self.limits
    }

    /// Takes in a frame whose pixels have `pixel_bytes` bytes.
    pub(crate) fn put(&mut self, identity: Identity, frame: F, pixel_bytes: usize) -> Put {
        if self.frames.contains_key(&identity) {
            return Put::Known;
        }
        self.books.taken += 1;
        let bytes = pixel_bytes.saturating_add(BESIDE);
        let mut dropped = 0;
        while self.unread.len() >= self.limits.frames
            || self.bytes.saturating_add(bytes) > self.limits.bytes
        {
            let Some(oldest) = self.unread.pop_front() else {
                self.books.dropped += 1;
                return Put::Dropped;
            };
            self.remove(oldest);
            self.books.dropped += 1;
            dropped += 1;
        }
        self.bytes += bytes;
        self.unread.push_back(identity);
        let held = Held {
            frame: Arc::new(frame),
            bytes,
            deliveries: 0,
            state: State::Unread,
        };
        self.frames.insert(identity, held);
        Put::Kept(dropped)
    }

    /// Up to `most` frames at `now`: first those that are delivered again, then the oldest unread ones. They are unacked from
    /// then on.
    pub(crate) fn take(&mut self, now: Instant, most: usize) -> Vec<Delivery<F>> {
        self.wake(now);
        let again_at = self
            .limits
            .ack_timeout
            .and_then(|time| now.checked_add(time));
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(identity) = self.again.pop_front().or_else(|| self.unread.pop_front()) else {
                break;
            };
            let Some(held) = self.frames.get_mut(&identity) else {
                continue;
            };
            held.deliveries = held.deliveries.saturating_add(1);
            held.state = State::Unacked(again_at);
            self.books.again += u64::from(held.deliveries > 1);
            taken.push(Delivery {
                identity,
                frame: Arc::clone(&held.frame),
                count: held.deliveries,
            });
        }
        taken
    }

    /// When the next frame is delivered again by itself; `None` if none will be.
    pub(crate) fn next(&self) -> Option<Instant> {
        let times = self.frames.values().filter_map(|held| match held.state {
            State::Unacked(at) => at,
            State::Delayed(at) => Some(at),
            State::Unread | State::Again => None,
        });
        times.min()
    }

    /// Forgets an acked frame. Returns false, and counts it, if it is not here or was not read.
    pub(crate) fn ack(&mut self, identity: Identity) -> bool {
        let was_read = self.frames.get(&identity).map(|held| held.state);
        match was_read {
            Some(State::Unacked(_) | State::Delayed(_)) => {}
            Some(State::Again) => self.again.retain(|waiting| *waiting != identity),
            Some(State::Unread) | None => {
                self.books.unknown_acks += 1;
                return false;
            }
        }
        self.remove(identity);
        self.books.acked += 1;
        true
    }

    /// An ack of something that is no frame of this source.
    pub(crate) fn unknown_ack(&mut self) {
        self.books.unknown_acks += 1;
    }

    /// Delivers a frame again, `delay` after `now`. Returns false if it is not here or was not read.
    pub(crate) fn nack(&mut self, identity: Identity, now: Instant, delay: Duration) -> bool {
        let Some(held) = self.frames.get_mut(&identity) else {
            return false;
        };
        if held.state == State::Unread {
            return false;
        }
        self.books.nacked += 1;
        if held.state == State::Again {
            return true;
        }
        match now.checked_add(delay) {
            Some(at) if !delay.is_zero() => held.state = State::Delayed(at),
            _ => {
                held.state = State::Again;
                self.again.push_back(identity);
            }
        }
        true
    }

    /// Takes back frames whose reader has gone in mid-read: they are delivered first, in their order.
    pub(crate) fn give_back(&mut self, identities: &[Identity]) {
        for identity in identities.iter().rev() {
            if let Some(held) = self.frames.get_mut(identity)
                && matches!(held.state, State::Unacked(_))
            {
                held.state = State::Again;
                self.again.push_front(*identity);
            }
        }
    }

    pub(crate) fn books(&self) -> Books {
        let waiting = self
            .frames
            .values()
            .filter(|held| matches!(held.state, State::Delayed(_) | State::Again));
        let waiting = waiting.count();
        let unread = self.unread.len();
        Books {
            unread: unread as u64,
            waiting: waiting as u64,
            unacked: (self.frames.len() - unread - waiting) as u64,
            bytes: self.bytes as u64,
            ..self.books
        }
    }

    fn remove(&mut self, identity: Identity) {
        if let Some(held) = self.frames.remove(&identity) {
            self.bytes -= held.bytes;
        }
    }

    /// Frames whose time has come are delivered again, the earliest first.
    fn wake(&mut self, now: Instant) {
        let due = |state| match state {
            State::Unacked(Some(at)) | State::Delayed(at) if at <= now => Some(at),
            _ => None,
        };
        let frames = self.frames.iter();
        let mut over: Vec<_> = frames
            .filter_map(|(identity, held)| Some((due(held.state)?, *identity)))
            .collect();
        over.sort_unstable();
        for (_, identity) in over {
            if let Some(held) = self.frames.get_mut(&identity) {
                held.state = State::Again;
                self.again.push_back(identity);
            }
        }
    }
}

#[cfg(test)]
mod tests;
