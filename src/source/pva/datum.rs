//! From an update to a datum: payload, headers and event time.
//!
//! The payload is the pixels as they came, raw or compressed. The headers say what they are, and where and when they were taken.

use super::rules::Named;
use super::settings::{Common, PositionAttribute};
use crate::frame::headers::{self, Description};
use crate::pva::{Attribute, Image, Update};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// How far the clock of a detector may be behind this one's.
const PAST: i64 = 3_600_000_000_000;
/// How far it may be ahead.
const FUTURE: i64 = 60_000_000_000;

/// The most bytes of a payload: gRPC's limit of numa, 64 MiB, less room for headers and the protocol's own fields.
pub(crate) const MOST_PAYLOAD: usize = (64 << 20) - (64 << 10);

/// A frame on its way to a reader.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// The number of its PV.
    pub(crate) partition: i32,
    pub(crate) event_time: SystemTime,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) pixels: Bytes,
}

/// What an event time was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeFrom {
    DataTimeStamp,
    TimeStamp,
    /// The clock of this machine: neither stamp can be right.
    Received,
}

impl TimeFrom {
    pub(crate) const ALL: [Self; 3] = [Self::DataTimeStamp, Self::TimeStamp, Self::Received];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::DataTimeStamp => "data_time_stamp",
            Self::TimeStamp => "time_stamp",
            Self::Received => "received",
        }
    }
}

/// The event time of an update that has come at `now`, in ns since 1970. A stamp that cannot be right would make everything
/// late, or push the watermark ahead of all others.
pub(crate) fn event_time(update: &Update, now: i64) -> (i64, TimeFrom) {
    let plausible =
        |stamp: i64| (now.saturating_sub(PAST)..=now.saturating_add(FUTURE)).contains(&stamp);
    if plausible(update.data_time_stamp) {
        (update.data_time_stamp, TimeFrom::DataTimeStamp)
    } else if plausible(update.time_stamp) {
        (update.time_stamp, TimeFrom::TimeStamp)
    } else {
        (now, TimeFrom::Received)
    }
}

/// The datum of a frame: `image` of `update`, from PV `pv`, called `named`. Also the number of positions that are no numbers.
pub(crate) fn datum(
    pv: &str,
    named: &Named,
    update: &Update,
    image: &Image,
    event_time: i64,
    common: &Common,
) -> (Frame, usize) {
    let description = Description {
        number: named.number,
        dtype: image.dtype,
        shape: image.shape,
        codec: image.codec,
    };
    let mut headers: HashMap<String, String> = description.headers().collect();
    let mut told = |name: &str, value: String| headers.insert(name.to_owned(), value);
    told(headers::PV, pv.to_owned());
    told(headers::SERIES_START, named.series.start.to_string());
    if let Some(scan) = &named.series.scan {
        told(headers::SCAN, scan.clone());
    }
    if update.data_time_stamp > 0 {
        told(headers::FRAME_TIME, update.data_time_stamp.to_string());
    }
    let mut odd = 0;
    for (name, position) in [
        (headers::POSITION_X, &common.position_x),
        (headers::POSITION_Y, &common.position_y),
    ] {
        let Some(position) = position else { continue };
        match metres(update, position) {
            Some(metres) => drop(told(name, metres.to_string())),
            None => odd += 1,
        }
    }
    for name in &common.attributes {
        if let Some(value) = attribute(update, name) {
            told(&format!("{}{name}", headers::ATTRIBUTE), value.to_string());
        }
    }
    let since = Duration::from_nanos(event_time.max(0).unsigned_abs());
    let frame = Frame {
        partition: i32::try_from(named.identity.pv).unwrap_or(i32::MAX),
        event_time: SystemTime::UNIX_EPOCH + since,
        headers,
        pixels: image.pixels.clone(),
    };
    (frame, odd)
}

