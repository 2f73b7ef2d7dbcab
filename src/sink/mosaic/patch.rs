//! One output of one frame, to be placed.

use crate::sink::positions::Metres;
#[cfg(feature = "pva")]
use crate::sink::result::Received;
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

impl Patch {
    /// The patch of a result.
    #[cfg(feature = "pva")]
    pub(crate) fn of(
        received: &Received,
        series: u64,
        part: Part,
        position: Option<Metres>,
    ) -> Self {
        let identity = &received.identity;
        Self {
            frame: FrameKey {
                pv: Arc::clone(&identity.pv),
                number: identity.number,
                time: identity.time,
            },
            series,
            series_start: received.series_start,
            part,
            position,
            rows: received.image.shape.height,
            columns: received.image.shape.width,
            values: received.image.values.as_slice().into(),
        }
    }
}
