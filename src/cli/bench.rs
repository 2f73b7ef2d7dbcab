//! `beamflow bench`.

use super::parse::{EncoderOrNone, codec, time, whole_number};
use crate::frame::{BadValue, FrameShape, OutputSize};
use crate::inference::schedule::Mode;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `beamflow bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Modes to measure.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "sequential,concurrent,pipelined,streaming"
    )]
    pub(crate) modes: Vec<Mode>,

    /// Pipeline depths to measure in pipelined and in streaming mode.
    #[arg(long, value_delimiter = ',', default_value = "3", value_name = "BATCHES", value_parser = whole_number::<1, 64>)]
    pub(crate) depths: Vec<usize>,

    /// Frames per batch to measure.
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "FRAMES", value_parser = whole_number::<1, 4096>)]
    pub(crate) bsz_sizes: Vec<usize>,

    /// Sizes of int16 frames to measure, with a simulated engine that takes no time.
    #[arg(long, value_delimiter = ',', default_value = "128x128,512x512,1024x1024", value_name = "HEIGHTxWIDTH", conflicts_with_all = ["model_path", "frames"])]
    pub(crate) frame_sizes: Vec<FrameShape>,

    /// A model to measure instead, with the frames of --frames.
    #[arg(long, value_name = "PATH", requires = "frames")]
    pub(crate) model_path: Option<String>,

    /// A .npy file with frames for the model, shape (frames, height, width).
    #[arg(long, value_name = "FILE", requires = "model_path")]
    pub(crate) frames: Option<PathBuf>,

    /// The part of each output that is sent, cropped around its centre; if not given, 64x64 of a simulated engine, and all of
    /// a model's.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub(crate) output_size: Option<OutputSize>,

    /// How the frames are compressed: none, lz4, bslz4 or zlib; several are measured one after the other.
    #[arg(long = "codec", value_delimiter = ',', default_value = "none", value_name = "CODEC", value_parser = codec)]
    pub(crate) codecs: Vec<EncoderOrNone>,

    /// Another program to measure, as NAME=COMMAND. It is started with --sock-path and --server-info-path added, and
    /// must serve a batch map or a unary map there. Ratios are relative to the first such program, or to the first sidecar if there is
    /// none.
    #[arg(long = "peer", value_name = "NAME=COMMAND", value_parser = Peer::parse)]
    pub(crate) peers: Vec<Peer>,

    /// Datums in a read batch: limits.readBatchSize of the vertex.
    #[arg(long, default_value = "128", value_name = "DATUMS", value_parser = whole_number::<1, 100_000>)]
    pub(crate) read_batch: usize,

    /// Datums in flight of a unary map (streaming mode): limits.concurrency of the vertex.
    #[arg(long, default_value = "256", value_name = "DATUMS", value_parser = whole_number::<1, 100_000>)]
    pub(crate) concurrency: usize,

    /// Measures each sidecar or program as the map of a whole vertex as well, source → map → sink, with so many read batches
    /// in hand. Source and sink are in memory. With 1, a read batch is read after the one before it is acked.
    #[arg(long, value_name = "BATCHES", value_parser = whole_number::<1, 64>)]
    pub(crate) read_ahead: Option<usize>,

    /// Rounds of measurement of each sidecar or program.
    #[arg(long, default_value = "7", value_name = "ROUNDS", value_parser = whole_number::<1, 10_000>)]
    pub(crate) rounds: usize,

    /// How long each sidecar or program is measured in a round.
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = time)]
    pub(crate) turn: Duration,

    /// A file to which the same figures are written as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// A file that an earlier bench wrote with --json, for comparison.
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
}

/// Another program that serves a map.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
}

impl Peer {
    /// Reads `NAME=COMMAND`. The command is split into words at whitespace.
    ///
    /// # Errors
    /// [`BadValue`] for any other text.
    pub(crate) fn parse(text: &str) -> Result<Self, BadValue> {
        let wrong = || {
            BadValue::new(
                text,
                "NAME=COMMAND, such as no-op=target/dist/examples/noop",
            )
        };
        let (name, command) = text.split_once('=').ok_or_else(wrong)?;
        let command: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || command.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            command,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command() {
        let peer = Peer::parse("no-op=target/noop --reply 9").unwrap();
        assert_eq!(peer.name, "no-op");
        assert_eq!(peer.command, ["target/noop", "--reply", "9"]);
        for text in ["noop", "=noop", "noop=", "noop= "] {
            let error = Peer::parse(text).unwrap_err();
            assert!(error.instead().starts_with("NAME=COMMAND"));
        }
    }
}