fn attribute<'a>(update: &'a Update, name: &str) -> Option<&'a Attribute> {
    let mut attributes = update.attributes.iter();
    attributes
        .find(|(attribute, _)| attribute == name)
        .map(|(_, value)| value)
}

fn metres(update: &Update, position: &PositionAttribute) -> Option<f64> {
    let number = attribute(update, &position.name)?.number()?;
    Some(number * position.scale).filter(|metres| metres.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::identity::Identity;
    use super::super::rules::{Initial, Series};
    use super::*;
    use crate::frame::{Codec, Dtype, FrameShape};
    use crate::pva::Content;

    const NOW: i64 = 1_790_000_000_000_000_000;

    fn update() -> Update {
        let text = |text: &str| Attribute::Text(text.to_owned());
        Update {
            unique_id: Some(42),
            time_stamp: NOW - 1_000,
            data_time_stamp: NOW - 2_000,
            attributes: vec![
                ("PosX".into(), Attribute::Integer(-3)),
                ("PosY".into(), text("nan")),
                ("Sample".into(), text("A 7")),
            ],
            value_marked: true,
            first: false,
            overrun: false,
            lost_in_client: 0,
            content: Content::Idle,
        }
    }

    #[test]
    fn a_datum_says_what_it_is_and_where_and_when_it_was_taken() {
        let position = |text: &str| Some(text.parse().unwrap());
        let common = Common {
            server_queue: 16,
            max_frame_bytes: 1,
            watchdog: None,
            decompress: false,
            initial: Initial::Always,
            first_frame: None,
            scan_attribute: None,
            attributes: vec!["Sample".into(), "Missing".into()],
            position_x: position("PosX*1e-6"),
            position_y: position("PosY"),
        };
        let named = Named {
            identity: Identity::local(3, 1, 1),
            number: 42,
            series: Series {
                start: 7,
                scan: Some("12".into()),
            },
            begins: false,
            late: false,
            unnumbered: false,
        };
        let image = Image {
            pixels: Bytes::from_static(b"compressed"),
            dtype: Dtype::U16,
            shape: FrameShape {
                height: 2,
                width: 3,
            },
            codec: Some(Codec::Bslz4),
        };
        let (frame, odd) = datum("pva:image", &named, &update(), &image, NOW - 2_000, &common);
        assert_eq!(odd, 1, "PosY is no number");
        assert_eq!(
            (frame.partition, &frame.pixels[..]),
            (3, &b"compressed"[..])
        );
        let since = frame.event_time.duration_since(SystemTime::UNIX_EPOCH);
        assert_eq!(since.unwrap().as_nanos() as i64, NOW - 2_000);
        let expected = [
            ("x-txn-id", "42"),
            ("x-frame-dtype", "uint16"),
            ("x-frame-shape", "2x3"),
            ("x-codec", "bslz4"),
            ("x-pv", "pva:image"),
            ("x-series-start", "7"),
            ("x-scan", "12"),
            ("x-frame-time", "1789999999999998000"),
            ("x-position-x", "-0.000003"),
            ("x-attr-Sample", "A 7"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(frame.headers, HashMap::from(expected));
    }

    #[test]
    fn an_event_time_that_cannot_be_right_is_replaced() {
        let of = |data_time_stamp, time_stamp| {
            let update = Update {
                data_time_stamp,
                time_stamp,
                ..update()
            };
            event_time(&update, NOW)
        };
        assert_eq!(of(NOW - 5, NOW - 3), (NOW - 5, TimeFrom::DataTimeStamp));
        // The epoch of EPICS is 1990; an unset stamp is that, or 0, or (1, 1).
        for unset in [
            0,
            1_000_000_001,
            631_152_000_000_000_000,
            NOW + 2 * FUTURE,
            i64::MIN,
        ] {
            assert_eq!(of(unset, NOW - 3), (NOW - 3, TimeFrom::TimeStamp));
            assert_eq!(of(unset, unset), (NOW, TimeFrom::Received));
        }
    }
}
