//! `beamflow demo`.

use super::parse::{rate, whole_number};
use clap::Args;
use std::path::PathBuf;

/// Flags of `beamflow demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Scan points along each side; the number of frames is the square of this.
    #[arg(long, default_value = "30", value_name = "POINTS", value_parser = whole_number::<2, 100>)]
    pub(crate) points: usize,

    /// The whole beamline on this machine: a simulated detector as an EPICS PV, source, sidecar, a live mosaic on a page,
    /// and an HDF5 file.
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    #[arg(long, conflicts_with = "seed")]
    pub(crate) live: bool,

    /// The folder for the HDF5 file of --live.
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    #[arg(long, default_value = "beamflow-demo", value_name = "FOLDER")]
    pub(crate) results: PathBuf,

    /// Frames per second that the detector delivers; if not given, as fast as the responses arrive, and 100 with --live.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) fps: Option<f64>,

    /// Datums in a read batch: limits.readBatchSize of the vertex.
    #[arg(long, default_value = "64", value_name = "DATUMS", value_parser = whole_number::<1, 100_000>)]
    pub(crate) read_batch: usize,

    /// The file to which the picture is written.
    #[arg(long, default_value = "beamflow-demo.png", value_name = "FILE")]
    pub(crate) picture: PathBuf,

    /// The seed for the jitter of the scan and for the shot noise.
    #[arg(long, default_value = "1", value_name = "SEED")]
    pub(crate) seed: u64,
}
