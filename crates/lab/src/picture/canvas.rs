//! A white canvas of RGB pixels for rectangles and text.
//!
//! Drawing outside the canvas is cut off and is not an error. A letter that the font lacks becomes a question
//! mark.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Red, green, blue.
pub(crate) type Rgb = [u8; 3];

/// The pixels, row by row from the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

/// Font sizes; the number is the height of a line in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Font {
    /// 20 pixels: tick labels.
    Small,
    /// 24 pixels: captions.
    Medium,
    /// 24 pixels, bold: titles.
    Title,
}

impl Font {
    fn face(self) -> (FontWeight, RasterHeight) {
        match self {
            Self::Small => (FontWeight::Regular, RasterHeight::Size20),
            Self::Medium => (FontWeight::Regular, RasterHeight::Size24),
            Self::Title => (FontWeight::Bold, RasterHeight::Size24),
        }
    }

    /// Height of a line in pixels.
    pub(crate) fn height(self) -> usize {
        self.face().1.val()
    }

    /// Width of a text in pixels: all letters have the same width.
    pub(crate) fn width(self, text: &str) -> usize {
        let (weight, size) = self.face();
        text.chars().count() * get_raster_width(weight, size)
    }
}

impl Canvas {
    /// A white canvas.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![[255; 3]; width * height],
        }
    }

    /// Pixels from left to right.
    #[cfg(test)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels from top to bottom.
    #[cfg(test)]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The colour at column `x`, row `y`; `None` outside the canvas.
    #[cfg(test)]
    pub fn pixel(&self, x: usize, y: usize) -> Option<Rgb> {
        if x < self.width {
            self.pixels.get(y * self.width + x).copied()
        } else {
            None
        }
    }

    /// All pixels as bytes, three per pixel.
    pub(crate) fn to_rgb(&self) -> Vec<u8> {
        self.pixels.concat()
    }

    /// The canvas as PNG (8-bit RGB).
    ///
    /// # Errors
    /// Errors of the encoder.
    pub(crate) fn png(&self, compression: png::Compression) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(compression);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.to_rgb())?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Colours each pixel of a rectangle by its position in it, (column, row).
    pub(super) fn paint(
        &mut self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
        colour: impl Fn(usize, usize) -> Rgb,
    ) {
        let rows = self
            .pixels
            .chunks_exact_mut(self.width.max(1))
            .skip(top)
            .take(height);
        for (row, pixels) in rows.enumerate() {
            for (column, pixel) in pixels.iter_mut().skip(left).take(width).enumerate() {
                *pixel = colour(column, row);
            }
        }
    }

    /// Fills a rectangle.
    pub(super) fn fill(&mut self, corner: (usize, usize), size: (usize, usize), colour: Rgb) {
        self.paint(corner, size, |_, _| colour);
    }

    /// Draws a frame of one pixel around a rectangle, outside of it.
    pub(super) fn frame(
        &mut self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
        colour: Rgb,
    ) {
        let (x, y) = (left.saturating_sub(1), top.saturating_sub(1));
        self.fill((x, y), (width + 2, 1), colour);
        self.fill((x, top + height), (width + 2, 1), colour);
        self.fill((x, y), (1, height + 2), colour);
        self.fill((left + width, y), (1, height + 2), colour);
    }

    /// Draws one line of text with its top-left corner at `corner`.
    pub(super) fn text(
        &mut self,
        (left, top): (usize, usize),
        font: Font,
        colour: Rgb,
        text: &str,
    ) {
        letters(font, text, |x, y, ink| {
            self.ink(Some(left + x), Some(top + y), colour, ink)
        });
    }

    /// Draws one line of text upwards from its bottom-left `corner`.
    pub(super) fn text_up(
        &mut self,
        (left, bottom): (usize, usize),
        font: Font,
        colour: Rgb,
        text: &str,
    ) {
        letters(font, text, |x, y, ink| {
            self.ink(Some(left + y), bottom.checked_sub(x), colour, ink)
        });
    }

    /// Blends `colour` over the paper: ink 255 covers it, 0 leaves it unchanged.
    fn ink(&mut self, x: Option<usize>, y: Option<usize>, colour: Rgb, ink: u8) {
        let place = x
            .filter(|&x| x < self.width)
            .zip(y)
            .map(|(x, y)| y * self.width + x);
        let Some(paper) = place.and_then(|place| self.pixels.get_mut(place)) else {
            return;
        };
        for (paper, colour) in paper.iter_mut().zip(colour) {
            let (below, above, ink) = (u32::from(*paper), u32::from(colour), u32::from(ink));
            *paper = ((below * (255 - ink) + above * ink + 127) / 255) as u8;
        }
    }
}

