//! Results as files: one HDF5 file for each series.
//!
//! ```text
//!  messages ──▶ result ──▶ series ──▶ scan file: row of the frame ──▶ layout ──▶ NAME.h5.partial ──▶ NAME.h5
//!               (typed)    (which)     (which row, what is there)     (HDF5)      while it grows     when it is complete
//! ```
//!
//! - `settings`: what the flags say;
//! - `layout`: the datasets of a file, written so that readers and a kill find whole rows;
//! - `scan`: one file: which row a frame has, and what of it is there;
//! - `name`: the names of files;
//! - `open`: a file that grows, and one whose series is over;
//! - `picture`: the mosaic of a file that has all its rows;
//! - `room`: whether there is room on the disk;
//! - `interrupted`: files that an earlier process did not finish;
//! - `files`: the files of all series, and when they end;
//! - `sinker`: the SDK's `Sinker`;
//! - `tally`: what has been done so far;
//! - `metrics`: metrics.
//!
//! What always holds:
//!
//! 1. A message is acknowledged after its values are in the file and the file is flushed, never before. After a kill they are
//!    there; power that fails may take what the system had not written to the disk.
//! 2. A frame has one row, in one file. What comes again is written to the same place or left out.
//! 3. A file with a name that ends in `.h5` is complete.
//! 4. A disk that is full fails messages, and nothing else: Numaflow sends them again, and they are written when there is room.
//! 5. `results = written + duplicates + late + other outputs + unfit + failed`, at any time.
//! 6. Memory is bounded: by the rows of a file (`--frames-per-file`), the files that are open, and one read batch.

/// The files of all series.
mod files;
/// Files that an earlier process did not finish.
mod interrupted;
/// The datasets of a file.
mod layout;
/// Metrics.
pub(crate) mod metrics;
/// The names of files.
mod name;
/// A file that grows, and one whose series is over.
mod open;
/// The mosaic of a file.
mod picture;
/// Room on the disk.
pub(crate) mod room;
/// One file.
mod scan;
/// Settings.
pub(crate) mod settings;
/// The SDK's `Sinker`.
pub(crate) mod sinker;
/// What has been done so far.
mod tally;
