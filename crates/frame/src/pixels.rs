//! Borrowed pixels and their conversion to the model's type, `f32` or `f16`.
//!
//! A payload stays in gRPC's buffer until its row of a batch is known. Then one pass reads the pixels and
//! writes the row at the speed of memory (`convert`). Values are read with `from_le_bytes`, so neither the
//! payload's alignment nor the host's byte order matters.

mod convert;

use std::fmt;

use super::{BadPixels, Dtype, FrameShape, Rejection};
use crate::values::ValuesMut;
use convert::Good;

/// The pixels of one frame, borrowed from its payload: exactly as many as the model takes.
///
/// Row by row (C order), little-endian, of [`dtype`](Self::dtype).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pixels<'a> {
    dtype: Dtype,
    shape: FrameShape,
    bytes: &'a [u8],
}

/// The row does not have the expected number of values.
///
/// Decoder, batch and envelope are made for the same model, so this is a defect of the program and not of the
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the row has {row} values where {expected} are needed: decoder, batch and envelope disagree on the shape"
)]
pub struct LengthMismatch {
    /// Values in the row that was given.
    pub row: usize,
    /// Values it must have.
    pub expected: usize,
}

impl LengthMismatch {
    pub(super) const fn check(row: usize, expected: usize) -> Result<(), Self> {
        if row == expected {
            Ok(())
        } else {
            Err(Self { row, expected })
        }
    }
}

impl<'a> Pixels<'a> {
    /// The caller has checked that `bytes` is a frame of `shape` and `dtype`.
    pub(super) const fn new(dtype: Dtype, shape: FrameShape, bytes: &'a [u8]) -> Self {
        Self {
            dtype,
            shape,
            bytes,
        }
    }

    /// The type of the pixels in the payload.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The pixels as they are, little-endian.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Pixels in the frame.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether the frame has no pixels.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Converts all pixels into `row`, in order, and replaces the bad ones. Returns the number of pixels that are bad by
    /// their value, outside the mask.
    ///
    /// Into `f32`: every 8 and 16-bit value is exact. 32-bit integers and `float64` go to the nearest `f32`,
    /// ties to even (IEEE 754), so integers beyond 2²⁴ may move by half a unit in the last place. `float32` is copied bit
    /// for bit. NaN, infinities and a `float64` beyond `f32`'s range are bad pixels.
    ///
    /// Into `f16`: the same, then to the nearest `f16`, ties to even: integers are exact to 2,048 and move by
    /// at most 0.05 % up to 65,504. A good value beyond that would become infinite and is refused.
    ///
    /// # Errors
    /// [`Rejection::WrongLength`] unless `row.len()` is [`len`](Self::len); the row is then untouched. Otherwise the row is
    /// undefined: [`Rejection::OutOfRange`] for a good pixel beyond `f16`, [`Rejection::NotFinite`] and
    /// [`Rejection::TooManyBadPixels`] as `bad` says.
    pub fn write_to(&self, mut row: ValuesMut<'_>, bad: &BadPixels) -> Result<usize, Rejection> {
        LengthMismatch::check(row.len(), self.len())?;
        let found = self.convert_all(row.reborrow(), bad)?;
        bad.finish(row, found, self.dtype, self.shape)
    }

    fn convert_all(&self, row: ValuesMut<'_>, bad: &BadPixels) -> Result<usize, Rejection> {
        match self.dtype {
            Dtype::U8 => self.convert(row, bad, |pixel| f32::from(u8::from_le_bytes(pixel))),
            Dtype::I8 => self.convert(row, bad, |pixel| f32::from(i8::from_le_bytes(pixel))),
            Dtype::U16 => self.convert(row, bad, |pixel| f32::from(u16::from_le_bytes(pixel))),
            Dtype::I16 => self.convert(row, bad, |pixel| f32::from(i16::from_le_bytes(pixel))),
            Dtype::U32 => self.convert(row, bad, |pixel| u32::from_le_bytes(pixel) as f32),
            Dtype::I32 => self.convert(row, bad, |pixel| i32::from_le_bytes(pixel) as f32),
            Dtype::F32 => self.convert(row, bad, f32::from_le_bytes),
            Dtype::F64 => self.convert(row, bad, |pixel| f64::from_le_bytes(pixel) as f32),
        }
    }

    /// Generic over the pixel type, so that each type has its own loop without a branch inside.
    fn convert<const SIZE: usize>(
        &self,
        row: ValuesMut<'_>,
        bad: &BadPixels,
        value: impl Fn([u8; SIZE]) -> f32,
    ) -> Result<usize, Rejection> {
        let (pixels, _) = self.bytes.as_chunks::<SIZE>();
        let range = bad.good(self.dtype);
        let good = Good {
            least: *range.start(),
            most: *range.end(),
            marker: bad.marker(),
        };
        let beyond = |value: f32| Rejection::OutOfRange {
            value: format!("{value:e}"),
            dtype: self.dtype,
        };
        let all_good = self.dtype.lies_within(&range);
        match row {
            ValuesMut::F32(row) if all_good => {
                convert::to_single(pixels, row, value);
                Ok(0)
            }
            ValuesMut::F32(row) => Ok(convert::to_single_checked(pixels, row, good, value)),
            ValuesMut::F16(row) if all_good => {
                convert::to_half(pixels, row, value).map_err(beyond)?;
                Ok(0)
            }
            ValuesMut::F16(row) => {
                convert::to_half_checked(pixels, row, good, value).map_err(beyond)
            }
        }
    }
}

/// Prints type and count: 262,144 pixels do not belong in a log line.
impl fmt::Debug for Pixels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({} x {})", self.len(), self.dtype)
    }
}

#[cfg(test)]
mod tests;
