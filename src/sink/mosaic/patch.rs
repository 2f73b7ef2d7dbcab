//! One output of one frame, to be placed.

use crate::sink::positions::Metres;
use std::sync::Arc;

/// Which output it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In radians.
    Phase,
    /// 1 for empty space.
    Amplitude,
}

/// What tells a frame from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FrameKey {
    pub(crate) pv: Arc<str>,
    pub(crate) number: u64,
    /// In ns since 1970.
    pub(crate) time: Option<i64>,
}

/// One output of one frame.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    pub(crate) frame: FrameKey,
    /// The ordinal of its series: a later series of the PV has a higher one.
    pub(crate) series: u64,
    /// When the series began, in ns since 1970: its name.
    pub(crate) series_start: Option<i64>,
    pub(crate) part: Part,
    /// Where the frame was taken: the middle of the patch.
    pub(crate) position: Option<Metres>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Row by row.
    pub(crate) values: Arc<[f32]>,
}
