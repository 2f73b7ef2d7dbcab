//! One patch onto the canvas: its tilt, its constant, its sums.
//!
//! These are the solver's steps for one patch: the tilt from the difference of its amplitude to the picture's (`crate::level`),
//! and the constant that fits its phase to what lies under it (`crate::image`). Sums only grow: nothing is ever subtracted, so
//! rounding does not add up. A pixel that is not finite has no weight, in the phase or in the amplitude.

use super::canvas::{Area, Canvas, Corner, Layer};
use super::sums::sums;
use super::weights::Weights;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, Zip, s};
use std::sync::Arc;

/// Overlaps of less than this fraction of a patch's weight say nothing about its constant.
const OVERLAP: f64 = 1e-5;

/// A patch at its place. The pixels are shared, not copied.
#[derive(Clone, Debug)]
pub struct OnlinePatch {
    /// Its top-left pixel.
    pub corner: Corner,
    /// Radians, row by row, as many as the weights are for.
    pub phase: Arc<[f32]>,
    /// 1 for empty space; without it the patch is not levelled.
    pub amplitude: Option<Arc<[f32]>>,
}

/// Radians per pixel: down, across.
type Tilt = (f64, f64);

impl OnlinePatch {
    /// Bytes of its pixels.
    pub(super) fn bytes(&self) -> usize {
        let amplitude = self.amplitude.as_ref().map_or(0, |values| values.len());
        (self.phase.len() + amplitude) * size_of::<f32>()
    }

    /// Whether it has the pixels that the weights are for, and a finite one in each part.
    pub(super) fn is_usable(&self, weights: &Weights) -> bool {
        let (rows, columns) = weights.patch();
        let usable = |values: &[f32]| {
            values.len() == rows * columns && values.iter().any(|value| value.is_finite())
        };
        usable(&self.phase) && self.amplitude.as_deref().is_none_or(usable)
    }

    /// The part of the grid on which it has weight.
    pub(super) fn area(&self, weights: &Weights) -> Area {
        let (rows, columns) = weights.lit();
        // Lengths of arrays fit.
        let offset = |start: usize| i64::try_from(start).unwrap_or(0);
        Area {
            corner: Corner {
                x: self.corner.x.saturating_add(offset(columns.start)),
                y: self.corner.y.saturating_add(offset(rows.start)),
            },
            rows: rows.len(),
            columns: columns.len(),
        }
    }

    /// Adds the amplitude to its sums.
    pub(super) fn add_amplitude(&self, canvas: &mut Canvas, weights: &Weights) {
        let Some(values) = self.amplitude.as_ref().and_then(|v| lit(v, weights)) else {
            return;
        };
        let (mut sum, mut weight) = canvas.window(Layer::Amplitude, self.area(weights));
        Zip::from(&mut sum)
            .and(&mut weight)
            .and(weights.values())
            .and(values)
            .for_each(|sum, weight, &w, &value| {
                if value.is_finite() {
                    *sum += w * value;
                    *weight += w;
                }
            });
    }

    /// The tilt correction computed from its amplitude and the picture's, which includes this patch. `None` without an
    /// amplitude or light.
    fn tilt(&self, canvas: &mut Canvas, weights: &Weights) -> Option<Tilt> {
        let (per_row, per_column) = weights.tilt_of_lean()?;
        let values = lit(self.amplitude.as_ref()?, weights)?;
        let (sum, weight) = canvas.window(Layer::Amplitude, self.area(weights));
        let (down, across) = middle(weights);
        // Light and its moments of the patch, then of the picture: Σ wA², Σ wA²·y, Σ wA²·x.
        let (mut own, mut seen) = ([0.0; 3], [0.0; 3]);
        let rows = sum.rows().into_iter().zip(weight.rows());
        let rows = rows.zip(weights.values().rows()).zip(values.rows());
        for (row, (((sum, total), w), value)) in rows.enumerate() {
            let of_row = [slice(sum), slice(total), slice(w), slice(value)];
            let [light, right, light_seen, right_seen] =
                sums(of_row, |column, [sum, total, w, value]| {
                    let (w, value) = finite(w, value);
                    let mean = sum / total.max(f32::MIN_POSITIVE);
                    let (light, seen) = (w * value * value, w * mean * mean);
                    [light, light * column, seen, seen * column]
                });
            let y = row as f64 - down;
            for (moments, light, right) in [
                (&mut own, light, right),
                (&mut seen, light_seen, right_seen),
            ] {
                let [all, vertical, horizontal] = moments;
                *all += light;
                *vertical += light * y;
                *horizontal += right - light * across;
            }
        }
        let centre =
            |[light, down, across]: [f64; 3]| (light > 0.0).then(|| (down / light, across / light));
        let (own, seen) = centre(own).zip(centre(seen))?;
        Some((per_row * (own.0 - seen.0), per_column * (own.1 - seen.1)))
    }

