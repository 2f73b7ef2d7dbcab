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

/// Characters of a text that is kept: names and reasons come from other programs.
const TEXT: usize = 256;

/// What a raw payload is: type and shape.
pub(crate) type Raw = Option<(Dtype, FrameShape)>;

/// What tells a result from all others of its model. A message that is delivered twice has the same, from the same model.
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

/// The model that gave a result. Two maps may have models of one name, which their versions tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
}

/// The result of one frame: one output of the model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Received {
    pub(crate) identity: Identity,
    /// What the source calls the series, in ns since 1970.
    pub(crate) series_start: Option<i64>,
    /// What the detector calls the scan.
    pub(crate) scan: Option<String>,
    pub(crate) model: Model,
    /// What ran the model, and in which precision.
    pub(crate) engine: Option<String>,
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
        Some(cut(&String::from_utf8_lossy(&value))).filter(|text| !text.is_empty())
    };
    let Some(output) = note("output") else {
        return Err(match note("reason") {
            Some(reason) => NoResult::DeadLetter { reason },
            None => NoResult::NoMetadata,
        });
    };
    let header = |name: &str| headers::get(&request.headers, name).map(str::trim);
    let number = frame_number(&request.headers).ok_or_else(|| NoResult::NoNumber {
        given: header(headers::TXN_ID)
            .map_or("missing".into(), |given| format!("'{}'", cut(given))),
    })?;
    let image = FloatImage::read(&request.value, raw)?;
    let event_time = request.event_time.timestamp_nanos_opt();
    let event_time = event_time.filter(|time| *time > 0);
    Ok(Received {
        identity: Identity {
            pv: cut(header(headers::PV).unwrap_or_default()).into(),
            number,
            time: read_as(&request.headers, headers::FRAME_TIME).or(event_time),
            output: output.into(),
        },
        series_start: read_as(&request.headers, headers::SERIES_START),
        scan: header(headers::SCAN).map(cut),
        model: Model {
            name: note("model").unwrap_or_default().into(),
            version: note("version").unwrap_or_default().into(),
        },
        engine: note("engine"),
        position_x: read_as(&request.headers, headers::POSITION_X).filter(|x: &f64| x.is_finite()),
        position_y: read_as(&request.headers, headers::POSITION_Y).filter(|y: &f64| y.is_finite()),
        image,
    })
}

/// A text without control characters, and not longer than [`TEXT`].
fn cut(text: &str) -> String {
    let printed = text.chars().filter(|c| !c.is_control());
    printed.take(TEXT).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use numaflow::proto::metadata::{KeyValueGroup, Metadata};
    use numaflow::proto::sink::sink_request::Request;
    use prost_types::Timestamp;

    /// An `.npy` image of one value.
    fn npy() -> Vec<u8> {
        let mut file =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }"
                .to_vec();
        file.resize(127, b' ');
        file.push(b'\n');
        file.extend(7.0f32.to_le_bytes());
        file
    }

    fn request(notes: &[(&str, &str)], headers: &[(&str, &str)]) -> SinkRequest {
        let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
        let header = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let group = KeyValueGroup {
            key_value: notes.iter().map(entry).collect(),
        };
        Request {
            value: npy(),
            event_time: Some(Timestamp {
                seconds: 1_700_000_000,
                nanos: 5,
            }),
            headers: headers.iter().map(header).collect(),
            metadata: Some(Metadata {
                user_metadata: HashMap::from([(GROUP.to_owned(), group)]),
                ..Metadata::default()
            }),
            ..Request::default()
        }
        .into()
    }

    #[test]
    fn a_result_needs_an_output_and_a_number_alone() {
        let received = read(
            &request(&[("output", "phase")], &[("X-Txn-Id", "42")]),
            None,
        );
        let received = received.unwrap();
        assert_eq!(received.identity.number, 42);
        // Without the source's time, the event time.
        assert_eq!(received.identity.time, Some(1_700_000_000_000_000_005));
        assert_eq!(
            (&*received.identity.pv, &*received.identity.output),
            ("", "phase")
        );
        assert_eq!((received.position_x, received.series_start), (None, None));
        assert_eq!(received.image.values, [7.0]);
    }

    #[test]
    fn values_that_cannot_be_read_are_left_out() {
        let headers = [
            ("x-txn-id", "-1"),
            ("x-series-start", "yesterday"),
            ("x-position-x", "nan"),
            ("x-position-y", " 1e-6 "),
            ("x-scan", "a\u{7}b"),
        ];
        let received = read(&request(&[("output", "phase")], &headers), None).unwrap();
        assert_eq!(received.identity.number, u64::from(u32::MAX));
        assert_eq!(received.series_start, None);
        assert_eq!(
            (received.position_x, received.position_y),
            (None, Some(1e-6))
        );
        assert_eq!(received.scan.as_deref(), Some("ab"));
    }

    #[test]
    fn texts_of_other_programs_are_cut() {
        let long = "é".repeat(100_000);
        let headers = [("x-txn-id", "1"), ("x-pv", &long), ("x-scan", &long)];
        let notes = [("output", &*long), ("model", &long), ("version", &long)];
        let received = read(&request(&notes, &headers), None).unwrap();
        let texts = [
            &*received.identity.pv,
            &received.identity.output,
            &received.model.name,
            &received.model.version,
        ];
        for text in texts.into_iter().chain(received.scan.as_deref()) {
            assert_eq!(text.chars().count(), TEXT);
        }
        let letter = read(&request(&[("reason", &long)], &[]), None).unwrap_err();
        assert!(letter.to_string().chars().count() < 2 * TEXT);
    }

    #[test]
    fn kinds_are_those_of_the_errors() {
        let kinds: Vec<_> = NoResult::kinds().collect();
        let of = |notes: &[(&str, &str)], headers: &[(&str, &str)]| {
            read(&request(notes, headers), None).unwrap_err().kind()
        };
        let told = [
            of(&[], &[("x-txn-id", "1")]),
            of(&[("reason", "odd")], &[("x-txn-id", "1")]),
            of(&[("output", "phase")], &[]),
        ];
        assert_eq!(told[..], kinds[..3]);
    }
}
