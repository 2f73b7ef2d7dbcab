//! The result picture: true phase, reconstructed phase and their difference, side by side in one PNG.
//!
//! The picture can be read without its caption: it has panel titles, axes in pixels of the object, and colour
//! bars with numbers in radians. The first two panels share one colour scale, the truth's range, so a
//! reconstruction that overshoots saturates visibly. The difference has a diverging scale that is symmetric
//! around zero. It extends to the difference's 99th percentile, and at least to a quarter of the truth's range,
//! so that a good reconstruction looks pale and a bad one saturated. Values beyond a scale get the colour of
//! its end.
//!
//! The picture shows the part of the object that holds reconstructed pixels, with a narrow margin.
//!
//! The same data give the same bytes: no fonts or files of the system are used, and letters are pre-rasterised
//! from Noto Sans Mono. Pixels that are not finite are drawn light grey (`beamflow_mosaic::Stitched` marks
//! unlit pixels so). NaN never reaches a scale.
//!
//! ```
//! use beamflow_lab::picture::PhasePicture;
//! use ndarray::Array2;
//!
//! let truth = Array2::from_shape_fn((40, 50), |(y, x)| (0.2 * x as f64).sin() + 0.02 * y as f64);
//! let picture = PhasePicture::new(truth.view(), truth.view()).caption("median error 0.00 rad");
//! let png = picture.png()?;
//! assert!(png.starts_with(b"\x89PNG"));
//! # Ok::<(), beamflow_lab::picture::PictureError>(())
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};

use ndarray::{ArrayView1, ArrayView2, Axis, Zip, s};

/// Pixels, rectangles and letters.
mod canvas;
/// From numbers to colours and tick labels.
mod colour_scale;
/// The layout of the panels.
mod layout;
/// An image of numbers as a small PNG.
mod scaled;

pub use canvas::Canvas;
use colour_scale::ColourScale;
pub use scaled::{ScaledImage, scaled};

/// Margin around the reconstruction, in pixels.
const RIM: usize = 3;

/// Titles of the panels.
const TITLES: [&str; 3] = ["true phase", "reconstructed phase", "difference"];

/// Why a picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Truth and reconstruction differ in shape.
    #[error("the truth has shape {truth:?}, the reconstruction {reconstruction:?}")]
    Shape {
        /// (rows, columns) of the truth.
        truth: (usize, usize),
        /// (rows, columns) of the reconstruction.
        reconstruction: (usize, usize),
    },
    /// An array without a single finite number.
    #[error("the {0} has no finite pixel to draw")]
    Nothing(&'static str),
    /// The PNG encoder failed.
    #[error("the picture cannot be encoded: {0}")]
    Encode(#[from] png::EncodingError),
    /// The file could not be written.
    #[error("the picture cannot be written to {}: {source}", path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// The data of a picture; see the module documentation for how it is drawn.
#[derive(Debug, Clone)]
pub struct PhasePicture<'a> {
    truth: ArrayView2<'a, f64>,
    reconstruction: ArrayView2<'a, f64>,
    caption: String,
}

impl<'a> PhasePicture<'a> {
    /// A picture of two phases in radians, both of shape (rows, columns), the reconstruction with the
    /// constant already removed (`PhaseError::offset` of the mosaic). Pixels to leave out are NaN.
    pub fn new(truth: ArrayView2<'a, f64>, reconstruction: ArrayView2<'a, f64>) -> Self {
        Self {
            truth,
            reconstruction,
            caption: String::new(),
        }
    }

    /// Text under the panels; long lines are wrapped, `\n` starts a new one. Latin-1 letters only.
    #[must_use]
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self {
            caption: caption.into(),
            ..self
        }
    }

    /// Draws the picture.
    ///
    /// # Errors
    /// [`PictureError::Shape`], [`PictureError::Nothing`].
    pub fn draw(&self) -> Result<Canvas, PictureError> {
        if self.truth.dim() != self.reconstruction.dim() {
            return Err(PictureError::Shape {
                truth: self.truth.dim(),
                reconstruction: self.reconstruction.dim(),
            });
        }
        let (rows, columns) = self
            .window()
            .ok_or(PictureError::Nothing("reconstruction"))?;
        let origin = (columns.start, rows.start);
        let truth = self.truth.slice(s![rows.clone(), columns.clone()]);
        let reconstruction = self.reconstruction.slice(s![rows, columns]);
        let mut difference = reconstruction.to_owned();
        Zip::from(&mut difference)
            .and(truth)
            .for_each(|d, &truth| *d -= truth);

        let phases = ColourScale::sequential(truth.iter().copied())
            .ok_or(PictureError::Nothing("true phase"))?;
        let differences = ColourScale::difference(difference.iter().copied(), 0.25 * phases.span())
            .ok_or(PictureError::Nothing(
                "reconstruction, where the truth is known,",
            ))?;
        let panels = [
            (truth, phases),
            (reconstruction, phases),
            (difference.view(), differences),
        ];
        Ok(layout::draw(panels, &TITLES, origin, &self.caption))
    }

    /// Rows and columns that hold all finite pixels of the reconstruction, with the margin.
    fn window(&self) -> Option<(Range<usize>, Range<usize>)> {
        let (rows, columns) = self.reconstruction.dim();
        let finite = |line: ArrayView1<'_, f64>| line.iter().any(|p| p.is_finite());
        let around = |lit: Vec<usize>, length: usize| {
            let (first, last) = lit.first().zip(lit.last())?;
            Some(first.saturating_sub(RIM)..(last + 1 + RIM).min(length))
        };
        let lit = |axis: usize| {
            let lines = self.reconstruction.axis_iter(Axis(axis)).enumerate();
            lines
                .filter(|(_, line)| finite(*line))
                .map(|(index, _)| index)
                .collect::<Vec<_>>()
        };
        around(lit(0), rows).zip(around(lit(1), columns))
    }

    /// Draws the picture and encodes it as PNG (8-bit RGB).
    ///
    /// # Errors
    /// Those of [`draw`](Self::draw); [`PictureError::Encode`].
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        Ok(self.draw()?.png(png::Compression::High)?)
    }

    /// Draws the picture into the file at `path`.
    ///
    /// # Errors
    /// Those of [`png`](Self::png); [`PictureError::Write`].
    pub fn write_png(&self, path: impl AsRef<Path>) -> Result<(), PictureError> {
        let path = path.as_ref();
        std::fs::write(path, self.png()?).map_err(|source| PictureError::Write {
            path: path.to_path_buf(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
