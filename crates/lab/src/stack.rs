//! A stack of frames to send: read from a `.npy` file or simulated.

use crate::{DetectorError, SimulatedScan};
use beamflow_frame::{Dtype, FrameShape};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Frames of one shape and dtype: raw little-endian pixels, frame after frame.
#[derive(Clone, Debug)]
pub struct FrameStack {
    dtype: Dtype,
    shape: FrameShape,
    pixels: Vec<u8>,
    frame_bytes: usize,
}

/// Why a file cannot be used as a stack of frames.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The file cannot be read.
    #[error("cannot read the frames {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system or of the reader.
        source: std::io::Error,
    },
    /// The file holds an array, but not one of frames.
    #[error(
        "{}: an array of {given} is no stack of frames: (frames, height, width) in C order, of a little-endian integer or float dtype, is",
        path.display()
    )]
    NotFrames {
        /// The file.
        path: PathBuf,
        /// Its shape and dtype.
        given: String,
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
        Ok(Self {
            dtype: Dtype::I16,
            shape: FrameShape {
                height: size,
                width: size,
            },
            pixels,
            frame_bytes: size * size * 2,
        })
    }

    /// Raw little-endian pixels of `dtype`, frame after frame of `shape`; `None` if a frame has no pixels or
    /// too many to count.
    #[must_use]
    pub fn new(dtype: Dtype, shape: FrameShape, pixels: Vec<u8>) -> Option<Self> {
        let frame_bytes = shape.pixels()?.checked_mul(dtype.size())?;
        (frame_bytes > 0).then_some(Self {
            dtype,
            shape,
            pixels,
            frame_bytes,
        })
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
        let mut file = std::io::BufReader::new(std::fs::File::open(path).map_err(failed)?);
        let header = npyz::NpyHeader::from_reader(&mut file).map_err(failed)?;
        let not_frames = || StackError::NotFrames {
            path: path.to_owned(),
            given: format!(
                "shape {:?} and dtype {}",
                header.shape(),
                header.dtype().descr()
            ),
        };
        let (height, width) = match *header.shape() {
            [_, 1, height, width] | [_, height, width] | [height, width] => {
                (height as usize, width as usize)
            }
            _ => return Err(not_frames()),
        };
        let dtype = match header.dtype() {
            npyz::DType::Plain(plain) => Dtype::from_descr(&plain.to_string()),
            _ => None,
        };
        let (Some(dtype), npyz::Order::C) = (dtype, header.order()) else {
            return Err(not_frames());
        };
        let shape = FrameShape { height, width };
        let frame_bytes = shape
            .pixels()
            .and_then(|pixels| pixels.checked_mul(dtype.size()))
            .filter(|bytes| *bytes > 0)
            .ok_or_else(not_frames)?;
        let mut pixels = Vec::new();
        file.read_to_end(&mut pixels).map_err(failed)?;
        let promised = header
            .shape()
            .iter()
            .try_fold(dtype.size() as u64, |n, side| n.checked_mul(*side));
        if promised == Some(0) {
            return Err(not_frames());
        }
        if promised != Some(pixels.len() as u64) {
            return Err(failed(std::io::Error::other(format!(
                "its header promises shape {:?} of {dtype}, and {} bytes follow",
                header.shape(),
                pixels.len()
            ))));
        }
        Ok(Self {
            dtype,
            shape,
            pixels,
            frame_bytes,
        })
    }

    /// The number of frames.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.pixels.len() / self.frame_bytes
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

    /// The pixels of frame `k`, little-endian; none beyond the stack's end.
    #[must_use]
    pub fn frame(&self, k: usize) -> &[u8] {
        let mut frames = self.pixels.chunks_exact(self.frame_bytes);
        frames.nth(k).unwrap_or_default()
    }
}
