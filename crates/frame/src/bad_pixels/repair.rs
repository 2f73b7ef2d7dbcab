//! What a bad pixel becomes, once a row is converted and bad pixels are NaN in it.

use super::BadPixelFill;
use crate::FrameShape;
use crate::values::ValuesMut;
use half::f16;

/// A value of a row.
trait Value: Copy {
    const ZERO: Self;
    const NAN: Self;
    fn is_nan(self) -> bool;
    fn to_single(self) -> f32;
    fn of(value: f32) -> Self;
}

impl Value for f32 {
    const ZERO: Self = 0.0;
    const NAN: Self = Self::NAN;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn to_single(self) -> f32 {
        self
    }

    fn of(value: f32) -> Self {
        value
    }
}

impl Value for f16 {
    const ZERO: Self = Self::ZERO;
    const NAN: Self = Self::NAN;

    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn to_single(self) -> f32 {
        self.to_f32()
    }

    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }
}

/// How many of `places` are marked.
pub(super) fn marked(row: &mut ValuesMut<'_>, places: &[usize]) -> usize {
    fn count<T: Value>(row: &[T], places: &[usize]) -> usize {
        let values = places.iter().filter_map(|place| row.get(*place));
        values.filter(|value| value.is_nan()).count()
    }
    match row {
        ValuesMut::F32(row) => count(row, places),
        ValuesMut::F16(row) => count(row, places),
    }
}

/// Replaces the pixels of `masked` and those that are marked, of which there are `found` outside the mask.
pub(super) fn repair(
    row: ValuesMut<'_>,
    masked: &[usize],
    found: usize,
    fill: BadPixelFill,
    shape: FrameShape,
) {
    match row {
        ValuesMut::F32(row) => of(row, masked, found, fill, shape),
        ValuesMut::F16(row) => of(row, masked, found, fill, shape),
    }
}

fn of<T: Value>(
    row: &mut [T],
    masked: &[usize],
    found: usize,
    fill: BadPixelFill,
    shape: FrameShape,
) {
    for place in masked {
        if let Some(value) = row.get_mut(*place) {
            *value = T::NAN;
        }
    }
    // A frame without marks outside the mask is not searched.
    let everywhere: Vec<usize>;
    let bad = if found == 0 {
        masked
    } else {
        let values = row.iter().enumerate();
        everywhere = values
            .filter(|(_, value)| value.is_nan())
            .map(|(place, _)| place)
            .collect();
        &everywhere
    };
    match fill {
        BadPixelFill::Zero => {
            for place in bad {
                if let Some(value) = row.get_mut(*place) {
                    *value = T::ZERO;
                }
            }
        }
        BadPixelFill::Median => {
            // All medians before the first is written: a replaced pixel is no neighbour of the next.
            let medians: Vec<T> = bad
                .iter()
                .map(|place| T::of(median(row, *place, shape)))
                .collect();
            for (place, median) in bad.iter().zip(medians) {
                if let Some(value) = row.get_mut(*place) {
                    *value = median;
                }
            }
        }
    }
}

/// The median of the good ones of up to eight neighbours: the middle value, or the mean of the two in the middle; 0 if there
/// is none.
fn median<T: Value>(row: &[T], place: usize, shape: FrameShape) -> f32 {
    let (y, x) = (place / shape.width, place % shape.width);
    let near = |at: usize, end: usize| at.saturating_sub(1)..(at + 2).min(end);
    let (mut good, mut count) = ([f32::INFINITY; 9], 0);
    for y in near(y, shape.height) {
        for x in near(x, shape.width) {
            let value = row.get(y * shape.width + x).filter(|value| !value.is_nan());
            if let (Some(value), Some(free)) = (value, good.get_mut(count)) {
                *free = value.to_single();
                count += 1;
            }
        }
    }
    good.sort_unstable_by(f32::total_cmp);
    let at = |n: usize| good.get(n).copied().unwrap_or_default();
    match count {
        0 => 0.0,
        odd if odd % 2 == 1 => at(odd / 2),
        even => f32::midpoint(at(even / 2 - 1), at(even / 2)),
    }
}
