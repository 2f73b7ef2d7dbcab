//! Chunks of c-blosc 1.
//!
//! A chunk is a header of 16 bytes, the offset of each block, and the blocks. A block is one stream, or one for each byte of an
//! element; a stream is its length (i32, little-endian) and what its codec made of it, or the bytes themselves if the length is
//! theirs. All blocks have the block size but for the last one. c-blosc 2 writes other chunks (version 3 and above).
//! Source: c-blosc's `README_CHUNK_FORMAT.rst` and `blosc.c`.

use super::{Damage, blosclz, lz4, number, shuffle, take, zlib::Inflater};
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::FrameDecoderError;

/// The largest version of the format of c-blosc 1.
const VERSION: u8 = 2;
const BYTES_SHUFFLED: u8 = 1;
const STORED: u8 = 2;
const BITS_SHUFFLED: u8 = 4;
const NOT_SPLIT: u8 = 16;
/// Blocks are split for elements of at most so many bytes,
const MOST_STREAMS: usize = 16;
/// and with at least so many elements in a block.
const LEAST_ELEMENTS: usize = 128;

/// A zstd decoder that keeps its memory between streams.
#[derive(Default)]
pub(super) struct Zstd(Option<Box<FrameDecoder>>);

impl Zstd {
    fn stream(&mut self, payload: &[u8], to: &mut [u8]) -> Result<(), Damage> {
        let needs = to.len();
        let zstd = self.0.get_or_insert_with(|| Box::new(FrameDecoder::new()));
        // A window larger than the block is not needed; zstd's least one is 1 KiB.
        zstd.set_max_window_size(needs.next_power_of_two().max(1024) as u64);
        match zstd.decode_all(payload, to) {
            Ok(has) if has == needs => Ok(()),
            Ok(has) => Err(Damage::Short { has, needs }),
            Err(FrameDecoderError::TargetTooSmall) => Err(Damage::Long { needs }),
            Err(_) => Err(Damage::Invalid("a zstd stream cannot be decoded")),
        }
    }
}

/// What the header says.
struct Header {
    flags: u8,
    /// Bytes in an element.
    element: usize,
    block: usize,
}

impl Header {
    /// Reads and checks the header at the front of `payload`, the whole chunk, for `needs` bytes of pixels.
    fn read(payload: &mut &[u8], needs: usize) -> Result<Self, Damage> {
        let length = payload.len();
        let [version, _, flags, element] = number(payload)?;
        let mut size = || number(payload).map(|bytes| u32::from_le_bytes(bytes) as usize);
        let (has, block, chunk) = (size()?, size()?, size()?);
        if version == 0 || version > VERSION {
            return Err(Damage::Unsupported(format!(
                "its blosc format has version {version}, and c-blosc 1 writes up to {VERSION}"
            )));
        }
        if has < needs {
            return Err(Damage::Short { has, needs });
        }
        if has > needs {
            return Err(Damage::Long { needs });
        }
        if chunk > length {
            return Err(Damage::Ends);
        }
        if chunk < length {
            return Err(Damage::Behind(length - chunk));
        }
        if block == 0 || element == 0 {
            return Err(Damage::Invalid("its block or element size is 0"));
        }
        Ok(Self {
            flags,
            element: usize::from(element),
            block: block.min(needs),
        })
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Streams in a block of `bytes`.
    const fn streams(&self, bytes: usize) -> usize {
        let split = !self.has(NOT_SPLIT)
            && self.element <= MOST_STREAMS
            && bytes / self.element >= LEAST_ELEMENTS
            && bytes == self.block;
        if split { self.element } else { 1 }
    }
}

/// One chunk that fills `to`.
pub(super) fn chunk(
    payload: &[u8],
    to: &mut [u8],
    scratch: &mut Vec<u8>,
    zlib: &mut Inflater,
    zstd: &mut Zstd,
) -> Result<(), Damage> {
    let mut rest = payload;
    let header = Header::read(&mut rest, to.len())?;
    if header.has(STORED) {
        let stored = take(&mut rest, to.len())?;
        to.copy_from_slice(stored);
        return super::end(rest);
    }
    for to in to.chunks_mut(header.block) {
        let offset = u32::from_le_bytes(number(&mut rest)?) as usize;
        let mut from = payload.get(offset..).ok_or(Damage::Ends)?;
        let shuffled = header.has(BYTES_SHUFFLED) && header.element > 1
            || header.has(BITS_SHUFFLED) && to.len() >= header.element;
        let block = if shuffled {
            scratch.resize(to.len(), 0);
            scratch.as_mut_slice()
        } else {
            &mut *to
        };
        let stream = block.len() / header.streams(block.len());
        if block.len() % stream != 0 {
            return Err(Damage::Invalid(
                "its blocks are no multiple of its elements",
            ));
        }
        for to in block.chunks_mut(stream) {
            let bytes = u32::from_le_bytes(number(&mut from)?) as usize;
            let from = take(&mut from, bytes)?;
            match header.flags >> 5 {
                _ if bytes == to.len() => to.copy_from_slice(from),
                0 => blosclz::stream(from, to)?,
                1 => lz4::block(from, to)?,
                3 => zlib.stream(from, to)?,
                4 => zstd.stream(from, to)?,
                other => {
                    let name = if other == 2 {
                        "Snappy"
                    } else {
                        "an unknown codec"
                    };
                    return Err(Damage::Unsupported(format!(
                        "blosc with {name} is not supported: choose blosclz, lz4, zlib or zstd"
                    )));
                }
            }
        }
        if shuffled {
            back(&header, scratch, to)?;
        }
    }
    Ok(())
}

/// Undoes the shuffle of a block.
fn back(header: &Header, shuffled: &[u8], to: &mut [u8]) -> Result<(), Damage> {
    let size = header.element;
    if header.has(BYTES_SHUFFLED) && size > 1 {
        shuffle::bytes_back(shuffled, size, to);
        return Ok(());
    }
    let elements = to.len() / size;
    // c-blosc 1 leaves a block alone whose elements are no multiple of 8.
    let whole = if elements.is_multiple_of(8) {
        elements * size
    } else {
        0
    };
    let (bits, left) = shuffled.split_at(whole);
    let (to, rest) = to.split_at_mut(whole);
    shuffle::bits_back(bits, size, to)?;
    rest.copy_from_slice(left);
    Ok(())
}
