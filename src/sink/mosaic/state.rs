//! The mosaic of the running series, and the counts of the process. It has no clock and does no I/O.

use super::pairs::{Offered, Pairs, Parts};
use super::patch::{FrameKey, Patch};
use super::picture::Picture;
use super::settings::Settings;
use crate::mosaic::StitchError;
use crate::mosaic::online::{Corner, Mosaic, OnlinePatch, Placement, Snapshot, Solve};
use std::cmp::Ordering;
use std::sync::Arc;

/// Pixels of patches that are placed anew for a picture: a thousand patches of 64 × 64.
const PLACED_ANEW: usize = 4 << 20;

/// What has become of patches, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Patches that came: outputs of frames.
    pub(crate) patches: u64,
    /// Patches of an earlier series than the running one: dropped.
    pub(crate) earlier: u64,
    /// Patches that came before: dropped.
    pub(crate) repeated: u64,
    /// Patches of another shape than the other half of their frame: dropped.
    pub(crate) mismatched: u64,
    /// Frames that were placed.
    pub(crate) placed: u64,
    /// Of these: without amplitude, though the model has one.
    pub(crate) unlevelled: u64,
    /// Frames whose phase did not come: not placed.
    pub(crate) without_phase: u64,
    /// Frames without a position: not placed.
    pub(crate) unpositioned: u64,
    /// Frames outside of the canvas: not placed.
    pub(crate) outside: u64,
    /// Frames that were placed and taken out again: the first few of a series, which lay apart from the others.
    pub(crate) astray: u64,
    /// Frames of another shape than the first one of the series, or without a finite value: not placed.
    pub(crate) unusable: u64,
    /// Series that began.
    pub(crate) series: u64,
    /// Final pictures.
    pub(crate) solved: u64,
    /// Series without a final picture: another one was being made, or it failed.
    pub(crate) unsolved: u64,
    /// How far a position was from its whole pixel, at most, in pixels.
    pub(crate) largest_rounding: f64,
}

