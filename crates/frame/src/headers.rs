//! The headers of a datum: every name that this program writes or reads, in one place.
//!
//! Sources write them, the sidecar reads them, and Numaflow copies them to the results. The README has the same table; a test
//! compares the two. The case of names is ignored (HTTP sources write `X-Txn-Id`), and a blank value counts as absent.

use super::{Codec, Dtype, FrameShape};
use std::collections::HashMap;

/// The frame's number, or another name for it: see [`frame_id`] and [`frame_number`].
pub const TXN_ID: &str = "x-txn-id";
/// The pixel type, for instance `uint16`; of a compressed frame, that of the pixels in it.
pub const DTYPE: &str = "x-frame-dtype";
/// The shape as `HEIGHTxWIDTH`, for instance `128x128`; of a compressed frame, that of the pixels in it.
pub const SHAPE: &str = "x-frame-shape";
/// How the payload is compressed: a [`Codec`], or `none`.
pub const CODEC: &str = "x-codec";
/// The name of the model that the frame is for, where a sidecar serves several.
pub const MODEL: &str = "x-model";
/// The PV that the frame came from.
pub const PV: &str = "x-pv";
/// When the first frame of the series was taken that the source saw, in ns since 1970. It names the series.
pub const SERIES_START: &str = "x-series-start";
/// What the detector calls the scan.
pub const SCAN: &str = "x-scan";
/// When the detector took the frame, in ns since 1970.
pub const FRAME_TIME: &str = "x-frame-time";
/// Where the frame was taken, in metres along the rows.
pub const POSITION_X: &str = "x-position-x";
/// Where the frame was taken, in metres across the rows.
pub const POSITION_Y: &str = "x-position-y";
/// What the names of headers begin with that are attributes of the detector.
pub const ATTRIBUTE: &str = "x-attr-";
/// How often the source has delivered the frame, from the second time on.
pub const DELIVERY: &str = "x-delivery";

/// One line of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name, in lower case.
    pub name: &'static str,
    /// What values it has.
    pub values: &'static str,
    /// What is assumed without it.
    pub without: &'static str,
}

/// All of them.
pub const ALL: [Header; 13] = [
    Header {
        name: TXN_ID,
        values: "the frame's number; logs name the frame by it, and missing numbers are counted",
        without: "logs have the datum's id; nothing is counted",
    },
    Header {
        name: DTYPE,
        values: Dtype::ALLOWED,
        without: "`--frame-dtype`",
    },
    Header {
        name: SHAPE,
        values: "HEIGHTxWIDTH",
        without: "the shape of the model's input",
    },
    Header {
        name: CODEC,
        values: Codec::ALLOWED,
        without: "none",
    },
    Header {
        name: MODEL,
        values: "the name of a model in `--models`",
        without: "the routes of that file, then its default",
    },
    told(PV, "the PV that the frame came from"),
    told(
        SERIES_START,
        "when the series began, in ns since 1970: its name",
    ),
    told(SCAN, "what the detector calls the scan"),
    told(FRAME_TIME, "when the frame was taken, in ns since 1970"),
    told(POSITION_X, "where it was taken, in metres along the rows"),
    told(POSITION_Y, "where it was taken, in metres across the rows"),
    told("x-attr-NAME", "the detector's attribute NAME"),
    Header {
        name: DELIVERY,
        values: "how often the source has delivered it, from the second time on",
        without: "the sidecar counts its own nacks",
    },
];

/// A header that sources write for sinks; the sidecar does not read it.
const fn told(name: &'static str, values: &'static str) -> Header {
    Header {
        name,
        values,
        without: "nothing",
    }
}

/// What a source says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its number, from the detector.
    pub number: u64,
    /// The type of its pixels.
    pub dtype: Dtype,
    /// Their shape.
    pub shape: FrameShape,
    /// How the payload is compressed.
    pub codec: Option<Codec>,
}

impl Description {
    /// The headers that say this: [`CODEC`] only for a compressed payload.
    pub fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let codec = self.codec.map(|codec| (CODEC, codec.to_string()));
        [
            (TXN_ID, self.number.to_string()),
            (DTYPE, self.dtype.to_string()),
            (SHAPE, self.shape.to_string()),
        ]
        .into_iter()
        .chain(codec)
        .map(|(name, value)| (name.to_owned(), value))
    }
}

/// The value of header `name`, in any case of letters, unless it is blank.
#[must_use]
pub fn get<'a>(headers: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    let exact = headers
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.trim().is_empty());
    exact.or_else(|| {
        // Of several spellings the first in byte order is used, because a map has no order and a payload must always be read in
        // the same way.
        headers
            .iter()
            .filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
            .min_by_key(|(key, _)| key.as_str())
            .map(|(_, value)| value.as_str())
    })
}

/// The name of a frame in logs: its header [`TXN_ID`], else the datum's id.
///
/// The name need not be unique (a redelivered frame keeps it). Responses are therefore matched by the datum's id; the name is
/// for people only.
#[must_use]
pub fn frame_id<'a>(headers: &'a HashMap<String, String>, datum_id: &'a str) -> &'a str {
    get(headers, TXN_ID).unwrap_or(datum_id)
}

/// The number of a frame, if its header [`TXN_ID`] is one.
///
/// EPICS numbers frames with a 32-bit integer, which becomes negative after 2³¹ − 1. A negative number is read as the unsigned
/// one of the same bits, so that the numbers continue.
#[must_use]
pub fn frame_number(headers: &HashMap<String, String>) -> Option<u64> {
    let text = get(headers, TXN_ID)?.trim();
    let wrapped = || text.parse().ok().map(i32::cast_unsigned).map(u64::from);
    text.parse().ok().or_else(wrapped)
}
