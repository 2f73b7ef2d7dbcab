//! A position on the scanned object.

/// Top-left corner of a patch on the object's grid, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
}