/// The series that is shown.
#[derive(Debug)]
struct Running {
    series: u64,
    start: Option<i64>,
    pairs: Pairs,
    /// Begun with the first patch, whose shape all others must have.
    mosaic: Option<(Mosaic<FrameKey>, (usize, usize))>,
    /// Why there is none.
    refused: bool,
    numbers: Option<(u64, u64)>,
    frames: u64,
    unpositioned: u64,
    largest_rounding: f64,
    /// Since the last picture.
    changed: bool,
    /// Frames that were placed when the solver was last begun.
    solving: u64,
    last: Option<Arc<Picture>>,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct State {
    settings: Settings,
    running: Option<Running>,
    tally: Tally,
    /// A final picture is being made.
    is_solving: bool,
    previous: Option<Arc<Picture>>,
}

/// A final picture to be made, on a thread of its own: it takes seconds.
#[derive(Debug)]
pub(crate) struct Job {
    solve: Solve,
    /// The picture without its pixels.
    frame: Picture,
}

/// A final picture, or why there is none.
#[derive(Debug)]
pub(crate) struct Solved {
    result: Result<Snapshot, StitchError>,
    frame: Picture,
}

impl Job {
    /// Runs the solver.
    pub(crate) fn run(self) -> Solved {
        Solved {
            result: self.solve.run(),
            frame: self.frame,
        }
    }
}

impl State {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            running: None,
            tally: Tally::default(),
            is_solving: false,
            previous: None,
        }
    }

    /// Takes a patch. If it begins a new series, returns the job that makes the final picture of the one before.
    pub(crate) fn take(&mut self, patch: Patch) -> Option<Job> {
        self.tally.patches += 1;
        let running = self.running.as_ref().map(|running| running.series);
        let job = match running.map(|running| patch.series.cmp(&running)) {
            Some(Ordering::Less) => {
                self.tally.earlier += 1;
                return None;
            }
            Some(Ordering::Equal) => None,
            Some(Ordering::Greater) | None => {
                let job = running.and_then(|series| self.end(series));
                self.begin(&patch);
                job
            }
        };
        let running = self.running.as_mut()?;
        let number = patch.frame.number;
        let (low, high) = running.numbers.unwrap_or((number, number));
        running.numbers = Some((low.min(number), high.max(number)));
        let offered = if self.settings.amplitude {
            running.pairs.offer(patch)
        } else {
            Pairs::alone(patch)
        };
        match offered {
            Offered::Complete(parts) => running.settle(parts, &self.settings, &mut self.tally),
            Offered::Repeated => self.tally.repeated += 1,
            Offered::Mismatched => self.tally.mismatched += 1,
            Offered::Waiting => {}
        }
        while let Some(parts) = running.pairs.overdue() {
            running.settle(parts, &self.settings, &mut self.tally);
        }
        job
    }

    fn begin(&mut self, patch: &Patch) {
        self.tally.series += 1;
        self.running = Some(Running {
            series: patch.series,
            start: patch.series_start,
            pairs: Pairs::new(self.settings.pairs),
            mosaic: None,
            refused: false,
            numbers: None,
            frames: 0,
            unpositioned: 0,
            largest_rounding: 0.0,
            changed: false,
            solving: 0,
            last: None,
        });
    }

    /// Returns the job that makes the final picture of a series that is over or has paused; more patches may follow. `None` if it
    /// is not the running one, or nothing has been placed since the last job.
    pub(crate) fn end(&mut self, series: u64) -> Option<Job> {
        let running = self.running.as_mut().filter(|r| r.series == series)?;
        while let Some(parts) = running.pairs.left() {
            running.settle(parts, &self.settings, &mut self.tally);
        }
        let (mosaic, _) = running.mosaic.as_ref()?;
        let placed = mosaic.tally().placed;
        if placed == running.solving {
            return None;
        }
        if self.is_solving {
            self.tally.unsolved += 1;
            tracing::warn!(
                series,
                "The series gets no final picture: the one of an earlier series is still being made."
            );
            return None;
        }
        self.is_solving = true;
        running.solving = placed;
        let tally = mosaic.tally();
        if tally.kept_every > 1 {
            tracing::warn!(
                series,
                placed,
                kept = tally.kept,
                "The final picture is made of some of the patches: there are more than are kept."
            );
        }
        let nothing = Snapshot {
            tally,
            ..Snapshot::default()
        };
        Some(Job {
            solve: mosaic.solve(),
            frame: running.picture(nothing, &self.settings),
        })
    }

    /// What a [`Job`] has given; `None` if it died.
    pub(crate) fn solved(&mut self, solved: Option<Solved>) {
        self.is_solving = false;
        let Some(Solved { result, frame }) = solved else {
            self.tally.unsolved += 1;
            return;
        };
        let series = frame.series;
        let snapshot = match result {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.tally.unsolved += 1;
                tracing::error!(series, %error, "The final picture of the series cannot be made.");
                return;
            }
        };
        self.tally.solved += 1;
        let origin = self.settings.grid.metres(snapshot.origin);
        let picture = Arc::new(Picture {
            phase: snapshot.phase,
            amplitude: snapshot.amplitude,
            origin,
            is_final: true,
            ..frame
        });
        let running = self.running.as_mut().filter(|r| r.series == series);
        match running {
            // Patches may have come in the meantime: they are in no final picture yet.
            Some(running) if running.placed() == picture.placed => {
                running.last = Some(picture);
                running.changed = true;
            }
            Some(_) => {}
            None => self.previous = Some(picture),
        }
    }

    /// The picture of the running series, if it has changed since the last call.
    pub(crate) fn picture(&mut self) -> Option<Arc<Picture>> {
        let running = self.running.as_mut().filter(|running| running.changed)?;
        if let Some(last) = &running.last {
            running.changed = false;
            return Some(Arc::clone(last));
        }
        let (mosaic, (rows, columns)) = running.mosaic.as_mut()?;
        // The phase goes on to become better, when nothing comes any more too.
        running.changed = mosaic.rebuild((PLACED_ANEW / (*rows * *columns)).max(1));
        let snapshot = mosaic.snapshot();
        Some(Arc::new(running.picture(snapshot, &self.settings)))
    }

    /// The final picture of a series that ended when the next one had begun already.
    pub(crate) fn previous(&self) -> Option<&Arc<Picture>> {
        self.previous.as_ref()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Bytes of the canvas and of the kept patches.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let mosaic = self.running.as_ref().and_then(|r| r.mosaic.as_ref());
        mosaic.map_or((0, 0), |(mosaic, _)| mosaic.bytes())
    }
}

