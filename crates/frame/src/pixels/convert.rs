//! The loops from pixels to values, as vector code for the processor at hand.
//!
//! Each loop is compiled once for every kind of vector unit, and the best one is picked when it runs: the compiler
//! makes the vector code, `fearless_simd` picks. A loop has no index and no branch, so that there is vector
//! code to be made of it. It gives the same bits on every processor.

use fearless_simd::{Level, Simd, dispatch};
use half::f16;

/// From here on a number is beyond `f16`: it lies nearer to 65,536 than to 65,504, the largest there is.
const BEYOND_HALF: f32 = 65_520.0;

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

/// Writes the `f16` nearest to `value(pixel)` for every pixel, ties to even.
///
/// # Errors
/// The first value that is finite and would become infinite; the row is then undefined.
pub(super) fn to_half<const SIZE: usize>(
    pixels: &[[u8; SIZE]],
    row: &mut [f16],
    value: impl Fn([u8; SIZE]) -> f32,
) -> Result<(), f32> {
    #[inline(always)]
    fn run<S: Simd, const SIZE: usize>(
        simd: S,
        pixels: &[[u8; SIZE]],
        row: &mut [f16],
        value: impl Fn([u8; SIZE]) -> f32,
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

#[inline(always)]
fn is_beyond_half(value: f32) -> bool {
    value.is_finite() && value.abs() >= BEYOND_HALF
}

/// `f16::from_f32` without a branch, bit for bit the same: that one is not made into vector code.
///
/// IEEE 754: binary32 has 23 bits of fraction and an exponent biased by 127, binary16 has 10 and 15.
#[inline(always)]
fn nearest_half(value: f32) -> f16 {
    /// The smallest normal `f16`, 2⁻¹⁴, as `f32`.
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    /// 2¹⁶: all that is as large is infinite or no number.
    const TWICE_THE_LARGEST: u32 = (127 + 16) << 23;
    const INFINITY: u32 = 0xff << 23;
    /// The difference of the biases, from one exponent to the other.
    const BIAS: u32 = (127 - 15) << 23;

    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding just under a half of the last place that stays carries over what is to be rounded up; a tie is so if
    // that place is odd.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(BIAS).wrapping_add(0x0fff + odd) >> 13;
    // In the sum with 0.5 the last place is 2⁻²⁴, a subnormal's own: the addition rounds.
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
