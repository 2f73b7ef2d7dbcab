//! Speed of the conversion from pixels to a model's values, compared with copying their bytes.
//!
//! The reference is `memcpy` of the payload, which reads what the conversion reads and writes as many bytes. A
//! row of `f32` is twice as long as an int16 payload, so `fill` is shown too: it writes the row and reads
//! nothing. `streamed` cycles through 64 frames, more than most caches hold, like a read batch. `cached`
//! repeats one frame, which shows the arithmetic. `max` and `above` look for bad pixels, of which there are none, where the
//! type can hold one. The cases alternate; the results are medians of the rounds.
//!
//! `cargo bench --bench conversion`

use beamflow::frame::values::{Element, ValuesMut};
use beamflow::frame::{
    BadPixelFill, BadPixelLimit, BadPixelRule, BadPixels, Decoder, Dtype, FrameShape, Scratch,
};
use half::f16;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

const SHAPE: FrameShape = FrameShape {
    height: 512,
    width: 512,
};
const PIXELS: usize = SHAPE.height * SHAPE.width;

/// A measured operation.
#[derive(Clone, Copy)]
enum Subject {
    Copy,
    Fill(Element),
    /// With this rule for bad pixels.
    Convert(Element, &'static str),
}

impl Subject {
    const ALL: [(&str, Self); 7] = [
        ("memcpy", Self::Copy),
        ("fill f32", Self::Fill(Element::F32)),
        ("to f32", Self::Convert(Element::F32, "nan")),
        ("to f32, max", Self::Convert(Element::F32, "max")),
        ("fill f16", Self::Fill(Element::F16)),
        ("to f16", Self::Convert(Element::F16, "nan")),
        (
            "f32, above",
            Self::Convert(Element::F32, "negative,above=119"),
        ),
    ];
}

/// Payloads of one type, and the buffers for the results.
struct Frames {
    dtype: Dtype,
    payloads: Vec<Vec<u8>>,
    copies: Vec<Vec<u8>>,
    singles: Vec<Vec<f32>>,
    halves: Vec<Vec<f16>>,
}

impl Frames {
    fn new(dtype: Dtype, frames: usize) -> Self {
        // Values that every type holds and that are in the range of `f16`.
        let value = |at: usize| (at % 120) as u8;
        let payload: Vec<u8> = (0..PIXELS)
            .flat_map(|at| match dtype {
                Dtype::F32 => f32::from(value(at)).to_le_bytes().to_vec(),
                Dtype::F64 => f64::from(value(at)).to_le_bytes().to_vec(),
                _ => {
                    let mut bytes = vec![0; dtype.size()];
                    bytes.splice(..1, [value(at)]);
                    bytes
                }
            })
            .collect();
        Self {
            dtype,
            copies: vec![vec![0; payload.len()]; frames],
            payloads: vec![payload; frames],
            singles: vec![vec![0.0; PIXELS]; frames],
            halves: vec![vec![f16::ZERO; PIXELS]; frames],
        }
    }

    /// Seconds a frame takes.
    fn time(&mut self, subject: Subject) -> Result<f64, Box<dyn std::error::Error>> {
        let headers = HashMap::new();
        let decoder = Decoder::new(self.dtype, SHAPE);
        let rule = match subject {
            Subject::Convert(_, rule) => rule.parse()?,
            _ => BadPixelRule::default(),
        };
        let (fill, limit) = (BadPixelFill::default(), BadPixelLimit::default());
        let bad = &BadPixels::new(Some(rule), fill, limit, None);
        let rows = self.singles.iter_mut().zip(&mut self.halves);
        let places = self.payloads.iter().zip(&mut self.copies).zip(rows);
        let frames = places.len();
        let mut scratch = Scratch::default();
        let begun = Instant::now();
        for ((payload, copy), (single, half)) in places {
            let payload = black_box(payload);
            match subject {
                Subject::Copy => black_box(copy).copy_from_slice(payload),
                Subject::Fill(Element::F32) => black_box(single).fill(black_box(1.0)),
                Subject::Fill(Element::F16) => black_box(half).fill(black_box(f16::ONE)),
                Subject::Convert(element, _) => {
                    let row = match element {
                        Element::F32 => ValuesMut::F32(black_box(single)),
                        Element::F16 => ValuesMut::F16(black_box(half)),
                    };
                    let pixels = decoder.decode(payload, &headers, &mut scratch)?;
                    pixels.write_to(row, bad)?;
                }
            }
        }
        Ok(begun.elapsed().as_secs_f64() / frames as f64)
    }
}

fn table(
    title: &str,
    frames: usize,
    rounds: usize,
    dtypes: &[Dtype],
) -> Result<(), Box<dyn std::error::Error>> {
    println!("{title}: GB/s of payload, and relative to memcpy");
    print!("  {:8}", "pixels");
    for (name, _) in Subject::ALL {
        print!("  {name:>14}");
    }
    println!();
    for &dtype in dtypes {
        let mut frames = Frames::new(dtype, frames);
        let mut times = vec![Vec::with_capacity(rounds); Subject::ALL.len()];
        for _ in 0..rounds {
            for ((_, subject), times) in Subject::ALL.into_iter().zip(&mut times) {
                times.push(frames.time(subject)?);
            }
        }
        print!("  {:8}", dtype.name());
        let mut floor = None;
        for times in &mut times {
            times.sort_by(f64::total_cmp);
            let median = times.get(rounds / 2).copied().unwrap_or(f64::NAN);
            let floor = *floor.get_or_insert(median);
            let speed = (PIXELS * dtype.size()) as f64 / median / 1e9;
            print!("  {speed:8.1} {:5.2}", floor / median);
        }
        println!();
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("frames of {SHAPE}, one core\n");
    table("streamed", 64, 41, &Dtype::ALL)?;
    println!();
    table("cached", 1, 1001, &Dtype::ALL)
}
