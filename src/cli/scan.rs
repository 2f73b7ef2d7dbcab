//! The size of a simulated scan, which is kept in memory.

use crate::frame::{BadValue, Dtype, FrameShape};

/// The most bytes of pixels a simulated scan may have.
const MOST_PIXEL_BYTES: usize = 1 << 30;

/// A scan that does not fit into a reasonable amount of memory.
#[derive(Debug, thiserror::Error)]
#[error(
    "--points: '{points}' is not allowed: {points} × {points} frames of {shape} are more than 1 GiB; use fewer points or a smaller --frame-size"
)]
pub(crate) struct TooLarge {
    points: usize,
    shape: FrameShape,
}

/// Checks the memory of `points` × `points` frames of `shape`.
///
/// # Errors
/// [`TooLarge`].
pub(crate) fn check_memory(points: usize, shape: FrameShape) -> Result<(), TooLarge> {
    let bytes = shape
        .bytes(Dtype::I16)
        .and_then(|frame| frame.checked_mul(points * points));
    if bytes.is_some_and(|bytes| bytes <= MOST_PIXEL_BYTES) {
        Ok(())
    } else {
        Err(TooLarge { points, shape })
    }
}

/// Reads a square size that the detector supports.
pub(super) fn square(text: &str) -> Result<FrameShape, BadValue> {
    text.parse()
        .ok()
        .filter(|shape: &FrameShape| shape.height == shape.width)
        .filter(|shape| (16..=1024).contains(&shape.height))
        .ok_or_else(|| BadValue::new(text, "a square from 16x16 to 1024x1024"))
}
