//! Parses the header of an untrusted `.npy` image.
//!
//! Everything is borrowed from the payload, and only an error allocates: a length in the header is compared
//! with the payload and never used to reserve memory. The parser reads only the literal that headers consist of
//! (a dict of a string, a bool and a tuple), in any order and spacing, and refuses all other Python.

use super::MAGIC;
use crate::bad_value::quoted;
use crate::dtype::remedy;
use crate::rejection::Rejection;
use crate::{Dtype, FrameShape};

/// The array of a payload: its declared type and shape, and the bytes after the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape if it is one image: rank 2, or more with leading ones.
    pub image: Option<FrameShape>,
    /// Its shape as written, for messages: `(1, 128, 128)`.
    pub shape: &'a str,
    /// Length of the header: the offset of the array.
    pub header_len: usize,
    /// All bytes after the header. Their number is not yet compared with type and shape.
    pub data: &'a [u8],
}

impl<'a> Array<'a> {
    /// Reads the header of a payload that begins with the magic, without looking at the data.
    ///
    /// # Errors
    /// [`Rejection::NpyTruncated`] if the payload ends within the header, [`Rejection::UnknownDtype`] for an
    /// unsupported element type, [`Rejection::BadNpy`] for everything else.
    pub fn read(payload: &'a [u8]) -> Result<Self, Rejection> {
        Self::read_with(payload, Dtype::from_descr)
    }

    /// The same with `dtype` as the reader of the element type.
    pub(crate) fn read_with(
        payload: &'a [u8],
        dtype: impl FnOnce(&str) -> Option<Dtype>,
    ) -> Result<Self, Rejection> {
        let truncated = |expected| Rejection::NpyTruncated {
            bytes: payload.len(),
            expected,
        };
        let at_least = MAGIC.len() + 4;
        let (version, rest) = payload
            .get(MAGIC.len()..)
            .and_then(<[u8]>::split_first_chunk::<2>)
            .ok_or_else(|| truncated(at_least))?;
        let (length, rest) = match version {
            [1, 0] => rest
                .split_first_chunk()
                .map(|(le, rest)| (u32::from(u16::from_le_bytes(*le)), rest)),
            [2 | 3, 0] => rest
                .split_first_chunk()
                .map(|(le, rest)| (u32::from_le_bytes(*le), rest)),
            [major, minor] => {
                return Err(bad(format!(
                    "has version {major}.{minor}: save it as 1.0, 2.0 or 3.0, as numpy does"
                )));
            }
        }
        .ok_or_else(|| {
            truncated(if *version == [1, 0] {
                at_least
            } else {
                at_least + 2
            })
        })?;
        let header_len = (payload.len() - rest.len())
            .saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        let (_, data) = payload
            .split_at_checked(header_len)
            .ok_or_else(|| truncated(header_len))?;
        let (header, _) = rest.split_at(rest.len() - data.len());

        // Versions 1 and 2 are Latin-1, but only field names of structured types use non-ASCII characters.
        let text =
            std::str::from_utf8(header).map_err(|_| bad("is not text: the payload is damaged"))?;
        let fields = Fields::read(text)?;
        if fields.fortran_order {
            return Err(bad(
                "says Fortran order (columns first), and pixels are read row by row: \
                 convert the array with numpy.ascontiguousarray(...)",
            ));
        }
        let dtype = dtype(fields.descr).ok_or_else(|| unknown_dtype(fields.descr))?;
        Ok(Self {
            dtype,
            image: fields.shape.image,
            shape: fields.shape.text,
            header_len,
            data,
        })
    }

    /// The extent of each axis, the slowest first; an extent beyond `usize` is `usize::MAX`.
    #[must_use]
    pub fn axes(&self) -> Vec<usize> {
        let inner = self.shape.trim_matches(['(', ')']);
        let axes = inner.split(',').map(str::trim);
        axes.filter(|axis| !axis.is_empty())
            .map(|axis| axis.parse().unwrap_or(usize::MAX))
            .collect()
    }

    /// The elements of a float32 array; none of another type. Bytes that are no whole element are left out.
    #[must_use]
    pub fn floats(&self) -> Option<Vec<f32>> {
        let (values, _) = self.data.as_chunks();
        (self.dtype == Dtype::F32).then(|| values.iter().copied().map(f32::from_le_bytes).collect())
    }
}

