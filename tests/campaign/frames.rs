//! Valid and invalid frames, and their expected answers: a function of seed and number only.

use beamflow::engine::simulated::expected;
use beamflow::frame::headers::{DTYPE, TXN_ID};
use beamflow::vertex::client::Datum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const PIXELS: usize = 16;

/// The kind of a datum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A raw frame.
    Good,
    /// A frame as an npy file.
    GoodNpy,
    /// Too few bytes.
    Truncated,
    /// Far too many bytes.
    Oversized,
    /// An invalid npy header.
    CorruptNpy,
    /// An invalid dtype.
    UnknownDtype,
    /// An empty payload.
    Empty,
}

impl Kind {
    pub fn of(seed: u64, number: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(number as u64);
        match random.next_u32() % 200 {
            0 => Self::Oversized,
            1..=3 => Self::Truncated,
            4..=6 => Self::CorruptNpy,
            7..=9 => Self::UnknownDtype,
            10..=11 => Self::Empty,
            12..=31 => Self::GoodNpy,
            _ => Self::Good,
        }
    }

    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::GoodNpy)
    }
}

/// Pixels that differ from every other frame: its number in base 30,000, and the positions.
fn pixels(number: usize) -> [i16; PIXELS] {
    std::array::from_fn(|position| match position {
        0 => (number % 30_000) as i16,
        1 => (number / 30_000) as i16,
        _ => ((number * 7 + position * 131) % 30_000) as i16,
    })
}

/// The datum of frame `number`.
pub fn datum(kind: Kind, number: usize) -> Datum {
    let raw: Vec<u8> = pixels(number)
        .iter()
        .flat_map(|p| p.to_le_bytes())
        .collect();
    let npy = |header: &str| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let padded = format!("{header:<117}\n");
        bytes.extend((padded.len() as u16).to_le_bytes());
        bytes.extend(padded.as_bytes());
        bytes.extend(&raw);
        bytes
    };
    let value = match kind {
        Kind::Good | Kind::UnknownDtype => raw.clone(),
        Kind::GoodNpy => npy("{'descr': '<i2', 'fortran_order': False, 'shape': (4, 4), }"),
        Kind::CorruptNpy => npy("{'descr': '<i2', 'shape': (4, -4"),
        Kind::Truncated => raw[..7].to_vec(),
        Kind::Oversized => vec![7; 256 * 1024],
        Kind::Empty => Vec::new(),
    };
    let datum = Datum::new(number.to_string(), value).with_header(TXN_ID, number.to_string());
    match kind {
        Kind::UnknownDtype => datum.with_header(DTYPE, "complex7"),
        _ => datum,
    }
}

/// Whether `payload` is the result of frame `number`.
pub fn is_result(number: usize, payload: &[u8]) -> bool {
    let values: Option<Vec<f32>> = npyz::NpyFile::new(payload)
        .ok()
        .and_then(|file| file.into_vec().ok());
    let right = pixels(number)
        .iter()
        .enumerate()
        .map(|(position, pixel)| expected(0, position, f32::from(*pixel)))
        .collect();
    values == Some(right)
}
