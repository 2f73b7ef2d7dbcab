//! A place on the object that a scan moves over.

/// Top-left corner of a patch on the object's grid, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    /// Column.
    pub(crate) x: usize,
    /// Row.
    pub(crate) y: usize,
}
