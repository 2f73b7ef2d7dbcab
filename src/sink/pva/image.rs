//! From a result, or a picture of the mosaic, to the NTNDArray that viewers get.
//!
//! Viewers differ in what they need; this has what all of them do. c2dataviewer skips an image with the `uniqueId` or the
//! `timeStamp` of the one before, and scales by the minimum and the maximum of the values, which are NaN if one is. Phoebus
//! needs an `int` in `codec.parameters`, DashPVA places by `uniqueId` and reads what it knows from attributes. The fields that
//! do not depend on the result are those of every image of `crate::pva`.

use crate::frame::{Dtype, FloatImage, FrameShape};
use crate::pva::{Attribute, Image, NewImage};
use crate::sink::mosaic::{Part, Picture};
use crate::sink::result::{self, Received};

/// The low 31 bits: `uniqueId` is an `int`, and no viewer expects a negative one.
const POSITIVE: u64 = 0x7fff_ffff;

/// A result that is ready to be posted.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) number: u64,
    /// When the frame was taken, in ns since 1970.
    pub(crate) time: Option<i64>,
    /// Without the latency, which is known when it is posted.
    pub(crate) image: NewImage,
    /// When its result came, in ns since 1970; the time that a frame without one gets.
    arrived: i64,
}

/// The image of a result that came at `now`, in ns since 1970. Also whether it has values that are no finite numbers; they
/// become 0 unless they are to be kept.
pub(crate) fn ready(received: Received, keep_nan: bool, now: i64) -> (Ready, bool) {
    let Received {
        identity,
        series_start,
        scan,
        model,
        engine: _,
        position_x,
        position_y,
        image,
    } = received;
    let FloatImage {
        shape, mut values, ..
    } = image;
    let nonfinite = values.iter().any(|value| !value.is_finite());
    if nonfinite && !keep_nan {
        for value in values.iter_mut().filter(|value| !value.is_finite()) {
            *value = 0.0;
        }
    }
    let pixels = values.into_iter().map(f32::to_le_bytes).collect::<Vec<_>>();
    let text = |text: String| (!text.is_empty()).then_some(Attribute::Text(text));
    let attributes = [
        ("SourcePV", text(identity.pv.to_string())),
        ("SeriesStart", series_start.map(Attribute::Integer)),
        ("Scan", scan.and_then(text)),
        ("PositionX", position_x.map(Attribute::Number)),
        ("PositionY", position_y.map(Attribute::Number)),
        ("Model", text(model.name.to_string())),
        ("ModelVersion", text(model.version.to_string())),
    ];
    let attributes = attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
    let ready = Ready {
        number: identity.number,
        time: identity.time,
        image: NewImage {
            image: Image {
                pixels: pixels.into_flattened().into(),
                dtype: Dtype::F32,
                shape,
                codec: None,
            },
            // Below 2³¹.
            unique_id: (identity.number & POSITIVE) as i32,
            data_time_stamp: identity.time.unwrap_or(now),
            attributes,
        },
        arrived: now,
    };
    (ready, nonfinite)
}

impl Ready {
    /// Sets the latency at `now`, in ns since 1970, and returns it in ms: from the frame's time, or from the result's arrival
    /// if the frame has none. A clock that is ahead of this one gives 0.
    pub(crate) fn stamp(&mut self, now: i64) -> f64 {
        let since = self.time.unwrap_or(self.arrived);
        let latency = now.saturating_sub(since).max(0) as f64 / 1e6;
        let attribute = ("LatencyMs".to_owned(), Attribute::Number(latency));
        self.image.attributes.push(attribute);
        latency
    }
}

/// One part of the picture as an NTNDArray. Pixels where nothing lies are 0 unless they are to stay NaN.
pub(crate) fn picture(picture: &Picture, part: Part, sequence: u64, keep_nan: bool) -> NewImage {
    let part = picture.part(part);
    let value = |value: &f32| {
        let is_shown = keep_nan || value.is_finite();
        if is_shown { *value } else { 0.0 }
    };
    let pixels = part.iter().map(|pixel| value(pixel).to_le_bytes());
    let pixels = pixels.collect::<Vec<_>>();
    let count = |count: u64| Attribute::Integer(count.cast_signed());
    let attributes = [
        ("Placed", Some(count(picture.placed))),
        ("Missing", Some(count(picture.missing))),
        ("Unpositioned", Some(count(picture.unpositioned))),
        ("Outside", Some(count(picture.outside))),
        ("PixelSize", Some(Attribute::Number(picture.pixel_size))),
        ("OriginX", Some(Attribute::Number(picture.origin.0))),
        ("OriginY", Some(Attribute::Number(picture.origin.1))),
        ("SeriesStart", picture.series_start.map(Attribute::Integer)),
        ("Final", Some(count(picture.is_final.into()))),
    ];
    NewImage {
        image: Image {
            pixels: pixels.into_flattened().into(),
            dtype: Dtype::F32,
            shape: FrameShape {
                height: part.nrows(),
                width: part.ncols(),
            },
            codec: None,
        },
        unique_id: (sequence & POSITIVE) as i32,
        data_time_stamp: result::now(),
        attributes: attributes
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect(),
    }
}
