//! One kind of frame, the model for it, and the answers that are right.

use crate::commands::drive::datum;
use crate::engine::simulated;
use crate::frame::values::Values;
use crate::frame::{Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, OutputSize, npy};
use crate::lab::encoder::Encoder;
use crate::lab::stack::FrameStack;
use crate::vertex::client::Datum;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Distinct frames that are sent, again and again.
const FRAMES: usize = 16;
/// The part of each output that is sent on: the sidecar's default, or all of a smaller frame.
const OUTPUT: usize = 64;
/// Results of a real model may differ by this, relative to the largest: other batch shapes round otherwise.
const TOLERANCE: f32 = 1e-3;

/// One kind of frame, and the model for it.
pub(crate) struct Stage {
    stack: FrameStack,
    model: String,
    output: OutputSize,
    /// Of a simulated device: what it must answer.
    results: Option<Arc<Vec<Vec<u8>>>>,
}

impl Stage {
    /// int16 frames of `shape`, and an engine that costs nothing; `None` for a shape that no frame can have. `output` is the
    /// part of each output that is sent on, if it is not the usual one.
    pub(crate) fn free(shape: FrameShape, output: Option<OutputSize>) -> Option<Self> {
        let pixels = shape.height * shape.width;
        let frames: Vec<Vec<i16>> = (0..FRAMES)
            .map(|k| {
                (0..pixels)
                    .map(|p| ((p * 31 + k * 977) % 30_011) as i16)
                    .collect()
            })
            .collect();
        let (width, height) = (shape.width.min(OUTPUT), shape.height.min(OUTPUT));
        let output = output.unwrap_or(OutputSize::Size { width, height });
        let result = |frame: &Vec<i16>| {
            let values: Vec<_> = frame
                .iter()
                .enumerate()
                .map(|(p, pixel)| simulated::expected(0, p, f32::from(*pixel)))
                .collect();
            let shape = [shape.height, shape.width];
            let envelope =
                Envelope::new(&shape, output, OutputDtype::Float32, OutputFormat::Npy).ok()?;
            Some(envelope.encode(Values::F32(&values)).ok()?.message)
        };
        let results = frames.iter().map(result).collect::<Option<_>>()?;
        let bytes = frames.iter().flatten().flat_map(|p| p.to_le_bytes());
        Some(Self {
            stack: FrameStack::new(Dtype::I16, shape, bytes.collect())?,
            model: format!("sim:size={}x{}", shape.height, shape.width),
            output,
            results: Some(Arc::new(results)),
        })
    }

    /// The frames of `stack`, and a model.
    pub(crate) fn of_model(model: &str, stack: FrameStack, output: Option<OutputSize>) -> Self {
        Self {
            stack,
            model: model.to_owned(),
            output: output.unwrap_or(OutputSize::Full),
            results: None,
        }
    }

    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// The same frames, compressed by `encoder`.
    pub(crate) fn compressed(&self, encoder: Option<Encoder>) -> Self {
        Self {
            stack: match encoder {
                Some(encoder) => self.stack.compressed(encoder),
                None => self.stack.clone(),
            },
            model: self.model.clone(),
            output: self.output,
            results: self.results.clone(),
        }
    }

    /// The kind of the frames: their size, and the codec if there is one.
    pub(crate) fn frame(&self) -> String {
        match self.stack.describe(0).codec {
            Some(codec) => format!("{} {codec}", self.shape()),
            None => self.shape().to_string(),
        }
    }

    /// Height and width of the frames.
    pub(crate) fn shape(&self) -> FrameShape {
        self.stack.shape()
    }

    /// What a sidecar is told of frames and results.
    pub(crate) fn flags(&self) -> Vec<String> {
        let flags = [
            ("--frame-dtype", self.stack.dtype().to_string()),
            ("--output-size", self.output.to_string()),
        ];
        let flags = flags.into_iter();
        flags
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// What a sidecar must answer.
    pub(crate) fn expected(&self) -> Expected {
        match &self.results {
            Some(results) => Expected::Known(Arc::clone(results)),
            None => Expected::learned(),
        }
    }

    /// Bytes of a frame.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.datum(0).value.len()
    }

