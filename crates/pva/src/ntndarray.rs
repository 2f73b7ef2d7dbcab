//! NTNDArray, the structure in which areaDetector sends images: one update of it as typed values, and back.
//!
//! Servers differ. What is read here, from any server:
//!
//! - The pixels are an array inside of a union or of an any. The type of that array is what counts; the position of
//!   a member says nothing, because servers order them differently.
//! - `dimension[0]` is the width, the axis that runs fastest. A dimension may have a `size` and nothing else.
//! - Compressed pixels are bytes. `codec.parameters` says what they were: an integer of any width, in pvData's
//!   numbering of types, or, as a `long`, in areaDetector's (NDPluginPvxs before ADCore 3.15). `uncompressedSize`
//!   decides between the two.
//! - An unknown codec with as many elements as pixels is none: `pvapyc`, say.

/// Names and numbers of pixel types.
mod kinds;
#[cfg(test)]
mod property_tests;
/// From a value to an [`Update`].
mod read;
/// Why a frame is refused.
mod refusal;
#[cfg(test)]
mod tests;
/// From a [`NewImage`] to a value.
mod write;

use beamflow_frame::{Codec, Dtype, FrameShape};
use bytes::Bytes;

pub(crate) use read::read;
pub use refusal::Refusal;
pub use write::{NewImage, Unwritable};
pub(crate) use write::{empty, time, value};

/// What is read of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The most bytes of an uncompressed frame; larger frames are refused.
    pub max_bytes: usize,
    /// The names of the NDAttributes that are read.
    pub attributes: Vec<String>,
}

impl Default for ReadOptions {
    /// 64 MiB, and no attributes.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            attributes: Vec::new(),
        }
    }
}

/// One update of an NTNDArray.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// The number of the frame; nothing if the structure has none.
    pub unique_id: Option<i64>,
    /// When it was posted, in ns since 1970; 0 if the structure has no such time.
    pub time_stamp: i64,
    /// When the detector took it, likewise.
    pub data_time_stamp: i64,
    /// Those of the NDAttributes in [`ReadOptions`] that it has, by name.
    pub attributes: Vec<(String, Attribute)>,
    /// `value` is in the changed set. Some servers always mark the whole structure.
    pub value_marked: bool,
    /// The first update of a connection: a snapshot of what was posted before.
    pub first: bool,
    /// The server says that it has left updates out before this one. PVXS never says so.
    pub overrun: bool,
    /// How many updates this client has left out since the one before, because its program is slow.
    pub lost_in_client: u64,
    /// What it holds.
    pub content: Content,
}

/// What an [`Update`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// No pixels: the channel has not had a frame yet.
    Idle,
    /// Other fields than `value` changed: the pixels are those of an earlier update.
    Metadata,
    /// An image. Whether it is a frame that was not seen before is for the reader to decide.
    Image(Image),
    /// An image that is not passed on.
    Refused(Refusal),
}

/// Pixels, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Rows of pixels, little-endian, the row as the fast axis; or what the codec made of them.
    pub pixels: Bytes,
    /// The type of the uncompressed pixels.
    pub dtype: Dtype,
    /// Height and width.
    pub shape: FrameShape,
    /// How the pixels are compressed; nothing if they are not.
    pub codec: Option<Codec>,
}

impl Image {
    /// Bytes of the uncompressed pixels; nothing if they exceed `usize`.
    #[must_use]
    pub const fn uncompressed_size(&self) -> Option<usize> {
        self.shape.bytes(self.dtype)
    }
}

/// The value of an NDAttribute. Texts are cut to 256 bytes and have no control characters.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// Of any width; `true` is 1.
    Integer(i64),
    /// Also an integer that exceeds `i64`.
    Number(f64),
    /// A text.
    Text(String),
}

impl Attribute {
    /// The number that it is, or that its text is.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
