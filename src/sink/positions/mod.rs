//! Where a frame was taken: from its headers, or from a file of all positions of the scan.
//!
//! - `file`: the formats, told apart by the file's name;
//! - `csv`, `npy`, `hdf5`: one format each;
//! - `grid`: from metres to whole pixels.
//!
//! A file has a row for each frame, and a frame finds its row by its number: (number − offset) mod rows. The order in which
//! frames come says nothing.
//!
//! What always holds: every coordinate is finite. A file is read whole or refused, with the row and the value that is wrong; it
//! is never larger than `MAX_BYTES`, compressed or not.

/// Comma-separated values.
mod csv;
/// A file of positions.
mod file;
/// From metres to pixels.
mod grid;
/// ptychodus' products.
#[cfg(feature = "hdf5")]
mod hdf5;
/// numpy's files.
mod npy;

pub(crate) use file::PositionsError;
pub(crate) use grid::{Grid, Orientation};

use crate::frame::BadValue;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Bytes of a file, or of an array in it.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// Where a frame was taken, in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Metres {
    /// Along the rows.
    pub(crate) x: f64,
    /// Across the rows.
    pub(crate) y: f64,
}

impl Metres {
    /// The place of a frame whose headers say both coordinates, as numbers.
    pub(crate) fn of(x: Option<f64>, y: Option<f64>) -> Option<Self> {
        let finite = |value: &f64| value.is_finite();
        let (x, y) = x.filter(finite).zip(y.filter(finite))?;
        Some(Self { x, y })
    }
}

/// Which number has the first row of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionOffset {
    /// The smallest of its series that has come. If the scan's first frame is lost, comes late, or came before the program was
    /// started, frames get the rows of others.
    First,
    /// This one.
    Number(u64),
}

/// Reads `first` or a number.
///
/// # Errors
/// [`BadValue`] for any other text.
impl FromStr for PositionOffset {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text.trim() {
            first if first.eq_ignore_ascii_case("first") => Ok(Self::First),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| BadValue::new(text, "first, or the number of the first frame")),
        }
    }
}

impl fmt::Display for PositionOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Where positions come from, as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PositionSource {
    /// The headers of each frame.
    Headers,
    /// A file.
    File(PathBuf),
}

/// Reads `headers` or the path of a file.
impl FromStr for PositionSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim() {
            headers if headers.eq_ignore_ascii_case("headers") => Self::Headers,
            path => Self::File(path.into()),
        })
    }
}

/// The positions of frames. See the module's essay.
#[derive(Clone, Debug)]
pub(crate) enum Positions {
    /// Each frame has its own in its headers.
    Headers,
    /// All frames of a scan, at least one.
    File {
        rows: Vec<Metres>,
        offset: PositionOffset,
    },
}

impl Positions {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// [`PositionsError`], naming the file, the row and the value.
    pub(crate) fn read(
        source: &PositionSource,
        offset: PositionOffset,
    ) -> Result<Self, PositionsError> {
        match source {
            PositionSource::Headers => Ok(Self::Headers),
            PositionSource::File(path) => Self::file(path, offset),
        }
    }

    fn file(path: &Path, offset: PositionOffset) -> Result<Self, PositionsError> {
        let rows = file::read(path)?;
        Ok(Self::File { rows, offset })
    }

    /// Whether the row of a frame depends on which frames of its series came.
    #[cfg(feature = "pva")]
    pub(crate) const fn depend_on_first(&self) -> bool {
        matches!(
            self,
            Self::File {
                offset: PositionOffset::First,
                ..
            }
        )
    }

    /// Where frame `number` was taken. `headers` is what its headers say; `first` is the smallest number of its series that has
    /// come.
    pub(crate) fn of(&self, headers: Option<Metres>, number: u64, first: u64) -> Option<Metres> {
        match self {
            Self::Headers => headers,
            Self::File { rows, offset } => {
                let offset = match offset {
                    PositionOffset::First => first,
                    PositionOffset::Number(number) => *number,
                };
                let length = i128::try_from(rows.len()).ok()?;
                let row = (i128::from(number) - i128::from(offset)).checked_rem_euclid(length)?;
                rows.get(usize::try_from(row).ok()?).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests;
