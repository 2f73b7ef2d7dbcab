//! One run of rising numbers: what has been seen of it, its step, and its open gaps.

use super::{CONFIRMED, Lost, REORDERED, WINDOW};
use std::collections::VecDeque;

const WORDS: usize = (WINDOW / 64) as usize;
/// Differences from which the step is learned.
const LEARNED: u32 = 16;

/// Why a row is not the current one any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Another row began far above. Both may continue.
    Jumped,
    /// A new series seemed to begin; it may have been a redelivery.
    Guessed,
    /// A new series began.
    Closed,
}

/// One run of rising numbers.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) first: u64,
    pub(super) highest: u64,
    /// Distinct numbers seen.
    pub(super) frames: u64,
    /// When the first frame of its series was taken.
    pub(super) begun: Option<i64>,
    /// When the frame with the highest number was taken.
    pub(super) newest: Option<i64>,
    pub(super) left: Left,
    /// Gaps of the last frames, the oldest first: at most one for each of [`REORDERED`] frames.
    pub(super) gaps: VecDeque<Gap>,
    /// The last [`WINDOW`] numbers, one bit each, at the number modulo the window.
    seen: Box<[u64; WORDS]>,
    /// The difference between neighbours; 0 before there are two frames.
    step: u64,
    last_step: u64,
    steps: u32,
    /// Frames counted as lost in gaps that are not open any more.
    counted: u64,
}

/// Numbers that were jumped over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    kind: GapKind,
    /// The number before it; of a series that lacks its start, the first one lacking.
    from: u64,
    /// The number after it.
    to: u64,
    /// Its frames that came late.
    filled: u64,
    /// Its frames that have been counted as lost.
    counted: u64,
    /// The row's frames when it opened.
    opened: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GapKind {
    /// Between two numbers of the row.
    Inner,
    /// Before the row, behind the highest number of another.
    Jump,
    /// At the start of a series.
    Start,
    /// At a wrap, with this many frames.
    Wrapped(u64),
}

impl Gap {
    pub(super) const fn jump(from: u64, to: u64) -> Self {
        Self::new(GapKind::Jump, from, to)
    }

    pub(super) const fn start(from: u64, to: u64) -> Self {
        Self::new(GapKind::Start, from, to)
    }

    pub(super) const fn wrapped(missing: u64, to: u64) -> Self {
        Self::new(GapKind::Wrapped(missing), 0, to)
    }

    const fn new(kind: GapKind, from: u64, to: u64) -> Self {
        Self {
            kind,
            from,
            to,
            filled: 0,
            counted: 0,
            opened: 1,
        }
    }

    fn holds(&self, number: u64) -> bool {
        let above = match self.kind {
            GapKind::Inner | GapKind::Jump => number > self.from,
            GapKind::Start | GapKind::Wrapped(_) => number >= self.from,
        };
        above && number < self.to
    }

    /// Frames that are missing in it, in steps of `step`.
    fn missing(&self, step: u64) -> u64 {
        let span = self.to - self.from;
        let steps = (span + step / 2) / step;
        let all = match self.kind {
            GapKind::Inner | GapKind::Jump => steps.saturating_sub(1),
            GapKind::Start => steps,
            GapKind::Wrapped(missing) => missing / step,
        };
        all.saturating_sub(self.filled)
    }

    /// Counts what is missing and has not been counted.
    fn count(&mut self, step: u64, lost: &mut Vec<Lost>) {
        let missing = self.missing(step).saturating_sub(self.counted);
        if missing > 0 {
            self.counted += missing;
            let before = self.to;
            lost.push(Lost { missing, before });
        }
    }
}

impl Row {
    pub(super) fn new(number: u64, taken: Option<i64>) -> Self {
        let mut row = Self {
            first: number,
            highest: number,
            frames: 1,
            begun: taken,
            newest: taken,
            left: Left::Closed,
            gaps: VecDeque::new(),
            seen: Box::new([0; WORDS]),
            step: 0,
            last_step: 0,
            steps: 0,
            counted: 0,
        };
        row.mark(number, true);
        row
    }

