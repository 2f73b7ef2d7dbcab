//! The state of each frame: unread, read and not yet acked, or waiting for redelivery.
//!
//! Plain data structures; the caller gives the time. They have no clock, no lock and no pixels. A frame is only
//! a number here, because its pixels can be computed again from it, so a frame takes a few bytes.
//!
//! Invariants:
//!
//! 1. Every frame taken is in exactly one state: dropped, acked, unread, unacked or waiting for redelivery.
//! 2. At most `buffer` frames are unread. When one more is taken, the oldest is dropped and counted, because a
//!    detector does not wait.
//! 3. At most `MOST_OUTSTANDING` frames are read and not acked. At this limit a new frame is delivered only
//!    after an ack.
//! 4. A frame that was read is delivered again after a nack, or if its ack does not come in time; never after
//!    its ack.

use crate::lab::exposures::Exposures;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Frames that may be read and not acked: two hundred of Numaflow's usual read batches.
pub(crate) const MOST_OUTSTANDING: usize = 100_000;

/// The state of all frames; see the module documentation.
#[derive(Debug)]
pub(crate) struct Backlog {
    exposures: Exposures,
    buffer: u64,
    ack_timeout: Option<Duration>,
    opened: Option<Instant>,
    /// The newest frame taken.
    taken: u64,
    /// The newest frame that was read or dropped. Frames after it, up to `taken`, are unread.
    passed: u64,
    /// Read and not acked, with the time of redelivery.
    unacked: BTreeMap<u64, Option<Instant>>,
    /// Waiting for redelivery.
    waiting: BTreeSet<u64>,
    read: u64,
    again: u64,
    acked: u64,
    nacked: u64,
    dropped: u64,
}

/// Counts of frames by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Frames that the detector took.
    pub(crate) taken: u64,
    /// Frames read for the first time.
    pub(crate) read: u64,
    /// Deliveries of frames that had been read before.
    pub(crate) again: u64,
    /// Frames acked.
    pub(crate) acked: u64,
    /// Nacks of unacked frames.
    pub(crate) nacked: u64,
    /// Frames that were dropped because they were not read in time.
    pub(crate) dropped: u64,
    /// Frames taken and not yet read.
    pub(crate) unread: u64,
    /// Frames waiting for redelivery.
    pub(crate) waiting: u64,
    /// Frames read and not yet acked.
    pub(crate) unacked: u64,
}

impl Standing {
    /// Frames that still need to be read or acked: the number for an autoscaler.
    #[must_use]
    pub(crate) fn pending(&self) -> u64 {
        self.unread + self.waiting + self.unacked
    }
}

impl Backlog {
    /// A detector with a closed shutter; the first [`Backlog::take`] opens it. A frame without an ack is
    /// delivered again after `ack_timeout`; with `None`, never.
    #[must_use]
    pub(crate) fn new(exposures: Exposures, buffer: u64, ack_timeout: Option<Duration>) -> Self {
        Self {
            exposures,
            buffer,
            ack_timeout,
            opened: None,
            taken: 0,
            passed: 0,
            unacked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            read: 0,
            again: 0,
            acked: 0,
            nacked: 0,
            dropped: 0,
        }
    }

    /// The numbers of up to `most` frames available at `now`: first those waiting for redelivery, then the
    /// oldest unread ones. They are unacked from then on.
    pub(crate) fn take(&mut self, now: Instant, most: usize) -> Vec<u64> {
        self.opened.get_or_insert(now);
        self.advance(now);
        let mut numbers = Vec::new();
        while numbers.len() < most
            && let Some(number) = self.waiting.pop_first()
        {
            numbers.push(number);
        }
        self.again += numbers.len() as u64;
        let room = MOST_OUTSTANDING.saturating_sub(self.outstanding() + numbers.len());
        let unread = usize::try_from(self.unread()).unwrap_or(usize::MAX);
        let new = (most - numbers.len()).min(room).min(unread) as u64;
        numbers.extend(self.passed + 1..=self.passed + new);
        self.passed += new;
        self.read += new;
        let again_at = self.ack_timeout.and_then(|time| now.checked_add(time));
        self.unacked
            .extend(numbers.iter().map(|number| (*number, again_at)));
        numbers
    }

    /// The time at which the next frame becomes available without an ack or a nack; `None` if there is none.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Instant> {
        let exposure = self
            .opened
            .zip(self.exposures.next(self.taken))
            .and_then(|(opened, after)| opened.checked_add(after))
            .filter(|_| !self.is_full());
        let overdue = self.unacked.values().flatten().min().copied();
        exposure.into_iter().chain(overdue).min()
    }

    /// Acks frame `number`; returns false if it was not unacked.
    pub(crate) fn ack(&mut self, number: u64) -> bool {
        let was_out = self.unacked.remove(&number).is_some() || self.waiting.remove(&number);
        self.acked += u64::from(was_out);
        was_out
    }

    /// Schedules frame `number` for redelivery `delay` after `now`; returns false if it was not unacked.
    pub(crate) fn nack(&mut self, number: u64, now: Instant, delay: Duration) -> bool {
        let was_out = self.unacked.remove(&number).is_some() || self.waiting.remove(&number);
        if !was_out {
            return false;
        }
        self.nacked += 1;
        match now.checked_add(delay) {
            Some(again_at) if !delay.is_zero() => {
                self.unacked.insert(number, Some(again_at));
            }
            _ => {
                self.waiting.insert(number);
            }
        }
        true
    }

    /// Takes back the frames of a read whose reader has disconnected, for redelivery.
    pub(crate) fn give_back(&mut self, numbers: &[u64]) {
        for number in numbers {
            if self.unacked.remove(number).is_some() {
                self.waiting.insert(*number);
            }
        }
    }

    /// The frames up to `now`, by state.
    pub(crate) fn standing(&mut self, now: Instant) -> Standing {
        self.advance(now);
        Standing {
            taken: self.taken,
            read: self.read,
            again: self.again,
            acked: self.acked,
            nacked: self.nacked,
            dropped: self.dropped,
            unread: self.unread(),
            waiting: self.waiting.len() as u64,
            unacked: self.unacked.len() as u64,
        }
    }

    /// The number of frames that were not read in time so far.
    #[must_use]
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether new frames are held back until an ack arrives.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.outstanding() >= MOST_OUTSTANDING
    }

    /// Whether the last frame is taken, and every frame is acked or dropped.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.exposures.last == Some(self.taken) && self.unread() == 0 && self.outstanding() == 0
    }

    fn outstanding(&self) -> usize {
        self.unacked.len() + self.waiting.len()
    }

    fn unread(&self) -> u64 {
        self.taken - self.passed
    }

    /// Takes the frames that are due, drops those that exceed the buffer, and schedules overdue ones for
    /// redelivery.
    fn advance(&mut self, now: Instant) {
        let Some(opened) = self.opened else {
            return;
        };
        let elapsed = now.saturating_duration_since(opened);
        // Instants from different threads may arrive out of order; the state only moves forward.
        self.taken = self.taken.max(self.exposures.taken(elapsed));
        let excess = self.unread().saturating_sub(self.buffer);
        self.passed += excess;
        self.dropped += excess;
        let waiting = &mut self.waiting;
        self.unacked.retain(|number, again_at| {
            let is_overdue = again_at.is_some_and(|time| time <= now);
            if is_overdue {
                waiting.insert(*number);
            }
            !is_overdue
        });
    }
}

#[cfg(test)]
mod tests;
