//! Values in single or half precision: the rows of a batch.
//!
//! A model's input and outputs are `f32` or `f16`, and this is known only when the model is loaded. So a row is
//! one of two slices, and code that reads or writes it has one loop per type instead of a branch per value.

use half::f16;
use std::ops::Range;

/// The type of a tensor's values.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// IEEE 754 single precision.
    #[default]
    F32,
    /// IEEE 754 half precision: integers are exact to 2,048, and the range ends at ±65,504.
    F16,
}

impl Element {
    /// Bytes in a value.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// Values of one of the two types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [f16]),
}

/// Mutable values of one of the two types.
#[derive(Debug, PartialEq)]
pub enum ValuesMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Half precision.
    F16(&'a mut [f16]),
}

impl<'a> Values<'a> {
    /// The type of the values.
    #[must_use]
    pub const fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::F16(_) => Element::F16,
        }
    }

    /// The number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in `range`; none if `range` exceeds them.
    #[must_use]
    pub fn get(self, range: Range<usize>) -> Option<Self> {
        match self {
            Self::F32(values) => values.get(range).map(Self::F32),
            Self::F16(values) => values.get(range).map(Self::F16),
        }
    }

    /// The values, if they are single precision.
    #[must_use]
    pub const fn single(self) -> Option<&'a [f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::F16(_) => None,
        }
    }

    /// A copy in single precision.
    #[must_use]
    pub fn to_single(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.to_vec(),
            Self::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
        }
    }

    /// The address of the first value.
    #[must_use]
    pub const fn address(self) -> *const u8 {
        match self {
            Self::F32(values) => values.as_ptr().cast(),
            Self::F16(values) => values.as_ptr().cast(),
        }
    }
}

impl<'a> ValuesMut<'a> {
    /// The type of the values.
    #[must_use]
    pub const fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::F16(_) => Element::F16,
        }
    }

    /// The number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same values, for a part of the time.
    pub fn reborrow(&mut self) -> ValuesMut<'_> {
        match self {
            Self::F32(values) => ValuesMut::F32(values),
            Self::F16(values) => ValuesMut::F16(values),
        }
    }

    /// The values in `range`; none if `range` exceeds them.
    #[must_use]
    pub fn get(self, range: Range<usize>) -> Option<Self> {
        match self {
            Self::F32(values) => values.get_mut(range).map(Self::F32),
            Self::F16(values) => values.get_mut(range).map(Self::F16),
        }
    }

    /// The values, if they are single precision.
    #[must_use]
    pub const fn single(self) -> Option<&'a mut [f32]> {
        match self {
            Self::F32(values) => Some(values),
            Self::F16(_) => None,
        }
    }

    /// Sets all to zero.
    pub fn clear(self) {
        match self {
            Self::F32(values) => values.fill(0.0),
            Self::F16(values) => values.fill(f16::ZERO),
        }
    }

    /// The address of the first value.
    #[must_use]
    pub const fn address(&mut self) -> *mut u8 {
        match self {
            Self::F32(values) => values.as_mut_ptr().cast(),
            Self::F16(values) => values.as_mut_ptr().cast(),
        }
    }
}