impl Running {
    /// Places what has come of a frame, and counts it.
    fn settle(&mut self, parts: Parts, settings: &Settings, tally: &mut Tally) {
        self.frames += 1;
        let Some(phase) = parts.phase else {
            tally.without_phase += 1;
            return;
        };
        let Some(position) = parts.position else {
            self.unpositioned += 1;
            tally.unpositioned += 1;
            return;
        };
        let Some(mosaic) = self.mosaic(parts.shape, settings) else {
            tally.unusable += 1;
            return;
        };
        let pixel = settings.grid.pixel(position);
        let half = |length: usize| i64::try_from(length / 2).unwrap_or(0);
        let corner = Corner {
            x: pixel.at.x.saturating_sub(half(parts.shape.1)),
            y: pixel.at.y.saturating_sub(half(parts.shape.0)),
        };
        let is_lone = parts.amplitude.is_none() && settings.amplitude;
        let patch = OnlinePatch {
            corner,
            phase,
            amplitude: parts.amplitude,
        };
        let outside = mosaic.tally().outside;
        match mosaic.place(&parts.frame, patch) {
            Placement::Placed => {
                let astray = mosaic.tally().outside - outside;
                if astray > 0 {
                    tally.astray += astray;
                    tracing::warn!(
                        series = self.series,
                        astray,
                        "The first frames of the series lie far from the others: the mosaic begins anew without them."
                    );
                }
                tally.placed += 1;
                tally.unlevelled += u64::from(is_lone);
                self.changed = true;
                self.last = None;
                self.largest_rounding = self.largest_rounding.max(pixel.rounding);
                tally.largest_rounding = tally.largest_rounding.max(pixel.rounding);
            }
            Placement::Repeated => {
                self.frames -= 1;
                tally.repeated += 1;
            }
            Placement::Outside => tally.outside += 1,
            Placement::Unusable => tally.unusable += 1,
        }
    }

    /// The mosaic, if patches of `shape` are for it.
    fn mosaic(
        &mut self,
        shape: (usize, usize),
        settings: &Settings,
    ) -> Option<&mut Mosaic<FrameKey>> {
        if self.mosaic.is_none() && !self.refused {
            match settings.weights(shape) {
                Ok(weights) => {
                    self.mosaic = Some((Mosaic::new(weights, settings.canvas), shape));
                }
                Err(error) => {
                    self.refused = true;
                    tracing::error!(
                        series = self.series,
                        rows = shape.0,
                        columns = shape.1,
                        %error,
                        "No patch of this series can be placed: weights and patches do not fit together."
                    );
                }
            }
        }
        let (mosaic, usual) = self.mosaic.as_mut()?;
        (*usual == shape).then_some(mosaic)
    }

    fn placed(&self) -> u64 {
        let mosaic = self.mosaic.as_ref();
        mosaic.map_or(0, |(mosaic, _)| mosaic.tally().placed)
    }

    fn picture(&self, snapshot: Snapshot, settings: &Settings) -> Picture {
        let come = self.frames + self.pairs.waiting() as u64;
        let (low, high) = self.numbers.unwrap_or((1, 0));
        let numbers = high.saturating_add(1).saturating_sub(low);
        Picture {
            series: self.series,
            series_start: self.start,
            phase: snapshot.phase,
            amplitude: snapshot.amplitude,
            pixel_size: settings.grid.pixel_size(),
            origin: settings.grid.metres(snapshot.origin),
            first: low,
            placed: snapshot.tally.placed,
            unlevelled: snapshot.tally.unlevelled,
            missing: numbers.saturating_sub(come),
            unpositioned: self.unpositioned,
            outside: snapshot.tally.outside,
            kept_every: snapshot.tally.kept_every,
            largest_rounding: self.largest_rounding,
            is_final: false,
        }
    }
}

#[cfg(test)]
mod tests;
