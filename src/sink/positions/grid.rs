//! From metres to whole pixels of the mosaic.

use super::Metres;
use crate::frame::BadValue;
use crate::mosaic::online::Corner;
use std::fmt;
use std::str::FromStr;

/// An axis of the stage and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    is_x: bool,
    backwards: bool,
}

impl Direction {
    fn of(self, Metres { x, y }: Metres) -> f64 {
        let value = if self.is_x { x } else { y };
        if self.backwards { -value } else { value }
    }
}

/// How the picture lies on the stage: which way its rows and its columns go. `+y+x`: downwards is +y, to the right is +x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orientation {
    down: Direction,
    right: Direction,
}

/// `+y+x`.
impl Default for Orientation {
    fn default() -> Self {
        let forwards = |is_x| Direction {
            is_x,
            backwards: false,
        };
        Self {
            down: forwards(false),
            right: forwards(true),
        }
    }
}

/// Reads two axes with their signs: downwards, then to the right.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for Orientation {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let direction = |sign: char, axis: char| {
            let is_x = matches!(axis, 'x' | 'X');
            let is_axis = is_x || matches!(axis, 'y' | 'Y');
            (is_axis && matches!(sign, '+' | '-')).then_some(Direction {
                is_x,
                backwards: sign == '-',
            })
        };
        let letters: Vec<char> = text.trim().chars().collect();
        let read = match letters.as_slice() {
            [down_sign, down, right_sign, right] => {
                direction(*down_sign, *down).zip(direction(*right_sign, *right))
            }
            _ => None,
        };
        let read = read.filter(|(down, right)| down.is_x != right.is_x);
        read.map(|(down, right)| Self { down, right }).ok_or_else(|| {
            BadValue::new(
                text,
                "the axes downwards and to the right: +y+x, +y-x, -y+x, -y-x, +x+y, +x-y, -x+y or -x-y",
            )
        })
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Direction { is_x, backwards } in [self.down, self.right] {
            f.write_str(if backwards { "-" } else { "+" })?;
            f.write_str(if is_x { "x" } else { "y" })?;
        }
        Ok(())
    }
}

/// A whole pixel, and how far the position was from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pixel {
    pub(crate) at: Corner,
    /// In pixels, on the axis where it is larger: at most ½.
    pub(crate) rounding: f64,
}

/// The grid of the mosaic on the stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    /// The side of a pixel in metres: finite and above 0.
    pixel_size: f64,
    orientation: Orientation,
}

impl Grid {
    /// # Errors
    /// [`BadValue`] if the size is no length.
    pub(crate) fn new(pixel_size: f64, orientation: Orientation) -> Result<Self, BadValue> {
        if pixel_size.is_normal() && pixel_size > 0.0 {
            return Ok(Self {
                pixel_size,
                orientation,
            });
        }
        Err(BadValue::new(
            &pixel_size.to_string(),
            "the side of a pixel in metres, such as 8e-9",
        ))
    }

    pub(crate) fn pixel_size(&self) -> f64 {
        self.pixel_size
    }

    /// The pixel of a position. Positions too far away for a number are at the largest one, which is on no canvas.
    pub(crate) fn pixel(&self, position: Metres) -> Pixel {
        let pixels = |direction: Direction| direction.of(position) / self.pixel_size;
        let (down, right) = (
            pixels(self.orientation.down),
            pixels(self.orientation.right),
        );
        let rounding = |pixels: f64| (pixels - pixels.round()).abs();
        Pixel {
            // `as` saturates.
            at: Corner {
                x: right.round() as i64,
                y: down.round() as i64,
            },
            rounding: rounding(down).max(rounding(right)),
        }
    }

    /// Where the middle of a pixel is, in metres to the right and downwards.
    pub(crate) fn metres(&self, pixel: Corner) -> (f64, f64) {
        let metres = |pixel: i64| pixel as f64 * self.pixel_size;
        (metres(pixel.x), metres(pixel.y))
    }
}
