//! Series: which one a frame belongs to, and which frames of it are missing.
//!
//! Results come out of order, because replicas of the map and batches in them overtake each other. So a series does not end
//! with the first frame of the next one, and the order of arrival says little. What says which series a frame belongs to:
//!
//! 1. `x-series-start` names a series. Frames with the same one are of the same series.
//! 2. An unknown one is another name of the current series (a source that was started again) if the scan's name is the same
//!    and the number goes on above the highest; by more than 1,000,000, it is a new series. If a frame with this name then
//!    comes that is below the highest and newer, it was a new series after all.
//! 3. A number that is not above the highest, of a newer frame, begins a new series. Without times, one that is more than 64
//!    below the highest does.
//! 4. A frame that is older than the first one of the current series is of an earlier one.
//!
//! An earlier series takes frames for [`LATE`] after the next one began. Then it is over, and its gaps are certain.
//!
//! Missing frames are found by `frame::numbers`, for each series by itself: what is missing lies between the numbers that
//! came. Nothing is counted missing below the first frame that came: after a start of the sink, the frames below came to the
//! process before. This module has no clock and does no I/O.

#[cfg(test)]
mod tests;

use super::result::Received;
use super::seen::Seen;
use crate::frame::numbers::{FrameNumbers, Lost};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long frames of a series may come after the next one has begun.
pub(crate) const LATE: Duration = Duration::from_secs(5);
/// A larger jump of the numbers is a new series.
const LARGEST_GAP: u64 = 1_000_000;
/// How far below the highest a frame without a time is late.
const REORDERED: u64 = 64;
/// Series of a PV that take frames.
const LIVE: usize = 4;
/// Names of series that are remembered for each PV.
const NAMES: usize = 64;
/// Frames that are remembered for each PV, to count one with several outputs once.
const FRAMES: usize = 8_192;
/// PVs that are remembered.
const PVS: usize = 64;

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The series, counted from 1 over all PVs.
    pub(crate) series: u64,
    /// It is the first frame of the series that has come.
    pub(crate) begins: bool,
    /// No result of this frame has come before.
    pub(crate) first_output: bool,
    /// Its series is over.
    pub(crate) over: bool,
    /// The smallest number of its series so far. Of a series that is over it is not known: the number of the frame.
    pub(crate) first: u64,
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Frames of which at least one result has come.
    pub(crate) frames: u64,
    /// Frames that are missing among them.
    pub(crate) missing: u64,
    /// Frames that came after they had been counted as missing.
    pub(crate) filled: u64,
    /// Series that have begun.
    pub(crate) series: u64,
}

/// The series of all PVs. See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// The one whose frame came last is the last one.
    pvs: VecDeque<(Arc<str>, OfPv)>,
    counted: Counted,
}

/// The series of one PV.
#[derive(Debug)]
struct OfPv {
    /// The current one first.
    live: VecDeque<Live>,
    names: VecDeque<Name>,
    frames: Seen<(u64, Option<i64>)>,
}

/// A series that takes frames.
#[derive(Debug)]
struct Live {
    series: u64,
    scan: Option<String>,
    first: u64,
    highest: u64,
    /// When its earliest frame was taken.
    begun: Option<i64>,
    /// When the frame with the highest number was taken.
    newest: Option<i64>,
    /// When the next series began.
    followed: Option<Instant>,
    /// When its last frame came.
    last: Instant,
    numbers: FrameNumbers,
}

/// What a source calls a series.
#[derive(Clone, Copy, Debug)]
struct Name {
    start: i64,
    series: u64,
    /// If it is another name of a series: the highest number before, and when that frame was taken.
    taken_over_at: Option<(u64, Option<i64>)>,
}

/// What a frame says about its series.
struct Frame<'a> {
    number: u64,
    time: Option<i64>,
    start: Option<i64>,
    scan: Option<&'a str>,
}

/// Where a frame belongs among the series of its PV.
enum Belongs {
    /// To this one of those that take frames.
    To(usize),
    /// To one that is over.
    Over(u64),
    /// To a new one.
    New,
}

impl Series {
    /// Where the frame of a result belongs. `now` is the time of its arrival.
    pub(crate) fn place(&mut self, received: &Received, now: Instant) -> Place {
        self.sweep(now);
        let identity = &received.identity;
        let mut of_pv = self.take_pv(&identity.pv);
        let frame = Frame {
            number: identity.number,
            time: identity.time,
            start: received.series_start,
            scan: received.scan.as_deref(),
        };
        let counted = &mut self.counted;
        let first_output = of_pv.frames.insert((frame.number, frame.time));
        counted.frames += u64::from(first_output);
        let (index, begins) = match of_pv.belongs(&frame) {
            Belongs::To(index) => (index, false),
            Belongs::Over(series) => {
                self.pvs.push_back((Arc::clone(&identity.pv), of_pv));
                return Place {
                    series,
                    begins: false,
                    first_output,
                    over: true,
                    first: frame.number,
                };
            }
            Belongs::New => {
                counted.series += 1;
                of_pv.begin(counted.series, &frame, now, counted);
                (0, true)
            }
        };
        let series = of_pv.name(index, &frame);
        if let Some(live) = of_pv.live.get_mut(index)
            && first_output
        {
            live.take(&frame, now, counted);
        }
        let first = of_pv
            .live
            .get(index)
            .map_or(frame.number, |live| live.first);
        self.pvs.push_back((Arc::clone(&identity.pv), of_pv));
        Place {
            series,
            begins,
            first_output,
            over: false,
            first,
        }
    }

