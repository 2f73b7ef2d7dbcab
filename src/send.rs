//! `beamflow send`: the driver as a command, against any running sidecar.

use crate::detector::{DetectorError, Raster};
use crate::drive::{Pace, Report, drive};
use crate::driver::{Answer, Driver, DriverError};
use crate::stack::{FrameStack, StackError};
use crate::{experiment, table};
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Flags of `beamflow send`.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The sidecar's socket.
    #[arg(long, default_value = numaflow::batchmap::SOCK_ADDR, value_name = "PATH")]
    sock_path: PathBuf,

    /// A .npy file with the frames to send, shape (frames, height, width); without it, a simulated scan of
    /// 64×64 frames is sent.
    #[arg(long, value_name = "FILE")]
    frames: Option<PathBuf>,

    /// How many frames to send; beyond its end the stack is begun again. Default: the stack once.
    #[arg(long, value_name = "FRAMES", value_parser = crate::cli::whole_number::<1, 100_000_000>)]
    count: Option<usize>,

    /// Frames per second that the detector delivers; as fast as they are answered if not given.
    #[arg(long, value_name = "RATE", value_parser = experiment::rate)]
    fps: Option<f64>,

    /// Datums in a read batch: limits.readBatchSize of the vertex.
    #[arg(long, default_value = "500", value_name = "DATUMS", value_parser = crate::cli::whole_number::<1, 100_000>)]
    read_batch: usize,

    /// A folder for the results, one file per message: frame.npy, or frame.TAG.npy where it is tagged. Made if absent.
    #[arg(long, value_name = "FOLDER")]
    save: Option<PathBuf>,
}

/// Why sending broke off.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The frames cannot be read.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The frames cannot be simulated.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// The sidecar is not there or broke a promise.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A result cannot be saved.
    #[error("cannot save results in {}: {source}", path.display())]
    Save {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Sends the frames and prints what came of it.
///
/// # Errors
/// [`SendError`].
pub async fn run(args: SendArgs) -> Result<(), SendError> {
    let stack = match &args.frames {
        Some(path) => FrameStack::read(path)?,
        None => {
            let scan = experiment::scan(Raster {
                rows: 16,
                columns: 16,
                ..experiment::RASTER
            })?;
            FrameStack::simulate(&scan, || ())?
        }
    };
    let count = args.count.unwrap_or(stack.frames());
    let pace = Pace {
        read_batch: args.read_batch,
        fps: args.fps,
    };
    let mut driver = Driver::connect(&args.sock_path).await?;
    let bar = table::progress("sending", count as u64);
    let mut saved = Ok(());
    let report = drive(
        &mut driver,
        pace,
        count,
        |k| stack.datum(k),
        |answer| {
            bar.inc(answer.len() as u64);
            if let (Some(folder), Ok(())) = (&args.save, &saved) {
                saved = save(folder, &answer);
            }
        },
    )
    .await?;
    finish(&bar);
    saved?;
    driver.finish().await?;
    print(&stack, &report);
    Ok(())
}

fn finish(bar: &ProgressBar) {
    bar.finish_and_clear();
}

fn print(stack: &FrameStack, report: &Report) {
    println!(
        "{} frames of {} {} in {} calls, every one answered exactly once\n",
        report.frames,
        stack.shape(),
        stack.dtype(),
        report.calls.len()
    );
    print!(
        "{}",
        table::render(&[table::HEADER.map(str::to_owned), table::row("-", report)])
    );
}

fn save(folder: &Path, answer: &Answer) -> Result<(), SendError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SendError::Save { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (id, messages) in &answer.responses {
        for message in messages.iter().filter(|message| !message.value.is_empty()) {
            let name = match message.tags.first() {
                // A tag is text from a model file: it must not lead out of the folder.
                Some(tag) => format!("{id}.{}.npy", tag.replace(['/', '\\'], "_")),
                None => format!("{id}.npy"),
            };
            let path = folder.join(name);
            std::fs::write(&path, &message.value).map_err(failed(&path))?;
        }
    }
    Ok(())
}
