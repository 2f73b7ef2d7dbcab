//! The settings of bad pixels, as text.

use super::FINITE;
use crate::{BadValue, Dtype};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Which values mark a bad pixel. NaN and the infinities always do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BadPixelRule {
    /// The largest value of an unsigned integer type.
    max: bool,
    /// Values below 0.
    negative: bool,
    /// Values above this one.
    above: Option<f32>,
}

impl Default for BadPixelRule {
    fn default() -> Self {
        Self {
            max: true,
            negative: false,
            above: None,
        }
    }
}

impl BadPixelRule {
    /// The good values of a frame of `dtype`, as `f32`.
    pub(super) fn good(self, dtype: Dtype) -> RangeInclusive<f32> {
        // The largest `f32` below 2³²; `uint32` values from 4,294,967,168 on are rounded to 2³².
        const BELOW_U32_MAX: f32 = 4_294_967_040.0;
        let below_max = match dtype {
            _ if !self.max => *FINITE.end(),
            Dtype::U8 => f32::from(u8::MAX - 1),
            Dtype::U16 => f32::from(u16::MAX - 1),
            Dtype::U32 => BELOW_U32_MAX,
            _ => *FINITE.end(),
        };
        let least = if self.negative { 0.0 } else { *FINITE.start() };
        let most = self.above.map_or(below_max, |above| above.min(below_max));
        least..=most
    }
}

impl fmt::Display for BadPixelRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.max.then(|| "max".to_owned()));
        words.extend(self.negative.then(|| "negative".to_owned()));
        words.extend(self.above.map(|above| format!("above={above}")));
        if words.is_empty() {
            words.push("nan".to_owned());
        }
        f.write_str(&words.join(","))
    }
}

/// Reads `max`, `negative`, `above=N` or several of them, comma-separated; or `nan` alone.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for BadPixelRule {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let wrong = || {
            let instead = "off, nan, or any of max, negative and above=N, comma-separated, such as max,above=60000";
            BadValue::new(text, instead)
        };
        let mut rule = Self {
            max: false,
            negative: false,
            above: None,
        };
        let lower = text.trim().to_ascii_lowercase();
        if lower == "nan" {
            return Ok(rule);
        }
        for word in lower.split(',').map(str::trim) {
            match word.split_once('=') {
                None if word == "max" && !rule.max => rule.max = true,
                None if word == "negative" && !rule.negative => rule.negative = true,
                Some(("above", value)) if rule.above.is_none() => {
                    let value: f32 = value.trim().parse().map_err(|_| wrong())?;
                    rule.above = Some(value).filter(|value| value.is_finite());
                    rule.above.ok_or_else(wrong)?;
                }
                _ => return Err(wrong()),
            }
        }
        Ok(rule)
    }
}

/// What a bad pixel becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadPixelFill {
    /// 0 counts.
    #[default]
    Zero,
    /// The median of its up to eight neighbours that are good, and 0 if it has none.
    Median,
}

impl FromStr for BadPixelFill {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().to_ascii_lowercase().as_str() {
            "0" => Ok(Self::Zero),
            "median" => Ok(Self::Median),
            _ => Err(BadValue::new(text, "0 or median")),
        }
    }
}

/// The most pixels of a frame that may be bad by their value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BadPixelLimit {
    /// A number of pixels.
    Pixels(usize),
    /// A part of the frame, in percent.
    Percent(f64),
}

impl Default for BadPixelLimit {
    fn default() -> Self {
        Self::Percent(50.0)
    }
}

impl BadPixelLimit {
    /// The limit in a frame of `pixels` pixels.
    #[must_use]
    pub fn of(self, pixels: usize) -> usize {
        match self {
            Self::Pixels(most) => most,
            // `as` rounds down and saturates.
            Self::Percent(percent) => (pixels as f64 * percent / 100.0) as usize,
        }
    }
}

/// Reads `100` or `10%`.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for BadPixelLimit {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let limit = match text.strip_suffix('%') {
            None => text.parse().ok().map(Self::Pixels),
            Some(percent) => {
                let percent = percent.trim().parse().ok();
                percent
                    .filter(|percent| (0.0..=100.0).contains(percent))
                    .map(Self::Percent)
            }
        };
        limit.ok_or_else(|| {
            BadValue::new(
                text,
                "a number of pixels, such as 100, or a part of the frame, such as 10%",
            )
        })
    }
}
