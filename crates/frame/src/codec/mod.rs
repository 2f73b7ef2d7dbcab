//! Compressed frames.
//!
//! areaDetector compresses frames (NDPluginCodec), and the codec travels in the header [`CODEC`](crate::headers::CODEC). The
//! payload is then what areaDetector has in `NTNDArray.value`, unchanged:
//!
//! | codec | payload |
//! |---|---|
//! | `lz4` | one LZ4 block without a size |
//! | `lz4hdf5` | the stream of HDF5's LZ4 filter: u64 size and u32 block size, then blocks, each after its u32 length; big-endian |
//! | `bslz4` | the stream of `bshuf_compress_lz4`: blocks of 8 KiB, their bits transposed, then LZ4; with or without the header of HDF5's bitshuffle filter |
//! | `blosc` | a chunk of c-blosc 1, with blosclz, lz4, zlib or zstd inside |
//! | `zlib` | a zlib stream |
//! | `jpeg` | a grey JPEG image, 8 bit |
//!
//! Sources: ADCore's `NDPluginCodec.cpp`, the filters' specifications, c-blosc's `README_CHUNK_FORMAT.rst`.
//!
//! What always holds: the pixels of a frame are decoded into a [`Scratch`] of the size that the model's shape and the dtype
//! give. No number in a payload decides how much memory is taken. A payload must decode to exactly as many bytes, and nothing
//! may follow.

/// Chunks of c-blosc 1.
mod blosc;
/// Blosc's own codec.
mod blosclz;
/// JPEG images.
mod jpeg;
/// LZ4 blocks, alone and in two kinds of stream.
mod lz4;
/// Bits and bytes back in the order of the pixels.
mod shuffle;
#[cfg(test)]
mod tests;
/// Zlib streams.
mod zlib;

use super::{BadValue, Dtype, FrameShape, Pixels, Rejection};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

const NO_SHAPE: FrameShape = FrameShape {
    height: 0,
    width: 0,
};

/// How a frame is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// One LZ4 block.
    Lz4,
    /// LZ4 blocks as HDF5's filter writes them.
    Lz4Hdf5,
    /// Bitshuffle and LZ4.
    Bslz4,
    /// A chunk of c-blosc 1.
    Blosc,
    /// A zlib stream.
    Zlib,
    /// A grey JPEG image.
    Jpeg,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 6] = [
        Self::Lz4,
        Self::Lz4Hdf5,
        Self::Bslz4,
        Self::Blosc,
        Self::Zlib,
        Self::Jpeg,
    ];

    /// The allowed names, for help texts and error messages.
    pub(crate) const ALLOWED: &'static str = "none, lz4, lz4hdf5, bslz4, blosc, zlib, jpeg";

    /// The name, as areaDetector writes it into `codec.name`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Lz4Hdf5 => "lz4hdf5",
            Self::Bslz4 => "bslz4",
            Self::Blosc => "blosc",
            Self::Zlib => "zlib",
            Self::Jpeg => "jpeg",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads the name; case and surrounding spaces are ignored.
///
/// # Errors
/// [`BadValue`] for any other text, `none` included.
impl FromStr for Codec {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| BadValue::new(text, Self::ALLOWED))
    }
}

/// What is wrong with a compressed payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends too early.
    #[error("it ends in the middle of the frame")]
    Ends,
    /// It has fewer pixels than the frame.
    #[error("it holds {has} bytes of pixels and not {needs}")]
    Short {
        /// Bytes that were decoded.
        has: usize,
        /// Bytes of the frame.
        needs: usize,
    },
    /// It has more pixels than the frame.
    #[error("it holds more than the {needs} bytes of the frame's pixels")]
    Long {
        /// Bytes of the frame.
        needs: usize,
    },
    /// Bytes follow the compressed frame.
    #[error("{0} bytes follow the end of the frame")]
    Behind(usize),
    /// It breaks the codec's rules.
    #[error("it is damaged ({0})")]
    Invalid(&'static str),
    /// It is valid, and this program does not read it.
    #[error("{0}")]
    Unsupported(String),
}

/// Memory in which frames are decoded, one at a time. It keeps what it has allocated.
#[derive(Default)]
pub struct Scratch {
    pixels: Vec<u8>,
    block: Vec<u8>,
    zlib: zlib::Inflater,
    zstd: blosc::Zstd,
    frame: Option<(Dtype, FrameShape)>,
}

impl Scratch {
    /// The frame that was decoded last; without pixels if that failed.
    #[must_use]
    pub fn pixels(&self) -> Pixels<'_> {
        match self.frame {
            Some((dtype, shape)) => Pixels::new(dtype, shape, &self.pixels),
            None => Pixels::new(Dtype::U8, NO_SHAPE, &[]),
        }
    }

    /// Decodes `payload`, a frame of `shape`, whose size the caller has checked.
    ///
    /// # Errors
    /// [`Rejection::Undecodable`]; the scratch then has no frame.
    pub(super) fn decode(
        &mut self,
        codec: Codec,
        payload: &[u8],
        dtype: Dtype,
        shape: FrameShape,
    ) -> Result<Pixels<'_>, Rejection> {
        self.frame = None;
        // The shape is the model's, so the size depends on the dtype alone.
        self.pixels
            .resize(shape.bytes(dtype).unwrap_or(usize::MAX), 0);
        // A panic of a foreign decoder costs this frame alone. What it leaves behind is thrown away.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            self.decode_all(codec, payload, dtype, shape)
        }));
        let damage = match decoded {
            Ok(Ok(())) => {
                self.frame = Some((dtype, shape));
                return Ok(self.pixels());
            }
            Ok(Err(damage)) => damage,
            Err(_) => {
                *self = Self::default();
                Damage::Invalid("its decoder panicked, which is a defect of this program")
            }
        };
        Err(Rejection::Undecodable {
            codec,
            bytes: payload.len(),
            dtype,
            shape,
            damage,
        })
    }

    fn decode_all(
        &mut self,
        codec: Codec,
        payload: &[u8],
        dtype: Dtype,
        shape: FrameShape,
    ) -> Result<(), Damage> {
        let Self {
            pixels,
            block,
            zlib,
            zstd,
            ..
        } = self;
        match codec {
            Codec::Lz4 => lz4::block(payload, pixels),
            Codec::Lz4Hdf5 => lz4::hdf5(payload, pixels),
            Codec::Bslz4 => lz4::bitshuffled(payload, dtype.size(), pixels, block),
            Codec::Blosc => blosc::chunk(payload, pixels, block, zlib, zstd),
            Codec::Zlib => zlib.stream(payload, pixels),
            Codec::Jpeg => jpeg::image(payload, dtype, shape, pixels),
        }
    }
}

/// Prints the size: the pixels do not belong in a log line.
impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} bytes)", self.pixels.len())
    }
}

/// Takes `count` bytes off the front of `payload`.
fn take<'a>(payload: &mut &'a [u8], count: usize) -> Result<&'a [u8], Damage> {
    let (front, rest) = payload.split_at_checked(count).ok_or(Damage::Ends)?;
    *payload = rest;
    Ok(front)
}

/// Takes `N` bytes off the front of `payload`, for a number.
fn number<const N: usize>(payload: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (front, rest) = payload.split_first_chunk().ok_or(Damage::Ends)?;
    *payload = rest;
    Ok(*front)
}

/// Nothing may follow the frame.
fn end(payload: &[u8]) -> Result<(), Damage> {
    match payload.len() {
        0 => Ok(()),
        more => Err(Damage::Behind(more)),
    }
}
