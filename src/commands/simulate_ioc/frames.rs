//! The frames of the detector by their number: pixels, number in the scan, time, attributes.
//!
//! A scan repeats without end. Its frames have the numbers from 1; in the next scan they go on, unless each scan has a
//! length of its own: then they begin at 1 again. A number that exceeds an int32 begins at 1 again too.

use crate::lab::stack::FrameStack;
use crate::lab::{SimulatedScan, experiment};
use crate::pva::{Attribute, Image, NewImage};
use std::time::{Duration, SystemTime};

/// The attribute with the position of the probe along a row, in metres: see [`experiment::probe_position`].
pub(super) const POSITION_X: &str = "PositionX";
/// The same along a column.
pub(super) const POSITION_Y: &str = "PositionY";
/// The attribute with the side of a pixel of the object, in metres: see [`experiment::pixel_size`].
pub(super) const PIXEL_SIZE: &str = "PixelSize";
/// The attribute with the number of the scan, from 1.
pub(super) const SCAN_NUMBER: &str = "ScanNumber";

/// One scan: images and positions, in the order of the frames.
#[derive(Debug)]
pub(super) struct Frames {
    points: Vec<Point>,
    pixel_size: f64,
    /// Frames in a scan if the numbers begin at 1 with each.
    reset_every: Option<u64>,
}

#[derive(Debug)]
struct Point {
    image: Image,
    position: (f64, f64),
}

impl Frames {
    /// The frames of `stack`, which are those of `scan`.
    pub(super) fn new(scan: &SimulatedScan, stack: &FrameStack, reset_every: Option<u64>) -> Self {
        let points = (0..stack.frames()).filter_map(|k| {
            let description = stack.describe(0);
            let image = Image {
                pixels: stack.frame(k).to_vec().into(),
                dtype: description.dtype,
                shape: description.shape,
                codec: description.codec,
            };
            let position = experiment::probe_position(scan, k)?;
            Some(Point { image, position })
        });
        Self {
            points: points.collect(),
            pixel_size: experiment::pixel_size(scan.size()),
            reset_every,
        }
    }

    /// Frame `number` since the start, from 1, taken at `taken`. Nothing if the scan is empty, which it never is.
    pub(super) fn frame(&self, number: u64, taken: SystemTime) -> Option<NewImage> {
        let before = number.saturating_sub(1);
        let points = self.points.len() as u64;
        let scan_length = self.reset_every.unwrap_or(points);
        let scan = before.checked_div(scan_length)?;
        let place = before.checked_rem(scan_length)?;
        let index = usize::try_from(place.checked_rem(points)?).ok()?;
        let Point {
            image,
            position: (x, y),
        } = self.points.get(index)?;
        let id = if self.reset_every.is_some() {
            place
        } else {
            before
        };
        let attributes = [
            (POSITION_X, Attribute::Number(*x)),
            (POSITION_Y, Attribute::Number(*y)),
            (PIXEL_SIZE, Attribute::Number(self.pixel_size)),
            (SCAN_NUMBER, Attribute::Integer(scan as i64 + 1)),
        ];
        Some(NewImage {
            image: image.clone(),
            unique_id: i32::try_from(id % i32::MAX as u64).ok()? + 1,
            data_time_stamp: nanoseconds(taken),
            attributes: attributes
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
        })
    }
}

/// Since 1970.
fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO).as_nanos();
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Raster;

    fn frames(reset_every: Option<u64>) -> Frames {
        let raster = Raster {
            rows: 2,
            columns: 2,
            ..experiment::RASTER
        };
        let scan = experiment::scan_on(16, raster).unwrap();
        let stack = FrameStack::simulate(&scan, || ()).unwrap();
        Frames::new(&scan, &stack, reset_every)
    }

    /// The number, the number of the scan, and the point of the scan for each of these frames.
    fn numbers(frames: &Frames, numbers: &[u64]) -> Vec<(i32, i64, usize)> {
        let of = |number: &u64| {
            let frame = frames.frame(*number, SystemTime::UNIX_EPOCH).unwrap();
            let (name, scan) = &frame.attributes[3];
            assert_eq!(name, SCAN_NUMBER);
            let mut points = frames.points.iter();
            let point = points.position(|point| point.image == frame.image);
            (
                frame.unique_id,
                scan.number().unwrap() as i64,
                point.unwrap(),
            )
        };
        numbers.iter().map(of).collect()
    }

    #[test]
    fn numbers_go_on_when_the_scan_begins_again() {
        let seen = numbers(&frames(None), &[1, 2, 4, 5, 9]);
        assert_eq!(
            seen,
            [(1, 1, 0), (2, 1, 1), (4, 1, 3), (5, 2, 0), (9, 3, 0)]
        );
    }

    #[test]
    fn numbers_begin_at_1_with_each_scan_that_is_cut_or_prolonged() {
        let seen = numbers(&frames(Some(3)), &[1, 3, 4, 7]);
        assert_eq!(seen, [(1, 1, 0), (3, 1, 2), (1, 2, 0), (1, 3, 0)]);
        let seen = numbers(&frames(Some(6)), &[5, 6, 7]);
        assert_eq!(seen, [(5, 1, 0), (6, 1, 1), (1, 2, 0)]);
    }

    #[test]
    fn a_number_that_exceeds_an_int32_begins_at_1_again() {
        let most = i32::MAX as u64;
        let seen = numbers(&frames(None), &[most, most + 1, u64::MAX]);
        let ids: Vec<_> = seen.iter().map(|(id, _, _)| *id).collect();
        assert_eq!(&ids[..2], [i32::MAX, 1]);
        assert!(ids[2] > 0);
    }
}
