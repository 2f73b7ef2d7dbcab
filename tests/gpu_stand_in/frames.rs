//! Frames, engine files, and the stand-in's results for them.

use beamflow::vertex::client::{Answer, Datum};

/// Side of the frames, in pixels.
pub const SIDE: usize = 4;

/// Values in a frame.
pub const VALUES: usize = SIDE * SIDE;

const NACK: &str = "U+005C__NACK__";

/// An engine file with the outputs `amplitude` and `phase`. `input` is the type of its input, `batch` the rows
/// of a run (`8` or `1 4 8`), and `more` further lines of the file.
pub fn plan(input: &str, batch: &str, more: &str) -> String {
    format!(
        "stand-in plan\n\
         input diffraction {input} N 1 {SIDE} {SIDE}\n\
         output amplitude f32 N 1 {SIDE} {SIDE}\n\
         output phase f32 N 1 {SIDE} {SIDE}\n\
         batch {batch}\n{more}\n"
    )
}

/// The usual engine file: single precision, any batch up to 8.
pub fn usual() -> String {
    plan("f32", "1 8 8", "")
}

/// Frame `k` of `values` values: counts that are exact in half precision, and differ from those of nearby
/// frames.
fn pixels(k: usize, values: usize) -> impl Iterator<Item = i16> {
    (0..values).map(move |position| ((k * 37 + position * 3) % 1000) as i16)
}

/// Frame `k` of `values` values as a datum.
pub fn frame_of(k: usize, values: usize) -> Datum {
    let bytes = pixels(k, values).flat_map(i16::to_le_bytes);
    Datum::new(k.to_string(), bytes.collect())
}

/// Frame `k` as a datum.
pub fn frame(k: usize) -> Datum {
    frame_of(k, VALUES)
}

/// The stand-in's output `output` for frame `k` of `values` values, uncropped.
pub fn whole_of(output: usize, k: usize, values: usize) -> Vec<f32> {
    let (scale, shift) = ((output + 1) as f32, output as f32);
    let value = |x| f32::from(x) * scale + shift;
    pixels(k, values).map(value).collect()
}

/// The stand-in's output `output` for frame `k`, uncropped.
pub fn whole(output: usize, k: usize) -> Vec<f32> {
    whole_of(output, k, VALUES)
}

/// The middle `part` × `part` of an output of `side` × `side`.
pub fn middle_of(whole: &[f32], side: usize, part: usize) -> Vec<f32> {
    let margin = (side - part) / 2;
    let rows = whole.chunks(side).skip(margin).take(part);
    rows.flat_map(|row| row[margin..margin + part].to_vec())
        .collect()
}

/// The middle 2 × 2 of output `output` for frame `k`.
pub fn middle(output: usize, k: usize) -> Vec<f32> {
    middle_of(&whole(output, k), SIDE, 2)
}

/// The contents of the messages for frame `k`.
pub fn given(answer: &Answer, k: usize) -> Vec<Vec<f32>> {
    let messages = answer.get(&k.to_string()).expect("the frame is answered");
    let values = |payload: &[u8]| npyz::NpyFile::new(payload)?.into_vec();
    let values = messages.iter().map(|message| values(&message.value));
    values.collect::<Result<_, _>>().expect("a result is npy")
}

/// Asserts that each of the first `frames` frames was answered with its own two outputs, uncropped.
pub fn assert_results(answer: &Answer, frames: usize) {
    assert_eq!(nacks(answer, frames), Vec::<usize>::new());
    for k in 0..frames {
        assert_eq!(given(answer, k), [whole(0, k), whole(1, k)], "frame {k}");
    }
}

/// The nacked frames of the first `frames`; all others must have their results.
pub fn nacks(answer: &Answer, frames: usize) -> Vec<usize> {
    let nacked = |k: &usize| answer.tags(&k.to_string()).any(|tag| tag == NACK);
    for k in (0..frames).filter(|k| !nacked(k)) {
        assert_eq!(given(answer, k), [whole(0, k), whole(1, k)], "frame {k}");
    }
    (0..frames).filter(nacked).collect()
}
