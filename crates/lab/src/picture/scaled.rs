//! An image of numbers as a small PNG: one byte a pixel, with a palette.
//!
//! The colours go from the ½th to the 99½th percentile, so that a few pixels at the rim do not take all of the scale; values
//! beyond have the colour of its end. Pixels that are not finite are transparent.

use super::PictureError;
use super::colour_scale::{ColourScale, UNLIT};
use ndarray::ArrayView2;

/// A PNG with its scale.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaledImage {
    /// The file: 8 bits a pixel with a palette (viridis).
    pub png: Vec<u8>,
    /// The value at the lower end of the colours.
    pub low: f64,
    /// The value at their upper end.
    pub high: f64,
}

/// The index of pixels that are not finite; those below are colours.
const NOTHING: u8 = u8::MAX;

/// Draws `values`, shape (rows, columns).
///
/// # Errors
/// [`PictureError::Nothing`] without a finite value; [`PictureError::Encode`].
pub fn scaled(values: ArrayView2<'_, f32>) -> Result<ScaledImage, PictureError> {
    let (low, high) = ends(values).ok_or(PictureError::Nothing("image"))?;
    let scale = ColourScale::sequential([low, high].into_iter());
    let scale = scale.ok_or(PictureError::Nothing("image"))?;
    let steps = f64::from(NOTHING - 1);
    let pixels: Vec<u8> = values
        .iter()
        .map(|&value| {
            if value.is_finite() {
                // Between 0 and 1, but for rounding; `as` saturates.
                (scale.fraction(f64::from(value)) * steps).round() as u8
            } else {
                NOTHING
            }
        })
        .collect();
    let mut palette = Vec::with_capacity(3 * 256);
    for index in 0..NOTHING {
        palette.extend(scale.colour_at(f64::from(index) / steps));
    }
    palette.extend(UNLIT);
    let mut opacity = vec![u8::MAX; usize::from(NOTHING)];
    opacity.push(0);

    let (rows, columns) = values.dim();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, columns as u32, rows as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    encoder.set_trns(opacity);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    let (low, high) = scale.ends();
    Ok(ScaledImage { png, low, high })
}

/// The percentiles at the ends of the scale; `None` without a finite value.
fn ends(values: ArrayView2<'_, f32>) -> Option<(f64, f64)> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let mut finite: Vec<f32> = finite.collect();
    let last = finite.len().checked_sub(1)?;
    let mut at = |index: usize| f64::from(*finite.select_nth_unstable_by(index, f32::total_cmp).1);
    Some((at(last / 200), at(last - last / 200)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn decoded(image: &ScaledImage) -> (png::OutputInfo, Vec<u8>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&image.png));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info, pixels)
    }

    #[test]
    fn the_palette_spans_the_values_and_nothing_is_transparent() {
        let mut values = Array2::from_shape_fn((10, 20), |(y, x)| (20 * y + x) as f32);
        values[[0, 5]] = f32::NAN;
        values[[0, 6]] = f32::INFINITY;
        let image = scaled(values.view()).unwrap();
        assert_eq!((image.low, image.high), (0.0, 199.0));
        let (info, pixels) = decoded(&image);
        assert_eq!((info.width, info.height), (20, 10));
        let at = |index: usize| &pixels[4 * index..][..4];
        assert_eq!(at(0), [68, 1, 84, 255]);
        assert_eq!(at(199), [253, 231, 37, 255]);
        assert_eq!((at(5)[3], at(6)[3]), (0, 0));
    }

    #[test]
    fn a_few_wild_pixels_do_not_take_all_of_the_scale() {
        let mut values = Array2::from_shape_fn((100, 100), |(y, _)| y as f32);
        values[[3, 3]] = 1e30;
        values[[3, 4]] = -1e30;
        let image = scaled(values.view()).unwrap();
        assert!(image.low >= 0.0 && image.high <= 99.0);
    }

    #[test]
    fn a_flat_image_has_a_scale_and_an_empty_one_is_an_error() {
        assert!(scaled(Array2::from_elem((2, 2), 3.0).view()).is_ok());
        for empty in [Array2::from_elem((2, 2), f32::NAN), Array2::zeros((0, 0))] {
            assert!(matches!(
                scaled(empty.view()),
                Err(PictureError::Nothing(_))
            ));
        }
    }

    /// `cargo test -p beamflow-lab --release scaled -- --nocapture` prints the figures.
    #[test]
    fn a_large_image_is_small_as_a_png() {
        let values = Array2::from_shape_fn((1024, 1024), |(y, x)| {
            (x as f32 * 0.02).sin() * (y as f32 * 0.015).cos()
                + ((x * 31 + y * 17) % 13) as f32 * 0.01
        });
        let start = std::time::Instant::now();
        let image = scaled(values.view()).unwrap();
        println!(
            "1024 x 1024: {} bytes in {:?}",
            image.png.len(),
            start.elapsed()
        );
        assert!(image.png.len() < 1024 * 1024);
    }
}
