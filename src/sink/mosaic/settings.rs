//! The settings of the mosaic, and the file of weights.

use super::pairs::Limits;
use crate::frame::{Dtype, Rejection, npy};
use crate::mosaic::StitchError;
use crate::mosaic::online::{Settings as Canvas, Weights};
use crate::sink::positions::Grid;
use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the module's essay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The size of a pixel, and how the picture lies on the stage.
    pub(crate) grid: Grid,
    /// |P|² of the probe; without it a Hann window, and patches are not levelled.
    pub(crate) weights: Option<WeightsFile>,
    /// Rows and columns that are cut from each side of a patch.
    pub(crate) edge: usize,
    /// The sizes of the canvas and of what is kept.
    pub(crate) canvas: Canvas,
    /// Whether the model has an amplitude: a phase then waits for it.
    pub(crate) amplitude: bool,
    /// How much may wait.
    pub(crate) pairs: Limits,
}

impl Settings {
    /// The usual ones on this grid.
    pub(crate) fn new(grid: Grid) -> Self {
        Self {
            grid,
            weights: None,
            edge: 0,
            canvas: Canvas::default(),
            amplitude: true,
            pairs: Limits::default(),
        }
    }

    /// The weights of patches of `shape` (rows, columns).
    pub(super) fn weights(&self, shape: (usize, usize)) -> Result<Weights, StitchError> {
        match &self.weights {
            None => Weights::hann(shape, self.edge),
            Some(file) => Weights::given(&file.0, shape, self.edge),
        }
    }
}

/// Weights from a file, shape (rows, columns).
#[derive(Clone, Debug)]
pub(crate) struct WeightsFile(Arc<Array2<f64>>);

/// Why a file has no weights.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WeightsError {
    /// The system cannot read it.
    #[error("cannot read the weights {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It is no `.npy` file.
    #[error("the weights in {} cannot be used: {source}", path.display())]
    Npy { path: PathBuf, source: Rejection },
    /// It is another array.
    #[error(
        "the weights in {} cannot be used: it is {shape} of {dtype} with {bytes} bytes; save |P|² of the probe as one image of \
         float64 or float32: numpy.save(path, abs(probe)**2)",
        path.display()
    )]
    Shape {
        path: PathBuf,
        shape: String,
        dtype: Dtype,
        bytes: usize,
    },
    /// The numbers are no weights.
    #[error("the weights in {} cannot be used: {source}", path.display())]
    Weights { path: PathBuf, source: StitchError },
}

impl WeightsFile {
    /// Reads a `.npy` image of float32 or float64.
    ///
    /// # Errors
    /// [`WeightsError`], naming the file.
    pub(crate) fn read(path: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(path).map_err(|source| WeightsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let array = npy::Array::read(&bytes).map_err(|source| WeightsError::Npy {
            path: path.to_owned(),
            source,
        })?;
        let values: Option<Vec<f64>> = match array.dtype {
            Dtype::F64 => {
                let (values, _) = array.data.as_chunks();
                Some(values.iter().copied().map(f64::from_le_bytes).collect())
            }
            _ => array
                .floats()
                .map(|values| values.into_iter().map(f64::from).collect()),
        };
        let complete = array
            .image
            .and_then(|shape| shape.pixels()?.checked_mul(array.dtype.size()))
            == Some(array.data.len());
        let image = array.image.zip(values).filter(|_| complete);
        let weights = image.and_then(|(shape, values)| {
            Array2::from_shape_vec((shape.height, shape.width), values).ok()
        });
        let weights = weights.ok_or_else(|| WeightsError::Shape {
            path: path.to_owned(),
            shape: array.shape.to_owned(),
            dtype: array.dtype,
            bytes: array.data.len(),
        })?;
        Self::new(weights).map_err(|source| WeightsError::Weights {
            path: path.to_owned(),
            source,
        })
    }

    /// Weights that are at hand, shape (rows, columns).
    ///
    /// # Errors
    /// [`StitchError::Weights`].
    pub(crate) fn new(weights: Array2<f64>) -> Result<Self, StitchError> {
        Weights::given(&weights, weights.dim(), 0)?;
        Ok(Self(Arc::new(weights)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.npy");
        let write = |descr: &str, shape: &str, data: &[u8]| {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((header.len() as u16).to_le_bytes());
            file.extend(header.as_bytes());
            file.extend(data);
            std::fs::write(&path, file).unwrap();
            WeightsFile::read(&path)
        };
        let ones = 1.0_f64.to_le_bytes().repeat(6);
        assert!(write("<f8", "(2, 3)", &ones).is_ok());
        assert!(write("<f4", "(2, 3)", &1.0_f32.to_le_bytes().repeat(6)).is_ok());
        for result in [
            write("<f8", "(2, 4)", &ones),
            write("<f8", "(6,)", &ones),
            write("<i2", "(2, 3)", &[0; 12]),
        ] {
            assert!(
                matches!(result, Err(WeightsError::Shape { .. })),
                "{result:?}"
            );
        }
        let negative = write("<f8", "(2, 3)", &(-1.0_f64).to_le_bytes().repeat(6));
        assert!(matches!(negative, Err(WeightsError::Weights { .. })));
        assert!(matches!(
            write("<c8", "(2, 3)", &[0; 48]),
            Err(WeightsError::Npy { .. })
        ));
        let missing = WeightsFile::read(Path::new("/nowhere/weights.npy")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/weights.npy"));
    }
}