/// Passes each pixel of a text to `put` as (column, row, ink).
fn letters(font: Font, text: &str, mut put: impl FnMut(usize, usize, u8)) {
    let (weight, size) = font.face();
    let advance = get_raster_width(weight, size);
    for (place, letter) in text.chars().enumerate() {
        let glyph = get_raster(letter, weight, size).or_else(|| get_raster('?', weight, size));
        for (y, inks) in glyph.iter().flat_map(|glyph| glyph.rows()).enumerate() {
            for (x, &ink) in inks.iter().enumerate() {
                put(place * advance + x, y, ink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Rgb = [200, 0, 0];

    #[test]
    fn drawing_outside_the_sheet_is_cut_off() {
        let mut canvas = Canvas::new(10, 8);
        canvas.fill((7, 6), (100, 100), RED);
        canvas.fill((50, 50), (3, 3), RED);
        canvas.text((8, 7), Font::Title, RED, "outside");
        canvas.text_up((8, 2), Font::Title, RED, "outside");
        canvas.frame((0, 0), (10, 8), RED);
        let mut narrow = Canvas::new(60, 40);
        narrow.text((50, 2), Font::Title, RED, "outside");
        let left_part = (0..50).flat_map(|x| (0..40).map(move |y| (x, y)));
        let mut left_part = left_part.map(|(x, y)| narrow.pixel(x, y));
        assert!(
            left_part.all(|p| p == Some([255; 3])),
            "text goes on at the left"
        );
        assert_eq!(canvas.to_rgb().len(), 10 * 8 * 3);
        assert_eq!(canvas.pixel(7, 6), Some(RED));
        assert_eq!(canvas.pixel(6, 5), Some([255; 3]));
        assert_eq!(canvas.pixel(10, 0), None);
        assert_eq!(Canvas::new(0, 0).pixel(0, 0), None);
    }

    #[test]
    fn text_upwards_is_text_turned_by_a_quarter() {
        let (mut flat, mut up) = (Canvas::new(90, 90), Canvas::new(90, 90));
        flat.text((5, 7), Font::Small, RED, "y (px)");
        up.text_up((7, 84), Font::Small, RED, "y (px)");
        let places = (0..90).flat_map(|x| (0..90).map(move |y| (x, y)));
        assert!(
            places
                .into_iter()
                .all(|(x, y)| flat.pixel(x, y) == up.pixel(y, 89 - x))
        );
        assert_ne!(flat, Canvas::new(90, 90));
    }

    #[test]
    fn text_is_drawn_only_at_its_position() {
        let mut canvas = Canvas::new(200, 40);
        canvas.text((20, 10), Font::Medium, [0; 3], "0.5 rad \u{4e00}");
        let width = Font::Medium.width("0.5 rad ?");
        let inked = |x: usize, y: usize| canvas.pixel(x, y).is_some_and(|p| p != [255; 3]);
        let places = (0..200).flat_map(|x| (0..40).map(move |y| (x, y)));
        let inside = |x: usize, y: usize| (20..20 + width).contains(&x) && (10..30).contains(&y);
        assert!(
            places
                .clone()
                .any(|(x, y)| inked(x, y) && x > 20 + width * 8 / 9)
        ); // the unknown letter
        assert!(
            places
                .into_iter()
                .all(|(x, y)| !inked(x, y) || inside(x, y))
        );
    }
}
