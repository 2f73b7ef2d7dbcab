//! `beamflow send`.

use super::parse::{EncoderOrNone, codec, rate, whole_number};
use clap::Args;
use clap::builder::ArgPredicate;
use std::path::PathBuf;

/// Flags of `beamflow send`.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The sidecar's socket. With --concurrency the default is /var/run/numaflow/map.sock.
    #[arg(long, default_value = numaflow::batchmap::SOCK_ADDR, value_name = "PATH")]
    #[arg(default_value_if("concurrency", ArgPredicate::IsPresent, numaflow::map::SOCK_ADDR))]
    pub(crate) sock_path: PathBuf,

    /// A .npy file with the frames to send, shape (frames, height, width); if not given, a simulated scan of 64×64
    /// frames is sent.
    #[arg(long, value_name = "FILE")]
    pub(crate) frames: Option<PathBuf>,

    /// How the frames are compressed: none, lz4, bslz4 or zlib.
    #[arg(long, default_value = "none", value_name = "CODEC", value_parser = codec)]
    pub(crate) codec: EncoderOrNone,

    /// Number of frames to send. After the last frame of the stack, the first follows. Default: the stack once.
    #[arg(long, value_name = "FRAMES", value_parser = whole_number::<1, 100_000_000>)]
    pub(crate) count: Option<usize>,

    /// Frames per second that the detector delivers; if not given, as fast as the responses arrive.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) fps: Option<f64>,

    /// Datums in a read batch: limits.readBatchSize of the vertex.
    #[arg(long, default_value = "500", value_name = "DATUMS", value_parser = whole_number::<1, 100_000>)]
    pub(crate) read_batch: usize,

    /// For a sidecar in streaming mode: datums in flight, limits.concurrency of the vertex. There are no read batches then.
    #[arg(long, value_name = "DATUMS", value_parser = whole_number::<1, 100_000>, conflicts_with = "read_batch")]
    pub(crate) concurrency: Option<usize>,

    /// A folder for the results, one file per message: frame.npy, or frame.TAG.npy if the message is tagged. The folder
    /// is created if it does not exist.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) save: Option<PathBuf>,
}
