//! Random inputs: entries of a corpus with small changes, joined entries, or new bytes. The n-th input of a
//! seed is always the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Inputs are not longer than this.
const LONGEST: usize = 4096;

/// Bytes at which numbers change sign or size, and bytes of syntax.
const TELLING: [u8; 12] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b',', b'=', b'x', b'0', b'9',
];

/// See the module documentation.
pub struct Mutator {
    chance: ChaCha8Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self {
            chance: ChaCha8Rng::seed_from_u64(seed),
            corpus,
        }
    }

    pub fn next(&mut self) -> Vec<u8> {
        if self.below(16) == 0 {
            let mut bytes = vec![0; self.below(256)];
            self.chance.fill_bytes(&mut bytes);
            return bytes;
        }
        let mut bytes = self.entry();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    /// A number below `count`; 0 if that is 0.
    fn below(&mut self, count: usize) -> usize {
        (self.chance.next_u64() % count.max(1) as u64) as usize
    }

    fn entry(&mut self) -> Vec<u8> {
        let n = self.below(self.corpus.len());
        self.corpus.get(n).cloned().unwrap_or_default()
    }

    /// A random range of `bytes`, usually short.
    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len());
        let most = bytes.len() - start;
        let most = if self.below(4) == 0 {
            most
        } else {
            most.min(8)
        };
        start..start + self.below(most + 1)
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len());
        match self.below(7) {
            0 => {
                let bit = 1 << self.below(8);
                bytes
                    .iter_mut()
                    .skip(place)
                    .take(1)
                    .for_each(|byte| *byte ^= bit);
            }
            1 => {
                let telling = TELLING[self.below(TELLING.len())];
                bytes
                    .iter_mut()
                    .skip(place)
                    .take(1)
                    .for_each(|byte| *byte = telling);
            }
            2 => {
                let telling = TELLING[self.below(TELLING.len())];
                bytes.insert(place, telling);
            }
            3 => drop(bytes.drain(self.range(bytes))),
            4 => {
                let part = bytes[self.range(bytes)].to_vec();
                bytes.splice(place..place, part);
            }
            5 => {
                let other = self.entry();
                let part = other[self.range(&other)].to_vec();
                bytes.splice(place..place, part);
            }
            _ => {
                let other = self.entry();
                bytes.truncate(place);
                bytes.extend(&other[self.below(other.len())..]);
            }
        }
    }
}
