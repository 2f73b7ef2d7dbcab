//! The picture of a series: phase and amplitude with their place and counts.

use super::patch::Part;
use ndarray::Array2;

/// The picture of a series, complete at one time. Both parts have the same shape (rows, columns).
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    /// The ordinal of the series.
    pub(crate) series: u64,
    /// When it began, in ns since 1970: its name.
    pub(crate) series_start: Option<i64>,
    /// Radians, weighted mean 0; NaN where nothing lies.
    pub(crate) phase: Array2<f32>,
    /// 1 for empty space; NaN where nothing lies.
    pub(crate) amplitude: Array2<f32>,
    /// The side of a pixel in metres.
    pub(crate) pixel_size: f64,
    /// The middle of the pixel [0, 0], in metres to the right and downwards: on the axes of the stage that the orientation says.
    pub(crate) origin: (f64, f64),
    /// The smallest number of its frames.
    pub(crate) first: u64,
    /// Frames in the picture.
    pub(crate) placed: u64,
    /// Of these: without amplitude.
    pub(crate) unlevelled: u64,
    /// Frames between the first and the last number that have not come.
    pub(crate) missing: u64,
    /// Frames without a position.
    pub(crate) unpositioned: u64,
    /// Frames outside of the canvas.
    pub(crate) outside: u64,
    /// One of so many patches is kept for the final picture.
    pub(crate) kept_every: u64,
    /// How far a position was from its whole pixel, at most, in pixels.
    pub(crate) largest_rounding: f64,
    /// Whether the solver has made it, from all patches of the series.
    pub(crate) is_final: bool,
}

impl Picture {
    /// One part of it.
    pub(crate) const fn part(&self, part: Part) -> &Array2<f32> {
        match part {
            Part::Phase => &self.phase,
            Part::Amplitude => &self.amplitude,
        }
    }
}
