//! What the lanes have done, and what waits for them.
//!
//! A batch is counted before its reply is sent, so the owner of a result finds it here. Failed runs count too, because the
//! device was busy with them.

use super::LaneId;
use std::time::{Duration, Instant};

/// The lanes of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceUsage {
    pub(crate) device: String,
    /// Lanes that are running or being started.
    pub(crate) lanes: usize,
    /// Batches kept for this device that none of its lanes has taken.
    pub(crate) queued: usize,
    /// Batches on its lanes.
    pub(crate) running: usize,
    /// What it has done.
    pub(crate) done: WorkDone,
}

/// What the lanes of one device have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkDone {
    /// Batches run, whatever came of them.
    pub(crate) batches: u64,
    /// Frames in them.
    pub(crate) frames: u64,
    /// How long they had waited for a lane, all together.
    pub(crate) waited: Duration,
    /// How long each lane was at work, by its seat on the device.
    pub(crate) busy: Vec<Duration>,
}

/// All lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// By device.
    pub(crate) devices: Vec<DeviceUsage>,
    /// Batches that wait for whichever lane is first.
    pub(crate) queued: usize,
    /// For how long a lane was idle while a batch was in the queue.
    pub(crate) idle_while_queued: Duration,
}

/// Something whose lanes can be watched.
pub(super) trait Watched: Send + Sync {
    /// Its lanes now.
    fn usage(&self) -> Usage;
}

/// What is added up, by device.
#[derive(Debug)]
pub(super) struct Account(Vec<WorkDone>);

impl Account {
    pub(crate) fn new(devices: usize) -> Self {
        Self(vec![WorkDone::default(); devices])
    }

    /// A lane has run a batch of `frames` frames that had waited for it.
    pub(crate) fn ran(&mut self, lane: LaneId, frames: usize, waited: Duration, run: Duration) {
        let Some(work) = self.0.get_mut(lane.device) else {
            return;
        };
        work.batches += 1;
        work.frames += frames as u64;
        work.waited += waited;
        if work.busy.len() <= lane.seat {
            work.busy.resize(lane.seat + 1, Duration::ZERO);
        }
        if let Some(busy) = work.busy.get_mut(lane.seat) {
            *busy += run;
        }
    }

    pub(crate) fn of(&self, device: usize) -> WorkDone {
        self.0.get(device).cloned().unwrap_or_default()
    }
}

/// For how long something has held.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    since: Option<Instant>,
    total: Duration,
}

impl Stopwatch {
    /// It holds or does not, from now on; `now` is asked for only if that is new.
    pub(crate) fn set(&mut self, holds: bool, now: impl FnOnce() -> Instant) {
        match self.since {
            None if holds => self.since = Some(now()),
            Some(since) if !holds => {
                self.total += now().saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// For how long it has held up to `now`.
    pub(crate) fn total(&self, now: Instant) -> Duration {
        let running = self.since.map(|since| now.saturating_duration_since(since));
        self.total + running.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_adds_up_the_times_in_which_its_condition_holds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Stopwatch::default();
        for (second, holds) in [(1, true), (2, true), (4, false), (5, false), (10, true)] {
            watch.set(holds, || at(second));
        }
        assert_eq!(watch.total(at(12)), Duration::from_secs(3 + 2));
    }

    #[test]
    fn a_lane_that_replaces_another_is_accounted_for_under_its_seat() {
        let mut account = Account::new(2);
        let second = Duration::from_secs(1);
        for number in [1, 7] {
            let lane = LaneId {
                number,
                device: 1,
                seat: 1,
            };
            account.ran(lane, 8, second, second);
        }
        assert_eq!(account.of(0), WorkDone::default());
        let work = account.of(1);
        assert_eq!((work.batches, work.frames), (2, 16));
        assert_eq!(work.waited, 2 * second);
        assert_eq!(work.busy, [Duration::ZERO, 2 * second]);
    }
}
