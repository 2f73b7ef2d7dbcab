//! From one message of a sink to the result of a frame.
//!
//! A result carries its output, its model and the model's version in the user metadata (group `beamflow`), where the map of
//! this program writes them; the number, the time and the place of its frame in the headers, where the source writes them.
//! A message without that metadata is no result: a MonoVertex that lost its map sends raw frames to the sink.

use crate::frame::{Dtype, FloatImage, FrameShape, NoImage, frame_number, headers};
use numaflow::sink::SinkRequest;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The group of the metadata.
const GROUP: &str = "beamflow";

/// What a raw payload is: type and shape.
pub(crate) type Raw = Option<(Dtype, FrameShape)>;

/// What tells a result from all others. A message that is delivered twice has the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The PV that its frame came from; empty if the source does not say.
    pub(crate) pv: Arc<str>,
    /// The frame's number.
    pub(crate) number: u64,
    /// When the frame was taken, in ns since 1970: what the source says, or the event time.
    pub(crate) time: Option<i64>,
    /// The output of the model.
    pub(crate) output: Arc<str>,
}

/// The result of one frame: one output of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) identity: Identity,
    /// What the source calls the series, in ns since 1970.
    pub(crate) series_start: Option<i64>,
    /// What the detector calls the scan.
    pub(crate) scan: Option<String>,
    pub(crate) model: String,
    pub(crate) version: String,
    /// Where the frame was taken, in metres along the rows.
    pub(crate) position_x: Option<f64>,
    /// The same across the rows.
    pub(crate) position_y: Option<f64>,
    pub(crate) image: FloatImage,
}

/// Why a message is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoResult {
    #[error(
        "it has no metadata of beamflow: it does not come from a map of beamflow (a MonoVertex that lost its map sends \
         frames here)"
    )]
    NoMetadata,
    #[error("it is a dead letter of the map: {reason}")]
    DeadLetter { reason: String },
    #[error("its frame has no number: the header {} is {given}", headers::TXN_ID)]
    NoNumber { given: String },
    #[error(transparent)]
    NoImage(#[from] NoImage),
}

impl NoResult {
    /// The reason as a metric label.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::NoMetadata => "no_metadata",
            Self::DeadLetter { .. } => "dead_letter",
            Self::NoNumber { .. } => "no_number",
            Self::NoImage(why) => why.kind(),
        }
    }

    /// Every [`kind`](Self::kind), so that metrics can start all of them at zero.
    pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
        ["no_metadata", "dead_letter", "no_number"]
            .into_iter()
            .chain(NoImage::KINDS)
    }
}

/// The result that a message holds.
///
/// # Errors
/// [`NoResult`].
pub(crate) fn read(request: &SinkRequest, raw: Raw) -> Result<Received, NoResult> {
    let note = |key: &str| {
        let value = request.user_metadata.value(GROUP, key);
        Some(String::from_utf8_lossy(&value).into_owned()).filter(|text| !text.is_empty())
    };
    let Some(output) = note("output") else {
        return Err(match note("reason") {
            Some(reason) => NoResult::DeadLetter {
                reason: reason.chars().take(300).collect(),
            },
            None => NoResult::NoMetadata,
        });
    };
    let header = |name: &str| headers::get(&request.headers, name).map(str::trim);
    let number = frame_number(&request.headers).ok_or_else(|| NoResult::NoNumber {
        given: header(headers::TXN_ID).map_or("missing".into(), |given| {
            format!("{:?}", given.chars().take(60).collect::<String>())
        }),
    })?;
    let image = FloatImage::read(&request.value, raw)?;
    let event_time = request.event_time.timestamp_nanos_opt();
    let event_time = event_time.filter(|time| *time > 0);
    Ok(Received {
        identity: Identity {
            pv: header(headers::PV).unwrap_or_default().into(),
            number,
            time: read_as(&request.headers, headers::FRAME_TIME).or(event_time),
            output: output.into(),
        },
        series_start: read_as(&request.headers, headers::SERIES_START),
        scan: header(headers::SCAN).map(str::to_owned),
        model: note("model").unwrap_or_default(),
        version: note("version").unwrap_or_default(),
        position_x: read_as(&request.headers, headers::POSITION_X).filter(|x: &f64| x.is_finite()),
        position_y: read_as(&request.headers, headers::POSITION_Y).filter(|y: &f64| y.is_finite()),
        image,
    })
}

/// A header's value, if it is one of this type.
fn read_as<T: std::str::FromStr>(headers: &HashMap<String, String>, name: &str) -> Option<T> {
    headers::get(headers, name)?.trim().parse().ok()
}

/// Now, in ns since 1970.
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}
