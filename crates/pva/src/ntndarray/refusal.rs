//! Why a frame is refused.

use beamflow_frame::{Dtype, FrameShape};

/// Why an image is not passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The bytes of the update are no value of the PV's structure.
    #[error(
        "the update cannot be decoded ({reason}): look for faults in the network or in the server"
    )]
    Undecodable {
        /// What is wrong with them.
        reason: String,
    },
    /// A field of an NTNDArray is missing, or has another type.
    #[error(
        "the PV has no field '{field}' as an NTNDArray has: use the PV of areaDetector's NDPluginPva"
    )]
    NoNtNdArray {
        /// The field.
        field: &'static str,
    },
    /// Not height × width.
    #[error(
        "the frame has the dimensions {dimensions} (x first): send frames of one channel, width and height only"
    )]
    Dimensions {
        /// Their sizes.
        dimensions: String,
    },
    /// More than one colour.
    #[error(
        "the frame has the ColorMode {color_mode}, which is not one channel: send ColorMode 0 (mono)"
    )]
    Color {
        /// The attribute of that name.
        color_mode: i64,
    },
    /// Uncompressed, the frame exceeds the limit.
    #[error(
        "a frame of {shape} {dtype} exceeds the limit of {limit} bytes: raise --max-frame-bytes or send smaller frames"
    )]
    TooLarge {
        /// Its shape.
        shape: FrameShape,
        /// The type of its pixels.
        dtype: Dtype,
        /// [`ReadOptions::max_bytes`](super::ReadOptions::max_bytes).
        limit: usize,
    },
    /// A type that no frame can have.
    #[error(
        "the pixels are {name}: convert them to a type of 32 bits or fewer, or to float64, before they are sent"
    )]
    Dtype {
        /// Its name.
        name: &'static str,
    },
    /// Not as many pixels as the dimensions say.
    #[error(
        "{found} pixels do not fill {shape}: the array and its dimensions must be of one frame"
    )]
    Pixels {
        /// The shape by the dimensions.
        shape: FrameShape,
        /// Pixels in the array.
        found: usize,
    },
    /// A codec that is not known.
    #[error("the codec '{name}' is not known: use lz4, lz4hdf5, bslz4, blosc, zlib, jpeg or none")]
    Codec {
        /// Its name.
        name: String,
    },
    /// Compressed pixels that are not bytes.
    #[error(
        "pixels compressed with {codec} must be bytes, and are {name}: set the union's ubyteValue"
    )]
    NoBytes {
        /// The codec.
        codec: &'static str,
        /// The type of the array.
        name: &'static str,
    },
    /// `compressedSize` is none.
    #[error("compressedSize is {given}, and the array has {found} bytes")]
    CompressedSize {
        /// The field.
        given: i64,
        /// Bytes in the array.
        found: usize,
    },
    /// What the pixels were before they were compressed is not known.
    #[error(
        "codec.parameters is {given} and uncompressedSize {size}, which is no pixel type for {shape}: \
         the server must set codec.parameters to pvData's number of the original type (uint16: 6)"
    )]
    Original {
        /// `codec.parameters`.
        given: String,
        /// The field.
        size: i64,
        /// The shape.
        shape: FrameShape,
    },
}

impl Refusal {
    /// A short name, for counts by reason.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "undecodable",
            Self::NoNtNdArray { .. } | Self::Dimensions { .. } | Self::Pixels { .. } => "layout",
            Self::Color { .. } => "rgb",
            Self::TooLarge { .. } => "too_large",
            Self::Dtype { .. } => "dtype",
            Self::Codec { .. }
            | Self::NoBytes { .. }
            | Self::CompressedSize { .. }
            | Self::Original { .. } => "codec",
        }
    }
}
