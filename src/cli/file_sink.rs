//! `beamflow file-sink`.

use super::log::LogArgs;
use super::mosaic::MosaicArgs;
use super::parse::{AddressOrOff, TimeOrOff, address_or_off, time_or_off, whole_number};
use super::raw::raw;
use crate::config::ConfigError;
use crate::frame::{Dtype, FrameShape};
use crate::sink::file::settings::Settings;
use clap::Args;
use std::path::PathBuf;

/// Flags of `beamflow file-sink`.
#[derive(Args, Debug)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub struct FileSinkArgs {
    /// The folder of the files: one HDF5 file for each series. It is created if it does not exist.
    #[arg(
        long,
        env = "FILE_FOLDER",
        default_value = "/data",
        value_name = "FOLDER"
    )]
    pub(crate) folder: PathBuf,

    /// The outputs of the model that are written, separated by commas. If not given: all of them.
    #[arg(long, env = "FILE_OUTPUTS", value_name = "NAME", value_delimiter = ',')]
    pub(crate) outputs: Vec<String>,

    /// Frames in a file, at most; the next frame begins another file of the same series. About 100 bytes of memory are used
    /// for each.
    #[arg(long, env = "FILE_FRAMES_PER_FILE", default_value = "1000000", value_name = "FRAMES", value_parser = whole_number::<1, 100_000_000>)]
    pub(crate) frames_per_file: usize,

    /// A file is complete when no result has come for so long; off: only when the next series begins, and at the end.
    #[arg(long, env = "FILE_IDLE_CLOSE", default_value = "30s", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) idle_close: TimeOrOff,

    /// The type of raw results, for maps that do not send npy. --output-shape is needed with it.
    #[arg(long, env = "FILE_OUTPUT_DTYPE", value_name = "DTYPE")]
    pub(crate) output_dtype: Option<Dtype>,

    /// The shape of raw results.
    #[arg(long, env = "FILE_OUTPUT_SHAPE", value_name = "HEIGHTxWIDTH")]
    pub(crate) output_shape: Option<FrameShape>,

    /// The mosaic of a scan.
    #[command(flatten)]
    pub(crate) mosaic: MosaicArgs,

    /// The Unix socket that numa connects to. If not given, it is in /var/run/numaflow: sink.sock, or in a fallback sink
    /// fb-sink.sock and in an onSuccess sink ons-sink.sock (NUMAFLOW_UD_CONTAINER_TYPE, which Numaflow sets).
    #[arg(long, env = "FILE_SOCK_PATH", value_name = "PATH")]
    pub(crate) sock_path: Option<PathBuf>,

    /// The server-info file, through which numa finds the socket; written last. If not given, it is in /var/run/numaflow:
    /// sinker-server-info, or the same with fb- or ons- before it.
    #[arg(long, env = "FILE_SERVER_INFO_PATH", value_name = "PATH")]
    pub(crate) server_info_path: Option<PathBuf>,

    /// Where the status page, /metrics, /stats and health are served; off: nowhere.
    #[arg(long, env = "FILE_HTTP_ADDRESS", default_value = "[::]:9103", value_name = "ADDRESS", value_parser = address_or_off)]
    pub(crate) http_address: AddressOrOff,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl FileSinkArgs {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        Ok(Settings {
            folder: self.folder.clone(),
            outputs: self.outputs.clone(),
            frames_per_file: self.frames_per_file as u64,
            idle: self.idle_close.0,
            mosaic: self.mosaic.recipe()?,
            raw: raw(self.output_dtype, self.output_shape)?,
        })
    }
}
