//! The final mosaic of a scan whose results are all there.

use super::patch::{FrameKey, Part, Patch};
use super::picture::Picture;
use super::settings::Settings;
use super::state::State;
use crate::sink::positions::Metres;
use std::sync::Arc;

/// The result of a frame of a scan that is complete.
pub(crate) struct Whole {
    pub(crate) number: u64,
    /// In ns since 1970.
    pub(crate) time: Option<i64>,
    pub(crate) part: Part,
    pub(crate) position: Option<Metres>,
    /// Rows and columns.
    pub(crate) shape: (usize, usize),
    /// Row by row.
    pub(crate) values: Vec<f32>,
}

/// The final picture of a scan, by the solver; `None` if nothing could be placed. Takes as long as the solver.
pub(crate) fn final_picture<E>(
    settings: Settings,
    results: impl Iterator<Item = Result<Whole, E>>,
) -> Result<Option<Arc<Picture>>, E> {
    const SERIES: u64 = 1;
    let mut state = State::new(settings);
    for result in results {
        let Whole {
            number,
            time,
            part,
            position,
            shape,
            values,
        } = result?;
        let patch = Patch {
            frame: FrameKey {
                pv: "".into(),
                number,
                time,
            },
            series: SERIES,
            series_start: None,
            part,
            position,
            rows: shape.0,
            columns: shape.1,
            values: values.into(),
        };
        // One series: none ends here.
        let _ = state.take(patch);
    }
    if let Some(job) = state.end(SERIES) {
        let solved = job.run();
        state.solved(Some(solved));
    }
    Ok(state.picture().filter(|picture| picture.placed > 0))
}
