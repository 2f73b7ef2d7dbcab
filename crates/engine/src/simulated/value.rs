//! The values in a script: numbers, times, sizes, lists.
//!
//! Each reader gives a value that the device can use, or what is expected.

use crate::BatchDimension;
use beamflow_frame::BadValue;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

/// The longest time that can be given: no sum of times can overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Largest height and width: offsets and elements stay far from overflow.
const LARGEST_SIDE: usize = 8192;

/// A whole number from `least` to `most`.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, BadValue> {
    match text.parse::<T>() {
        Ok(n) if n >= least && n <= most => Ok(n),
        _ => Err(BadValue::new(
            text,
            format!("a whole number from {least} to {most}"),
        )),
    }
}

/// A batch dimension: `dynamic`, a number of rows, or `least:best:most`.
pub(crate) fn batch(text: &str) -> Result<BatchDimension, BadValue> {
    let wrong = || {
        let expected = "dynamic, a whole number from 1 to 65536, or three of them least:best:most";
        BadValue::new(text, expected)
    };
    if text == "dynamic" {
        return Ok(BatchDimension::Dynamic);
    }
    let numbers: Vec<usize> = text
        .split(':')
        .map(|n| number(n, 1, 65_536).map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    match *numbers {
        [rows] => Ok(BatchDimension::Static(rows)),
        [least, best, most] if least <= best && best <= most => {
            Ok(BatchDimension::Within { least, best, most })
        }
        _ => Err(wrong()),
    }
}

/// A name: 1 to 32 of a to z, 0 to 9 and `-`.
pub(crate) fn name(text: &str) -> Result<String, BadValue> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 32 || !text.chars().all(known) {
        return Err(BadValue::new(
            text,
            "a name of up to 32 of a to z, 0 to 9 and -",
        ));
    }
    Ok(text.to_owned())
}

/// A number from 0 to 1.
pub(crate) fn fraction(text: &str) -> Result<f64, BadValue> {
    match text.parse::<f64>() {
        Ok(x) if (0.0..=1.0).contains(&x) => Ok(x),
        _ => Err(BadValue::new(text, "a number from 0 to 1")),
    }
}

/// A time such as `2ms`, `300us`, `0.3ms`; a bare `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, BadValue> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err(BadValue::new(
            text,
            "a time up to 24h such as 2ms, 0.3ms, 300us, 1s, 5m, 1h or 0",
        )),
    }
}

/// `HxW`, or `N` for a square, in pixels: `(height, width)`.
pub(crate) fn size(text: &str) -> Result<(usize, usize), BadValue> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text| number(text, 1, LARGEST_SIDE);
    match (side(height), side(width)) {
        (Ok(height), Ok(width)) => Ok((height, width)),
        _ => Err(BadValue::new(
            text,
            format!("HxW or N, each from 1 to {LARGEST_SIDE}"),
        )),
    }
}

/// Ordinals of batches, from 1, with `+` between them.
pub(crate) fn ordinals(text: &str) -> Result<BTreeSet<u64>, BadValue> {
    text.split('+')
        .map(|n| number(n, 1, u64::MAX))
        .collect::<Result<_, _>>()
        .map_err(|_| BadValue::new(text, "ordinals of batches from 1, such as 3 or 3+7"))
}
