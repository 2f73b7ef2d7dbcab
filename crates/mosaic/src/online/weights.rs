//! How much each pixel of a patch counts.
//!
//! Weights are relative to the brightest pixel. Pixels below a thousandth of it have no weight, and neither have the rows and
//! columns that are cut from each side: they are not placed at all.

use crate::{DARK, StitchError};
use beamflow_frame::crop_start;
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use std::f64::consts::{PI, TAU};
use std::ops::Range;

/// The weights of patches of one shape. See the module's essay.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Shape (rows, columns) of the full frame, of which a patch is the middle; zero outside of a patch.
    full: Array2<f64>,
    /// Shape (rows, columns) of a patch.
    patch: (usize, usize),
    /// The smallest rectangle of a patch that has all weight.
    lit: (Range<usize>, Range<usize>),
    /// The weights in that rectangle.
    values: Array2<f32>,
    /// Whether they are |P|², and patches can be levelled.
    level: bool,
}

impl Weights {
    /// A two-dimensional Hann window sin²(π(i + ½)/n) for patches of `shape` (rows, columns), less `edge` pixels on each side.
    /// Patches are not levelled: the law behind it (`crate::level`) holds for |P|² alone.
    ///
    /// # Errors
    /// [`StitchError::Weights`] if nothing is left.
    pub fn hann(shape: (usize, usize), edge: usize) -> Result<Self, StitchError> {
        let window = |index: usize, length: usize| {
            let inner = length.saturating_sub(2 * edge).max(1) as f64;
            let from_edge = index.saturating_sub(edge) as f64;
            (PI * (from_edge + 0.5) / inner).sin().powi(2)
        };
        let hann = |(row, column)| window(row, shape.0) * window(column, shape.1);
        let hann = Self::given(&Array2::from_shape_fn(shape, hann), shape, edge)?;
        Ok(hann.levelling(false))
    }

    /// `weights` in any unit, |P|² of the probe, for patches of `shape` (rows, columns), less `edge` pixels on
    /// each side. A patch that is smaller than the weights is their middle, as the sidecar's `--output-size` cuts it.
    ///
    /// # Errors
    /// [`StitchError::PatchShape`] if a patch is larger than the weights; [`StitchError::Weights`] if they are not finite, are
    /// negative, or zero in all of a patch.
    pub fn given(
        weights: &Array2<f64>,
        shape: (usize, usize),
        edge: usize,
    ) -> Result<Self, StitchError> {
        let (rows, columns) = weights.dim();
        if shape.0 > rows || shape.1 > columns || shape.0 == 0 || shape.1 == 0 {
            return Err(StitchError::PatchShape {
                given: shape,
                largest: weights.dim(),
            });
        }
        if !weights.iter().all(|w| w.is_finite() && *w >= 0.0) {
            return Err(StitchError::Weights);
        }
        let kept = |index: usize, full: usize, patch: usize| {
            let start = crop_start(full, patch);
            (start + edge..(start + patch).saturating_sub(edge)).contains(&index)
        };
        let mut full = weights.clone();
        for ((row, column), w) in full.indexed_iter_mut() {
            if !kept(row, rows, shape.0) || !kept(column, columns, shape.1) {
                *w = 0.0;
            }
        }
        let brightest = full.iter().copied().fold(0.0, f64::max);
        if brightest <= 0.0 {
            return Err(StitchError::Weights);
        }
        full.mapv_inplace(|w| {
            if w < DARK * brightest {
                0.0
            } else {
                w / brightest
            }
        });
        let (top, left) = (crop_start(rows, shape.0), crop_start(columns, shape.1));
        let patch = full.slice(s![top..top + shape.0, left..left + shape.1]);
        let lit = lit(patch);
        let values = patch.slice(s![lit.0.clone(), lit.1.clone()]);
        let values = values.mapv(|w| w as f32);
        Ok(Self {
            full,
            patch: shape,
            lit,
            values,
            level: true,
        })
    }

    /// The same, with patches levelled or not.
    #[must_use]
    pub fn levelling(self, level: bool) -> Self {
        Self { level, ..self }
    }

    /// Shape (rows, columns) of the patches that these weights are for.
    #[must_use]
    pub fn patch(&self) -> (usize, usize) {
        self.patch
    }

    /// The weights for the solver: those of the full frame.
    pub(super) fn full(&self) -> &Array2<f64> {
        &self.full
    }

    /// Row and column of a patch in the full frame.
    pub(super) fn cut(&self) -> (usize, usize) {
        let (rows, columns) = self.full.dim();
        (
            crop_start(rows, self.patch.0),
            crop_start(columns, self.patch.1),
        )
    }

