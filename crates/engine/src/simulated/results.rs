//! What a simulated device computes: the input, marked so that a result in the wrong place shows.

use crate::Batch;
use beamflow_frame::values::Values;
use std::ops::Range;

/// The most outputs that [`expected`] can tell apart.
pub(crate) const MAX_OUTPUTS: usize = 7;

/// What output `output` holds at `position` (row-major in the frame, from 0) where the frame has `pixel`:
/// `pixel` plus 1/8 to 7/8.
///
/// The eighths differ between outputs, and between positions unless they are a multiple of 7 apart, which
/// no power of two is: a result in another output's place, or shifted by a pixel or a line of a common
/// size, shows even in a uniform frame. They are never 0, so neither unwritten zeros nor a copy of the
/// input passes. Exact for whole pixels of magnitude up to 2²⁰.
#[must_use]
pub fn expected(output: usize, position: usize, pixel: f32) -> f32 {
    let eighths = (position % 7 + 3 * (output % 7)) % 7 + 1;
    pixel + eighths as f32 / 8.0
}

/// Writes results for frames of one size.
#[derive(Debug)]
pub(crate) struct Results {
    /// Pixels in a frame.
    frame: usize,
    /// `expected(0, p, 0.0)` for p from 0. Output k's begin at index 3 k, because it is three places ahead.
    offsets: Vec<f32>,
}

impl Results {
    /// For frames of `frame` pixels.
    pub(crate) fn new(frame: usize) -> Self {
        let places = 0..frame + 3 * MAX_OUTPUTS;
        Self {
            frame,
            offsets: places.map(|place| expected(0, place, 0.0)).collect(),
        }
    }

    /// Writes [`expected`] of every pixel of `batch` into the wanted part of every output.
    pub(crate) fn write(&self, batch: Batch<'_>) {
        for (k, output) in batch.outputs.into_iter().enumerate() {
            let offsets = self.offsets.get(3 * k..).unwrap_or_default();
            // The device's outputs are f32, as its model says; Batch::check has seen to it.
            let wanted = output.wanted.clone();
            let output = output.values.single().unwrap_or_default();
            match batch.input {
                Values::F32(input) => self.write_rows(input, offsets, output, &wanted),
                Values::F16(input) => self.write_rows(input, offsets, output, &wanted),
            }
        }
    }

    fn write_rows<T: Copy + Into<f32>>(
        &self,
        input: &[T],
        offsets: &[f32],
        output: &mut [f32],
        wanted: &Range<usize>,
    ) {
        let offsets = offsets.get(wanted.clone()).unwrap_or_default();
        let rows = output.chunks_exact_mut(self.frame);
        for (row, pixels) in rows.zip(input.chunks_exact(self.frame)) {
            let row = row.get_mut(wanted.clone()).unwrap_or_default();
            let pixels = pixels.get(wanted.clone()).unwrap_or_default();
            for ((out, pixel), offset) in row.iter_mut().zip(pixels).zip(offsets) {
                *out = (*pixel).into() + offset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_values_are_exact_for_whole_pixels_to_2_to_the_20() {
        for pixel in [
            0_i32,
            1,
            -1,
            255,
            -32768,
            65535,
            (1 << 20) - 1,
            1 << 20,
            -(1 << 20),
        ] {
            for position in 0..7 {
                let value = f64::from(expected(0, position, pixel as f32));
                assert_eq!(value, f64::from(pixel) + (position + 1) as f64 / 8.0);
            }
        }
    }

    #[test]
    fn expected_results_differ_by_output_and_position() {
        for position in 0..7 {
            for (a, b) in (0..MAX_OUTPUTS).flat_map(|a| (0..a).map(move |b| (a, b))) {
                assert_ne!(expected(a, position, 5.0), expected(b, position, 5.0));
            }
            for shift in (0..14).map(|n| 1 << n) {
                assert_ne!(
                    expected(0, position, 5.0),
                    expected(0, position + shift, 5.0)
                );
            }
            assert_ne!(
                expected(0, position, 0.0),
                0.0,
                "unwritten zeros would pass"
            );
        }
    }
}
