//! The shuffles that codecs apply before they compress, undone.
//!
//! A shuffle puts alike bytes or bits of neighbouring pixels together. *Bytes*: the first bytes of all elements, then all second
//! ones, and so on. *Bits* (bitshuffle): the lowest bit of all elements, then the next; eight elements in a byte, the first
//! one in the lowest bit. One such row of bits is a *plane*.
//!
//! To undo the second, 64 elements at a time: word `p` has bit `p` of each of them. Six steps of exchanges between words (Warren,
//! *Hacker's Delight*, 7-3) transpose this matrix of bits. Its columns then have to be put in order in the same way. Four
//! such groups are worked on side by side, so that the compiler can vectorise the loops.

use super::Damage;
use fearless_simd::{Level, Simd, dispatch};

/// Groups of 64 elements that are worked on at once.
const LANES: usize = 4;
/// Bytes of a plane that they take.
const STEP: usize = 8 * LANES;

/// One plane of the groups, or 8 bytes of pixels of each.
type Word = [u64; LANES];

/// Elements of `size` bytes from their planes. Both slices are equally long, a multiple of 8 elements.
///
/// # Errors
/// [`Damage::Unsupported`] for elements of other sizes than 1, 2, 4 and 8 bytes.
pub(super) fn bits_back(planes: &[u8], size: usize, to: &mut [u8]) -> Result<(), Damage> {
    match size {
        1 => planes_to_pixels::<8>(planes, to),
        2 => planes_to_pixels::<16>(planes, to),
        4 => planes_to_pixels::<32>(planes, to),
        8 => planes_to_pixels::<64>(planes, to),
        _ => {
            return Err(Damage::Unsupported(format!(
                "its bits are shuffled for elements of {size} bytes, and pixels have 1, 2, 4 or 8"
            )));
        }
    }
    Ok(())
}

/// Elements of `size` bytes from their bytes. What is left at the end is no whole element and stays where it is.
pub(super) fn bytes_back(shuffled: &[u8], size: usize, to: &mut [u8]) {
    let elements = to.len() / size;
    let (whole, rest) = to.split_at_mut(elements * size);
    let (shuffled, left) = shuffled.split_at(elements * size);
    for (byte, from) in shuffled.chunks_exact(elements.max(1)).enumerate() {
        let to = whole.iter_mut().skip(byte).step_by(size);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }
    rest.copy_from_slice(left);
}

/// Elements of `BITS` bits from their planes.
fn planes_to_pixels<const BITS: usize>(planes: &[u8], to: &mut [u8]) {
    #[inline(always)]
    fn run<S: Simd, const BITS: usize>(simd: S, planes: &[u8], to: &mut [u8]) {
        simd.vectorize(
            #[inline(always)]
            || {
                let plane = (planes.len() / BITS).max(1);
                for (step, to) in to.chunks_mut(STEP * BITS).enumerate() {
                    let mut words = [[0; LANES]; BITS];
                    for (word, plane) in words.iter_mut().zip(planes.chunks_exact(plane)) {
                        *word = load(plane.get(step * STEP..).unwrap_or_default());
                    }
                    transpose(&mut words);
                    store(&words, to);
                }
            },
        );
    }
    dispatch!(Level::new(), simd => run::<_, BITS>(simd, planes, to));
}

/// The next bytes of a plane; zeros beyond its end.
#[inline(always)]
fn load(plane: &[u8]) -> Word {
    let words = |bytes: &[u8; STEP]| {
        let mut words = [0; LANES];
        let (chunks, _) = bytes.as_chunks::<8>();
        for (word, bytes) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    };
    match plane.first_chunk::<STEP>() {
        Some(bytes) => words(bytes),
        None => {
            let mut bytes = [0; STEP];
            bytes
                .iter_mut()
                .zip(plane)
                .for_each(|(to, from)| *to = *from);
            words(&bytes)
        }
    }
}

/// Exchanges bits between words until every word has 8 bytes of pixels.
#[inline(always)]
fn transpose<const BITS: usize>(words: &mut [Word; BITS]) {
    // Within columns of BITS bits: bit p of word e to bit e of word p.
    let mut distance = 1;
    while distance < BITS {
        exchange(words, distance, distance);
        distance *= 2;
    }
    // Between columns: column q of word c to column c of word q.
    distance = 1;
    let mut shift = BITS;
    while shift < 64 {
        exchange(words, distance, shift);
        distance *= 2;
        shift *= 2;
    }
}

/// Between each word and the one `distance` behind it: exchanges the bits of the first whose position has `shift` in it with
/// those of the second that lie `shift` lower.
#[inline(always)]
fn exchange(words: &mut [Word], distance: usize, shift: usize) {
    let kept = !0_u64 / ((1 << shift) + 1);
    for pair in words.chunks_exact_mut(2 * distance) {
        let (low, high) = pair.split_at_mut(distance);
        for (low, high) in low.iter_mut().zip(high) {
            for (low, high) in low.iter_mut().zip(high) {
                let differ = ((*low >> shift) ^ *high) & kept;
                *high ^= differ;
                *low ^= differ << shift;
            }
        }
    }
}

/// Writes the words in the order of the pixels, as many as `to` has room for.
#[inline(always)]
fn store<const BITS: usize>(words: &[Word; BITS], to: &mut [u8]) {
    // Of `columns` neighbouring words, each has one column of the elements.
    let columns = 64 / BITS;
    let (to, rest) = to.as_chunks_mut::<8>();
    debug_assert!(rest.is_empty());
    for (m, word) in words.iter().enumerate() {
        let place = (m % columns) * (BITS / columns) + m / columns;
        for (lane, word) in word.iter().enumerate() {
            if let Some(to) = to.get_mut(lane * BITS + place) {
                *to = word.to_le_bytes();
            }
        }
    }
}
