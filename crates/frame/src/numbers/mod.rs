//! Missing, late and repeated frames, found from frame numbers.
//!
//! A detector numbers its frames; a source writes the number into the header `x-txn-id`. A skipped number is a frame that was
//! lost upstream: in the detector, in the source, or in a full buffer. `FrameNumbers` reads the numbers in order of
//! arrival, and says which frames are missing. It has no clock and does no I/O, and its memory does not grow.
//!
//! # Rules
//!
//! 1. A number above the highest is a frame. The numbers between them are a gap.
//! 2. A gap is *counted* when 64 more frames have arrived without it, or at `settle`, whichever is
//!    first. So a counter that adds up `Lost::missing` never decreases. A frame that arrives after its gap was counted is
//!    `Noted::filled`. Frames lost for good = counted − filled.
//! 3. A number below the highest that has not been seen is late, if its gap is still open or its frame is older.
//! 4. A number that has been seen is a new series if its frame is newer, otherwise the same frame again.
//! 5. A jump of more than 1,000,000 is a new series without a gap. A jump of more than 4096 is a gap only if the numbers
//!    before it do not continue: a stray number, or two rows of numbers that alternate, are no loss.
//! 6. A series that begins up to 256 above the first number of earlier ones (0 or 1) lacks its first frames. One that begins
//!    elsewhere lacks nothing. Numbers that wrap at 2³¹ or 2³² continue.
//! 7. Numbers that rise in equal steps (every fourth frame, or a time in ms) are counted in steps. The step is the smallest
//!    difference of the first 16.
//! 8. The same number three times in a row, each time newer: the source does not number its frames.
//!
//! # Times
//!
//! Rules 3 and 4 need the time at which a frame was taken. A PVA source has it (`dataTimeStamp`). A map vertex has the event
//! time of the datum, which is the same when a frame is delivered again. It may be the time of arrival at the source, which is
//! later for a late frame; therefore a frame whose gap is still open is late in any case.
//!
//! Without times, or with times that do not move, a new series cannot be told from frames that are delivered again. Then a
//! drop to 0 or 1, or by more than 4096, is a new series. Another run of seen numbers is one after 256 frames, or after 32 if it
//! began near the start and goes on past the highest. If the numbers instead go on where they were, the run was a
//! redelivery.
//!
//! # Limits
//!
//! If several replicas share the frames, each of them sees gaps that are not real. A detector that really loses three of every
//! four frames, from the first one on, looks like rule 7. Numbers with equal steps of more than 4096 are times; their
//! gaps are not counted.

/// One run of rising numbers.
mod row;
#[cfg(test)]
mod tests;

use row::{Gap, Left, Row};

/// How far below the highest a number is remembered, and how far above it still belongs to the same row.
const WINDOW: u64 = 4096;
/// Frames after which a gap is certain.
const REORDERED: u64 = 64;
/// A larger jump has another cause than lost frames.
const LARGEST_GAP: u64 = 1_000_000;
/// How far above the first number a series may begin and lack the frames before.
const START: u64 = 256;
/// Seen numbers in a row that are a new series, not a redelivery: more than a usual read batch.
const REPEATED: u64 = 256;
/// The same, if they began near the start and go on past the highest.
const REPEATED_FROM_START: u64 = 32;
/// Frames that make a series, or the numbers after a wide jump, more than a stray number.
const CONFIRMED: u64 = 8;
/// Rows of numbers that are remembered.
const ROWS: usize = 4;

/// The frame numbers so far. See the module's essay.
#[derive(Debug, Default)]
pub struct FrameNumbers {
    /// The current row first, then those left, the latest first.
    rows: Vec<Row>,
    /// Seen numbers that may be a new series, where times do not tell.
    repeated: Option<Row>,
    /// The first number of series: 0 or 1, once one began so.
    first: Option<u64>,
    /// Whether times rise with the numbers, so that they can be compared.
    times_move: bool,
    /// How often the highest number has come again, newer.
    same: u32,
    ended: bool,
    lost: Vec<Lost>,
}

/// What a number says about its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The next frame, or one after a gap.
    Frame,
    /// The first frame of a new series.
    NewSeries,
    /// A frame that was overtaken by another.
    Late,
    /// A frame that came before.
    Duplicate,
    /// A frame of a source that does not number its frames.
    Unnumbered,
}

/// Frames that are missing before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub missing: u64,
    /// The number of the frame after them.
    pub before: u64,
}

/// What has been found out from a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What the frame is.
    pub kind: Kind,
    /// The frame was counted as lost before, and has arrived after all.
    pub filled: bool,
    /// Frames that are certain to be missing, now that this one has come. Each is reported once.
    pub lost: Vec<Lost>,
}

