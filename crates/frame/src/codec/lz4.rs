//! LZ4 blocks, alone and in the streams of HDF5's filters.

use super::{Damage, end, number, shuffle, take};
use lz4_flex::block::{DecompressError, decompress_into};

/// One block that fills `to`.
pub(super) fn block(payload: &[u8], to: &mut [u8]) -> Result<(), Damage> {
    let needs = to.len();
    match decompress_into(payload, to) {
        Ok(has) if has == needs => Ok(()),
        Ok(has) => Err(Damage::Short { has, needs }),
        Err(DecompressError::OutputTooSmall { .. }) => Err(Damage::Long { needs }),
        Err(DecompressError::ExpectedAnotherByte | DecompressError::LiteralOutOfBounds) => {
            Err(Damage::Ends)
        }
        Err(_) => Err(Damage::Invalid("an LZ4 match reaches before the start")),
    }
}

/// The stream of HDF5's LZ4 filter (id 32004). A block as long as its pixels is stored.
pub(super) fn hdf5(mut payload: &[u8], to: &mut [u8]) -> Result<(), Damage> {
    size(number(&mut payload)?, to.len())?;
    let block_size = u32::from_be_bytes(number(&mut payload)?) as usize;
    if block_size == 0 {
        return Err(Damage::Invalid("its block size is 0"));
    }
    for to in to.chunks_mut(block_size) {
        let bytes = u32::from_be_bytes(number(&mut payload)?) as usize;
        let compressed = take(&mut payload, bytes)?;
        if bytes == to.len() {
            to.copy_from_slice(compressed);
        } else {
            block(compressed, to)?;
        }
    }
    end(payload)
}

/// Bytes in a block of bitshuffle, if nothing else is said: `BSHUF_TARGET_BLOCK_SIZE_B`.
const BLOCK: usize = 8192;

/// The stream of `bshuf_compress_lz4` for elements of `size` bytes.
///
/// Blocks of full size, then one of what is left, in multiples of 8 elements; up to 7 elements follow as they are. HDF5's
/// filter (id 32008) begins with the size, u64, and the block size, u32. Without it a stream begins with the length of a block,
/// which is not 0, so the two can be told apart.
pub(super) fn bitshuffled(
    mut payload: &[u8],
    size: usize,
    to: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<(), Damage> {
    let mut block_size = BLOCK;
    if payload.starts_with(&[0; 4]) && payload.len() >= 12 {
        self::size(number(&mut payload)?, to.len())?;
        block_size = u32::from_be_bytes(number(&mut payload)?) as usize;
        if block_size == 0 || block_size % (8 * size) != 0 {
            return Err(Damage::Invalid("its block size is no multiple of 8 pixels"));
        }
    }
    let whole = to.len() - to.len() % (8 * size);
    let (whole, rest) = to.split_at_mut(whole);
    for to in whole.chunks_mut(block_size) {
        let bytes = u32::from_be_bytes(number(&mut payload)?) as usize;
        let compressed = take(&mut payload, bytes)?;
        scratch.resize(to.len(), 0);
        block(compressed, scratch)?;
        shuffle::bits_back(scratch, size, to)?;
    }
    rest.copy_from_slice(take(&mut payload, rest.len())?);
    end(payload)
}

/// The size at the start of a stream, in bytes of pixels.
fn size(has: [u8; 8], needs: usize) -> Result<(), Damage> {
    let has = usize::try_from(u64::from_be_bytes(has)).unwrap_or(usize::MAX);
    match has.cmp(&needs) {
        std::cmp::Ordering::Less => Err(Damage::Short { has, needs }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Damage::Long { needs }),
    }
}
