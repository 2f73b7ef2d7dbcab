//! A stack of frames to send: read from a `.npy` file or simulated.

use crate::encoder::Encoder;
use crate::{DetectorError, SimulatedScan};
use beamflow_frame::headers::Description;
use beamflow_frame::{Codec, Dtype, FrameShape, npy};
use std::path::{Path, PathBuf};

/// Frames of one shape and dtype: raw little-endian pixels, or compressed.
#[derive(Clone, Debug)]
pub struct FrameStack {
    dtype: Dtype,
    shape: FrameShape,
    codec: Option<Codec>,
    /// One frame after another.
    payloads: Vec<u8>,
    /// The end of each frame.
    ends: Vec<usize>,
}

/// Why a file cannot be used as a stack of frames.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The file cannot be read.
    #[error("cannot read the frames {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is no stack of frames.
    #[error("the frames in {} cannot be used: {reason}", path.display())]
    NotFrames {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl FrameStack {
    /// Takes every frame of a simulated scan; calls `progress` after each.
    ///
    /// # Errors
    /// Errors of the simulated detector.
    pub fn simulate(scan: &SimulatedScan, progress: impl Fn()) -> Result<Self, DetectorError> {
        let size = scan.size();
        let mut workspace = scan.workspace();
        let mut counts = vec![0_i16; size * size];
        let mut pixels = Vec::with_capacity(scan.len() * size * size * 2);
        let mut clipped = 0;
        for k in 0..scan.len() {
            clipped += scan.expose(k, &mut workspace, &mut counts)?;
            pixels.extend(counts.iter().flat_map(|count| count.to_le_bytes()));
            progress();
        }
        if clipped > 0 {
            tracing::warn!(
                clipped,
                "Pixels of the simulated frames are clipped at the largest int16 count."
            );
        }
        let shape = FrameShape {
            height: size,
            width: size,
        };
        Ok(Self::raw(Dtype::I16, shape, size * size * 2, pixels))
    }

    fn raw(dtype: Dtype, shape: FrameShape, frame_bytes: usize, pixels: Vec<u8>) -> Self {
        let frames = pixels.len() / frame_bytes;
        Self {
            dtype,
            shape,
            codec: None,
            ends: (1..=frames).map(|frames| frames * frame_bytes).collect(),
            payloads: pixels,
        }
    }

    /// The same frames, compressed.
    #[must_use]
    pub fn compressed(&self, encoder: Encoder) -> Self {
        let mut compressed = Self {
            codec: Some(encoder.codec()),
            payloads: Vec::new(),
            ends: Vec::with_capacity(self.frames()),
            ..*self
        };
        for k in 0..self.frames() {
            let payload = encoder.encode(self.frame(k), self.dtype.size());
            compressed.payloads.extend(payload);
            compressed.ends.push(compressed.payloads.len());
        }
        compressed
    }

    /// Raw little-endian pixels of `dtype`, frame after frame of `shape`; `None` if a frame has no pixels or
    /// too many to count.
    #[must_use]
    pub fn new(dtype: Dtype, shape: FrameShape, pixels: Vec<u8>) -> Option<Self> {
        let frame_bytes = shape.pixels()?.checked_mul(dtype.size())?;
        (frame_bytes > 0).then(|| Self::raw(dtype, shape, frame_bytes, pixels))
    }

    /// Reads a `.npy` file of shape (frames, height, width), (frames, 1, height, width) or (height, width).
    ///
    /// # Errors
    /// [`StackError`] naming the file.
    pub fn read(path: &Path) -> Result<Self, StackError> {
        let failed = |source| StackError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = std::fs::read(path).map_err(failed)?;
        let not_frames = |reason: String| StackError::NotFrames {
            path: path.to_owned(),
            reason,
        };
        if !file.starts_with(npy::MAGIC) {
            return Err(not_frames(
                "the file is no .npy file; save the frames with numpy.save, in the shape (frames, height, width)"
                    .to_owned(),
            ));
        }
        let array =
            npy::Array::read(&file).map_err(|rejection| not_frames(rejection.to_string()))?;
        let wrong = |why: &str| not_frames(format!("its shape is {}, {why}", array.shape));
        let axes = array.axes();
        let (height, width) = match *axes {
            [_, 1, height, width] | [_, height, width] | [height, width] => (height, width),
            _ => return Err(wrong("but frames are (frames, height, width)")),
        };
        let dtype = array.dtype;
        let promised = axes
            .iter()
            .try_fold(dtype.size(), |n, axis| n.checked_mul(*axis));
        if promised == Some(0) {
            return Err(wrong("which holds no pixel"));
        }
        if promised != Some(array.data.len()) {
            let bytes = array.data.len();
            return Err(wrong(&format!(
                "of {dtype}, but {bytes} bytes follow the header"
            )));
        }
        let header_len = array.header_len;
        file.drain(..header_len);
        let shape = FrameShape { height, width };
        Self::new(dtype, shape, file)
            .ok_or_else(|| not_frames(format!("a frame of {shape} {dtype} is too large to count")))
    }

    /// The number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.ends.len()
    }

    /// Height and width of each frame.
    #[must_use]
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// The dtype of the pixels.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The pixels of frame `k`, little-endian or compressed; none beyond the stack's end.
    #[must_use]
    pub fn frame(&self, k: usize) -> &[u8] {
        let end = |k: usize| self.ends.get(k).copied();
        let begin = k.checked_sub(1).map_or(Some(0), end);
        let place = begin.zip(end(k)).map(|(begin, end)| begin..end);
        place
            .and_then(|place| self.payloads.get(place))
            .unwrap_or_default()
    }

    /// What a source says about a frame of the stack that has this number.
    #[must_use]
    pub fn describe(&self, number: u64) -> Description {
        Description {
            number,
            dtype: self.dtype,
            shape: self.shape,
            codec: self.codec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 1 file of 2 × 2 × 3 elements; `bytes` follow its header.
    fn file(descr: &str, order: &str, bytes: usize) -> Vec<u8> {
        let dict =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 2, 3), }}");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend(u16::try_from(dict.len()).unwrap().to_le_bytes());
        file.extend(dict.as_bytes());
        file.resize(file.len() + bytes, 0);
        file
    }

    #[test]
    fn a_stack_that_cannot_be_sent_says_how_to_convert_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.npy");
        for (contents, words) in [
            (
                file("<i8", "False", 96),
                &["'<i8'", "64-bit", "astype('int32')"][..],
            ),
            (
                file("<u8", "False", 96),
                &["'<u8'", "64-bit", "astype('uint32')"],
            ),
            (
                file("<i2", "True", 24),
                &["Fortran order", "ascontiguousarray"],
            ),
            (
                file(">u2", "False", 24),
                &["'>u2'", "big-endian", "as 'uint16'"],
            ),
            (file("<c8", "False", 96), &["complex"]),
            (b"PK\x03\x04".to_vec(), &["no .npy file", "numpy.save"]),
            (file("<i2", "False", 23), &["23 bytes follow"]),
        ] {
            std::fs::write(&path, contents).unwrap();
            let told = FrameStack::read(&path).unwrap_err().to_string();
            for word in words.iter().chain([&path.to_str().unwrap()]) {
                assert!(told.contains(word), "{word}: {told}");
            }
            // What is right about the file is not asked for.
            assert!(!told.contains("integer or float"), "{told}");
        }
        std::fs::write(&path, file("<i2", "False", 24)).unwrap();
        assert_eq!(FrameStack::read(&path).unwrap().frames(), 2);
    }
}