fn bad(why: impl Into<String>) -> Rejection {
    Rejection::BadNpy { why: why.into() }
}

fn unknown_dtype(descr: &str) -> Rejection {
    Rejection::UnknownDtype {
        origin: "the npy array",
        given: quoted(descr),
        remedy: remedy(descr),
    }
}

fn not_a_dict() -> Rejection {
    bad("is not the dict that numpy writes: the payload is damaged, or is no npy image")
}

/// The three entries of the header's dict.
struct Fields<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Tuple<'a>,
}

/// The shape: its text, and height and width if it is an image.
struct Tuple<'a> {
    text: &'a str,
    image: Option<FrameShape>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, Rejection> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = Cursor(text);
        rest.take("{").ok_or_else(not_a_dict)?;
        while rest.take("}").is_none() {
            let key = rest.quoted().ok_or_else(not_a_dict)?;
            rest.take(":").ok_or_else(not_a_dict)?;
            let repeated = match key {
                "descr" => descr
                    .replace(rest.quoted().ok_or_else(|| rest.no_dtype())?)
                    .is_some(),
                "fortran_order" => fortran_order
                    .replace(rest.boolean().ok_or_else(not_a_dict)?)
                    .is_some(),
                "shape" => shape
                    .replace(rest.tuple().ok_or_else(not_a_dict)?)
                    .is_some(),
                _ => {
                    return Err(bad(format!(
                        "has the unknown entry {}: save the frame with numpy",
                        quoted(key)
                    )));
                }
            };
            if repeated {
                return Err(bad(format!(
                    "has the entry {} twice: save the frame with numpy",
                    quoted(key)
                )));
            }
            if rest.take(",").is_none() {
                rest.take("}").ok_or_else(not_a_dict)?;
                break;
            }
        }
        if !rest.0.trim_start().is_empty() {
            return Err(not_a_dict());
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Self {
                descr,
                fortran_order,
                shape,
            }),
            _ => Err(bad(
                "lacks descr, fortran_order or shape: save the frame with numpy",
            )),
        }
    }
}

/// The unread rest. Each method skips white space, then takes one token or leaves the rest unchanged.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn take(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start();
        self.0 = self.0.strip_prefix(token)?;
        Some(())
    }

    /// A Python string without escapes. A string with escapes is neither a known key nor a dtype.
    fn quoted(&mut self) -> Option<&'a str> {
        self.0 = self.0.trim_start();
        let quote = self
            .0
            .chars()
            .next()
            .filter(|quote| matches!(quote, '\'' | '"'))?;
        let (text, rest) = self.0.strip_prefix(quote)?.split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    /// Why the next token is not a dtype string: a list of fields or a sub-array is well-formed, but holds no
    /// pixels.
    fn no_dtype(&self) -> Rejection {
        if self.0.starts_with(['[', '(']) {
            unknown_dtype("[(...)]")
        } else {
            not_a_dict()
        }
    }

    fn boolean(&mut self) -> Option<bool> {
        self.take("False")
            .map(|()| false)
            .or_else(|| self.take("True").map(|()| true))
    }

    /// Digits as a number; `usize::MAX` if they exceed it, which no frame has as an extent.
    fn number(&mut self) -> Option<usize> {
        self.0 = self.0.trim_start();
        let end = self
            .0
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.0.len());
        let (digits, rest) = self
            .0
            .split_at_checked(end)
            .filter(|(digits, _)| !digits.is_empty())?;
        self.0 = rest;
        Some(digits.parse().unwrap_or(usize::MAX))
    }

    /// `()`, `(5,)`, `(5, 6)`, `(5, 6,)` ..., of any rank: only the last two axes are kept.
    fn tuple(&mut self) -> Option<Tuple<'a>> {
        let start = self.0.trim_start();
        self.take("(")?;
        let (mut height, mut width) = (None, None);
        let mut leading_ones = true;
        while self.take(")").is_none() {
            leading_ones &= height.is_none_or(|axis| axis == 1);
            height = width;
            width = Some(self.number()?);
            if self.take(",").is_none() {
                self.take(")")?;
                height?; // "(5)" is a number, not a tuple
                break;
            }
        }
        let text = start.get(..start.len() - self.0.len())?;
        let image = height
            .zip(width)
            .filter(|_| leading_ones)
            .map(|(height, width)| FrameShape { height, width });
        Some(Tuple { text, image })
    }
}

#[cfg(test)]
mod tests;
