//! A result as float32, whatever type it was sent in.
//!
//! A map other than this program's may send results as half or double precision, or as integers. All of them are read here.
//! Half precision and integers of up to 16 bits are exact as float32; others are rounded, and [`FloatImage::rounded`] says so.

use super::npy::{Array, MAGIC};
use super::{Dtype, FrameShape, Rejection};
use half::f16;

/// An image of float32 values.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatImage {
    /// Rows and columns.
    pub shape: FrameShape,
    /// The values, row by row.
    pub values: Vec<f32>,
    /// Values were rounded: float32 cannot hold them exactly.
    pub rounded: bool,
}

/// Why a payload is no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoImage {
    /// It is no `.npy` array, and nothing says what it is.
    #[error(
        "the payload of {bytes} bytes is no npy array: send results as npy (--output-format npy of the map), or name \
         --output-dtype and --output-shape here"
    )]
    NotNpy {
        /// Bytes in the payload.
        bytes: usize,
    },
    /// The `.npy` array cannot be read.
    #[error(transparent)]
    BadNpy(#[from] Rejection),
    /// The array has not two axes.
    #[error("the npy array has shape {shape}: only images, with two axes, can be shown")]
    Axes {
        /// Its shape.
        shape: String,
    },
    /// A raw payload has another size than it should.
    #[error(
        "the payload has {bytes} bytes, and a raw {shape} {dtype} image has {expected}: compare --output-dtype and \
         --output-shape with what the map sends"
    )]
    Size {
        /// Bytes in the payload.
        bytes: usize,
        /// Bytes of such an image.
        expected: usize,
        /// Its type.
        dtype: Dtype,
        /// Its shape.
        shape: FrameShape,
    },
}

impl NoImage {
    /// Every [`kind`](Self::kind).
    pub const KINDS: [&'static str; 4] = ["not_npy", "bad_npy", "no_image", "wrong_size"];

    /// The reason as a metric label: one of [`KINDS`](Self::KINDS).
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotNpy { .. } => "not_npy",
            Self::BadNpy(_) => "bad_npy",
            Self::Axes { .. } => "no_image",
            Self::Size { .. } => "wrong_size",
        }
    }
}

/// The type of the values.
#[derive(Clone, Copy)]
enum Real {
    Half,
    Other(Dtype),
}

impl Real {
    const fn size(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Other(dtype) => dtype.size(),
        }
    }
}

impl FloatImage {
    /// Reads an `.npy` array, recognised by its magic, or a `raw` image of that type and shape.
    ///
    /// Leading axes of length 1 are dropped, as everywhere.
    ///
    /// # Errors
    /// [`NoImage`].
    pub fn read(payload: &[u8], raw: Option<(Dtype, FrameShape)>) -> Result<Self, NoImage> {
        let bytes = payload.len();
        if payload.starts_with(MAGIC) {
            return Self::from_npy(payload);
        }
        let (dtype, shape) = raw.ok_or(NoImage::NotNpy { bytes })?;
        // A shape beyond `usize` is that of no payload.
        let expected = shape.bytes(dtype).unwrap_or(usize::MAX);
        if bytes != expected {
            return Err(NoImage::Size {
                bytes,
                expected,
                dtype,
                shape,
            });
        }
        Ok(Self::new(shape, payload, Real::Other(dtype)))
    }

    fn from_npy(payload: &[u8]) -> Result<Self, NoImage> {
        let mut real = Real::Half;
        let array = Array::read_with(payload, |descr| match descr {
            "<f2" => Some(Dtype::U16),
            other => Dtype::from_descr(other).inspect(|dtype| real = Real::Other(*dtype)),
        })?;
        let shape = array.image.filter(|shape| shape.pixels() != Some(0));
        let shape = shape.ok_or_else(|| NoImage::Axes {
            shape: array.shape.chars().take(60).collect(),
        })?;
        let bytes = payload.len();
        let size = shape
            .pixels()
            .and_then(|pixels| pixels.checked_mul(real.size()));
        let expected = array.header_len.saturating_add(size.unwrap_or(usize::MAX));
        if bytes < expected {
            return Err(Rejection::NpyTruncated { bytes, expected }.into());
        }
        if bytes > expected {
            return Err(Rejection::NpyOversized { bytes, expected }.into());
        }
        Ok(Self::new(shape, array.data, real))
    }

