//! Blosc's own codec, a variant of FastLZ.
//!
//! A stream is a row of instructions. The upper three bits of the first byte are a length L, the lower five the upper part of a
//! distance. L = 0: that many bytes + 1 follow as they are. Else: L + 2 bytes are repeated; L = 7 is followed by more lengths,
//! to the first below 255. Then the lower part of the distance follows; a distance of 8191 is followed by 16 bits more. The
//! first instruction is always of the first kind.

use super::{Damage, take};

/// The largest distance without 16 bits more.
const NEAR: usize = 8191;

/// One stream that fills `to`.
pub(super) fn stream(mut payload: &[u8], to: &mut [u8]) -> Result<(), Damage> {
    let needs = to.len();
    let mut at = 0;
    let mut mask = 31;
    while let Some((&first, rest)) = payload.split_first() {
        payload = rest;
        let instruction = first & mask;
        mask = 255;
        let low = usize::from(instruction & 31);
        if instruction < 32 {
            let literal = take(&mut payload, low + 1)?;
            let room = to.get_mut(at..at + literal.len());
            room.ok_or(Damage::Long { needs })?.copy_from_slice(literal);
            at += literal.len();
            continue;
        }
        let mut length = usize::from(instruction >> 5) + 2;
        if length == 9 {
            loop {
                let more = byte(&mut payload)?;
                length += more;
                if more < 255 {
                    break;
                }
            }
        }
        let mut distance = low * 256 + byte(&mut payload)?;
        if distance == NEAR {
            distance += byte(&mut payload)? * 256 + byte(&mut payload)?;
        }
        if length > needs - at {
            return Err(Damage::Long { needs });
        }
        let from = at
            .checked_sub(distance + 1)
            .ok_or(Damage::Invalid("a blosclz match reaches before the start"))?;
        repeat(to, from, at, length);
        at += length;
    }
    match at {
        has if has < needs => Err(Damage::Short { has, needs }),
        _ => Ok(()),
    }
}

fn byte(payload: &mut &[u8]) -> Result<usize, Damage> {
    let (&byte, rest) = payload.split_first().ok_or(Damage::Ends)?;
    *payload = rest;
    Ok(usize::from(byte))
}

/// Copies `length` bytes from `from` to `at`, which may overlap: then what was just written is copied again.
fn repeat(to: &mut [u8], from: usize, at: usize, length: usize) {
    let mut done = 0;
    while done < length {
        let known = (at - from + done).min(length - done);
        to.copy_within(from..from + known, at + done);
        done += known;
    }
}
