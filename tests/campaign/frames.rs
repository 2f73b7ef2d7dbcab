//! Valid and invalid frames, the models that they are for, and their expected answers: a function of seed and number only.

use beamflow::engine::simulated::expected;
use beamflow::frame::headers::{DTYPE, MODEL, TXN_ID};
use beamflow::vertex::client::Datum;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The header of the route in the models file.
pub const ROUTE: &str = "x-shape";

/// A model, and what its frames are.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    /// Height and width of a frame.
    pub size: (usize, usize),
    /// Whether its device has no faults: then none of its frames is nacked.
    pub is_sound: bool,
}

/// The only model of a sidecar.
pub const ONE: [Target; 1] = [Target {
    name: "default",
    size: (4, 4),
    is_sound: false,
}];

/// Three models of a sidecar. The first is the default.
pub const THREE: [Target; 3] = [
    Target {
        name: "small",
        size: (4, 4),
        is_sound: true,
    },
    Target {
        name: "wide",
        size: (3, 8),
        is_sound: true,
    },
    Target {
        name: "sick",
        size: (5, 5),
        is_sound: false,
    },
];

/// All frames of a campaign.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    pub seed: u64,
    pub models: &'static [Target],
}

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
    /// A model that the sidecar does not have.
    UnknownModel,
}

impl Kind {
    fn of(random: &mut ChaCha8Rng) -> Self {
        match random.next_u32() % 200 {
            0 => Self::Oversized,
            1..=3 => Self::Truncated,
            4..=6 => Self::CorruptNpy,
            7..=9 => Self::UnknownDtype,
            10..=11 => Self::Empty,
            12..=31 => Self::GoodNpy,
            32 => Self::UnknownModel,
            _ => Self::Good,
        }
    }

    pub fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::GoodNpy)
    }
}

/// `count` pixels that differ from those of every other frame: its number in base 30,000, and the positions.
fn pixels(number: usize, count: usize) -> Vec<i16> {
    let pixel = |position| match position {
        0 => (number % 30_000) as i16,
        1 => (number / 30_000) as i16,
        _ => ((number * 7 + position * 131) % 30_000) as i16,
    };
    (0..count).map(pixel).collect()
}

impl Frames {
    /// Kind and model of a frame, and a random number.
    fn choose(&self, number: usize) -> (Kind, &'static Target, u32) {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(number as u64);
        let kind = Kind::of(&mut random);
        let model = random.next_u32() as usize % self.models.len();
        (kind, &self.models[model], random.next_u32())
    }

    pub fn kind(&self, number: usize) -> Kind {
        self.choose(number).0
    }

    /// The model that the headers of the frame choose.
    pub fn model(&self, number: usize) -> &'static Target {
        self.choose(number).1
    }

    /// The datum of frame `number`.
    pub fn datum(&self, number: usize) -> Datum {
        let (kind, model, random) = self.choose(number);
        let (height, width) = model.size;
        let pixels = pixels(number, height * width);
        let raw: Vec<u8> = pixels.iter().flat_map(|p| p.to_le_bytes()).collect();
        let npy = |header: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            let padded = format!("{header:<117}\n");
            bytes.extend((padded.len() as u16).to_le_bytes());
            bytes.extend(padded.as_bytes());
            bytes.extend(&raw);
            bytes
        };
        let value = match kind {
            Kind::Good | Kind::UnknownDtype | Kind::UnknownModel => raw.clone(),
            Kind::GoodNpy => npy(&format!(
                "{{'descr': '<i2', 'fortran_order': False, 'shape': ({height}, {width}), }}"
            )),
            Kind::CorruptNpy => npy("{'descr': '<i2', 'shape': (4, -4"),
            Kind::Truncated => raw[..7].to_vec(),
            Kind::Oversized => vec![7; 256 * 1024],
            Kind::Empty => Vec::new(),
        };
        let mut datum = Datum::new(number.to_string(), value);
        datum = datum.with_header(TXN_ID, number.to_string());
        match kind {
            Kind::UnknownModel => return datum.with_header(MODEL, "nobody"),
            Kind::UnknownDtype => datum = datum.with_header(DTYPE, "complex7"),
            _ => {}
        }
        // By its name, by the route, or because it is the default.
        match (random % 3, self.models) {
            (_, [_]) => datum,
            (0, _) => datum.with_header(MODEL, model.name),
            (1, [default, ..]) if default.name == model.name => datum,
            _ => datum.with_header(ROUTE, model.name),
        }
    }

    /// Whether `payload` is the result of frame `number`.
    pub fn is_result(&self, number: usize, payload: &[u8]) -> bool {
        let (height, width) = self.model(number).size;
        let Ok(file) = npyz::NpyFile::new(payload) else {
            return false;
        };
        // The output's own shape, without the batch.
        let is_shaped = file.shape().ends_with(&[height as u64, width as u64]);
        let right = pixels(number, height * width).into_iter().enumerate();
        let right = right.map(|(position, pixel)| expected(0, position, f32::from(pixel)));
        let values: Option<Vec<f32>> = file.into_vec().ok();
        is_shaped && values == Some(right.collect())
    }
}
