//! Turns payload and headers into pixels, or into the reason for a rejection.
//!
//! The order of the checks is fixed, because it decides which reason a producer gets: can the headers be read;
//! if the payload is `.npy`, can it be read and do the headers agree with it; is the shape the model's; is the
//! length the one that the shape needs. Each check relies on the checks before it.

use std::collections::HashMap;
use std::str::FromStr;

use super::bad_value::quoted;
use super::dtype::remedy;
use super::npy::{Array, MAGIC};
use super::{BadValue, Dtype, FrameShape, Pixels, Rejection};

/// The header that names a frame; see [`frame_id`].
pub const FRAME_ID_HEADER: &str = "x-txn-id";
/// The header that names the pixel type of one raw payload, for instance `uint16`.
pub const DTYPE_HEADER: &str = "x-frame-dtype";
/// The header that names the shape of one payload as `HEIGHTxWIDTH`, for instance `128x128`.
pub const SHAPE_HEADER: &str = "x-frame-shape";

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

    /// The pixels of `value`, borrowed from it: exactly as many as [`shape`](Self::shape) has.
    ///
    /// `value` is raw little-endian pixels, or an `.npy` array of shape (H, W) with any number of
    /// leading ones, in C order; see the [module](super) for how headers come in.
    ///
    /// # Errors
    /// A [`Rejection`] with the first reason found, in the order: headers that cannot be read, an
    /// `.npy` header that cannot be read or contradicts them, the wrong shape, the wrong length.
    pub fn decode<'a>(
        &self,
        value: &'a [u8],
        headers: &HashMap<String, String>,
    ) -> Result<Pixels<'a>, Rejection> {
        let dtype = read(headers, DTYPE_HEADER, |given, _| Rejection::UnknownDtype {
            origin: "header x-frame-dtype",
            given: quoted(given),
            remedy: remedy(given),
        })?;
        let shape = read(headers, SHAPE_HEADER, |given, error: BadValue| {
            Rejection::BadHeader {
                header: SHAPE_HEADER,
                given: quoted(given),
                why: format!("use {}", error.instead()),
            }
        })?;
        if value.starts_with(MAGIC) {
            self.npy(value, dtype, shape)
        } else {
            self.raw(value, dtype.unwrap_or(self.dtype), shape)
        }
    }

    fn raw<'a>(
        &self,
        bytes: &'a [u8],
        dtype: Dtype,
        shape: Option<FrameShape>,
    ) -> Result<Pixels<'a>, Rejection> {
        if let Some(given) = shape.filter(|given| *given != self.shape) {
            return Err(self.wrong_shape("header x-frame-shape", given.to_string()));
        }
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
            return Err(contradiction(
                DTYPE_HEADER,
                given.name(),
                array.dtype.name(),
            ));
        }
        if let Some(given) = shape.filter(|given| Some(*given) != array.image) {
            return Err(contradiction(
                SHAPE_HEADER,
                &given.to_string(),
                &cut(array.shape),
            ));
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
    header(headers, name)
        .map(|given| given.parse().map_err(|error| rejection(given, error)))
        .transpose()
}

/// The value of `name`, in any case of letters, unless it is blank.
fn header<'a>(headers: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    let exact = headers
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.trim().is_empty());
    exact.or_else(|| {
        // HTTP sources capitalise header names. Of several spellings the first in byte order is used, because a
        // map has no order and a payload must always be read in the same way.
        headers
            .iter()
            .filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
            .min_by_key(|(key, _)| key.as_str())
            .map(|(_, value)| value.as_str())
    })
}

/// The name of a frame in logs: its header [`FRAME_ID_HEADER`], else the datum's id.
///
/// A blank header counts as absent. The name need not be unique (a redelivered frame keeps it). Responses are
/// therefore matched by the datum's id; the name is for people only.
#[must_use]
pub fn frame_id<'a>(headers: &'a HashMap<String, String>, datum_id: &'a str) -> &'a str {
    header(headers, FRAME_ID_HEADER).unwrap_or(datum_id)
}

/// The number of a frame, if its header [`FRAME_ID_HEADER`] is one.
///
/// EPICS numbers frames with a 32-bit integer, which becomes negative after 2³¹ − 1. A negative number is read as the unsigned
/// one of the same bits, so that the numbers continue.
#[must_use]
pub fn frame_number(headers: &HashMap<String, String>) -> Option<u64> {
    let text = header(headers, FRAME_ID_HEADER)?.trim();
    let wrapped = || text.parse().ok().map(i32::cast_unsigned).map(u64::from);
    text.parse().ok().or_else(wrapped)
}

#[cfg(test)]
mod tests;