    /// Bytes that a frame takes in a slot, as input and output of the simulated device; unknown of a model.
    pub(crate) fn row_bytes(&self) -> Option<usize> {
        let FrameShape { height, width } = self.shape();
        let values = 2 * height * width;
        self.results.is_some().then_some(values * size_of::<f32>())
    }

    /// Frame `k` as a datum.
    pub(crate) fn datum(&self, k: usize) -> Datum {
        datum(&self.stack, k)
    }

    /// Frames that differ from each other.
    pub(crate) fn distinct(&self) -> usize {
        self.stack.frames().min(FRAMES)
    }
}

/// What must be answered to each of the distinct frames.
#[derive(Clone)]
pub(crate) enum Expected {
    /// These bytes.
    Known(Arc<Vec<Vec<u8>>>),
    /// What was answered first to each frame, in each message.
    Learned(BTreeMap<usize, Vec<Vec<u8>>>),
}

impl Expected {
    /// Nothing is known yet.
    pub(crate) fn learned() -> Self {
        Self::Learned(BTreeMap::new())
    }

    /// Checks the response to frame `k` of the distinct ones.
    pub(crate) fn check(&mut self, k: usize, messages: &[&[u8]]) -> Result<(), String> {
        match self {
            Self::Known(results) => match (results.get(k), messages) {
                (Some(result), [message]) if result == message => Ok(()),
                (_, [_]) => Err("its values are not those of the frame".to_owned()),
                _ => Err(format!("{} messages instead of one", messages.len())),
            },
            Self::Learned(first) => match first.get(&k) {
                Some(first) if first.len() == messages.len() => {
                    let mut pairs = first.iter().zip(messages);
                    pairs.try_for_each(|(first, message)| alike(first, message))
                }
                Some(first) => Err(format!(
                    "{} messages; the first time it had {}",
                    messages.len(),
                    first.len()
                )),
                None if messages.iter().all(|message| message.is_empty()) => {
                    Err("it has no result".to_owned())
                }
                None => {
                    first.insert(k, messages.iter().map(|m| m.to_vec()).collect());
                    Ok(())
                }
            },
        }
    }

    /// Whether `message` answers frame `k`. Any result answers one that was not answered before.
    pub(crate) fn has(&self, k: usize, message: &[u8]) -> bool {
        match self {
            Self::Known(results) => results.get(k).is_some_and(|result| result == message),
            Self::Learned(first) => match first.get(&k) {
                Some(messages) => messages.iter().any(|first| alike(first, message).is_ok()),
                None => !message.is_empty(),
            },
        }
    }
}

/// Whether two payloads are the same, or the same numbers within the tolerance.
fn alike(first: &[u8], now: &[u8]) -> Result<(), String> {
    if first == now {
        return Ok(());
    }
    let values = |bytes| npy::Array::read(bytes).ok()?.floats();
    let (Some(first), Some(now)) = (values(first), values(now)) else {
        return Err("its bytes differ from those of the first time".to_owned());
    };
    let largest = first.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * largest;
    if first.len() == now.len() && first.iter().zip(&now).all(near) {
        return Ok(());
    }
    Err("its values differ from those of the first time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_answer_must_be_met_to_the_byte() {
        let shape = FrameShape {
            height: 4,
            width: 6,
        };
        let stage = Stage::free(shape, None).unwrap();
        let mut expected = stage.expected();
        let Expected::Known(results) = &expected else {
            panic!("the simulated device's answers are known");
        };
        let right = results[3].clone();
        assert_eq!(expected.check(3, &[&right]), Ok(()));
        assert!(expected.check(4, &[&right]).is_err());
        assert!(expected.has(3, &right) && !expected.has(4, &right));
        assert!(expected.check(3, &[&right, &right]).is_err());
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(expected.check(3, &[&wrong]).is_err());
    }

    #[test]
    fn answers_that_are_learned_must_come_again() {
        let mut expected = Expected::learned();
        assert_eq!(expected.check(0, &[b"a"]), Ok(()));
        assert_eq!(expected.check(1, &[b"b"]), Ok(()));
        assert_eq!(expected.check(0, &[b"a"]), Ok(()));
        assert!(expected.check(1, &[b"a"]).is_err());
        assert!(expected.has(1, b"b") && !expected.has(1, b"a"));
        assert!(expected.check(1, &[]).is_err());
        assert!(expected.check(2, &[b""]).is_err(), "a DROP is no result");
    }
}