    /// Ends series whose time for late frames is over. A gap is certain when nothing has come for [`LATE`].
    pub(crate) fn sweep(&mut self, now: Instant) {
        let counted = &mut self.counted;
        for (_, of_pv) in &mut self.pvs {
            let is_over = |live: &Live| {
                live.followed
                    .is_some_and(|since| now.saturating_duration_since(since) >= LATE)
            };
            while of_pv.live.back().is_some_and(is_over) {
                if let Some(mut live) = of_pv.live.pop_back() {
                    counted.lose(&live.numbers.settle());
                }
            }
            for live in &mut of_pv.live {
                if now.saturating_duration_since(live.last) >= LATE {
                    counted.lose(&live.numbers.settle());
                }
            }
        }
    }

    /// What has been counted so far.
    pub(crate) const fn counted(&self) -> Counted {
        self.counted
    }

    /// The series of a PV, taken out. The PV that has had no frame for longest goes if there are too many.
    fn take_pv(&mut self, pv: &str) -> OfPv {
        let place = self.pvs.iter().position(|(name, _)| **name == *pv);
        if let Some((_, of_pv)) = place.and_then(|place| self.pvs.remove(place)) {
            return of_pv;
        }
        if self.pvs.len() >= PVS
            && let Some((_, mut oldest)) = self.pvs.pop_front()
        {
            for live in &mut oldest.live {
                self.counted.lose(&live.numbers.settle());
            }
        }
        OfPv {
            live: VecDeque::new(),
            names: VecDeque::new(),
            frames: Seen::new(FRAMES),
        }
    }
}

impl Counted {
    fn lose(&mut self, lost: &[Lost]) {
        self.missing += lost.iter().map(|lost| lost.missing).sum::<u64>();
    }
}

impl OfPv {
    fn belongs(&mut self, frame: &Frame<'_>) -> Belongs {
        let named = |name: &Name| Some(name.start) == frame.start;
        if let Some(place) = self.names.iter().position(named)
            && let Some(name) = self.names.get(place).copied()
        {
            let was_new = name.taken_over_at.is_some_and(|(highest, newest)| {
                frame.number <= highest && newest.is_some() && frame.time > newest
            });
            if was_new {
                self.names.remove(place);
                return Belongs::New;
            }
            let mut live = self.live.iter();
            return match live.position(|live| live.series == name.series) {
                Some(index) => Belongs::To(index),
                None => Belongs::Over(name.series),
            };
        }
        let Some(current) = self.live.front() else {
            return Belongs::New;
        };
        let is_before = frame.time.is_some() && frame.time < current.begun;
        let same_scan = match (frame.scan, current.scan.as_deref()) {
            (Some(scan), Some(current)) => scan == current,
            _ => true,
        };
        match (is_before, same_scan) {
            (true, _) => Belongs::To(self.earlier(frame)),
            (false, false) => Belongs::New,
            (false, true) if current.goes_on(frame) => Belongs::To(0),
            (false, true) => Belongs::New,
        }
    }

    /// The series of a frame that is older than all of the current one.
    fn earlier(&self, frame: &Frame<'_>) -> usize {
        let last = self.live.len().saturating_sub(1);
        let began_before = |live: &Live| live.begun.is_some() && live.begun <= frame.time;
        let index = self.live.iter().position(began_before).unwrap_or(last);
        let between = self
            .live
            .get(index)
            .is_some_and(|live| live.newest < frame.time);
        let later = index.checked_sub(1).and_then(|later| self.live.get(later));
        // Taken between two series: the first frames of the later one may come after others of it.
        match later {
            Some(later) if between && frame.number <= later.first => index - 1,
            _ => index,
        }
    }

    /// Begins a series.
    fn begin(&mut self, series: u64, frame: &Frame<'_>, now: Instant, counted: &mut Counted) {
        for live in &mut self.live {
            live.followed.get_or_insert(now);
        }
        self.live.push_front(Live {
            series,
            scan: frame.scan.map(str::to_owned),
            first: frame.number,
            highest: frame.number,
            begun: frame.time,
            newest: frame.time,
            followed: None,
            last: now,
            numbers: FrameNumbers::default(),
        });
        while self.live.len() > LIVE {
            if let Some(mut live) = self.live.pop_back() {
                counted.lose(&live.numbers.settle());
            }
        }
    }

    /// Notes what the source calls the series at `index`, and returns its number.
    fn name(&mut self, index: usize, frame: &Frame<'_>) -> u64 {
        let Some(live) = self.live.get(index) else {
            return 0;
        };
        let series = live.series;
        if let Some(start) = frame.start
            && !self.names.iter().any(|name| name.start == start)
        {
            let has_name = self.names.iter().any(|name| name.series == series);
            self.names.push_back(Name {
                start,
                series,
                taken_over_at: has_name.then_some((live.highest, live.newest)),
            });
            if self.names.len() > NAMES {
                self.names.pop_front();
            }
        }
        series
    }
}

impl Live {
    /// Whether a frame that is not older than this series belongs to it.
    fn goes_on(&self, frame: &Frame<'_>) -> bool {
        let number = frame.number;
        if number > self.highest {
            return number - self.highest <= LARGEST_GAP;
        }
        match (frame.time, self.newest) {
            (Some(time), Some(newest)) => time <= newest,
            _ => self.highest - number <= REORDERED,
        }
    }

    /// Takes a frame in.
    fn take(&mut self, frame: &Frame<'_>, now: Instant, counted: &mut Counted) {
        self.last = now;
        self.first = self.first.min(frame.number);
        if frame.number >= self.highest {
            self.highest = frame.number;
            self.newest = frame.time.or(self.newest);
        }
        if let Some(time) = frame.time {
            self.begun = Some(self.begun.map_or(time, |begun| begun.min(time)));
        }
        let noted = self.numbers.note(frame.number, frame.time);
        counted.filled += u64::from(noted.filled);
        counted.lose(&noted.lost);
    }
}