    fn bit(number: u64) -> (usize, u64) {
        let place = number % WINDOW;
        ((place / 64) as usize, 1 << (place % 64))
    }

    fn mark(&mut self, number: u64, seen: bool) {
        let (word, bit) = Self::bit(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }

    /// Whether `number` lies in the window, so that [`seen`](Self::seen) knows it.
    pub(super) const fn remembers(&self, number: u64) -> bool {
        number <= self.highest && self.highest - number < WINDOW
    }

    /// Whether `number` was seen, if it lies in the window.
    pub(super) fn seen(&self, number: u64) -> bool {
        let (word, bit) = Self::bit(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The open gap that has `number` in it.
    pub(super) fn gap(&self, number: u64) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.holds(number))
    }

    /// Adds a number above the highest, at most [`WINDOW`] above it.
    pub(super) fn advance(&mut self, number: u64, taken: Option<i64>) {
        let step = number - self.highest;
        for skipped in self.highest + 1..number {
            self.mark(skipped, false);
        }
        self.mark(number, true);
        self.frames += 1;
        self.observe(step);
        if step > 1 {
            let mut gap = Gap::new(GapKind::Inner, self.highest, number);
            gap.opened = self.frames;
            self.gaps.push_back(gap);
        }
        self.highest = number;
        self.newest = taken.or(self.newest);
    }

    /// Adds a number below the highest; says whether it had been counted as lost.
    pub(super) fn fill(&mut self, number: u64) -> bool {
        if self.seen(number) {
            return false;
        }
        self.mark(number, true);
        self.frames += 1;
        let Some(gap) = self.gaps.iter_mut().find(|gap| gap.holds(number)) else {
            let counted = self.counted > 0 && number > self.first;
            self.counted -= u64::from(counted);
            return counted;
        };
        gap.filled += 1;
        let inner = gap.kind == GapKind::Inner;
        let nearest = (gap.to - number).min(number - gap.from);
        let step = if inner {
            self.step.min(nearest)
        } else {
            self.step
        };
        let counted = gap.counted > gap.missing(step.max(1));
        gap.counted -= u64::from(counted);
        if inner {
            self.observe(nearest);
        }
        counted
    }

    /// Learns the step from a difference between neighbours. After the first ones, two equal differences in a row are needed.
    fn observe(&mut self, step: u64) {
        self.steps = self.steps.saturating_add(1);
        let smaller = step < self.step && (self.steps <= LEARNED || step == self.last_step);
        if self.step == 0 || smaller {
            self.step = step;
        }
        self.last_step = step;
    }

    /// The step, once it is more than a guess.
    fn step(&self) -> Option<u64> {
        (self.step == 1 || self.steps >= 2).then_some(self.step)
    }

    /// The numbers before the row continue elsewhere.
    pub(super) fn forget_jump(&mut self) {
        self.gaps.retain(|gap| gap.kind != GapKind::Jump);
    }

    /// Counts gaps that have been open for [`REORDERED`] frames, and closes them.
    pub(super) fn settle_old(&mut self, lost: &mut Vec<Lost>) {
        let Some(step) = self.step() else { return };
        while let Some(gap) = self.gaps.front_mut() {
            if self.frames - gap.opened.min(self.frames) < REORDERED {
                break;
            }
            gap.count(step, lost);
            self.counted += gap.counted;
            self.gaps.pop_front();
        }
    }

    /// Counts every open gap. A frame that comes after this still closes its own.
    pub(super) fn settle(&mut self, lost: &mut Vec<Lost>) {
        let Some(step) = self.step() else { return };
        let confirmed = self.frames >= CONFIRMED;
        for gap in &mut self.gaps {
            if confirmed || gap.kind != GapKind::Jump {
                gap.count(step, lost);
            }
        }
    }
}
