//! Reasons to refuse a frame.
//!
//! A rejection depends on the frame alone: sent again, the frame is rejected again. Its text reaches the
//! producer's operator through the log or a dead letter, so each text names what was given, what is expected
//! and what to change. It quotes at most 60 characters of foreign text.

use std::borrow::Cow;

use super::bad_value::quoted;
use super::headers::{CODEC, DTYPE};
use super::{Codec, Damage, Dtype, FrameShape, LengthMismatch};

/// The reason why a payload is not a frame of this model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A raw payload does not have the size of one frame.
    #[error(
        "the payload has {bytes} bytes, a {shape} {dtype} frame has {expected}: {remedy}",
        remedy = size_remedy(*.bytes, *.expected, *.shape)
    )]
    WrongSize {
        /// Bytes in the payload.
        bytes: usize,
        /// Bytes in one frame of `shape` and `dtype`.
        expected: usize,
        /// The assumed pixel type, from the header or from `--frame-dtype`.
        dtype: Dtype,
        /// Height and width of the model's input.
        shape: FrameShape,
    },
    /// The header names no codec of this program.
    #[error("header x-codec is {given}: use one of {}", Codec::ALLOWED)]
    UnknownCodec {
        /// The codec as it was written, quoted.
        given: String,
    },
    /// The header names no model of this sidecar.
    #[error("header x-model is {given}: this sidecar has the models {known}")]
    UnknownModel {
        /// The name as it was written, quoted.
        given: String,
        /// The names that there are, separated by commas.
        known: String,
    },
    /// A compressed payload cannot be decoded, or it is not one frame.
    #[error(
        "the payload of {bytes} bytes is no {shape} {dtype} frame compressed with {codec}: {damage}; compare codec, dtype and \
         shape with what the source sends"
    )]
    Undecodable {
        /// The codec, from the header.
        codec: Codec,
        /// Bytes in the payload.
        bytes: usize,
        /// The pixel type, from the header or from `--frame-dtype`.
        dtype: Dtype,
        /// Height and width of the model's input.
        shape: FrameShape,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// The decoded pixels do not fill their row of the batch.
    #[error(transparent)]
    WrongLength(#[from] LengthMismatch),
    /// A pixel is outside the range of the model's input.
    #[error(
        "a pixel of the {dtype} frame is {value}, and the model's input is f16, which ends at ±65504: \
         serve an engine whose input is f32 (build-engine --precision fp32)"
    )]
    OutOfRange {
        /// The first such pixel.
        value: String,
        /// The pixel type.
        dtype: Dtype,
    },
    /// Pixels are NaN or infinite, and no rule says what becomes of them.
    #[error(
        "{found} of {pixels} pixels of the {dtype} frame are no finite numbers, and --bad-pixels is off: set --bad-pixels \
         nan, or correct the producer"
    )]
    NotFinite {
        /// Such pixels.
        found: usize,
        /// Pixels in the frame.
        pixels: usize,
        /// The pixel type.
        dtype: Dtype,
    },
    /// More pixels are bad than may be.
    #[error(
        "{found} of {pixels} pixels of the {dtype} frame are bad (--bad-pixels {rule}), and --max-bad-pixels allows {most}: \
         look at the detector (shutter, threshold, saturation), and whether the frame's type is {dtype}"
    )]
    TooManyBadPixels {
        /// Pixels that are bad by their value.
        found: usize,
        /// Pixels in the frame.
        pixels: usize,
        /// The limit.
        most: usize,
        /// The rule, as in `--bad-pixels`.
        rule: String,
        /// The pixel type.
        dtype: Dtype,
    },
    /// A header or an `.npy` array names a shape that is not the model's.
    #[error(
        "{origin} has shape {given}, the model takes {expected}: send one image of that shape per datum, \
         or serve a model made for this one"
    )]
    WrongShape {
        /// The header or array that gives the shape.
        origin: &'static str,
        /// The shape as it was written.
        given: String,
        /// Height and width of the model's input.
        expected: FrameShape,
    },
    /// A header or an `.npy` array names a pixel type that is not one of the eight.
    #[error(
        "{origin} has pixel type {given}: {remedy}; supported: {}",
        Dtype::ALLOWED
    )]
    UnknownDtype {
        /// The header or array that gives the type.
        origin: &'static str,
        /// The type as it was written, quoted.
        given: String,
        /// What to do about it.
        remedy: Cow<'static, str>,
    },
    /// A header cannot be read, or contradicts the `.npy` array it came with.
    #[error("header {header} is {given}: {why}")]
    BadHeader {
        /// The header's name.
        header: &'static str,
        /// Its value, quoted.
        given: String,
        /// What is wrong with it, and the remedy.
        why: String,
    },
    /// The payload begins like `.npy`, but the rest is invalid or not supported.
    #[error("the npy header {why}")]
    BadNpy {
        /// What is wrong with it, and the remedy.
        why: String,
    },
    /// The payload ends before the array does.
    #[error(
        "the npy payload ends after {bytes} bytes, by its header it has at least {expected}: \
         send the whole file in one datum"
    )]
    NpyTruncated {
        /// Bytes in the payload.
        bytes: usize,
        /// Bytes it should have, as far as the header could be read.
        expected: usize,
    },
    /// The payload continues after the array.
    #[error(
        "the npy payload has {bytes} bytes, its array ends after {expected}: \
         send one array per datum and nothing behind it"
    )]
    NpyOversized {
        /// Bytes in the payload.
        bytes: usize,
        /// Bytes up to the end of the array.
        expected: usize,
    },
}

