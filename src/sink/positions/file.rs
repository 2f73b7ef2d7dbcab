//! A file of positions: read within bounds, and checked.

use super::{MAX_BYTES, Metres, csv, npy};
use crate::frame::Rejection;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PositionsError {
    /// The system cannot read it.
    #[error("cannot read the positions {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Its name says no format.
    #[error(
        "cannot read the positions {}: its name must end in .csv, .npy, .npz, .h5 or .hdf5",
        path.display()
    )]
    Name { path: PathBuf },
    /// What it holds is wrong.
    #[error("the positions in {} cannot be used: {source}", path.display())]
    Content {
        path: PathBuf,
        source: Box<BadContent>,
    },
}

/// What is wrong with the content of a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadContent {
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it has no rows")]
    Empty,
    #[error(
        "it is no text: save it as comma-separated values, y and x in metres, without a header"
    )]
    NoText,
    #[error("row {row} has {columns} columns: use two, y and x in metres")]
    ShortRow { row: usize, columns: usize },
    #[error("row {row} has {value} for {axis}, which is no finite number")]
    Value {
        /// Counted from 1.
        row: usize,
        axis: &'static str,
        value: String,
    },
    #[error("the array {array} is no positions: {source}")]
    Npy { array: String, source: Rejection },
    #[error(
        "the array {array} is {shape} of {dtype} with {bytes} bytes: use {wanted} of float64 or float32, in metres"
    )]
    Shape {
        array: String,
        shape: String,
        dtype: String,
        bytes: usize,
        wanted: &'static str,
    },
    #[error("it is no .npz file: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("an array of it cannot be read: {0}")]
    Unpack(std::io::Error),
    #[error(
        "it has the arrays {found}: use probe_position_y_m and probe_position_x_m, or one array of n × 2, y and x"
    )]
    Arrays { found: String },
    #[error("y has {y} rows and x has {x}: they must have as many")]
    Lengths { y: usize, x: usize },
    #[cfg(feature = "hdf5")]
    #[error("the dataset {dataset} cannot be read: {source}")]
    Dataset {
        dataset: &'static str,
        source: rust_hdf5::Hdf5Error,
    },
    #[cfg(feature = "hdf5")]
    #[error("it is no HDF5 file: {0}")]
    Hdf5(rust_hdf5::Hdf5Error),
    #[cfg(not(feature = "hdf5"))]
    #[error(
        "this build of beamflow has no HDF5: build it with --features hdf5, or save the positions as .csv or .npz"
    )]
    NoHdf5,
}

/// The format of a file.
enum Format {
    Csv,
    Npy,
    Npz,
    Hdf5,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "h5" | "hdf5" => Some(Self::Hdf5),
            _ => None,
        }
    }
}

/// The rows of a file, at least one.
pub(super) fn read(path: &Path) -> Result<Vec<Metres>, PositionsError> {
    let format = Format::of(path).ok_or_else(|| PositionsError::Name {
        path: path.to_owned(),
    })?;
    let content = match format {
        Format::Csv => parse(path, csv::read),
        Format::Npy => parse(path, npy::array),
        Format::Npz => parse(path, npy::archive),
        // Its reader opens the file by itself, and names no reason of the system.
        Format::Hdf5 => File::open(path).map(|_| hdf5(path)),
    };
    let content = content.map_err(|source| PositionsError::Read {
        path: path.to_owned(),
        source,
    })?;
    content
        .and_then(not_empty)
        .map_err(|source| PositionsError::Content {
            path: path.to_owned(),
            source: Box::new(source),
        })
}

type Content = Result<Vec<Metres>, BadContent>;

/// What `parse` makes of the bytes of a file.
fn parse(path: &Path, parse: fn(&[u8]) -> Content) -> Result<Content, std::io::Error> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Ok(Err(BadContent::TooLarge));
    }
    Ok(parse(&bytes))
}

fn not_empty(rows: Vec<Metres>) -> Result<Vec<Metres>, BadContent> {
    if rows.is_empty() {
        return Err(BadContent::Empty);
    }
    Ok(rows)
}

#[cfg(feature = "hdf5")]
use super::hdf5::read as hdf5;

#[cfg(not(feature = "hdf5"))]
fn hdf5(_: &Path) -> Result<Vec<Metres>, BadContent> {
    Err(BadContent::NoHdf5)
}

/// Rows of y and x, each a finite number.
pub(super) fn rows(values: impl Iterator<Item = (f64, f64)>) -> Result<Vec<Metres>, BadContent> {
    let checked = |(index, (y, x)): (usize, (f64, f64))| {
        for (axis, value) in [("y", y), ("x", x)] {
            if !value.is_finite() {
                return Err(BadContent::Value {
                    row: index + 1,
                    axis,
                    value: value.to_string(),
                });
            }
        }
        Ok(Metres { x, y })
    };
    values.enumerate().map(checked).collect()
}

/// Two columns of one length as rows.
pub(super) fn columns(y: &[f64], x: &[f64]) -> Result<Vec<Metres>, BadContent> {
    if y.len() != x.len() {
        return Err(BadContent::Lengths {
            y: y.len(),
            x: x.len(),
        });
    }
    rows(y.iter().copied().zip(x.iter().copied()))
}
