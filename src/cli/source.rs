//! `beamflow simulate-source`.

use super::log::LogArgs;
use super::parse::{EncoderOrNone, TimeOrOff, codec, rate, time_or_off, whole_number};
use super::scan::square;
use crate::frame::FrameShape;
use clap::Args;
use numaflow::source::{SERVER_INFO_FILE, SOCK_ADDR};
use std::path::PathBuf;

/// Flags of `beamflow simulate-source`.
#[derive(Args, Debug)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub struct SimulateSourceArgs {
    /// Frames per second that the detector takes, even if they are not read.
    #[arg(long, env = "SOURCE_FPS", default_value = "100", value_name = "RATE", value_parser = rate)]
    pub(crate) fps: f64,

    /// Number of frames after which the detector stops; if not given, it never stops.
    #[arg(long, env = "SOURCE_FRAMES", value_name = "FRAMES", value_parser = whole_number::<1, 1_000_000_000_000>)]
    pub(crate) frames: Option<usize>,

    /// The frames' size in pixels: a square from 16x16 to 1024x1024. The models of this project take 64x64.
    #[arg(long, env = "SOURCE_FRAME_SIZE", default_value = "64x64", value_name = "HEIGHTxWIDTH", value_parser = square)]
    pub(crate) frame_size: FrameShape,

    /// Scan points along each side; the number of frames is the square of this. The scan is kept in memory and repeated
    /// without end.
    #[arg(long, env = "SOURCE_POINTS", default_value = "16", value_name = "POINTS", value_parser = whole_number::<2, 100>)]
    pub(crate) points: usize,

    /// How the frames are compressed: none, lz4, bslz4 or zlib.
    #[arg(long, env = "SOURCE_CODEC", default_value = "none", value_name = "CODEC", value_parser = codec)]
    pub(crate) codec: EncoderOrNone,

    /// Maximum number of unread frames to keep. If one more is taken, the oldest is dropped.
    #[arg(long, env = "SOURCE_BUFFER", default_value = "1000", value_name = "FRAMES", value_parser = whole_number::<1, 1_000_000_000>)]
    pub(crate) buffer: usize,

    /// How long a read that has at least one frame waits for more; off: until it has as many as were asked for.
    #[arg(long, env = "SOURCE_LINGER", default_value = "10ms", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) linger: TimeOrOff,

    /// How long to wait for an ack before a read frame is delivered again; off: never.
    #[arg(long, env = "SOURCE_ACK_TIMEOUT", default_value = "60s", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) ack_timeout: TimeOrOff,

    /// The Unix socket that numa connects to.
    #[arg(long, env = "SOURCE_SOCK_PATH", default_value = SOCK_ADDR, value_name = "PATH")]
    pub(crate) sock_path: PathBuf,

    /// The server-info file, through which numa finds the socket; written last.
    #[arg(long, env = "SOURCE_SERVER_INFO_PATH", default_value = SERVER_INFO_FILE, value_name = "PATH")]
    pub(crate) server_info_path: PathBuf,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
