//! Turns a model's output into the bytes of a message.
//!
//! Everything that does not depend on the values is computed when the model is loaded: the crop, the message's
//! length, its `.npy` header. A result then costs one allocation of exactly its length and one pass over the
//! rows that are kept.

use super::{LengthMismatch, OutputDtype, OutputFormat, OutputSize, npy};
use crate::values::Values;
use std::ops::Range;

/// How an output of a model becomes a message: the crop, the conversion, and the header if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    dtype: OutputDtype,
    /// The axes of a result.
    shape: Vec<usize>,
    /// The start of every message: the `.npy` header, or nothing for raw.
    header: Vec<u8>,
    crop: Crop,
    /// Values in an uncropped output.
    row_len: usize,
    encoded_len: usize,
}

/// The window that is kept of each plane (the last two axes). No extent is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crop {
    /// Height and width of a plane.
    plane: (usize, usize),
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// A model's output as the bytes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes.
    pub message: Vec<u8>,
    /// Values sent that are NaN or infinite.
    pub not_finite: usize,
}

/// The configured output size does not fit the model's output, or the output cannot be sent at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The requested size is larger than the output.
    #[error(
        "output size {asked} (WIDTHxHEIGHT) is larger than the model's output of {width}x{height}: \
         ask for at most {width}x{height}, or for full"
    )]
    CropTooLarge {
        /// The size of `--output-size`.
        asked: OutputSize,
        /// Pixels along the output's last axis.
        width: usize,
        /// Pixels along the output's last axis but one.
        height: usize,
    },
    /// The requested size has no pixels.
    #[error("output size {asked} (WIDTHxHEIGHT) has no pixels: ask for at least 1x1, or for full")]
    EmptyCrop {
        /// The size of `--output-size`.
        asked: OutputSize,
    },
    /// The output has an axis of length 0, or too many values to address.
    #[error(
        "the model's output has the shape {shape:?}, which cannot be sent: export the model with fixed, non-zero axes"
    )]
    Unsendable {
        /// The output's axes, without the batch axis.
        shape: Vec<usize>,
    },
}

/// Where a crop of `kept` pixels around the centre of `pixels` begins: ⌊pixels / 2⌋ − ⌊kept / 2⌋.
///
/// Pixel ⌊N / 2⌋ is the centre of an FFT and of the probe. It stays the centre of the crop, odd or even. The Python sidecars crop in the
/// same way: github.com/perarnau/charon, `batch_infer` in workflows/src/pvapy-udf/pvapy-inference.py. For an odd crop of an even
/// output, half of the rest would be one pixel less.
#[must_use]
pub const fn crop_start(pixels: usize, kept: usize) -> usize {
    (pixels / 2).saturating_sub(kept / 2)
}

impl Envelope {
    /// The envelope for an output of `frame_shape` per frame (without the batch axis).
    ///
    /// Leading axes of length 1 are dropped: (1, 128, 128) is sent as (128, 128). Of the last two
    /// axes the centre of `size` is kept, from [`crop_start`] on.
    /// Outputs of fewer than two axes (a score, a vector) are sent whole, whatever `size` is.
    ///
    /// # Errors
    /// [`EnvelopeError`] where `size` exceeds the output or is empty, or the output itself is empty
    /// or too large.
    pub fn new(
        frame_shape: &[usize],
        size: OutputSize,
        dtype: OutputDtype,
        format: OutputFormat,
    ) -> Result<Self, EnvelopeError> {
        let unsendable = || EnvelopeError::Unsendable {
            shape: frame_shape.to_vec(),
        };
        let product = |axes: &[usize]| {
            axes.iter()
                .try_fold(1usize, |product, &axis| product.checked_mul(axis))
        };
        let row_len = product(frame_shape)
            .filter(|&values| values > 0)
            .ok_or_else(unsendable)?;

        let ones = frame_shape.iter().take_while(|&&axis| axis == 1).count();
        let axes = frame_shape.get(ones..).unwrap_or_default();
        let (crop, shape) = match *axes {
            [ref stack @ .., height, width] => {
                let crop = Crop::centre((height, width), size)?;
                (crop, [stack, &[crop.height, crop.width]].concat())
            }
            _ => (Crop::centre((1, row_len), OutputSize::Full)?, axes.to_vec()),
        };
        let header = match (format, dtype) {
            (OutputFormat::Raw, _) => Some(Vec::new()),
            (OutputFormat::Npy, OutputDtype::Float32) => npy::header("<f4", &shape),
            (OutputFormat::Npy, OutputDtype::Int16) => npy::header("<i2", &shape),
        }
        .ok_or_else(unsendable)?;
        let encoded_len = product(&shape)
            .and_then(|values| values.checked_mul(dtype.size())?.checked_add(header.len()))
            .ok_or_else(unsendable)?;
        Ok(Self {
            dtype,
            shape,
            header,
            crop,
            row_len,
            encoded_len,
        })
    }

    /// The axes of a result.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Values in the row that [`encode`](Self::encode) takes: all of the output, uncropped.
    #[must_use]
    pub const fn row_len(&self) -> usize {
        self.row_len
    }