    /// The rows and columns of a patch that have weight.
    pub(super) fn lit(&self) -> &(Range<usize>, Range<usize>) {
        &self.lit
    }

    /// The smallest part of a patch with all that has weight which is also the middle of the full frame: the solver's patch.
    pub(super) fn middle(&self) -> (Range<usize>, Range<usize>) {
        let (rows, columns) = self.full.dim();
        (
            middle(rows, self.patch.0, &self.lit.0),
            middle(columns, self.patch.1, &self.lit.1),
        )
    }

    /// The weights of these rows and columns.
    pub(super) fn values(&self) -> &Array2<f32> {
        &self.values
    }

    /// Radians per pixel of tilt for one pixel of lean, (down, across): 2π/N; none if patches are not levelled.
    pub(super) fn tilt_of_lean(&self) -> Option<(f64, f64)> {
        let (rows, columns) = self.full.dim();
        self.level
            .then(|| (TAU / rows as f64, TAU / columns as f64))
    }
}

/// One axis of the middle: `patch` of `full` pixels less what is dark on both sides.
fn middle(full: usize, patch: usize, lit: &Range<usize>) -> Range<usize> {
    let start = |length: usize| crop_start(full, length) - crop_start(full, patch);
    let holds = |length: &usize| {
        let start = start(*length);
        start <= lit.start && lit.end <= start + length
    };
    let length = (lit.len()..=patch).find(holds).unwrap_or(patch);
    start(length)..start(length) + length
}

/// The smallest rectangle with all that is not zero; empty if all is.
fn lit(weights: ArrayView2<'_, f64>) -> (Range<usize>, Range<usize>) {
    let around = |lines: Vec<bool>| {
        let first = lines.iter().position(|lit| *lit).unwrap_or(0);
        let end = lines
            .iter()
            .rposition(|lit| *lit)
            .map_or(0, |last| last + 1);
        first..end
    };
    let is_lit = |line: ArrayView1<'_, f64>| line.iter().any(|w| *w > 0.0);
    (
        around(weights.rows().into_iter().map(is_lit).collect()),
        around(weights.columns().into_iter().map(is_lit).collect()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hann_window_is_brightest_in_the_middle_and_dark_at_the_edge() {
        let weights = Weights::hann((6, 8), 0).unwrap();
        let values = weights.values();
        assert_eq!(values.dim(), (6, 8));
        assert_eq!(values[[2, 3]], 1.0);
        assert_eq!(values[[3, 4]], 1.0);
        assert!(values[[0, 0]] < 0.01);
        assert_eq!(Weights::hann((1, 1), 0).unwrap().values()[[0, 0]], 1.0);
    }

    #[test]
    fn pixels_at_the_edge_are_cut_from_each_side() {
        let weights = Weights::hann((10, 12), 3).unwrap();
        assert_eq!(weights.lit(), &(3..7, 3..9));
        assert_eq!(weights.patch(), (10, 12));
        assert_eq!(weights.values()[[1, 2]], 1.0);
        let all = Array2::ones((10, 12));
        let weights = Weights::given(&all, (8, 8), 1).unwrap();
        assert_eq!(weights.lit(), &(1..7, 1..7));
        assert_eq!(weights.cut(), (1, 2));
        assert_eq!(weights.full().sum(), 36.0);
        assert_eq!(weights.middle(), (1..7, 1..7));
        for edge in [5, 50] {
            assert_eq!(
                Weights::hann((10, 12), edge).err(),
                Some(StitchError::Weights)
            );
        }
    }

    #[test]
    fn the_middle_is_centred_in_the_full_frame_and_has_all_weight() {
        let mut weights = Array2::zeros((9, 8));
        weights[[6, 2]] = 1.0;
        weights[[4, 3]] = 0.5;
        let weights = Weights::given(&weights, (7, 8), 0).unwrap();
        assert_eq!(weights.lit(), &(3..6, 2..4));
        let (rows, columns) = weights.middle();
        assert_eq!((rows, columns), (1..6, 2..6));
        let all = Weights::given(&Array2::ones((5, 6)), (5, 6), 0).unwrap();
        assert_eq!(all.middle(), (0..5, 0..6));
    }

    #[test]
    fn weights_that_fit_no_patch_are_errors() {
        let ones = Array2::ones((4, 4));
        let shape = Weights::given(&ones, (5, 4), 0);
        assert!(matches!(shape, Err(StitchError::PatchShape { .. })));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 0.0] {
            let weights = Array2::from_elem((4, 4), wrong);
            let weights = Weights::given(&weights, (4, 4), 0);
            assert_eq!(weights.err(), Some(StitchError::Weights));
        }
    }
}
