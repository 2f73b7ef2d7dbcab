//! Vectorised loops from pixels to values.
//!
//! Each loop is compiled once for every kind of vector unit, and `fearless_simd` picks the best one at run
//! time. The loops have no index and no branch, so that the compiler can vectorise them. The result is the
//! same, bit for bit, on every processor.

use fearless_simd::{Level, Simd, dispatch};
use half::f16;

/// The smallest magnitude that is refused: it is nearer to 65,536 than to 65,504, the largest `f16`.
const BEYOND_HALF: f32 = 65_520.0;

/// The good values, and what is written in place of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good {
    pub(super) least: f32,
    pub(super) most: f32,
    pub(super) marker: f32,
}

impl Good {
    /// `value` and 0, or the marker and 1 if it is bad. NaN is bad: it compares with nothing.
    #[inline(always)]
    fn check(self, value: f32) -> (f32, u32) {
        let is_good = value >= self.least && value <= self.most;
        let kept = if is_good { value } else { self.marker };
        (kept, u32::from(!is_good))
    }
}

/// Writes `value(pixel)` for every pixel.
pub(super) fn to_single<const SIZE: usize>(
    pixels: &[[u8; SIZE]],
    row: &mut [f32],
    value: impl Fn([u8; SIZE]) -> f32,
) {
    #[inline(always)]
    fn run<S: Simd, const SIZE: usize>(
        simd: S,
        pixels: &[[u8; SIZE]],
        row: &mut [f32],
        value: impl Fn([u8; SIZE]) -> f32,
    ) {
        simd.vectorize(
            #[inline(always)]
            || {
                for (to, from) in row.iter_mut().zip(pixels) {
                    *to = value(*from);
                }
            },
        );
    }
    dispatch!(Level::new(), simd => run(simd, pixels, row, value));
}

/// Writes `value(pixel)` for every pixel that is good, and the marker for the others; returns their number.
pub(super) fn to_single_checked<const SIZE: usize>(
    pixels: &[[u8; SIZE]],
    row: &mut [f32],
    good: Good,
    value: impl Fn([u8; SIZE]) -> f32,
) -> usize {
    #[inline(always)]
    fn run<S: Simd, const SIZE: usize>(
        simd: S,
        pixels: &[[u8; SIZE]],
        row: &mut [f32],
        good: Good,
        value: impl Fn([u8; SIZE]) -> f32,
    ) -> u32 {
        simd.vectorize(
            #[inline(always)]
            || {
                let mut bad = 0_u32;
                for (to, from) in row.iter_mut().zip(pixels) {
                    let (kept, is_bad) = good.check(value(*from));
                    bad = bad.wrapping_add(is_bad);
                    *to = kept;
                }
                bad
            },
        )
    }
    dispatch!(Level::new(), simd => run(simd, pixels, row, good, value)) as usize
}

/// Writes the `f16` nearest to `value(pixel)` for every pixel, ties to even.
///
/// # Errors
/// The first value that is finite and would become infinite; the row is then undefined.
pub(super) fn to_half<T: Copy>(
    pixels: &[T],
    row: &mut [f16],
    value: impl Fn(T) -> f32,
) -> Result<(), f32> {
    #[inline(always)]
    fn run<S: Simd, T: Copy>(
        simd: S,
        pixels: &[T],
        row: &mut [f16],
        value: impl Fn(T) -> f32,
    ) -> bool {
        simd.vectorize(
            #[inline(always)]
            || {
                let mut beyond = false;
                for (to, from) in row.iter_mut().zip(pixels) {
                    let single = value(*from);
                    beyond |= is_beyond_half(single);
                    *to = nearest_half(single);
                }
                beyond
            },
        )
    }
    let beyond = dispatch!(Level::new(), simd => run(simd, pixels, row, &value));
    let first = || {
        let mut values = pixels.iter().map(|pixel| value(*pixel));
        values.find(|value| is_beyond_half(*value))
    };
    match beyond.then(first).flatten() {
        Some(value) => Err(value),
        None => Ok(()),
    }
}

/// Pixels that are checked at a time before they become `f16`: as `f32` they stay in the first cache.
const CHUNK: usize = 1024;

/// Writes the `f16` nearest to `value(pixel)` for every pixel that is good, and the marker for the others; returns their number.
/// In two loops, because the compiler does not vectorise one that does both.
///
/// # Errors
/// The first good value that is finite and would become infinite; the row is then undefined.
pub(super) fn to_half_checked<const SIZE: usize>(
    pixels: &[[u8; SIZE]],
    row: &mut [f16],
    good: Good,
    value: impl Fn([u8; SIZE]) -> f32,
) -> Result<usize, f32> {
    let mut single = [0.0; CHUNK];
    let mut bad = 0;
    for (pixels, row) in pixels.chunks(CHUNK).zip(row.chunks_mut(CHUNK)) {
        let single = single.get_mut(..pixels.len()).unwrap_or_default();
        bad += to_single_checked(pixels, single, good, &value);
        to_half(single, row, |value| value)?;
    }
    Ok(bad)
}

#[inline(always)]
fn is_beyond_half(value: f32) -> bool {
    value.is_finite() && value.abs() >= BEYOND_HALF
}

/// `f16::from_f32` without a branch, bit for bit the same, because the compiler does not vectorise that one.
///
/// IEEE 754: binary32 has 23 bits of fraction and an exponent biased by 127, binary16 has 10 and 15.
#[inline(always)]
fn nearest_half(value: f32) -> f16 {
    /// The smallest normal `f16`, 2⁻¹⁴, as `f32`.
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    /// 2¹⁶: from here on the result is infinite or NaN.
    const TWICE_THE_LARGEST: u32 = (127 + 16) << 23;
    const INFINITY: u32 = 0xff << 23;
    /// The difference of the two exponent biases.
    const BIAS: u32 = (127 - 15) << 23;

    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding slightly less than half of the last kept place carries if the value must be rounded up; for a tie,
    // an odd last place adds the missing bit.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(BIAS).wrapping_add(0x0fff + odd) >> 13;
    // In the sum with 0.5 the last place is 2⁻²⁴, that of a subnormal: the addition rounds.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0.5_f32.to_bits());
    let fraction = if magnitude > INFINITY {
        0x200 | ((magnitude >> 13) & 0x3ff)
    } else {
        0
    };
    let finite = if magnitude < SMALLEST_NORMAL {
        subnormal
    } else {
        normal
    };
    let half = if magnitude >= TWICE_THE_LARGEST {
        0x7c00 | fraction
    } else {
        finite
    };
    f16::from_bits((sign | half) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agrees(value: f32) -> bool {
        nearest_half(value).to_bits() == f16::from_f32(value).to_bits()
    }

    #[test]
    fn the_nearest_half_agrees_with_the_half_crate() {
        for half in 0..=u16::MAX {
            let value = f16::from_bits(half).to_f32();
            let next = f16::from_bits(half.wrapping_add(1)).to_f32();
            for place in [value, (value + next) / 2.0] {
                for beside in [-1, 0, 1] {
                    let value = f32::from_bits(place.to_bits().wrapping_add_signed(beside));
                    assert!(agrees(value), "{value:e}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_nearest_half_is_the_half_crates_for_any_bits(bits: u32) {
            prop_assert!(agrees(f32::from_bits(bits)), "{bits:#x}");
        }
    }

    #[test]
    #[ignore = "all 2^32 of them: seconds in release, minutes otherwise"]
    fn the_nearest_half_is_the_half_crates_for_all_bits() {
        assert!((0..=u32::MAX).map(f32::from_bits).all(agrees));
    }
}