impl Rejection {
    /// Every [`kind`](Self::kind), so that metrics can start all of them at zero.
    pub const KINDS: [&'static str; 13] = [
        "wrong_size",
        "out_of_range",
        "not_finite",
        "bad_pixels",
        "wrong_shape",
        "unknown_dtype",
        "bad_header",
        "bad_npy",
        "npy_truncated",
        "npy_oversized",
        "unknown_codec",
        "undecodable",
        "unknown_model",
    ];

    /// The header [`MODEL`](super::headers::MODEL) is `given`, and the models are `known`.
    #[must_use]
    pub fn unknown_model<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::UnknownModel {
            given: quoted(given),
            known: known.collect::<Vec<_>>().join(", "),
        }
    }

    /// The rejection as a metric label: one of [`KINDS`](Self::KINDS).
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::WrongSize { .. } | Self::WrongLength(_) => "wrong_size",
            Self::OutOfRange { .. } => "out_of_range",
            Self::NotFinite { .. } => "not_finite",
            Self::TooManyBadPixels { .. } => "bad_pixels",
            Self::WrongShape { .. } => "wrong_shape",
            Self::UnknownDtype { .. } => "unknown_dtype",
            Self::BadHeader { .. } => "bad_header",
            Self::BadNpy { .. } => "bad_npy",
            Self::NpyTruncated { .. } => "npy_truncated",
            Self::NpyOversized { .. } => "npy_oversized",
            Self::UnknownCodec { .. } => "unknown_codec",
            Self::Undecodable { .. } => "undecodable",
            Self::UnknownModel { .. } => "unknown_model",
        }
    }
}

/// The most common cause of a wrong size is a wrong type: the text names another type that fits.
fn size_remedy(bytes: usize, expected: usize, shape: FrameShape) -> String {
    let fits: Vec<&str> = Dtype::ALL
        .into_iter()
        .filter(|&other| shape.bytes(other) == Some(bytes))
        .map(Dtype::name)
        .collect();
    if fits.is_empty() {
        let compressed = if bytes < expected {
            format!("; if the frame is compressed, name its codec in {CODEC}")
        } else {
            String::new()
        };
        return format!(
            "send exactly one frame per datum, and name its type in {DTYPE} where it is not the usual one{compressed}"
        );
    }
    format!(
        "it is the size of a {shape} {} frame; if it is one, set {DTYPE} or --frame-dtype",
        fits.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: FrameShape = FrameShape {
        height: 128,
        width: 128,
    };

    fn wrong_size(bytes: usize) -> Rejection {
        Rejection::WrongSize {
            bytes,
            expected: 32_768,
            dtype: Dtype::I16,
            shape: SHAPE,
        }
    }

    #[test]
    fn a_wrong_size_names_both_sizes_the_type_and_the_shape() {
        let text = wrong_size(1000).to_string();
        assert!(
            text.starts_with("the payload has 1000 bytes, a 128x128 int16 frame has 32768: "),
            "{text}"
        );
        assert!(text.contains("x-frame-dtype"), "{text}");
    }

    #[test]
    fn a_size_that_fits_another_type_says_which_and_how_to_set_it() {
        let text = wrong_size(128 * 128 * 8).to_string();
        assert!(
            text.contains("the size of a 128x128 float64 frame"),
            "{text}"
        );
        assert!(
            text.contains("set x-frame-dtype or --frame-dtype"),
            "{text}"
        );
        let text = wrong_size(128 * 128).to_string();
        assert!(text.contains("uint8 or int8 frame"), "{text}");
    }

    #[test]
    fn kinds_lists_every_kind() {
        let text = String::new;
        let length = LengthMismatch {
            row: 0,
            expected: 1,
        };
        assert_eq!(Rejection::from(length).kind(), "wrong_size");
        let each = [
            wrong_size(0),
            Rejection::OutOfRange {
                value: text(),
                dtype: Dtype::U16,
            },
            Rejection::NotFinite {
                found: 1,
                pixels: 4,
                dtype: Dtype::F32,
            },
            Rejection::TooManyBadPixels {
                found: 3,
                pixels: 4,
                most: 2,
                rule: text(),
                dtype: Dtype::U16,
            },
            Rejection::WrongShape {
                origin: "",
                given: text(),
                expected: SHAPE,
            },
            Rejection::UnknownDtype {
                origin: "",
                given: text(),
                remedy: "".into(),
            },
            Rejection::BadHeader {
                header: "",
                given: text(),
                why: text(),
            },
            Rejection::BadNpy { why: text() },
            Rejection::NpyTruncated {
                bytes: 0,
                expected: 0,
            },
            Rejection::NpyOversized {
                bytes: 0,
                expected: 0,
            },
            Rejection::UnknownCodec { given: text() },
            Rejection::Undecodable {
                codec: Codec::Lz4,
                bytes: 0,
                dtype: Dtype::U16,
                shape: SHAPE,
                damage: Damage::Ends,
            },
            Rejection::UnknownModel {
                given: text(),
                known: text(),
            },
        ];
        assert_eq!(each.map(|rejection| rejection.kind()), Rejection::KINDS);
    }
}
