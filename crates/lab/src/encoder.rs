//! Compresses frames as areaDetector does.
//!
//! For simulated sources and for tests of the decoders in `beamflow_frame`, which has the formats.

use beamflow_frame::{BadValue, Codec};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::fmt;
use std::str::FromStr;

/// A codec that frames can be compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// One LZ4 block.
    Lz4,
    /// Bitshuffle and LZ4.
    Bslz4,
    /// A zlib stream of the lowest level, as NDPluginCodec writes it by default.
    Zlib,
}

impl Encoder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lz4, Self::Bslz4, Self::Zlib];

    /// What a receiver needs to know.
    #[must_use]
    pub const fn codec(self) -> Codec {
        match self {
            Self::Lz4 => Codec::Lz4,
            Self::Bslz4 => Codec::Bslz4,
            Self::Zlib => Codec::Zlib,
        }
    }

    /// The compressed form of `pixels`, each of `size` bytes.
    #[must_use]
    pub fn encode(self, pixels: &[u8], size: usize) -> Vec<u8> {
        match self {
            Self::Lz4 => lz4_flex::block::compress(pixels),
            Self::Bslz4 => bslz4(pixels, size),
            Self::Zlib => zlib(pixels),
        }
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.codec().fmt(f)
    }
}

/// Reads the name of the codec.
///
/// # Errors
/// [`BadValue`] for a name that is none of them.
impl FromStr for Encoder {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        Self::ALL
            .into_iter()
            .find(|encoder| encoder.codec().name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| BadValue::new(text, "lz4, bslz4 or zlib"))
    }
}

/// Bytes in a block of bitshuffle.
const BLOCK: usize = 8192;

fn bslz4(pixels: &[u8], size: usize) -> Vec<u8> {
    let whole = pixels.len() - pixels.len() % (8 * size);
    let (whole, rest) = pixels.split_at(whole);
    let mut stream = Vec::new();
    let mut planes = Vec::with_capacity(BLOCK);
    for block in whole.chunks(BLOCK) {
        planes.clear();
        to_planes(block, size, &mut planes);
        let compressed = lz4_flex::block::compress(&planes);
        stream.extend((compressed.len() as u32).to_be_bytes());
        stream.extend(compressed);
    }
    stream.extend(rest);
    stream
}

/// Appends the bits of `pixels`: the lowest of all, then the next.
fn to_planes(pixels: &[u8], size: usize, planes: &mut Vec<u8>) {
    for byte in 0..size {
        let bytes = || pixels.iter().skip(byte).step_by(size);
        for bit in 0..8 {
            let mut bytes = bytes();
            for _ in 0..pixels.len() / size / 8 {
                let eight = bytes.by_ref().take(8).enumerate();
                planes.push(eight.fold(0, |eight, (k, byte)| eight | (byte >> bit & 1) << k));
            }
        }
    }
}

fn zlib(pixels: &[u8]) -> Vec<u8> {
    let mut zlib = Compress::new(Compression::fast(), true);
    let mut stream = Vec::with_capacity(pixels.len() / 2 + 64);
    loop {
        let rest = pixels.get(zlib.total_in() as usize..).unwrap_or_default();
        match zlib.compress_vec(rest, &mut stream, FlushCompress::Finish) {
            Ok(Status::Ok | Status::BufError) => stream.reserve(stream.capacity()),
            Ok(Status::StreamEnd) | Err(_) => return stream,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beamflow_frame::headers::Description;
    use beamflow_frame::{Decoder, Dtype, FrameShape, Scratch};
    use proptest::prelude::*;

    #[test]
    fn names_can_be_read_again_and_others_are_refused() {
        for encoder in Encoder::ALL {
            assert_eq!(encoder.to_string().parse(), Ok(encoder));
        }
        assert!("blosc".parse::<Encoder>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_compressed_is_decoded_to_the_same_pixels(
            height in 1_usize..40,
            width in 1_usize..70,
            dtype in prop::sample::select(&Dtype::ALL[..]),
            encoder in prop::sample::select(&Encoder::ALL[..]),
            values in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 1..200),
        ) {
            let shape = FrameShape { height, width };
            let bytes = shape.bytes(dtype).unwrap();
            let pixels: Vec<u8> = values.into_iter().cycle().take(bytes).collect();
            let payload = encoder.encode(&pixels, dtype.size());
            let codec = Some(encoder.codec());
            let description = Description { number: 1, dtype, shape, codec };
            let headers = description.headers().collect();
            let mut scratch = Scratch::default();
            let decoder = Decoder::new(Dtype::U8, shape);
            let decoded = decoder.decode(&payload, &headers, &mut scratch);
            let mut plain = Scratch::default();
            let description = Description { codec: None, ..description };
            let headers = description.headers().collect();
            prop_assert_eq!(decoded, decoder.decode(&pixels, &headers, &mut plain));
        }
    }
}
