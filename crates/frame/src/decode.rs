//! Turns payload and headers into pixels, or into the reason for a rejection.
//!
//! The order of the checks is fixed, because it decides which reason a producer gets: can the headers be read;
//! if the payload is `.npy`, can it be read and do the headers agree with it; is the shape the model's; is the
//! length the one that the shape needs. Each check relies on the checks before it.

use std::collections::HashMap;
use std::str::FromStr;

use super::bad_value::quoted;
use super::dtype::remedy;
use super::headers::{self, CODEC, DTYPE, SHAPE};
use super::npy::{Array, MAGIC};
use super::{BadValue, Codec, Dtype, FrameShape, Pixels, Rejection, Scratch};

/// How to read a datum's payload: the default type and shape, which headers may override.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    dtype: Dtype,
    shape: FrameShape,
}

impl Decoder {
    /// A decoder for raw frames of `dtype` and for a model whose input is `shape`, in pixels.
    #[must_use]
    pub const fn new(dtype: Dtype, shape: FrameShape) -> Self {
        Self { dtype, shape }
    }

    /// Height and width of the model's input, which every frame must have.
    #[must_use]
    pub const fn shape(&self) -> FrameShape {
        self.shape
    }

    /// Bytes of a raw frame, unless its headers name another type.
    #[must_use]
    pub fn raw_frame_bytes(&self) -> usize {
        self.frame_bytes(self.dtype)
    }

    /// Whether a datum is compressed, by its headers: then [`decode`](Self::decode) takes long. True for an unknown codec, too.
    #[must_use]
    pub fn is_compressed(headers: &HashMap<String, String>) -> bool {
        headers::get(headers, CODEC).is_some_and(|given| !is_none(given))
    }

    /// The pixels of `value`, borrowed from it or, if they are compressed, from `scratch`: exactly as many as
    /// [`shape`](Self::shape) has.
    ///
    /// `value` is raw little-endian pixels, or an `.npy` array of shape (H, W) with any number of
    /// leading ones, in C order, or compressed by the codec in the header; see the [module](super) for how headers come in.
    ///
    /// # Errors
    /// A [`Rejection`] with the first reason found, in the order: headers that cannot be read, an
    /// `.npy` header that cannot be read or contradicts them, the wrong shape, the wrong length or undecodable pixels.
    pub fn decode<'a>(
        &self,
        value: &'a [u8],
        headers: &HashMap<String, String>,
        scratch: &'a mut Scratch,
    ) -> Result<Pixels<'a>, Rejection> {
        let dtype = read(headers, DTYPE, |given, _| Rejection::UnknownDtype {
            origin: "header x-frame-dtype",
            given: quoted(given),
            remedy: remedy(given),
        })?;
        let shape = read(headers, SHAPE, |given, error: BadValue| {
            Rejection::BadHeader {
                header: SHAPE,
                given: quoted(given),
                why: format!("use {}", error.instead()),
            }
        })?;
        let codec = codec(headers)?;
        if codec.is_none() && value.starts_with(MAGIC) {
            return self.npy(value, dtype, shape);
        }
        let dtype = dtype.unwrap_or(self.dtype);
        if let Some(given) = shape.filter(|given| *given != self.shape) {
            return Err(self.wrong_shape("header x-frame-shape", given.to_string()));
        }
        match codec {
            Some(codec) => scratch.decode(codec, value, dtype, self.shape),
            None => self.raw(value, dtype),
        }
    }

    fn raw<'a>(&self, bytes: &'a [u8], dtype: Dtype) -> Result<Pixels<'a>, Rejection> {
        let expected = self.frame_bytes(dtype);
        if bytes.len() != expected {
            return Err(Rejection::WrongSize {
                bytes: bytes.len(),
                expected,
                dtype,
                shape: self.shape,
            });
        }
        Ok(Pixels::new(dtype, self.shape, bytes))
    }

    fn npy<'a>(
        &self,
        payload: &'a [u8],
        dtype: Option<Dtype>,
        shape: Option<FrameShape>,
    ) -> Result<Pixels<'a>, Rejection> {
        let array = Array::read(payload)?;
        if let Some(given) = dtype.filter(|given| *given != array.dtype) {
            return Err(contradiction(DTYPE, given.name(), array.dtype.name()));
        }
        if let Some(given) = shape.filter(|given| Some(*given) != array.image) {
            return Err(contradiction(SHAPE, &given.to_string(), &cut(array.shape)));
        }
        if array.image != Some(self.shape) {
            return Err(self.wrong_shape("the npy array", cut(array.shape)));
        }
        // From here on the shape is the model's own, so it fits in memory.
        let bytes = payload.len();
        let expected = array
            .header_len
            .saturating_add(self.frame_bytes(array.dtype));
        if bytes < expected {
            return Err(Rejection::NpyTruncated { bytes, expected });
        }
        if bytes > expected {
            return Err(Rejection::NpyOversized { bytes, expected });
        }
        Ok(Pixels::new(array.dtype, self.shape, array.data))
    }

    /// A shape whose size exceeds `usize` gives `usize::MAX`. No payload is that long: a slice has at most
    /// `isize::MAX` bytes.
    fn frame_bytes(&self, dtype: Dtype) -> usize {
        self.shape.bytes(dtype).unwrap_or(usize::MAX)
    }

    fn wrong_shape(&self, origin: &'static str, given: String) -> Rejection {
        Rejection::WrongShape {
            origin,
            given,
            expected: self.shape,
        }
    }
}

/// The codec of a datum; `None` where it is not compressed.
fn codec(headers: &HashMap<String, String>) -> Result<Option<Codec>, Rejection> {
    match headers::get(headers, CODEC) {
        None => Ok(None),
        Some(given) if is_none(given) => Ok(None),
        Some(given) => given.parse().map(Some).map_err(|_: BadValue| {
            let given = quoted(given);
            Rejection::UnknownCodec { given }
        }),
    }
}

fn is_none(codec: &str) -> bool {
    codec.trim().eq_ignore_ascii_case("none")
}

fn contradiction(header: &'static str, given: &str, array: &str) -> Rejection {
    Rejection::BadHeader {
        header,
        given: quoted(given),
        why: format!(
            "the npy array in the payload is {array}; leave the header out, or correct it"
        ),
    }
}

/// A shape as it was written, without quotes. It has only digits and punctuation, and is cut like all quoted
/// text.
fn cut(shape: &str) -> String {
    quoted(shape).replace('\'', "")
}

/// The header `name` as a `T`: `None` where it is absent.
fn read<T: FromStr>(
    headers: &HashMap<String, String>,
    name: &str,
    rejection: impl FnOnce(&str, T::Err) -> Rejection,
) -> Result<Option<T>, Rejection> {
    headers::get(headers, name)
        .map(|given| given.parse().map_err(|error| rejection(given, error)))
        .transpose()
}

#[cfg(test)]
mod tests;
