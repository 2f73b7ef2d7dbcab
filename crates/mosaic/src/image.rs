//! The image during stitching: weighted sums, and one step of the solver.
//!
//! The sums hold each placed patch with its current constant, so Φ is always their quotient. Pixels that are not finite have no
//! weight. Windows are inside
//! the image because `super::Stitcher` checked the positions.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Zip, s};

/// A patch with its position; `constant` is the current cₖ.
pub(super) struct Placed<'a> {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) phase: ArrayView2<'a, f32>,
    pub(super) constant: f64,
}

/// Σ w·(φ + c) and Σ w of all patches placed so far; their quotient is Φ.
pub(super) struct Image {
    pub(super) sum: Array2<f64>,
    pub(super) coverage: Array2<f64>,
}

impl Image {
    /// An image of (rows, columns) pixels without patches.
    pub(super) fn new(shape: (usize, usize)) -> Self {
        Self {
            sum: Array2::zeros(shape),
            coverage: Array2::zeros(shape),
        }
    }

    fn windows(&mut self, patch: &Placed<'_>) -> (ArrayViewMut2<'_, f64>, ArrayViewMut2<'_, f64>) {
        let (height, width) = patch.phase.dim();
        let rows = patch.top..patch.top + height;
        let columns = patch.left..patch.left + width;
        let coverage = self.coverage.slice_mut(s![rows.clone(), columns.clone()]);
        (self.sum.slice_mut(s![rows, columns]), coverage)
    }

    /// Adds a patch to the sums.
    pub(super) fn add(&mut self, patch: &Placed<'_>, weights: ArrayView2<'_, f64>) {
        let (mut sum, mut coverage) = self.windows(patch);
        let light = Zip::from(&mut sum)
            .and(&mut coverage)
            .and(weights)
            .and(patch.phase);
        light.for_each(|sum, coverage, &w, &phase| {
            if phase.is_finite() {
                *sum += w * (f64::from(phase) + patch.constant);
                *coverage += w;
            }
        });
    }

    /// Sets the constant of a patch in the image to the value that fits the other patches best; returns the
    /// change in radians.
    ///
    /// With Φ₋ the mean and W₋ the weight of the others, the cost of cₖ is Σ (w·W₋/W)·(φₖ + cₖ − Φ₋)². Its
    /// minimum is a change of Σ w(Φ − φₖ − cₖ) / Σ w(1 − w/W). It is written in Φ and W to avoid a division by
    /// zero where no other patch has light.
    pub(super) fn improve(&mut self, patch: &mut Placed<'_>, weights: ArrayView2<'_, f64>) -> f64 {
        let constant = patch.constant;
        let (mut sum, coverage) = self.windows(patch);
        let (mut pull, mut overlap, mut light) = (0.0, 0.0, 0.0);
        Zip::from(&sum)
            .and(&coverage)
            .and(weights)
            .and(patch.phase)
            .for_each(|sum, coverage, &w, &phase| {
                if w > 0.0 && phase.is_finite() {
                    pull += w * (sum / coverage - (f64::from(phase) + constant));
                    overlap += w * (1.0 - w / coverage);
                    light += w;
                }
            });
        if overlap <= 1e-9 * light {
            return 0.0; // overlaps no other patch: the constant is arbitrary
        }
        let change = pull / overlap;
        Zip::from(&mut sum)
            .and(weights)
            .and(patch.phase)
            .for_each(|sum, &w, &phase| {
                if phase.is_finite() {
                    *sum += w * change;
                }
            });
        patch.constant += change;
        change
    }
}
