//! One image by itself, without axes or text: what the status page shows, next to its own words.
//!
//! Always: a side is at most `MOST` pixels, larger images are reduced by a whole number; of the pixels that fall
//! together the largest is shown, so that a single bright pixel does not vanish.

use super::PictureError;
use super::canvas::Canvas;
use super::colour_scale::ColourScale;

/// Pixels along a side.
const MOST: usize = 256;

/// How values become brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brightness {
    /// Evenly.
    Linear,
    /// By log₁₀(1 + value), values below 0 as 0: for counts, which span decades.
    Logarithmic,
}

/// An image of `height` × `width` values, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The values; what is not finite is drawn light grey.
    pub values: &'a [f32],
    /// How values become brightness.
    pub brightness: Brightness,
}

impl Plain<'_> {
    /// The smallest and the largest finite value.
    #[must_use]
    pub fn range(&self) -> Option<(f32, f32)> {
        let finite = self.values.iter().copied().filter(|v| v.is_finite());
        finite.fold(None, |range, value| {
            let (low, high): (f32, f32) = range.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        })
    }

    /// The image as PNG.
    ///
    /// # Errors
    /// [`PictureError::Nothing`] where no value is finite; [`PictureError::Encode`].
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let longest = self.height.max(self.width).max(1);
        let step = longest.div_ceil(MOST);
        let (rows, columns) = (self.height.div_ceil(step), self.width.div_ceil(step));
        let mut reduced = vec![f64::NAN; rows * columns];
        for (row, line) in self.values.chunks_exact(self.width.max(1)).enumerate() {
            for (column, value) in line.iter().enumerate() {
                if let Some(kept) = reduced.get_mut(row / step * columns + column / step) {
                    // The largest; a number rather than none.
                    *kept = kept.max(self.brightness.of(*value));
                }
            }
        }
        let scale = ColourScale::sequential(reduced.iter().copied())
            .ok_or(PictureError::Nothing("image"))?;
        let mut canvas = Canvas::new(columns, rows);
        canvas.paint((0, 0), (columns, rows), |column, row| {
            let value = reduced.get(row * columns + column);
            scale.colour(value.copied().unwrap_or(f64::NAN))
        });
        Ok(canvas.png(png::Compression::Fast)?)
    }
}

impl Brightness {
    fn of(self, value: f32) -> f64 {
        let value = f64::from(value);
        match self {
            // An infinity would hide the numbers that fall together with it.
            _ if !value.is_finite() => f64::NAN,
            Self::Linear => value,
            Self::Logarithmic => value.max(0.0).ln_1p() / std::f64::consts::LN_10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(png: &[u8]) -> (usize, usize, Vec<[u8; 3]>) {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        let pixels = bytes.as_chunks::<3>().0.to_vec();
        (info.height as usize, info.width as usize, pixels)
    }

    fn plain(height: usize, width: usize, values: &[f32]) -> Plain<'_> {
        Plain {
            height,
            width,
            values,
            brightness: Brightness::Linear,
        }
    }

    #[test]
    fn small_images_are_shown_pixel_by_pixel_and_the_brightest_differs_from_the_darkest() {
        let png = plain(2, 3, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0])
            .png()
            .unwrap();
        let (height, width, pixels) = decoded(&png);
        assert_eq!((height, width), (2, 3));
        let distinct: std::collections::HashSet<_> = pixels.iter().collect();
        assert_eq!(distinct.len(), 6);
    }

    #[test]
    fn a_single_bright_pixel_of_a_large_image_does_not_vanish() {
        let mut values = vec![0.0; 700 * 600];
        values[123 * 600 + 457] = 1.0;
        let (height, width, pixels) = decoded(&plain(700, 600, &values).png().unwrap());
        assert_eq!((height, width), (234, 200));
        let bright = pixels.iter().filter(|p| **p != pixels[0]).count();
        assert_eq!(bright, 1);
        assert_ne!(pixels[123 / 3 * 200 + 457 / 3], pixels[0]);
    }

    #[test]
    fn counts_are_spread_over_decades() {
        let values = [-5.0, 0.0, 9.0, 99.0];
        let of = |v| Brightness::Logarithmic.of(v);
        assert_eq!(values.map(|v| of(v).round()), [0.0, 0.0, 1.0, 2.0]);
        assert!(of(f32::NAN).is_nan());
        assert_eq!(plain(1, 4, &values).range(), Some((-5.0, 99.0)));
    }

    #[test]
    fn an_image_without_a_finite_value_is_no_picture() {
        let error = plain(1, 2, &[f32::NAN; 2]).png().unwrap_err();
        assert!(matches!(error, PictureError::Nothing(_)));
    }
}
