//! `beamflow send`: the driver as a command, against any running sidecar.

use super::table;
use crate::cli::SendArgs;
use crate::commands::drive::{HEADER, Pace, Report, datum, drive};
use crate::lab::experiment;
use crate::lab::stack::{FrameStack, StackError};
use crate::lab::{DetectorError, Raster};
use crate::vertex::client::{Answer, Driver, DriverError, MapMode};
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};

/// Why sending stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
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
        source: std::io::Error,
    },
}

/// Sends the frames and prints a report.
///
/// # Errors
/// [`SendError`].
pub(crate) async fn run(args: SendArgs) -> Result<(), SendError> {
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
    let stack = match args.codec.0 {
        Some(encoder) => stack.compressed(encoder),
        None => stack,
    };
    let count = args.count.unwrap_or(stack.frames());
    let pace = Pace {
        read_batch: args.read_batch,
        fps: args.fps,
    };
    let map_mode = match args.concurrency {
        Some(_) => MapMode::Unary,
        None => MapMode::Batch,
    };
    let mut driver = Driver::connect(&args.sock_path, map_mode)
        .await?
        .with_concurrency(args.concurrency.unwrap_or(1));
    let bar = table::progress("sending", count as u64);
    let mut saved = Ok(());
    let report = drive(
        &mut driver,
        pace,
        count,
        |k| datum(&stack, k),
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
        table::render(&[HEADER.map(str::to_owned), report.row("-")])
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
