//! Height × width, and parsing of sizes.
//!
//! Frames are written `HEIGHTxWIDTH`, as arrays are indexed. Result sizes are written `WIDTHxHEIGHT`, as
//! cameras and the earlier Python sidecars do. Both use `extents`, so that they accept the same numbers.

use std::fmt;
use std::str::FromStr;

use super::{BadValue, Dtype};

/// The shape of a frame in pixels: `height` rows of `width`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameShape {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl FrameShape {
    /// Pixels in a frame: height × width, or `None` where that exceeds `usize`.
    #[must_use]
    pub const fn pixels(self) -> Option<usize> {
        self.height.checked_mul(self.width)
    }

    /// Bytes in a raw frame of `dtype`, or `None` where that exceeds `usize`.
    #[must_use]
    pub const fn bytes(self, dtype: Dtype) -> Option<usize> {
        match self.pixels() {
            Some(pixels) => pixels.checked_mul(dtype.size()),
            None => None,
        }
    }
}

impl fmt::Display for FrameShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// Reads `HEIGHTxWIDTH`, for instance `128x256` for 128 rows of 256 pixels.
///
/// # Errors
/// [`BadValue`] where there are not two numbers of at least 1, or more pixels than can be addressed.
impl FromStr for FrameShape {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        extents(text)
            .map(|(height, width)| Self { height, width })
            .ok_or_else(|| BadValue::new(text, "HEIGHTxWIDTH, for example 128x128"))
    }
}

/// The two numbers of `AxB`: decimal digits, each at least 1, with a product that fits `usize`.
pub(super) fn extents(text: &str) -> Option<(usize, usize)> {
    let (first, second) = text.trim().split_once(['x', 'X'])?;
    let (first, second) = (extent(first)?, extent(second)?);
    first.checked_mul(second)?;
    Some((first, second))
}

fn extent(text: &str) -> Option<usize> {
    // `parse` alone would accept "+5".
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|&extent: &usize| digits && extent > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_shape_is_height_first_and_prints_as_it_is_read() {
        let shape: FrameShape = "128x256".parse().unwrap();
        assert_eq!(
            shape,
            FrameShape {
                height: 128,
                width: 256
            }
        );
        assert_eq!(shape.to_string(), "128x256");
        assert_eq!(shape.pixels(), Some(32_768));
        assert_eq!(shape.bytes(Dtype::F64), Some(262_144));
        assert_eq!(
            " 3X4 ".parse(),
            Ok(FrameShape {
                height: 3,
                width: 4
            })
        );
    }

    #[test]
    fn a_wrong_shape_is_refused_with_an_example() {
        let overflow = format!("{}x2", usize::MAX);
        for text in [
            "", "x", "128", "128x", "x128", "0x5", "5x0", "+5x5", "-1x5", "1x2x3", "1.5x2", "5 x5",
            "5*5", "٣x٣", &overflow,
        ] {
            let error = text.parse::<FrameShape>().expect_err(text).to_string();
            assert!(error.contains("HEIGHTxWIDTH"), "{error}");
        }
    }

    #[test]
    fn a_huge_shape_has_no_size_instead_of_a_wrapped_one() {
        let square = |side| FrameShape {
            height: side,
            width: side,
        };
        assert_eq!(square(1 << 32).pixels(), None);
        assert_eq!(square(1 << 31).pixels(), Some(1 << 62));
        assert_eq!(square(1 << 31).bytes(Dtype::I16), Some(1 << 63));
        assert_eq!(square(1 << 31).bytes(Dtype::F32), None);
    }
}
