//! Stitching: combines many small phase patches into one phase image.
//!
//! A diffraction pattern does not determine the absolute phase of its patch: O and O·exp(ic) give the same
//! intensities. So each patch φₖ has an unknown constant cₖ. Image Φ and constants minimise the squared
//! differences between patches and image, each pixel weighted by its illumination:
//!
//! ```text
//! minimise  Σₖ Σₓ wₖ(x)·(φₖ(x) + cₖ − Φ(x))²,   w = |P|²
//! ```
//!
//! For given constants Φ is the weighted mean of the patches. For given others, cₖ has a closed form that needs
//! only the overlap of patch k with them. Constants are first set in scan order against the patches already
//! placed, then improved patch by patch (Gauss-Seidel on the normal equations) until none changes by more than
//! the tolerance. PtychoNN (Cherukara et al., Appl. Phys. Lett. 117, 044103, 2020) averages patches in the same
//! way, without the constants.
//!
//! While the scan runs, `online` does the same step by step.
//!
//! Invariants: a missing patch does not affect the rest of the image; a pixel of a patch that is not finite carries no
//! weight; pixels that no patch lit are NaN, not zero; the image's constant is arbitrary (its weighted mean is zero), so compare with `PhaseError::measure`,
//! which removes it; the number of sweeps is bounded.

#![deny(unreachable_pub)]

use ndarray::{Array2, ArrayView2, Zip, s};

use beamflow_frame::{Position, crop_start};

/// Sums over patches, and the best constant of one patch.
mod image;
/// Corrects the tilt of each patch with the amplitudes.
mod level;
/// The mosaic while a scan runs.
pub mod online;
/// Error of the image against a known truth.
mod phase_error;

pub use level::Patch;
pub use phase_error::PhaseError;

use image::{Image, Placed};

/// Weights below this fraction of the brightest count as unlit: the network's values there are guesses.
const DARK: f64 = 1e-3;

/// Why patches cannot be stitched or compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StitchError {
    /// The probe's weights are unusable.
    #[error("the weights must be finite, not negative and not all zero")]
    Weights,
    /// No patch was given.
    #[error("there is no patch to stitch")]
    NoPatch,
    /// A patch larger than the weights, or empty.
    #[error("a patch of {given:?} pixels (rows, columns) where 1x1 to {largest:?} fit")]
    PatchShape {
        /// The patch's (rows, columns).
        given: (usize, usize),
        /// The weights' (rows, columns).
        largest: (usize, usize),
    },
    /// A patch extends beyond the object's edge.
    #[error("the patch at (x {x}, y {y}) leaves the object of {object:?} pixels (rows, columns)")]
    OutsideObject {
        /// Column of the scan position.
        x: usize,
        /// Row of the scan position.
        y: usize,
        /// The object's (rows, columns).
        object: (usize, usize),
    },
    /// A patch holds only NaN and infinities.
    #[error("the patch at (x {x}, y {y}) holds no value that is finite")]
    NotFinite {
        /// Column of the scan position.
        x: usize,
        /// Row of the scan position.
        y: usize,
    },
    /// Image and truth differ in shape.
    #[error("the truth has shape {truth:?}, the stitched image {stitched:?}")]
    TruthShape {
        /// The truth's (rows, columns).
        truth: (usize, usize),
        /// The image's (rows, columns).
        stitched: (usize, usize),
    },
}

/// Stitches patches on the grid of one object.
#[derive(Debug, Clone)]
pub struct Stitcher {
    object: (usize, usize),
    weights: Array2<f64>,
    tolerance: f64,
    max_sweeps: usize,
}

/// The result of [`Stitcher::stitch`].
#[derive(Debug, Clone)]
pub struct Stitched {
    /// Phase in radians on the object's grid, shape (rows, columns); NaN where no patch was lit.
    pub phase: Array2<f64>,
    /// Σ of the patches' weights per pixel, relative to the brightest pixel of one patch.
    pub coverage: Array2<f64>,
    /// The constants added to each patch, in radians, in the order of the patches.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of convergence"))]
    pub(crate) constants: Vec<f64>,
    /// The number of sweeps over all patches.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of convergence"))]
    pub(crate) sweeps: usize,
    /// Largest change of a constant in the last sweep, in radians. It is above the tolerance if the sweeps were
    /// used up.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of convergence"))]
    pub(crate) last_change: f64,
}