    /// Adds the phase to the sums of `layer`, levelled, with the constant that fits best to what lies there. `false`, and
    /// nothing is added, if what lies there has less than the fraction `least` of the patch's weight.
    ///
    /// With Φ₋ the mean and W₋ the weight of what lies there, the constant is Σ u(Φ₋ − φ) / Σ u, u = w·W₋/(W₋ + w).
    pub(super) fn add_phase(
        &self,
        layer: Layer,
        least: f64,
        canvas: &mut Canvas,
        weights: &Weights,
    ) -> bool {
        let (per_row, per_column) = self.tilt(canvas, weights).unwrap_or_default();
        let Some(values) = lit(&self.phase, weights) else {
            return true;
        };
        let (mut sum, mut weight) = canvas.window(layer, self.area(weights));
        let (down, across) = middle(weights);
        // The level of the first pixel of a row, without the constant.
        let level = |row: usize| per_row * (row as f64 - down) - per_column * across;
        let (mut pull, mut overlap, mut light) = (0.0, 0.0, 0.0);
        let rows = sum.rows().into_iter().zip(weight.rows());
        let rows = rows.zip(weights.values().rows()).zip(values.rows());
        for (row, (((sum, total), w), value)) in rows.enumerate() {
            let (first, step) = (level(row) as f32, per_column as f32);
            let of_row = [slice(sum), slice(total), slice(w), slice(value)];
            let [pulls, overlaps, lights] = sums(of_row, |column, [sum, total, w, value]| {
                let (w, value) = finite(w, value);
                let share = w / (total + w).max(f32::MIN_POSITIVE);
                let own = value + first + step * column;
                [share * (sum - total * own), share * total, w]
            });
            pull += pulls;
            overlap += overlaps;
            light += lights;
        }
        if overlap < least * light {
            return false;
        }
        let constant = if overlap > OVERLAP * light {
            pull / overlap
        } else {
            0.0 // nothing lies there: the constant is arbitrary
        };
        let rows = sum.rows_mut().into_iter().zip(weight.rows_mut());
        let rows = rows.zip(weights.values().rows()).zip(values.rows());
        for (row, (((sum, total), w), value)) in rows.enumerate() {
            let (first, step) = ((level(row) + constant) as f32, per_column as f32);
            let places = slice_mut(sum).iter_mut().zip(slice_mut(total));
            let pixels = places.zip(slice(w)).zip(slice(value));
            for (column, (((sum, total), &w), &value)) in pixels.enumerate() {
                let (w, value) = finite(w, value);
                *sum += w * (value + first + step * column as f32);
                *total += w;
            }
        }
        true
    }
}

/// The weight and the value of a pixel: both 0 if the value is not finite.
fn finite(w: f32, value: f32) -> (f32, f32) {
    if value.is_finite() {
        (w, value)
    } else {
        (0.0, 0.0)
    }
}

/// A row of a window in an array that is stored row by row: contiguous, so there is always a slice.
fn slice(row: ArrayView1<'_, f32>) -> &[f32] {
    row.to_slice().unwrap_or_default()
}

/// The same, for writing.
fn slice_mut(row: ArrayViewMut1<'_, f32>) -> &mut [f32] {
    row.into_slice().unwrap_or_default()
}

/// The pixels that have weight; `None` if there are not as many values as the weights are for.
fn lit<'a>(values: &'a [f32], weights: &Weights) -> Option<ArrayView2<'a, f32>> {
    let (rows, columns) = weights.lit();
    let patch = ArrayView2::from_shape(weights.patch(), values).ok()?;
    Some(patch.slice_move(s![rows.clone(), columns.clone()]))
}

/// The middle of a patch, counted in the rows and columns that have weight.
fn middle(weights: &Weights) -> (f64, f64) {
    let (rows, columns) = weights.lit();
    let (height, width) = weights.patch();
    let from = |length: usize, start: usize| (length / 2) as f64 - start as f64;
    (from(height, rows.start), from(width, columns.start))
}
