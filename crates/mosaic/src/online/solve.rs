//! The final picture: the offline solver on the kept patches.

use super::canvas::{Area, Corner};
use super::patch::OnlinePatch;
use super::rebuild::outwards;
use super::weights::Weights;
use super::{Snapshot, Tally};
use crate::{Patch, StitchError, Stitcher};
use beamflow_frame::Position;
use ndarray::{Array2, ArrayView2, s};

/// The solver stops when no constant changes by more in a sweep, in radians. What is left then is far below the errors of a
/// network, and it takes half the time of the usual 1e-5.
const TOLERANCE: f64 = 1e-4;

/// What the final picture is made of. It shares the pixels of the patches, and is solved on a thread of its own.
#[derive(Debug)]
pub struct Solve {
    pub(super) weights: Weights,
    /// The canvas: the picture is as large.
    pub(super) used: Area,
    pub(super) patches: Vec<OnlinePatch>,
    /// The amplitude has no free constants: it is final as it is.
    pub(super) amplitude: Array2<f32>,
    pub(super) tally: Tally,
}

impl Solve {
    /// Levels and stitches as [`Stitcher`] does, in the order of the places: the result does not depend on the order of arrival.
    /// It takes a second for a thousand patches and a minute or two for ten thousand that do not fit together, and the memory of
    /// all kept phases again, plus 32 bytes for each pixel of the picture.
    ///
    /// # Errors
    /// [`StitchError::NoPatch`] if no patch was kept.
    pub fn run(mut self) -> Result<Snapshot, StitchError> {
        self.patches = outwards(&self.patches, &self.weights);
        let shape = self.weights.patch();
        let (cut_rows, cut_columns) = self.weights.cut();
        let (rows, columns) = self.weights.middle();
        // The solver's object holds the full frames, and the picture only what has weight.
        let frames = self.frames().ok_or(StitchError::NoPatch)?;
        let position = |patch: &OnlinePatch| Position {
            x: offset(patch.corner.x, frames.corner.x, cut_columns),
            y: offset(patch.corner.y, frames.corner.y, cut_rows),
        };
        // Pixels without weight cost time and memory.
        let view = |values| match ArrayView2::from_shape(shape, values) {
            Ok(patch) => Ok(patch.slice_move(s![rows.clone(), columns.clone()])),
            Err(_) => Err(StitchError::PatchShape {
                given: (1, <[f32]>::len(values)),
                largest: shape,
            }),
        };
        let stitcher =
            Stitcher::new((frames.rows, frames.columns), self.weights.full())?.tolerance(TOLERANCE);
        let mut pairs = Vec::with_capacity(self.patches.len());
        for patch in &self.patches {
            if let Some(amplitude) = &patch.amplitude {
                pairs.push(Patch {
                    position: position(patch),
                    amplitude: view(amplitude)?,
                    phase: view(&patch.phase)?,
                });
            }
        }
        let mut levelled = match self.weights.tilt_of_lean() {
            Some(_) => stitcher.level(&pairs)?.into_iter(),
            None => Vec::new().into_iter(),
        };
        let mut phases = Vec::with_capacity(self.patches.len());
        for patch in &self.patches {
            let level = patch.amplitude.as_ref().and_then(|_| levelled.next());
            let phase = match level {
                Some(phase) => phase,
                None => view(&patch.phase)?.to_owned(),
            };
            phases.push((position(patch), phase));
        }
        let stitched = stitcher.stitch(phases.iter().map(|(at, phase)| (*at, phase.view())))?;

        let cut = |array: &Array2<f64>| {
            let mut picture = Array2::from_elem((self.used.rows, self.used.columns), f32::NAN);
            let top = offset(self.used.corner.y, frames.corner.y, 0);
            let left = offset(self.used.corner.x, frames.corner.x, 0);
            let rows = self.used.rows.min(frames.rows.saturating_sub(top));
            let columns = self.used.columns.min(frames.columns.saturating_sub(left));
            let part = array.slice(s![top..top + rows, left..left + columns]);
            picture
                .slice_mut(s![..rows, ..columns])
                .assign(&part.mapv(|v| v as f32));
            picture
        };
        Ok(Snapshot {
            phase: cut(&stitched.phase),
            coverage: cut(&stitched.coverage),
            amplitude: self.amplitude,
            origin: self.used.corner,
            tally: self.tally,
        })
    }

    /// The smallest rectangle with the canvas and all full frames.
    fn frames(&self) -> Option<Area> {
        let (cut_rows, cut_columns) = self.weights.cut();
        let (rows, columns) = self.weights.full().dim();
        let frame = |patch: &OnlinePatch| Area {
            corner: Corner {
                x: patch.corner.x - i64::try_from(cut_columns).unwrap_or(0),
                y: patch.corner.y - i64::try_from(cut_rows).unwrap_or(0),
            },
            rows,
            columns,
        };
        let mut frames = self.patches.iter().map(frame);
        let first = frames.next()?.with(self.used)?;
        frames.try_fold(first, Area::with)
    }
}

/// From `origin` to `corner`, less `cut`: never negative, because `origin` is the smallest.
fn offset(corner: i64, origin: i64, cut: usize) -> usize {
    usize::try_from(corner - origin)
        .unwrap_or(0)
        .saturating_sub(cut)
}
