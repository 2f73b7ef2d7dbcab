//! Levelling: corrects the tilt of each phase patch with the stitched amplitude.
//!
//! For any exit wave P·O, the centre of mass of the far field obeys an exact law (Ehrenfest's theorem):
//!
//! ```text
//! centre of |F{P·O}|² = N/2π · ⟨∇φ⟩ + ⟨r⟩,   means weighted by |P|²A², r and φ's gradient per pixel
//! ```
//!
//! A network that reads one pattern gets this sum right but can trade one term for the other: if its amplitude
//! has too much weight on one side, its phase has an opposite tilt. A tilt that all patches share adds up over
//! the whole scan. The amplitude has no free constant, so the mean of many overlapping patches has a much
//! smaller error than one patch. The difference gives the correction of the phase:
//!
//! ```text
//! φₖ(r) += 2π/N · (lean of Aₖ − lean of the stitched A under patch k) · r,   lean of A = Σ w A² r / Σ w A²
//! ```
//!
//! It needs neither the patterns nor the truth. A patch whose amplitude agrees with its neighbours is
//! unchanged. `models/README.md` has the gain in numbers.

use super::image::Image;
use super::{StitchError, Stitcher};
use beamflow_frame::Position;
use ndarray::{Array2, ArrayView2, Zip, s};
use std::f64::consts::TAU;

/// Amplitude and phase of one patch of the scan.
#[derive(Clone, Copy, Debug)]
pub struct Patch<'a> {
    /// Top-left corner of the full frame.
    pub position: Position,
    /// Amplitude, 1 for empty space; the shape of the phase.
    pub amplitude: ArrayView2<'a, f32>,
    /// Phase in radians.
    pub phase: ArrayView2<'a, f32>,
}

impl Stitcher {
    /// The phases of `patches`, levelled. See the module documentation.
    ///
    /// # Errors
    /// [`StitchError`] for patches outside the object, or without a finite value.
    pub fn level(&self, patches: &[Patch<'_>]) -> Result<Vec<Array2<f32>>, StitchError> {
        let mut seen = Image::new(self.object);
        let mut placed = Vec::with_capacity(patches.len());
        for patch in patches {
            if patch.amplitude.dim() != patch.phase.dim() {
                return Err(StitchError::PatchShape {
                    given: patch.amplitude.dim(),
                    largest: patch.phase.dim(),
                });
            }
            let amplitude = self.place(patch.position, patch.amplitude)?;
            seen.add(&amplitude, self.weights_of(&amplitude));
            placed.push(amplitude);
        }
        let mut mean = seen.sum;
        Zip::from(&mut mean)
            .and(&seen.coverage)
            .for_each(|a, &w| *a = if w > 0.0 { *a / w } else { 0.0 });

        let (rows, columns) = self.weights.dim();
        let (per_row, per_column) = (TAU / rows as f64, TAU / columns as f64);
        let levelled = placed.iter().zip(patches).map(|(amplitude, patch)| {
            let (height, width) = patch.phase.dim();
            let weights = self.weights_of(amplitude);
            let (top, left) = (amplitude.top, amplitude.left);
            let under = mean.slice(s![top..top + height, left..left + width]);
            let own = amplitude.phase.mapv(f64::from);
            let mut seen = under.to_owned();
            Zip::from(&mut seen).and(&own).for_each(|seen, own| {
                if !own.is_finite() {
                    *seen = f64::NAN;
                }
            });
            let (x, y) = lean(weights, &own);
            let (seen_x, seen_y) = lean(weights, &seen);
            let (tilt_x, tilt_y) = (per_column * (x - seen_x), per_row * (y - seen_y));
            let mut phase = patch.phase.to_owned();
            for ((row, column), value) in phase.indexed_iter_mut() {
                *value += (tilt_x * from_middle(column, width) + tilt_y * from_middle(row, height))
                    as f32;
            }
            phase
        });
        Ok(levelled.collect())
    }
}

/// Pixels from the middle of an axis of `length`; index `length / 2` is the middle, as for the probe.
fn from_middle(index: usize, length: usize) -> f64 {
    index as f64 - (length / 2) as f64
}

/// Centre of mass of `weights`·A² of the finite pixels, relative to the middle, (x, y) in pixels; (0, 0) without light.
fn lean(weights: ArrayView2<'_, f64>, amplitude: &Array2<f64>) -> (f64, f64) {
    let (height, width) = amplitude.dim();
    let (mut total, mut x, mut y) = (0.0, 0.0, 0.0);
    Zip::indexed(weights)
        .and(amplitude)
        .for_each(|(row, column), &w, &a| {
            if a.is_finite() {
                let light = w * a * a;
                total += light;
                x += light * from_middle(column, width);
                y += light * from_middle(row, height);
            }
        });
    if total > 0.0 {
        (x / total, y / total)
    } else {
        (0.0, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beamflow_lab::{Probe, ProbeShape};

    const SIDE: usize = 64;

    fn stitcher() -> Stitcher {
        let probe = Probe::new(ProbeShape::default()).unwrap();
        Stitcher::new((SIDE, SIDE + 40), &probe.intensity()).unwrap()
    }

    /// Patches of a flat object at nine places. Patch `wrong` has an amplitude with a gradient of `slope` per
    /// pixel and a phase with a tilt of `tilt` radians per pixel.
    fn patches(wrong: usize, slope: f32, tilt: f32) -> Vec<(Position, Array2<f32>, Array2<f32>)> {
        (0..9)
            .map(|k| {
                let (slope, tilt) = if k == wrong {
                    (slope, tilt)
                } else {
                    (0.0, 0.0)
                };
                let ramp =
                    |by: f32| Array2::from_shape_fn((SIDE, SIDE), |(_, x)| by * (x as f32 - 32.0));
                let position = Position { x: 5 * k, y: 0 };
                (position, ramp(slope) + 0.9, ramp(tilt))
            })
            .collect()
    }

    fn level(patches: &[(Position, Array2<f32>, Array2<f32>)]) -> Vec<Array2<f32>> {
        let views: Vec<_> = patches
            .iter()
            .map(|(position, amplitude, phase)| Patch {
                position: *position,
                amplitude: amplitude.view(),
                phase: phase.view(),
            })
            .collect();
        stitcher().level(&views).unwrap()
    }

    #[test]
    fn patches_whose_amplitudes_agree_are_left_as_they_are() {
        let patches = patches(usize::MAX, 0.0, 0.0);
        for (levelled, (_, _, phase)) in level(&patches).iter().zip(&patches) {
            assert!((levelled - phase).iter().all(|d| d.abs() < 1e-6));
        }
    }

    #[test]
    fn a_tilt_that_balances_a_wrong_amplitude_is_corrected() {
        let slope = 0.002;
        let leaning = patches(4, slope, 0.0)[4].1.mapv(f64::from);
        let probe = Probe::new(ProbeShape::default()).unwrap();
        let (x, y) = lean(probe.intensity().view(), &leaning);
        assert!(x > 0.1 && y.abs() < 1e-9, "{x} {y}");
        // The error of a network that keeps the pattern's centre of mass.
        let tilt = (-TAU / 64.0 * x) as f32;
        let before = patches(4, slope, tilt);
        let after = level(&before);
        let left = (after[4][[32, 50]] / before[4].2[[32, 50]]).abs();
        // Not to zero: the wrong patch is part of the mean that it is compared with.
        assert!(left < 0.35, "{left} of the tilt is left");
        assert!(after[0].iter().all(|p| p.abs() < 0.05));
    }
}