impl FrameNumbers {
    /// Notes the next number, and when its frame was taken, in any unit that rises with time.
    pub fn note(&mut self, number: u64, taken: Option<i64>) -> Noted {
        let (kind, filled) = self.place(number, taken);
        if let Some(row) = self.rows.first_mut() {
            row.settle_old(&mut self.lost);
        }
        while self.rows.len() > ROWS {
            if let Some(mut row) = self.rows.pop() {
                row.settle(&mut self.lost);
            }
        }
        Noted {
            kind,
            filled,
            lost: std::mem::take(&mut self.lost),
        }
    }

    /// Declares every open gap certain: for instance, at the end of a read batch, or when no frame has come for a while.
    pub fn settle(&mut self) -> Vec<Lost> {
        for row in &mut self.rows {
            row.settle(&mut self.lost);
        }
        std::mem::take(&mut self.lost)
    }

    /// The next number begins a new series, whatever it is: for instance, because the scan has another name. If it is above the
    /// highest, the counter goes on, and numbers between the two are a gap.
    pub fn end_series(&mut self) {
        self.ended = true;
    }

    fn place(&mut self, number: u64, taken: Option<i64>) -> (Kind, bool) {
        let ended = std::mem::take(&mut self.ended);
        let Some(highest) = self.rows.first().map(|row| row.highest) else {
            self.begin(number, taken, Left::Closed);
            return (Kind::Frame, false);
        };
        if ended {
            // The counter may go on counting: then nothing is missing at the start.
            if number > highest && number - highest <= WINDOW {
                self.go_on(0, number, taken);
            } else {
                self.begin(number, taken, Left::Closed);
            }
            return (Kind::NewSeries, false);
        }
        if let Some(place) = self.of_earlier_row(number, taken) {
            return place;
        }
        if let Some(index) = self.continued_by(number) {
            self.go_on(index, number, taken);
            return (Kind::Frame, false);
        }
        if number > highest {
            return (self.jump(number, highest, taken), false);
        }
        self.fall(number, taken)
    }

    /// A frame that is older than the current row: late, or delivered again, from a row before.
    fn of_earlier_row(&mut self, number: u64, taken: Option<i64>) -> Option<(Kind, bool)> {
        let begun = self.rows.first()?.begun;
        if !self.times_move || taken.is_none() || taken >= begun {
            return None;
        }
        let mut earlier = self.rows.iter_mut().skip(1);
        let row = earlier.find(|row| row.remembers(number))?;
        if row.seen(number) {
            return Some((Kind::Duplicate, false));
        }
        Some((Kind::Late, row.fill(number)))
    }

    /// The row that `number` continues with the smallest gap; the current one, where several do.
    fn continued_by(&self, number: u64) -> Option<usize> {
        let current = self.rows.first().filter(|row| !row.remembers(number))?;
        let distance = |(index, row): (usize, &Row)| {
            let distance = number.checked_sub(row.highest).filter(|far| *far > 0)?;
            let may = index == 0
                || match row.left {
                    Left::Jumped => true,
                    // Only the row that the current series replaced: the series may be none.
                    Left::Guessed => index == 1 && current.frames < REPEATED,
                    Left::Closed => index == 1 && current.frames < CONFIRMED && distance == 1,
                };
            (may && distance <= WINDOW).then_some((distance, index))
        };
        let rows = self.rows.iter().enumerate();
        rows.filter_map(distance).min().map(|(_, index)| index)
    }

    /// Adds a number above the highest to the row at `index`, which becomes the current one.
    fn go_on(&mut self, index: usize, number: u64, taken: Option<i64>) {
        self.same = 0;
        if index > 0 {
            let row = self.rows.remove(index);
            match row.left {
                // The two rows alternate. So nothing is missing between them.
                Left::Jumped => {
                    if let Some(other) = self.rows.first_mut() {
                        other.forget_jump();
                        other.left = Left::Jumped;
                    }
                }
                // It was no new series.
                Left::Guessed | Left::Closed => {
                    self.rows.remove(0);
                }
            }
            self.rows.insert(0, row);
        }
        if index == 0 {
            self.judge_repeated(Some(number));
        } else {
            self.repeated = None;
        }
        if let Some(row) = self.rows.first_mut() {
            let moved = row.newest < taken && row.newest.is_some();
            self.times_move |= moved;
            row.advance(number, taken);
        }
    }

    /// A number so far above the highest that it begins a row of its own.
    fn jump(&mut self, number: u64, highest: u64, taken: Option<i64>) -> Kind {
        self.same = 0;
        self.judge_repeated(Some(number));
        let mut row = Row::new(number, taken);
        let gap = number - highest <= LARGEST_GAP;
        if gap {
            row.gaps.push_back(Gap::jump(highest, number));
            // It belongs to the same series, so a frame that is late may be older than the first one of this row.
            row.begun = self.rows.first().and_then(|row| row.begun);
        }
        self.leave(Left::Jumped);
        self.rows.insert(0, row);
        if gap { Kind::Frame } else { Kind::NewSeries }
    }

