//! A picture drawn for people: PNGs, and where the frames were taken.

use super::patch::Part;
use super::picture::Picture;
use crate::lab::picture::{ScaledImage, scaled};
use crate::mosaic::online::Corner;
use std::sync::Arc;

/// A picture before it is drawn. Drawing takes milliseconds.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Tells it from other pictures.
    pub(crate) sequence: u64,
    pub(crate) picture: Arc<Picture>,
    /// The middles of its patches, on the grid of the mosaic.
    pub(crate) points: Vec<Corner>,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) sequence: u64,
    pub(crate) picture: Arc<Picture>,
    /// PNGs of 8 bits a pixel, with the values at both ends of their colours; transparent where nothing lies. `None` if
    /// nothing lies anywhere.
    pub(crate) phase: Option<ScaledImage>,
    pub(crate) amplitude: Option<ScaledImage>,
    /// Where the frames were taken, in pixels of the picture: (column, row).
    pub(crate) points: Vec<(i64, i64)>,
}

impl Draft {
    /// Draws it.
    pub(crate) fn draw(self) -> Drawn {
        let Self {
            sequence,
            picture,
            points,
        } = self;
        let draw = |part| {
            let drawn = scaled(picture.part(part).view());
            drawn
                .inspect_err(
                    |error| tracing::debug!(?part, %error, "A part of the mosaic is not drawn."),
                )
                .ok()
        };
        let pixel = |metres: f64| (metres / picture.pixel_size).round() as i64;
        let (left, top) = (pixel(picture.origin.0), pixel(picture.origin.1));
        Drawn {
            sequence,
            phase: draw(Part::Phase),
            amplitude: draw(Part::Amplitude),
            points: points.iter().map(|at| (at.x - left, at.y - top)).collect(),
            picture,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn points_lie_on_the_picture_and_what_has_no_value_is_not_drawn() {
        let draft = Draft {
            sequence: 3,
            picture: Arc::new(Picture {
                series: 1,
                series_start: None,
                phase: Array2::from_shape_fn((4, 6), |(row, column)| (row + column) as f32),
                amplitude: Array2::from_elem((4, 6), f32::NAN),
                pixel_size: 1e-8,
                // The middle of the pixel 20 to the right and 10 upwards.
                origin: (20e-8, -10e-8),
                placed: 1,
                unlevelled: 1,
                first: 1,
                missing: 0,
                unpositioned: 0,
                outside: 0,
                kept_every: 1,
                largest_rounding: 0.0,
                is_final: false,
            }),
            points: vec![Corner { x: 23, y: -8 }],
        };
        let drawn = draft.draw();
        assert_eq!(drawn.points, [(3, 2)]);
        let phase = drawn.phase.unwrap();
        assert!(phase.png.starts_with(b"\x89PNG"));
        assert!(phase.low >= 0.0 && phase.high <= 8.0);
        assert!(drawn.amplitude.is_none());
    }
}
