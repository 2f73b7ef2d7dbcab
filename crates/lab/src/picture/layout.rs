//! The layout: three panels in a row, each with a colour bar at its right, and text around them.
//!
//! Pixels are square: an image of another shape than its panel is fitted into it and centred. Images are
//! enlarged smoothly (bilinear) between finite pixels, and without interpolation next to pixels that are not
//! finite.

use ndarray::ArrayView2;

use super::canvas::{Canvas, Font, Rgb};
use super::colour_scale::{ColourScale, round_ticks};

const INK: Rgb = [32, 36, 42];
const SOFT: Rgb = [96, 102, 112];
const WIDTH: usize = 1560;
const LEFT: usize = 82;
const TOP: usize = 60;
const PANEL: usize = 384;
const PITCH: usize = 494;
const BAR_GAP: usize = 14;
const BAR: usize = 16;
const TICK: usize = 5;
const BELOW: usize = 60;
const MARGIN: usize = 20;
const X_AXIS: &str = "x (pixels)";
const Y_AXIS: &str = "y (pixels)";

/// Draws three images, each with its scale and title, and the caption below.
pub(crate) fn draw(
    panels: [(ArrayView2<'_, f64>, ColourScale); 3],
    titles: &[&str; 3],
    origin: (usize, usize),
    caption: &str,
) -> Canvas {
    let lines = wrap(caption, (WIDTH - 2 * MARGIN) / Font::Medium.width(" "));
    let line = Font::Medium.height() + 6;
    let caption_top = TOP + PANEL + BELOW;
    let mut canvas = Canvas::new(WIDTH, caption_top + lines.len() * line + MARGIN);

    for (place, ((image, scale), title)) in panels.into_iter().zip(titles).enumerate() {
        let left = LEFT + place * PITCH;
        let (corner, size) = fit(image.dim(), (left, TOP));
        let middle = left + PANEL / 2;
        centred(&mut canvas, (middle, TOP - 40), Font::Title, INK, title);
        paint(&mut canvas, corner, size, image, &scale);
        canvas.frame(corner, size, INK);
        axes(&mut canvas, corner, size, image.dim(), origin, place == 0);
        bar(&mut canvas, (left + PANEL + BAR_GAP, TOP), &scale);
    }
    for (number, text) in lines.iter().enumerate() {
        let top = caption_top + number * line;
        centred(&mut canvas, (WIDTH / 2, top), Font::Medium, INK, text);
    }
    canvas
}

/// Largest rectangle with the image's proportions in a panel: (corner, size).
fn fit(
    (rows, columns): (usize, usize),
    (left, top): (usize, usize),
) -> ((usize, usize), (usize, usize)) {
    let longest = rows.max(columns).max(1);
    let width = (columns * PANEL / longest).max(1);
    let height = (rows * PANEL / longest).max(1);
    (
        (left + (PANEL - width) / 2, top + (PANEL - height) / 2),
        (width, height),
    )
}

fn paint(
    canvas: &mut Canvas,
    corner: (usize, usize),
    size: (usize, usize),
    image: ArrayView2<'_, f64>,
    scale: &ColourScale,
) {
    let (rows, columns) = image.dim();
    // The centre of a canvas pixel in pixels of the image, whose pixel centres are whole numbers.
    let place = |pixel: usize, pixels: usize, length: usize| {
        let at = (pixel as f64 + 0.5) * length as f64 / pixels as f64 - 0.5;
        at.clamp(0.0, length as f64 - 1.0)
    };
    canvas.paint(corner, size, |column, row| {
        let (x, y) = (place(column, size.0, columns), place(row, size.1, rows));
        let (left, top) = (x.floor() as usize, y.floor() as usize);
        let (fx, fy) = (x - x.floor(), y - y.floor());
        let at = |dy: usize, dx: usize| {
            let place = ((top + dy).min(rows - 1), (left + dx).min(columns - 1));
            image.get(place).copied().unwrap_or(f64::NAN)
        };
        let nearest = at(usize::from(fy >= 0.5), usize::from(fx >= 0.5));
        let above = at(0, 0) * (1.0 - fx) + at(0, 1) * fx;
        let below = at(1, 0) * (1.0 - fx) + at(1, 1) * fx;
        let smooth = above * (1.0 - fy) + below * fy;
        scale.colour(if smooth.is_finite() { smooth } else { nearest })
    });
}

/// Ticks in pixels of the object. Only the first panel has numbers; the others share them.
fn axes(
    canvas: &mut Canvas,
    (left, top): (usize, usize),
    (width, height): (usize, usize),
    (rows, columns): (usize, usize),
    origin: (usize, usize),
    with_rows: bool,
) {
    let bottom = top + height + 1;
    let ticks = |first: usize, count: usize, length: usize| {
        let (low, high) = (first as f64, first.saturating_add(count) as f64);
        let to_canvas = length as f64 / count.max(1) as f64;
        round_ticks(low, high, 4.0)
            .into_iter()
            .map(move |(value, label)| (((value - low) * to_canvas).round() as usize, label))
    };
    for (at, label) in ticks(origin.0, columns, width) {
        canvas.fill((left + at.min(width - 1), bottom), (1, TICK), INK);
        centred(
            canvas,
            (left + at, bottom + TICK + 2),
            Font::Small,
            SOFT,
            &label,
        );
    }
    centred(
        canvas,
        (left + width / 2, bottom + TICK + 20),
        Font::Small,
        SOFT,
        X_AXIS,
    );
    for (at, label) in ticks(origin.1, rows, height) {
        canvas.fill((left - TICK - 1, top + at.min(height - 1)), (TICK, 1), INK);
        if with_rows {
            let right = left - TICK - 5;
            let x = right.saturating_sub(Font::Small.width(&label));
            canvas.text(
                (x, (top + at) - Font::Small.height() / 2),
                Font::Small,
                SOFT,
                &label,
            );
        }
    }
    if with_rows {
        let bottom = top + (height + Font::Small.width(Y_AXIS)) / 2;
        canvas.text_up(
            (left.saturating_sub(LEFT - 8), bottom),
            Font::Small,
            SOFT,
            Y_AXIS,
        );
    }
}

fn bar(canvas: &mut Canvas, (left, top): (usize, usize), scale: &ColourScale) {
    let last = (PANEL - 1) as f64;
    canvas.paint((left, top), (BAR, PANEL), |_, row| {
        scale.colour_at(1.0 - row as f64 / last)
    });
    canvas.frame((left, top), (BAR, PANEL), INK);
    for (fraction, label) in scale.ticks() {
        let y = top + ((1.0 - fraction) * last).round() as usize;
        canvas.fill((left + BAR + 1, y), (TICK, 1), INK);
        // Signs have their own column, so that the digits are aligned.
        let label = if label.starts_with('-') {
            label
        } else {
            format!(" {label}")
        };
        canvas.text(
            (left + BAR + TICK + 3, y - Font::Small.height() / 2),
            Font::Small,
            SOFT,
            &label,
        );
    }
    canvas.text((left - 2, top - 24), Font::Small, SOFT, "rad");
}

fn centred(canvas: &mut Canvas, (middle, top): (usize, usize), font: Font, ink: Rgb, text: &str) {
    let left = middle.saturating_sub(font.width(text) / 2);
    canvas.text((left, top), font, ink, text);
}

/// Breaks a text into lines of at most `letters`. A longer word gets its own line, which the canvas cuts.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > letters {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::colour_scale::UNLIT;
    use super::*;

    #[test]
    fn captions_break_between_words_and_at_line_breaks() {
        assert_eq!(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
        assert!(wrap("", 4).is_empty());
    }

    #[test]
    fn images_keep_their_proportions_inside_the_panel() {
        assert_eq!(fit((100, 100), (10, 20)), ((10, 20), (PANEL, PANEL)));
        let (corner, size) = fit((50, 100), (10, 20));
        assert_eq!((corner, size), ((10, 20 + PANEL / 4), (PANEL, PANEL / 2)));
        assert_eq!(fit((1, 100_000), (0, 0)).1, (PANEL, 1));
    }

    #[test]
    fn unlit_pixels_do_not_bleed_into_lit_ones() -> Result<(), &'static str> {
        let image = ndarray::arr2(&[[0.0, f64::NAN], [1.0, 1.0]]);
        let scale = ColourScale::sequential(image.iter().copied()).ok_or("no scale")?;
        let mut canvas = Canvas::new(100, 100);
        paint(&mut canvas, (0, 0), (100, 100), image.view(), &scale);
        assert_eq!(canvas.pixel(49, 10), Some(scale.colour(0.0)));
        assert_eq!(canvas.pixel(50, 10), Some(UNLIT));
        Ok(())
    }
}