impl Stitcher {
    /// A stitcher for an object of (rows, columns) pixels and patches lit by `weights`, shape (N, N), in any
    /// unit: `Probe::intensity` of the lab.
    ///
    /// # Errors
    /// [`StitchError::Weights`].
    pub fn new(object: (usize, usize), weights: &Array2<f64>) -> Result<Self, StitchError> {
        let brightest = weights.iter().copied().fold(0.0, f64::max);
        let usable = weights.iter().all(|w| w.is_finite() && *w >= 0.0);
        if !usable || brightest <= 0.0 {
            return Err(StitchError::Weights);
        }
        let weights = weights
            .mapv(|w| w / brightest)
            .mapv(|w| if w < DARK { 0.0 } else { w });
        Ok(Self {
            object,
            weights,
            tolerance: 1e-5,
            max_sweeps: 500,
        })
    }

    /// Stops when no constant changes by more than `radians` in a sweep (default 1e-5).
    #[must_use]
    pub(crate) fn tolerance(self, radians: f64) -> Self {
        Self {
            tolerance: radians,
            ..self
        }
    }

    /// Makes at most this many sweeps over all patches (default 500).
    #[must_use]
    #[cfg(test)]
    pub(crate) fn max_sweeps(self, sweeps: usize) -> Self {
        Self {
            max_sweeps: sweeps,
            ..self
        }
    }

    /// Stitches the patches, phases in radians, in scan order; dropped frames are left out. `position` is the
    /// top-left corner of the full N×N frame. A patch smaller than N×N is its middle, cut at row (N − height)/2
    /// and column (N − width)/2, as the sidecar's `--output-size` does.
    ///
    /// # Errors
    /// [`StitchError::NoPatch`], [`StitchError::PatchShape`], [`StitchError::OutsideObject`],
    /// [`StitchError::NotFinite`].
    pub fn stitch<'a, I>(&self, patches: I) -> Result<Stitched, StitchError>
    where
        I: IntoIterator<Item = (Position, ArrayView2<'a, f32>)>,
    {
        let mut image = Image::new(self.object);
        let mut placed = Vec::new();
        for (position, phase) in patches {
            let mut patch = self.place(position, phase)?;
            let weights = self.weights_of(&patch);
            image.add(&patch, weights);
            image.improve(&mut patch, weights);
            placed.push(patch);
        }
        if placed.is_empty() {
            return Err(StitchError::NoPatch);
        }

        let mut sweeps = 0;
        let mut last_change = f64::INFINITY;
        while sweeps < self.max_sweeps && last_change > self.tolerance {
            last_change = 0.0;
            for patch in &mut placed {
                let weights = self.weights_of(patch);
                last_change = image.improve(patch, weights).abs().max(last_change);
            }
            sweeps += 1;
        }

        let mean = image.sum.sum() / image.coverage.sum();
        let mut phase = image.sum;
        Zip::from(&mut phase)
            .and(&image.coverage)
            .for_each(|p, &w| {
                *p = if w > 0.0 { *p / w - mean } else { f64::NAN };
            });
        let coverage = image.coverage;
        let constants = placed.iter().map(|patch| patch.constant - mean).collect();
        Ok(Stitched {
            phase,
            coverage,
            constants,
            sweeps,
            last_change,
        })
    }

    fn place<'a>(
        &self,
        Position { x, y }: Position,
        phase: ArrayView2<'a, f32>,
    ) -> Result<Placed<'a>, StitchError> {
        let (height, width) = phase.dim();
        let (rows, columns) = self.weights.dim();
        if height == 0 || width == 0 || height > rows || width > columns {
            return Err(StitchError::PatchShape {
                given: (height, width),
                largest: (rows, columns),
            });
        }
        let end = |corner: usize, crop: usize, length: usize| {
            corner
                .checked_add(crop)
                .and_then(|start| start.checked_add(length))
        };
        let (cut_rows, cut_columns) = (crop_start(rows, height), crop_start(columns, width));
        match (end(y, cut_rows, height), end(x, cut_columns, width)) {
            (Some(bottom), Some(right)) if bottom <= self.object.0 && right <= self.object.1 => {}
            _ => {
                return Err(StitchError::OutsideObject {
                    x,
                    y,
                    object: self.object,
                });
            }
        }
        if !phase.iter().any(|p| p.is_finite()) {
            return Err(StitchError::NotFinite { x, y });
        }
        Ok(Placed {
            top: y + cut_rows,
            left: x + cut_columns,
            phase,
            constant: 0.0,
        })
    }

    /// The part of the weights under a patch's pixels.
    fn weights_of(&self, patch: &Placed<'_>) -> ArrayView2<'_, f64> {
        let (height, width) = patch.phase.dim();
        let (rows, columns) = self.weights.dim();
        let (top, left) = (crop_start(rows, height), crop_start(columns, width));
        self.weights
            .slice(s![top..top + height, left..left + width])
    }
}

#[cfg(test)]
mod tests;
