//! Pixels that are no measurements: which they are, and what a model gets instead.
//!
//! Detectors mark pixels that they could not count in the frame itself. Eiger and other Dectris detectors write the
//! largest value of the unsigned type for gaps and defective pixels, Pilatus writes −1 and −2, processing in float writes
//! NaN. Computed as counts, one such pixel spoils the whole result: 65,535 photons where there are ten.
//!
//! A pixel is bad if its value lies outside a range of good values, which follows from the frame's type and the
//! [`BadPixelRule`], or if a [`Mask`] names it. The range is a range of `f32`, after the conversion from the pixel's type:
//! NaN and the infinities lie outside any. So one comparison in the conversion's loop finds every bad pixel. `uint32`
//! values within 128 of the largest are one value in `f32`, and are bad together with it.
//!
//! What always holds: a row that a model gets is finite. With [`BadPixels::off`] no pixel is bad, and a frame that is not
//! finite is rejected.

/// The mask's file.
mod mask;
/// What a bad pixel becomes.
mod repair;
/// `--bad-pixels`, `--bad-pixel-fill` and `--max-bad-pixels` as text.
mod text;

pub use mask::{Mask, MaskError};
pub use text::{BadPixelFill, BadPixelLimit, BadPixelRule};

use crate::values::ValuesMut;
use crate::{Dtype, FrameShape, Rejection};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Every finite value.
const FINITE: RangeInclusive<f32> = f32::MIN..=f32::MAX;

/// Which pixels are bad, and what is done about them. One for each model.
#[derive(Clone, Debug, PartialEq)]
pub struct BadPixels {
    rule: Option<BadPixelRule>,
    fill: BadPixelFill,
    limit: BadPixelLimit,
    mask: Option<Arc<Mask>>,
}

impl Default for BadPixels {
    /// The largest value of an unsigned type and what is not finite, set to 0; half of a frame at most.
    fn default() -> Self {
        Self {
            rule: Some(BadPixelRule::default()),
            fill: BadPixelFill::default(),
            limit: BadPixelLimit::default(),
            mask: None,
        }
    }
}

impl BadPixels {
    /// `rule` finds bad pixels by their value, `mask` names further ones, all become `fill`. A frame with more than `limit`
    /// pixels found by their value is rejected.
    #[must_use]
    pub fn new(
        rule: Option<BadPixelRule>,
        fill: BadPixelFill,
        limit: BadPixelLimit,
        mask: Option<Mask>,
    ) -> Self {
        Self {
            rule,
            fill,
            limit,
            mask: mask.map(Arc::new),
        }
    }

    /// No pixel is bad. A frame that is not finite is rejected.
    #[must_use]
    pub fn off() -> Self {
        Self {
            rule: None,
            ..Self::default()
        }
    }

    /// The good values of a frame of `dtype`, as `f32`.
    pub(crate) fn good(&self, dtype: Dtype) -> RangeInclusive<f32> {
        self.rule.map_or(FINITE, |rule| rule.good(dtype))
    }

    /// What the conversion writes for a bad pixel: 0, or NaN where [`finish`](Self::finish) has to find it again.
    pub(crate) fn marker(&self) -> f32 {
        let plain = self.fill == BadPixelFill::Zero && self.mask.is_none();
        if plain { 0.0 } else { f32::NAN }
    }

    /// Completes a converted row of `shape` in which `found` pixels are bad by their value and have the
    /// [`marker`](Self::marker): rejects it, or replaces the marked and the masked pixels. Returns the number of bad pixels
    /// that the mask does not name.
    ///
    /// # Errors
    /// [`Rejection::NotFinite`] without a rule, [`Rejection::TooManyBadPixels`] beyond the limit.
    pub(crate) fn finish(
        &self,
        mut row: ValuesMut<'_>,
        found: usize,
        dtype: Dtype,
        shape: FrameShape,
    ) -> Result<usize, Rejection> {
        let masked = self.mask.as_ref().map_or(&[][..], |mask| mask.pixels());
        let named = if found == 0 || masked.is_empty() {
            0
        } else {
            repair::marked(&mut row, masked)
        };
        let (found, pixels) = (found - named, row.len());
        match self.rule {
            None if found > 0 => {
                return Err(Rejection::NotFinite {
                    found,
                    pixels,
                    dtype,
                });
            }
            Some(rule) if found > self.limit.of(pixels) => {
                return Err(Rejection::TooManyBadPixels {
                    found,
                    pixels,
                    most: self.limit.of(pixels),
                    rule: rule.to_string(),
                    dtype,
                });
            }
            _ => {}
        }
        if self.marker().is_nan() && (found > 0 || !masked.is_empty()) {
            repair::repair(row, masked, found, self.fill, shape);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