    /// A number that is not above the highest: late, the same again, or the first of a new series.
    fn fall(&mut self, number: u64, taken: Option<i64>) -> (Kind, bool) {
        let times_move = self.times_move;
        let mut rows = self.rows.iter_mut().enumerate();
        let row = rows.find(|(index, row)| {
            (*index == 0 || row.left == Left::Jumped) && row.remembers(number)
        });
        let Some((index, row)) = row else {
            let newest = self.rows.first().and_then(|row| row.newest);
            let left = match taken {
                Some(_) if times_move && taken <= newest => return (Kind::Duplicate, false),
                Some(_) if times_move => Left::Closed,
                _ => Left::Guessed,
            };
            self.begin(number, taken, left);
            return (Kind::NewSeries, false);
        };
        let newer = match (row.newest, taken) {
            (Some(newest), Some(taken)) if times_move || row.highest == number => {
                Some(taken > newest)
            }
            _ => None,
        };
        if !row.seen(number) {
            let late = match newer {
                Some(newer) => !newer || row.gap(number).is_some(),
                None => row.gap(number).is_some() || row.highest - number <= REORDERED,
            };
            if late {
                return (Kind::Late, row.fill(number));
            }
        } else if index == 0 && row.highest == number && newer == Some(true) {
            row.newest = taken;
            self.same += 1;
            let kind = if self.same > 1 {
                Kind::Unnumbered
            } else {
                Kind::Frame
            };
            return (kind, false);
        }
        match newer {
            Some(true) => {
                self.begin(number, taken, Left::Closed);
                (Kind::NewSeries, false)
            }
            Some(false) => (Kind::Duplicate, false),
            None if number <= 1 => {
                self.begin(number, taken, Left::Guessed);
                (Kind::NewSeries, false)
            }
            None => (self.repeat(number, taken), false),
        }
    }

    /// A number that has been seen, and no time to tell whether its frame is another one.
    fn repeat(&mut self, number: u64, taken: Option<i64>) -> Kind {
        match &mut self.repeated {
            Some(row) if number > row.highest && number - row.highest <= WINDOW => {
                row.advance(number, taken);
            }
            Some(row) if row.highest - number.min(row.highest) <= REORDERED => {
                row.fill(number);
            }
            _ => {
                let mut row = Row::new(number, taken);
                row.gaps.extend(self.lacking(number));
                self.repeated = Some(row);
            }
        }
        if self.judge_repeated(None) {
            Kind::NewSeries
        } else {
            Kind::Duplicate
        }
    }

    /// Makes the seen numbers the current row if they are a new series, and forgets them if `next` shows that they are not.
    fn judge_repeated(&mut self, next: Option<u64>) -> bool {
        let Some(row) = &self.repeated else {
            return false;
        };
        let begun = row.first.saturating_sub(self.first.unwrap_or_default());
        let from_start = row.frames >= REPEATED_FROM_START && begun <= row.frames / 8;
        let goes_on = next
            .and_then(|next| next.checked_sub(row.highest))
            .is_some_and(|gap| gap <= REORDERED);
        let another = row.frames >= REPEATED || from_start && goes_on;
        if !another && next.is_none() {
            return false;
        }
        let row = self.repeated.take();
        if let Some(row) = row.filter(|_| another) {
            self.leave(Left::Guessed);
            self.rows.insert(0, row);
        }
        another
    }

    /// Begins a new series with `number`.
    fn begin(&mut self, number: u64, taken: Option<i64>, left: Left) {
        self.same = 0;
        // What was seen again and then ended was a series as well, if it went on for long enough.
        let end = self.repeated.as_ref().map(|row| row.highest);
        self.judge_repeated(end);
        let mut row = Row::new(number, taken);
        row.gaps.extend(self.lacking(number));
        if number <= 1 {
            self.first = Some(number);
        }
        self.leave(left);
        self.rows.insert(0, row);
    }

    /// Another row becomes the current one. After a new series the rows before it do not alternate any more.
    fn leave(&mut self, left: Left) {
        if left == Left::Jumped {
            if let Some(row) = self.rows.first_mut() {
                row.left = left;
            }
            return;
        }
        for row in &mut self.rows {
            row.left = left;
        }
    }

    /// The frames that a series lacks which begins with `number`.
    fn lacking(&self, number: u64) -> Option<Gap> {
        let highest = self.rows.first()?.highest;
        for end in [1u64 << 31, 1 << 32] {
            let before = end.checked_sub(highest).filter(|before| *before > 0);
            if before.is_some_and(|before| before <= START) && number < START {
                let missing = end - 1 - highest + number;
                return Some(Gap::wrapped(missing, number));
            }
        }
        let first = self.first.filter(|first| number > 1 && number > *first)?;
        (number - first <= START).then(|| Gap::start(first, number))
    }
}