    /// Bytes in every message, header included.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The range of the row that [`encode`](Self::encode) reads: from the first value kept to the last.
    #[must_use]
    pub const fn wanted(&self) -> Range<usize> {
        let Crop {
            plane: (height, width),
            top,
            left,
            ..
        } = self.crop;
        let first = top * width + left;
        let below = height - top - self.crop.height;
        let right = width - left - self.crop.width;
        first..self.row_len - below * width - right
    }

    /// The message for one frame's output: `row` in C order, of [`row_len`](Self::row_len) values.
    ///
    /// `float32` values are passed on bit for bit, half precision exactly. `int16` truncates toward zero and saturates at
    /// −32,768 and 32,767; NaN becomes 0. Values that are no finite numbers are counted.
    ///
    /// # Errors
    /// [`LengthMismatch`] where the row has another length.
    pub fn encode(&self, row: Values<'_>) -> Result<Encoded, LengthMismatch> {
        match row {
            Values::F32(row) => self.encode_row(row),
            Values::F16(row) => self.encode_row(row),
        }
    }

    /// The part of the row's first plane that [`encode`](Self::encode) keeps, in single precision, with its
    /// height and width, for display. A vector has height 1.
    ///
    /// # Errors
    /// [`LengthMismatch`] where the row has another length.
    pub fn first_plane(&self, row: Values<'_>) -> Result<(usize, usize, Vec<f32>), LengthMismatch> {
        LengthMismatch::check(row.len(), self.row_len)?;
        let kept = match row {
            Values::F32(row) => self.crop.first_plane(row),
            Values::F16(row) => self.crop.first_plane(row),
        };
        Ok((self.crop.height, self.crop.width, kept))
    }

    fn encode_row<T: Copy + Into<f32>>(&self, row: &[T]) -> Result<Encoded, LengthMismatch> {
        LengthMismatch::check(row.len(), self.row_len)?;
        let mut message = vec![0; self.encoded_len];
        let (header, body) = message.split_at_mut(self.header.len());
        header.copy_from_slice(&self.header);
        let not_finite = match self.dtype {
            OutputDtype::Float32 => self.crop.write(row, body, f32::to_le_bytes),
            // `as` does what the docs promise: toward zero, saturating, NaN to 0 (Rust reference, casts).
            OutputDtype::Int16 => self
                .crop
                .write(row, body, |value| (value as i16).to_le_bytes()),
        };
        Ok(Encoded {
            message,
            not_finite,
        })
    }
}

impl Crop {
    fn centre(plane: (usize, usize), size: OutputSize) -> Result<Self, EnvelopeError> {
        let OutputSize::Size { width, height } = size else {
            return Ok(Self {
                plane,
                top: 0,
                left: 0,
                height: plane.0,
                width: plane.1,
            });
        };
        if width == 0 || height == 0 {
            return Err(EnvelopeError::EmptyCrop { asked: size });
        }
        if height > plane.0 || width > plane.1 {
            return Err(EnvelopeError::CropTooLarge {
                asked: size,
                width: plane.1,
                height: plane.0,
            });
        }
        Ok(Self {
            plane,
            top: crop_start(plane.0, height),
            left: crop_start(plane.1, width),
            height,
            width,
        })
    }

    /// The rows of `from` inside the window, plane after plane.
    fn lines<'a, T>(&self, from: &'a [T]) -> impl Iterator<Item = &'a [T]> + use<'a, T> {
        let Self {
            plane: (height, width),
            top,
            left,
            height: kept,
            width: kept_width,
        } = *self;
        from.chunks_exact(height * width)
            .flat_map(move |plane| plane.chunks_exact(width).skip(top).take(kept))
            .filter_map(move |line| line.get(left..left + kept_width))
    }

    fn first_plane<T: Copy + Into<f32>>(&self, from: &[T]) -> Vec<f32> {
        let lines = self.lines(from).take(self.height).flatten();
        lines.map(|value| (*value).into()).collect()
    }

    /// Writes the window of every plane of `from` into `to`; `bytes` converts each value. Returns how many of them are no
    /// finite numbers.
    fn write<T: Copy + Into<f32>, const SIZE: usize>(
        &self,
        from: &[T],
        to: &mut [u8],
        bytes: impl Fn(f32) -> [u8; SIZE],
    ) -> usize {
        let lines = self.lines(from);
        let (values, _) = to.as_chunks_mut::<SIZE>();
        let mut not_finite = 0;
        for (line, values) in lines.zip(values.chunks_exact_mut(self.width)) {
            // One count per line, in 32 bits: the loop has no branch and is vectorised.
            let mut in_line = 0_u32;
            for (value, to) in line.iter().zip(values) {
                let value: f32 = (*value).into();
                in_line = in_line.wrapping_add(u32::from(!value.is_finite()));
                *to = bytes(value);
            }
            not_finite += in_line as usize;
        }
        not_finite
    }
}

#[cfg(test)]
mod tests;
