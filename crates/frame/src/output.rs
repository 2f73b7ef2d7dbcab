//! Type, format and size of results, as the operator sets them.

use std::fmt;
use std::str::FromStr;

use super::BadValue;
use super::shape::extents;

/// The type of the values in a result (`--output-dtype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OutputDtype {
    /// The model's values, bit for bit.
    #[default]
    Float32,
    /// Truncated toward zero, as `int()` and `astype` do; values beyond ±32,767 saturate, NaN is 0.
    ///
    /// Not for phases: a phase in radians becomes one of seven integers.
    Int16,
}

impl OutputDtype {
    /// Bytes in a value.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Int16 => 2,
        }
    }
}

/// How a result is written (`--output-format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OutputFormat {
    /// An `.npy` file, which `numpy.load` reads, with type and shape.
    #[default]
    Npy,
    /// Only the little-endian values, row by row.
    Raw,
}

/// The part of an output that is sent (`--output-size`): all of it, or its centre.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputSize {
    /// The whole output.
    Full,
    /// The centre of the last two axes, in pixels. A model predicts the middle of a patch better than its rim,
    /// which neighbouring patches cover as well.
    Size {
        /// Pixels along the last axis.
        width: usize,
        /// Pixels along the last axis but one.
        height: usize,
    },
}

impl fmt::Display for OutputDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Float32 => "float32",
            Self::Int16 => "int16",
        })
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Npy => "npy",
            Self::Raw => "raw",
        })
    }
}

impl fmt::Display for OutputSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.pad("full"),
            Self::Size { width, height } => write!(f, "{width}x{height}"),
        }
    }
}

/// Reads `float32` or `int16`.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for OutputDtype {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().to_ascii_lowercase().as_str() {
            "float32" => Ok(Self::Float32),
            "int16" => Ok(Self::Int16),
            _ => Err(BadValue::new(text, "float32 or int16")),
        }
    }
}

/// Reads `npy` or `raw`.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for OutputFormat {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim().to_ascii_lowercase().as_str() {
            "npy" => Ok(Self::Npy),
            "raw" => Ok(Self::Raw),
            _ => Err(BadValue::new(text, "npy or raw")),
        }
    }
}

/// Reads `WIDTHxHEIGHT`, width first, or `full`.
///
/// # Errors
/// [`BadValue`] where it is neither, or a number is 0.
impl FromStr for OutputSize {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if text.trim().eq_ignore_ascii_case("full") {
            return Ok(Self::Full);
        }
        extents(text)
            .map(|(width, height)| Self::Size { width, height })
            .ok_or_else(|| BadValue::new(text, "WIDTHxHEIGHT, for example 64x64, or full"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_size_is_width_first() {
        assert_eq!(
            "96x64".parse(),
            Ok(OutputSize::Size {
                width: 96,
                height: 64
            })
        );
        assert_eq!(
            OutputSize::Size {
                width: 96,
                height: 64
            }
            .to_string(),
            "96x64"
        );
    }

    #[test]
    fn printed_values_can_be_read_again() {
        for size in [
            OutputSize::Full,
            OutputSize::Size {
                width: 1,
                height: 2,
            },
        ] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        for dtype in [OutputDtype::Float32, OutputDtype::Int16] {
            assert_eq!(dtype.to_string().parse(), Ok(dtype));
        }
        for format in [OutputFormat::Npy, OutputFormat::Raw] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_allowed_values() {
        for text in ["", "64", "0x64", "64x0", "64x64x64", "-1x4", "all"] {
            let error = text.parse::<OutputSize>().expect_err(text).to_string();
            assert!(
                error.contains("WIDTHxHEIGHT") && error.contains("full"),
                "{error}"
            );
        }
        assert!(
            "f64"
                .parse::<OutputDtype>()
                .unwrap_err()
                .to_string()
                .contains("float32 or int16")
        );
        assert!(
            "json"
                .parse::<OutputFormat>()
                .unwrap_err()
                .to_string()
                .contains("npy or raw")
        );
    }
}
