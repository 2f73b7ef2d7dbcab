//! The mask's file: `.npy`, as numpy, pyFAI and areaDetector's tools write masks.

use crate::npy::{self, Array};
use crate::{Dtype, FrameShape, Rejection};
use std::path::{Path, PathBuf};

/// Pixels that are bad in every frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    shape: FrameShape,
    /// Their places in the frame, row by row, in order.
    pixels: Vec<usize>,
}

/// Why a file is no mask.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The file cannot be read.
    #[error("cannot read the mask {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The file is not a `.npy` array of one of the types.
    #[error("{} is no mask: {source}", path.display())]
    NotNpy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Rejection,
    },
    /// The array is not one mask.
    #[error(
        "{} is no mask: it is {shape} of {dtype} with {bytes} bytes; save one image of bool or uint8, where what is not 0 \
         is bad: numpy.save(path, mask.astype(bool))",
        path.display()
    )]
    NotMask {
        /// The file.
        path: PathBuf,
        /// Its shape, as written.
        shape: String,
        /// Its type.
        dtype: String,
        /// Its bytes after the header.
        bytes: usize,
    },
}

impl Mask {
    /// Reads a `.npy` image of `bool` or `uint8`: what is not 0 is bad.
    ///
    /// # Errors
    /// [`MaskError`], naming the file.
    pub fn read(path: &Path) -> Result<Self, MaskError> {
        let file = std::fs::read(path).map_err(|source| MaskError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&file, path)
    }

    /// The same of the content of the file `path`.
    ///
    /// # Errors
    /// [`MaskError`], naming the file.
    pub fn parse(file: &[u8], path: &Path) -> Result<Self, MaskError> {
        let not_npy = |source| MaskError::NotNpy {
            path: path.to_owned(),
            source,
        };
        if !file.starts_with(npy::MAGIC) {
            let why = "begins otherwise than a .npy file: save the mask with numpy.save".to_owned();
            return Err(not_npy(Rejection::BadNpy { why }));
        }
        let array = Array::read_with(file, |descr| match descr {
            // numpy's name of bool, whose values are bytes of 0 and 1.
            "|b1" | "?" => Some(Dtype::U8),
            other => Dtype::from_descr(other),
        })
        .map_err(not_npy)?;
        let shape = array
            .image
            .filter(|shape| array.dtype == Dtype::U8 && shape.pixels() == Some(array.data.len()));
        let shape = shape.ok_or_else(|| MaskError::NotMask {
            path: path.to_owned(),
            shape: array.shape.to_owned(),
            dtype: array.dtype.to_string(),
            bytes: array.data.len(),
        })?;
        let values = array.data.iter().enumerate();
        let bad = values.filter(|(_, value)| **value != 0);
        Ok(Self {
            shape,
            pixels: bad.map(|(place, _)| place).collect(),
        })
    }

    /// Height and width.
    #[must_use]
    pub fn shape(&self) -> FrameShape {
        self.shape
    }

    /// The places of the bad pixels, row by row, in order.
    #[must_use]
    pub fn pixels(&self) -> &[usize] {
        &self.pixels
    }
}