    /// `data` has the size that shape and type need.
    fn new(shape: FrameShape, data: &[u8], real: Real) -> Self {
        macro_rules! values {
            ($element:ty, $convert:expr) => {
                data.as_chunks()
                    .0
                    .iter()
                    .map(|bytes| ($convert)(<$element>::from_le_bytes(*bytes)))
                    .collect()
            };
        }
        let values: Vec<f32> = match real {
            Real::Half => values!(f16, f16::to_f32),
            Real::Other(Dtype::U8) => values!(u8, f32::from),
            Real::Other(Dtype::I8) => values!(i8, f32::from),
            Real::Other(Dtype::U16) => values!(u16, f32::from),
            Real::Other(Dtype::I16) => values!(i16, f32::from),
            Real::Other(Dtype::U32) => values!(u32, |value| value as f32),
            Real::Other(Dtype::I32) => values!(i32, |value| value as f32),
            Real::Other(Dtype::F32) => values!(f32, |value| value),
            Real::Other(Dtype::F64) => values!(f64, |value| value as f32),
        };
        let rounded = match real {
            Real::Other(Dtype::U32) => exceeds(&values, data, |bytes: [u8; 4]| {
                f64::from(u32::from_le_bytes(bytes))
            }),
            Real::Other(Dtype::I32) => exceeds(&values, data, |bytes: [u8; 4]| {
                f64::from(i32::from_le_bytes(bytes))
            }),
            Real::Other(Dtype::F64) => exceeds(&values, data, f64::from_le_bytes),
            _ => false,
        };
        Self {
            shape,
            values,
            rounded,
        }
    }
}

/// Whether a value differs from what was sent.
fn exceeds<const N: usize>(values: &[f32], data: &[u8], sent: impl Fn([u8; N]) -> f64) -> bool {
    let (sent_as, _) = data.as_chunks();
    let mut pairs = values.iter().zip(sent_as);
    pairs.any(|(value, bytes)| f64::from(*value) != sent(*bytes) && !value.is_nan())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As numpy writes a 2 × 3 array.
    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let mut file = MAGIC.to_vec();
        file.extend([1, 0, 118, 0]);
        file.extend(dict.as_bytes());
        file.resize(127, b' ');
        file.push(b'\n');
        file.extend(data);
        file
    }

    fn le<const N: usize>(values: [[u8; N]; 6]) -> Vec<u8> {
        values.concat()
    }

    #[test]
    fn every_real_type_is_read() {
        let wanted = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let of = [0u8, 1, 2, 3, 4, 5];
        for (descr, data) in [
            ("|u1", of.to_vec()),
            ("|i1", of.to_vec()),
            ("<u2", le(of.map(|n| u16::from(n).to_le_bytes()))),
            ("<i2", le(of.map(|n| i16::from(n).to_le_bytes()))),
            ("<u4", le(of.map(|n| u32::from(n).to_le_bytes()))),
            ("<i4", le(of.map(|n| i32::from(n).to_le_bytes()))),
            ("<f2", le(of.map(|n| f16::from(n).to_le_bytes()))),
            ("<f4", le(of.map(|n| f32::from(n).to_le_bytes()))),
            ("<f8", le(of.map(|n| f64::from(n).to_le_bytes()))),
        ] {
            let image = FloatImage::read(&npy(descr, "(1, 2, 3)", &data), None).expect(descr);
            assert_eq!(image.values, wanted, "{descr}");
            assert_eq!(image.shape.to_string(), "2x3", "{descr}");
            assert!(!image.rounded, "{descr}");
        }
    }

    #[test]
    fn what_float32_cannot_hold_is_rounded_and_said() {
        let third = le([1.0 / 3.0; 6].map(f64::to_le_bytes));
        let image = FloatImage::read(&npy("<f8", "(2, 3)", &third), None).unwrap();
        assert!(image.rounded);
        assert_eq!(image.values[0], 1.0 / 3.0_f32);
        let odd = le([(1 << 24) + 1; 6].map(u32::to_le_bytes));
        assert!(
            FloatImage::read(&npy("<u4", "(2, 3)", &odd), None)
                .unwrap()
                .rounded
        );
        let nan = le([f64::NAN; 6].map(f64::to_le_bytes));
        assert!(
            !FloatImage::read(&npy("<f8", "(2, 3)", &nan), None)
                .unwrap()
                .rounded
        );
    }

    #[test]
    fn a_raw_image_needs_type_and_shape() {
        let shape: FrameShape = "2x3".parse().unwrap();
        let data = le([7u16; 6].map(u16::to_le_bytes));
        let raw = Some((Dtype::U16, shape));
        assert_eq!(FloatImage::read(&data, raw).unwrap().values, [7.0; 6]);
        let kind = |payload: &[u8], raw| FloatImage::read(payload, raw).unwrap_err().kind();
        assert_eq!(kind(&data, None), "not_npy");
        assert_eq!(kind(&data[1..], raw), "wrong_size");
        assert_eq!(kind(b"", None), "not_npy");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let kind = |file: &[u8]| FloatImage::read(file, None).unwrap_err().kind();
        let data = [0; 24];
        assert_eq!(kind(&npy("<f4", "(6,)", &data)), "no_image");
        assert_eq!(kind(&npy("<f4", "(2, 2, 3)", &data)), "no_image");
        assert_eq!(kind(&npy("<f4", "(0, 3)", &[])), "no_image");
        assert_eq!(kind(&npy("<c8", "(2, 3)", &data)), "bad_npy");
        assert_eq!(kind(&npy("<f4", "(2, 3)", &data[1..])), "bad_npy");
        assert_eq!(kind(&npy("<f4", "(2, 3)", &[0; 25])), "bad_npy");
        assert_eq!(
            kind(&npy("<f4", "(99999999999, 99999999999)", &data)),
            "bad_npy"
        );
        assert_eq!(kind(MAGIC), "bad_npy");
    }
}
