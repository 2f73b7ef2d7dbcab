//! Where results go, without the protocol that carries them.
//!
//! ```text
//!  numa ──▶ result ──▶ seen ──▶ series ─┬▶ pva: a PV for each output
//!           (typed, or why it is none)    │    └──▶ mosaic: one picture of the scan
//!                                         └▶ file: one HDF5 file for each series
//! ```
//!
//! - `result`: one message of a sink, as a result of a frame, or the reason why it is none;
//! - `seen`: what came before, so that a message that is delivered twice counts once;
//! - `series`: which series a frame belongs to, and which of its frames are missing;
//! - `pva`: results as PVs, for viewers;
//! - `file`: results as files;
//! - `positions`: where a frame was taken;
//! - `mosaic`: the results of a scan as one picture.
//!
//! What always holds: a message that is no result is counted by its reason, and never an error of the pipeline. Memory is
//! bounded: nothing here grows with the number of frames, series or PVs.

/// Results as files.
#[cfg(feature = "hdf5")]
pub(crate) mod file;
/// The mosaic of a scan.
#[cfg_attr(
    not(feature = "pva"),
    allow(
        dead_code,
        unused_imports,
        reason = "a file has the final picture alone"
    )
)]
pub(crate) mod mosaic;
/// Where frames were taken.
pub(crate) mod positions;
/// Results as PVs.
#[cfg(feature = "pva")]
pub(crate) mod pva;
/// From a message to a result.
pub(crate) mod result;
/// What came before.
pub(crate) mod seen;
/// Series, and the frames that they lack.
pub(crate) mod series;
