//! The eight pixel types and their names.
//!
//! A type has three spellings: short (`i16`), as numpy prints it (`int16`; case does not matter, because
//! areaDetector writes `Int16`), and as an `.npy` header describes it (`<i2`). All three are read; the numpy
//! name is written.
//!
//! The list is areaDetector's NDArray types without the 64-bit integers, which no camera delivers and `f32`
//! cannot hold exactly. float16 and bool are absent because no source sends them.

/// What to do about other types.
mod unsupported;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::BadValue;
pub(crate) use unsupported::remedy;

/// The type of a frame's pixels, little-endian where it is wider than a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// `uint8`
    U8,
    /// `int8`
    I8,
    /// `uint16`
    U16,
    /// `int16`
    I16,
    /// `uint32`
    U32,
    /// `int32`
    I32,
    /// `float32`, IEEE 754 binary32
    F32,
    /// `float64`, IEEE 754 binary64
    F64,
}

impl Dtype {
    /// Every pixel type, in the order in which help texts list them.
    pub const ALL: [Self; 8] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::F64,
    ];

    /// The allowed names, for help texts and error messages.
    pub(crate) const ALLOWED: &'static str =
        "uint8, int8, uint16, int16, uint32, int32, float32, float64";

    /// Bytes in a pixel.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The name numpy prints: `int16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Rust's name for it: `i16`.
    const fn short(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// Whether every value of this type, as `f32`, lies within `range`.
    pub(crate) fn lies_within(self, range: &RangeInclusive<f32>) -> bool {
        let (least, most) = match self {
            Self::U8 => (0.0, f32::from(u8::MAX)),
            Self::I8 => (f32::from(i8::MIN), f32::from(i8::MAX)),
            Self::U16 => (0.0, f32::from(u16::MAX)),
            Self::I16 => (f32::from(i16::MIN), f32::from(i16::MAX)),
            Self::U32 => (0.0, u32::MAX as f32),
            Self::I32 => (i32::MIN as f32, i32::MAX as f32),
            // NaN lies within no range.
            Self::F32 | Self::F64 => return false,
        };
        range.contains(&least) && range.contains(&most)
    }

    /// The type that an `.npy` header describes as `descr` (numpy's array-interface type string),
    /// for instance `<i2` or `|u1`. `None` for all that is not one of the eight, big-endian included.
    #[must_use]
    pub fn from_descr(descr: &str) -> Option<Self> {
        Some(match descr {
            // One byte has no byte order; numpy writes `|`, other writers `<`.
            "|u1" | "<u1" | ">u1" => Self::U8,
            "|i1" | "<i1" | ">i1" => Self::I8,
            "<u2" => Self::U16,
            "<i2" => Self::I16,
            "<u4" => Self::U32,
            "<i4" => Self::I32,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Reads `int16`, `i16` or `<i2`; case and surrounding spaces are ignored.
///
/// # Errors
/// [`BadValue`] for any other text. It lists the allowed names, and how to convert from another type of numpy.
impl FromStr for Dtype {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let name = text.trim();
        Self::ALL
            .into_iter()
            .find(|dtype| {
                name.eq_ignore_ascii_case(dtype.name()) || name.eq_ignore_ascii_case(dtype.short())
            })
            .or_else(|| Self::from_descr(name))
            .ok_or_else(|| {
                let (allowed, remedy) = (Self::ALLOWED, remedy(name));
                BadValue::new(
                    text,
                    if remedy == unsupported::NAME_IT {
                        format!("one of {allowed}")
                    } else {
                        format!("one of {allowed}; {remedy}")
                    },
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_three_names_and_is_printed_as_in_numpy() {
        let spelled = [
            (Dtype::U8, "u8", "uint8", "|u1", 1),
            (Dtype::I8, "i8", "int8", "|i1", 1),
            (Dtype::U16, "u16", "uint16", "<u2", 2),
            (Dtype::I16, "i16", "int16", "<i2", 2),
            (Dtype::U32, "u32", "uint32", "<u4", 4),
            (Dtype::I32, "i32", "int32", "<i4", 4),
            (Dtype::F32, "f32", "float32", "<f4", 4),
            (Dtype::F64, "f64", "float64", "<f8", 8),
        ];
        assert_eq!(spelled.map(|row| row.0), Dtype::ALL);
        for (dtype, short, numpy, descr, size) in spelled {
            assert_eq!(short.parse(), Ok(dtype));
            assert_eq!(numpy.parse(), Ok(dtype));
            assert_eq!(descr.parse(), Ok(dtype));
            assert_eq!(Dtype::from_descr(descr), Some(dtype));
            assert_eq!(dtype.to_string(), numpy);
            assert_eq!(dtype.size(), size);
        }
    }

    #[test]
    fn area_detectors_capitals_and_stray_spaces_are_understood() {
        assert_eq!("UInt16".parse(), Ok(Dtype::U16));
        assert_eq!(" Float32 ".parse(), Ok(Dtype::F32));
    }

    #[test]
    fn every_other_name_is_refused_with_the_names_that_are_allowed() {
        for name in [
            "", "int17", "f16", "float16", "bool", ">i2", "int64", "=i2", "|i2", "i 16",
        ] {
            let error = name.parse::<Dtype>().expect_err(name).to_string();
            assert!(error.contains(Dtype::ALLOWED), "{error}");
            assert!(error.contains(&format!("'{name}'")), "{error}");
        }
    }

    #[test]
    fn the_allowed_names_are_all_the_names() {
        let names = Dtype::ALL.map(Dtype::name).join(", ");
        assert_eq!(names, Dtype::ALLOWED);
    }
}
