//! The live mosaic in `/stats`, and its pictures for the page.

use crate::sink::mosaic::{Drawn, ScaledImage};
use crate::sink::pva::mosaic::View;
use serde::Serialize;

/// The mosaic in `/stats`.
#[derive(Serialize)]
pub(super) struct MosaicStats {
    pvs: Vec<String>,
    /// Since the start, frames and patches.
    patches: u64,
    placed: u64,
    repeated: u64,
    unlevelled: u64,
    unpositioned: u64,
    outside: u64,
    astray: u64,
    unusable: u64,
    without_phase: u64,
    mismatched: u64,
    earlier: u64,
    other_pvs: u64,
    other_models: u64,
    pictures: u64,
    solved: u64,
    unsolved: u64,
    canvas_bytes: usize,
    kept_bytes: usize,
    /// The number of the frame whose patch came last.
    newest: Option<u64>,
    picture: Option<PictureStats>,
}

/// The newest picture: `/mosaic/SEQUENCE/phase.png`, `amplitude.png` and `points.json`.
#[derive(Serialize)]
struct PictureStats {
    sequence: u64,
    series: u64,
    series_start: Option<i64>,
    rows: usize,
    columns: usize,
    pixel_size: f64,
    /// The middle of the first pixel in metres: to the right, downwards.
    origin: (f64, f64),
    /// The smallest number of its frames.
    first: u64,
    placed: u64,
    unlevelled: u64,
    missing: u64,
    unpositioned: u64,
    outside: u64,
    kept_every: u64,
    largest_rounding: f64,
    is_final: bool,
    /// The values at both ends of the colours; `null` if nothing is drawn.
    phase: Option<(f64, f64)>,
    amplitude: Option<(f64, f64)>,
}

impl From<View> for MosaicStats {
    fn from(view: View) -> Self {
        let View {
            pvs,
            tally,
            other_pvs,
            other_models,
            pictures,
            bytes,
            newest,
            drawn,
        } = view;
        Self {
            pvs,
            patches: tally.patches,
            placed: tally.placed,
            repeated: tally.repeated,
            unlevelled: tally.unlevelled,
            unpositioned: tally.unpositioned,
            outside: tally.outside,
            astray: tally.astray,
            unusable: tally.unusable,
            without_phase: tally.without_phase,
            mismatched: tally.mismatched,
            earlier: tally.earlier,
            other_pvs,
            other_models,
            pictures,
            solved: tally.solved,
            unsolved: tally.unsolved,
            canvas_bytes: bytes.0,
            kept_bytes: bytes.1,
            newest,
            picture: drawn.map(|drawn| PictureStats::from(&*drawn)),
        }
    }
}

impl From<&Drawn> for PictureStats {
    fn from(drawn: &Drawn) -> Self {
        let picture = &*drawn.picture;
        let (rows, columns) = picture.phase.dim();
        let ends =
            |image: &Option<ScaledImage>| image.as_ref().map(|image| (image.low, image.high));
        Self {
            sequence: drawn.sequence,
            series: picture.series,
            series_start: picture.series_start,
            rows,
            columns,
            pixel_size: picture.pixel_size,
            origin: picture.origin,
            first: picture.first,
            placed: picture.placed,
            unlevelled: picture.unlevelled,
            missing: picture.missing,
            unpositioned: picture.unpositioned,
            outside: picture.outside,
            kept_every: picture.kept_every,
            largest_rounding: picture.largest_rounding,
            is_final: picture.is_final,
            phase: ends(&drawn.phase),
            amplitude: ends(&drawn.amplitude),
        }
    }
}

/// A part of a picture by its name, and its type.
pub(super) fn part(drawn: &Drawn, name: &str) -> Option<(&'static str, Vec<u8>)> {
    let png = |image: &Option<ScaledImage>| Some(("image/png", image.as_ref()?.png.clone()));
    match name {
        "phase.png" => png(&drawn.phase),
        "amplitude.png" => png(&drawn.amplitude),
        "points.json" => {
            let points = serde_json::to_vec(&drawn.points).ok()?;
            Some(("application/json", points))
        }
        _ => None,
    }
}
