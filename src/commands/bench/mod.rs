//! `beamflow bench`: how fast a sidecar is, driven over its socket as Numaflow does.
//!
//! Subjects are sidecars of this program in every combination of mode, depth and batch size that is asked for, and any
//! other programs named with `--peer` that serve the same protocol. All of them are up at once and take turns, round
//! after round, with the same client and the same frames, so that the machine's moods meet all alike: ratios are taken
//! within a round, and medians over the rounds.
//!
//! A call is timed alone: [`Driver::call`], with frames that were made before. So frames/s, the percentiles of a read batch and
//! the CPU per frame are the subject's and not the client's, all turns are on one connection, and dropped frames and
//! the number of messages are checked. A unary map has no calls: for a turn it gets a stream of frames, a number of them in
//! flight, and the percentiles are those of a frame. There the client makes frames while the subject works. [`pipeline`] can do none of this: it makes and writes messages while the map works,
//! connects for each run, keeps a total and no times of its calls, and a sink sees no dropped frame. What it is for is measured
//! with it, if `--read-ahead` says so: how many frames a whole vertex takes from its source to the ack (`vertex`).
//!
//! [`Driver::call`]: crate::vertex::client::Driver::call
//! [`pipeline`]: crate::vertex::client::pipeline
//!
//! What always holds: every response of every round is checked; a wrong one ends the bench.

/// What a subject does with one frame size.
mod case;
/// Figures, medians and ratios; as a table, as JSON, against older ones.
mod figures;
/// One kind of frame and its right answers.
mod stage;
/// A program that is measured.
mod subject;
/// A subject as the map of a whole vertex.
mod vertex;

pub use figures::BenchReport;

use crate::cli::BenchArgs;
use crate::commands::child::ChildError;
use crate::frame::FrameShape;
use crate::lab::stack::{FrameStack, StackError};
use crate::vertex::client::DriverError;
use stage::Stage;
use std::path::{Path, PathBuf};
use subject::Plan;

/// Why the bench broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A subject did not start or stop.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// A subject broke a promise.
    #[error("{subject}: {source}")]
    Driver {
        subject: String,
        /// Its promise.
        source: DriverError,
    },
    /// A response is not what it should be.
    #[error("{subject}: the response to frame {frame} is wrong: {reason}")]
    Wrong {
        /// Which subject.
        subject: String,
        /// The frame's number in its turn.
        frame: usize,
        /// What is wrong.
        reason: String,
    },
    /// A whole vertex did not write all results.
    #[error("{subject}: {count} frames have no result in the whole vertex")]
    Unwritten { subject: String, count: u64 },
    /// A size that no frame can have.
    #[error("--frame-sizes: no frame can have {shape} pixels; give a size such as 512x512")]
    NoFrame {
        /// The size.
        shape: FrameShape,
    },
    /// The frames cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The processes cannot be watched.
    #[error("cannot read what {subject} has used of the machine: {source}")]
    Usage {
        subject: String,
        source: std::io::Error,
    },
    /// A file of figures is none.
    #[error("{}: {source}; give a file written with --json", path.display())]
    Figures {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// Figures that say nothing beside these.
    #[error("{}: its figures were taken with other read batches, turns or cores; give the same --read-batch and --turn", path.display())]
    Unlike { path: PathBuf },
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Measures, and prints what came of it.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(args: BenchArgs) -> Result<(), BenchError> {
    let older = args.compare.as_deref().map(read).transpose()?;
    let stages = match (&args.model_path, &args.frames) {
        (Some(model), Some(frames)) => vec![Stage::of_model(
            model,
            FrameStack::read(frames)?,
            args.output_size,
        )],
        _ => {
            let stage = |shape: &FrameShape| {
                Stage::free(*shape, args.output_size).ok_or(BenchError::NoFrame { shape: *shape })
            };
            args.frame_sizes
                .iter()
                .map(stage)
                .collect::<Result<_, _>>()?
        }
    };
    let plan = Plan {
        modes: &args.modes,
        depths: &args.depths,
        batch_sizes: &args.bsz_sizes,
        peers: &args.peers,
        read_batch: args.read_batch,
        concurrency: args.concurrency,
        read_ahead: args.read_ahead,
    };
    let mut report = BenchReport::new(args.read_batch, args.turn);
    report.read_ahead = args.read_ahead;
    if let (Some(older), Some(path)) = (&older, &args.compare)
        && !report.is_comparable(older)
    {
        return Err(BenchError::Unlike { path: path.clone() });
    }
    let codecs = |stage: Stage| {
        let codecs = args.codecs.iter();
        codecs.map(move |codec| stage.compressed(codec.0))
    };
    for stage in &stages.into_iter().flat_map(codecs).collect::<Vec<_>>() {
        let cases = case::measure(&plan, stage, args.rounds, args.turn).await?;
        report.add(cases);
        println!("{}", report.table(older.as_ref(), &stage.frame()));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|source| BenchError::Figures {
            path: path.clone(),
            source,
        })?;
        write(path, &text)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<BenchReport, BenchError> {
    let text = std::fs::read_to_string(path).map_err(|source| BenchError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| BenchError::Figures {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    std::fs::write(path, text).map_err(|source| BenchError::File {
        doing: "write",
        path: path.to_owned(),
        source,
    })
}
