//! A frame or a result as a PNG for the status page, without axes or text.
//!
//! A side has at most `MOST` pixels; larger images are reduced by a whole number. Of the pixels that fall together the
//! largest is shown, so that a single bright pixel does not vanish. Values become colours of the viridis map, whose
//! brightness rises evenly from the smallest to the largest finite value.

use crate::telemetry::newest::{Image, NewestFrame};

/// Pixels along a side.
const MOST: usize = 256;

/// Colour of pixels that hold no number.
const NO_NUMBER: [u8; 3] = [206, 210, 216];

/// How values become brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Brightness {
    /// In proportion to the value.
    Linear,
    /// In proportion to log₁₀(1 + value), values below 0 as 0: for counts, which span decades.
    Logarithmic,
}

/// Image `index` of a frame as PNG: the frame itself (index 0) by the logarithm of its counts, results linearly. `None` if
/// there is no such image or it has no finite value. Each image is drawn once, which takes milliseconds.
pub(crate) fn png(frame: &NewestFrame, index: usize) -> Option<&[u8]> {
    let image = frame.images.get(index)?;
    let brightness = if index == 0 {
        Brightness::Logarithmic
    } else {
        Brightness::Linear
    };
    image.drawn(|image| {
        draw(image, brightness)?.map_or_else(
            |error| {
                tracing::warn!(image = image.name, %error, "A picture could not be drawn.");
                None
            },
            Some,
        )
    })
}

/// `None` where no value is finite.
fn draw(image: &Image, brightness: Brightness) -> Option<Result<Vec<u8>, png::EncodingError>> {
    let longest = image.height.max(image.width).max(1);
    let step = longest.div_ceil(MOST);
    let (rows, columns) = (image.height.div_ceil(step), image.width.div_ceil(step));
    let mut reduced = vec![f64::NAN; rows * columns];
    for (row, line) in image.values.chunks_exact(image.width.max(1)).enumerate() {
        for (column, value) in line.iter().enumerate() {
            if let Some(kept) = reduced.get_mut(row / step * columns + column / step) {
                // The largest; a number rather than none.
                *kept = kept.max(brightness.of(*value));
            }
        }
    }
    let finite = reduced.iter().copied().filter(|value| value.is_finite());
    let (low, high) = finite.fold(None, |range, value| {
        let (low, high): (f64, f64) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })?;
    let colour = |value: &f64| {
        if !value.is_finite() {
            return NO_NUMBER;
        }
        // An image of one value is drawn in the colour of the middle.
        let fraction = if high > low {
            (value - low) / (high - low)
        } else {
            0.5
        };
        let fraction = if fraction.is_nan() { 0.0 } else { fraction };
        let colour = colorous::VIRIDIS.eval_continuous(fraction.clamp(0.0, 1.0));
        colour.as_array()
    };
    let pixels: Vec<u8> = reduced.iter().flat_map(colour).collect();
    Some(encode(columns, rows, &pixels))
}

fn encode(width: usize, height: usize, pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
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

    fn image(height: usize, width: usize, values: &[f32]) -> Image {
        Image::new("image".to_owned(), (height, width, values.to_vec()))
    }

    fn drawn(image: &Image) -> (usize, usize, Vec<[u8; 3]>) {
        decoded(&draw(image, Brightness::Linear).unwrap().unwrap())
    }

    #[test]
    fn a_small_image_is_shown_pixel_by_pixel() {
        let (height, width, pixels) = drawn(&image(2, 3, &[0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]));
        assert_eq!((height, width), (2, 3));
        let distinct: std::collections::HashSet<_> = pixels.iter().collect();
        assert_eq!(distinct.len(), 6);
    }

    #[test]
    fn a_bright_pixel_of_a_large_image_does_not_vanish() {
        let mut values = vec![0.0; 700 * 600];
        values[123 * 600 + 457] = 1.0;
        let (height, width, pixels) = drawn(&image(700, 600, &values));
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
    }

    #[test]
    fn an_image_without_a_finite_value_is_not_drawn() {
        assert!(draw(&image(1, 2, &[f32::NAN; 2]), Brightness::Linear).is_none());
        let (.., pixels) = drawn(&image(1, 2, &[7.0; 2]));
        assert_eq!(pixels[0], pixels[1]);
    }
}
