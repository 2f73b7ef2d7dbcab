//! `beamflow demo`: the first command for a new user.
//!
//! Simulates a ptychographic scan of a known object, starts this program as a sidecar on a temporary socket,
//! drives it as Numaflow would, in all modes, stitches the phase patches that come back, and draws
//! them beside the truth. Needs no GPU, no Kubernetes, no download: the model is built in.

use super::table;
use crate::cli::DemoArgs;
use crate::commands::child::{ChildError, ChildSidecar};
use crate::commands::drive::{HEADER, Pace, Report, datum, drive};
use crate::frame::npy;
use crate::inference::schedule::Mode;
use crate::lab::experiment;
use crate::lab::picture::{PhasePicture, PictureError};
use crate::lab::stack::FrameStack;
use crate::lab::{DetectorError, Raster, SimulatedScan};
use crate::mosaic::{Patch, PhaseError, StitchError, Stitched, Stitcher};
use crate::vertex::client::{Answer, Driver, DriverError};
use ndarray::Array2;
use numaflow::proto::map::map_response::Result as Message;
use std::path::Path;

/// The project's own model; models/README.md says how it was trained.
pub(super) static MODEL: &[u8] = include_bytes!("../../models/ptychonn_64.onnx");

/// The outputs that are stitched.
const OUTPUTS: [&str; 2] = ["amplitude", "phase"];

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The scan cannot be simulated.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// The sidecar did not start or stop.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The sidecar broke a promise.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The patches do not fit together.
    #[error(transparent)]
    Stitch(#[from] StitchError),
    /// The picture cannot be drawn.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        doing: &'static str,
        source: std::io::Error,
    },
    /// The sidecar did not keep its promises.
    #[error(
        "{without_result} frames came back without a result, and the modes' results are the same: {same}; \
         this is a defect of beamflow, please report it"
    )]
    Defect {
        /// Frames without a result, of all modes.
        without_result: usize,
        /// Whether all modes gave the same results.
        same: bool,
    },
    /// A part of the pipeline did not do what it should.
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    #[error(transparent)]
    Live(#[from] super::live::LiveError),
    /// A result is not what the sidecar promises.
    #[error("a result of frame {frame} is no array of {expected} values: {reason}")]
    Result {
        frame: usize,
        /// Its pixels.
        expected: usize,
        reason: String,
    },
}

/// One mode's run.
struct Run {
    mode: Mode,
    report: Report,
    /// Amplitude and phase by frame; `None` where there was no result.
    patches: Vec<Option<[Array2<f32>; 2]>>,
}

/// Runs the demo and prints its results.
///
/// # Errors
/// [`DemoError`].
pub(crate) async fn run(args: DemoArgs) -> Result<(), DemoError> {
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    if args.live {
        return Ok(super::live::run(args).await?);
    }
    let scan = experiment::scan(Raster {
        rows: args.points,
        columns: args.points,
        seed: args.seed,
        ..experiment::RASTER
    })?;
    println!(
        "Simulating a ptychographic scan: {} × {} points, frames of {} × {} counts.",
        args.points,
        args.points,
        scan.size(),
        scan.size()
    );
    let bar = table::progress("taking frames", scan.len() as u64);
    let stack = FrameStack::simulate(&scan, || bar.inc(1))?;
    bar.finish_and_clear();

    let folder = tempfile::tempdir().map_err(system("make a temporary folder"))?;
    let model = folder.path().join("ptychonn_64.onnx");
    std::fs::write(&model, MODEL).map_err(system("write the model"))?;
    let mut runs = Vec::new();
    for mode in [
        Mode::Sequential,
        Mode::Concurrent,
        Mode::Pipelined,
        Mode::Streaming,
    ] {
        runs.push(run_mode(mode, &args, &stack, folder.path(), &model).await?);
    }
    report(&args, &scan, &runs)
}

/// Starts a sidecar in `mode`, sends it every frame, and stops it.
async fn run_mode(
    mode: Mode,
    args: &DemoArgs,
    stack: &FrameStack,
    folder: &Path,
    model: &Path,
) -> Result<Run, DemoError> {
    let folder = folder.join(mode.to_string());
    std::fs::create_dir(&folder).map_err(system("make a temporary folder"))?;
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let flags = [
        "--mode".to_owned(),
        mode.to_string(),
        "--model-path".to_owned(),
        model.to_string_lossy().into_owned(),
        "--output-size".to_owned(),
        "full".to_owned(),
        // One batch shape throughout: only then are a real model's results the same to the bit.
        "--batch-timeout".to_owned(),
        "off".to_owned(),
        "--batch-wait".to_owned(),
        "1s".to_owned(),
    ];
    let mut sidecar = ChildSidecar::start(&program, &folder, &flags)?;
    let mut driver: Driver = sidecar.connect().await?;

    let frames = stack.frames();
    let pace = Pace {
        read_batch: args.read_batch,
        fps: args.fps,
    };
    let bar = table::progress(&format!("{mode} mode"), frames as u64);
    let mut answers = Vec::new();
    let report = drive(
        &mut driver,
        pace,
        frames,
        |k| datum(stack, k),
        |answer| {
            bar.inc(answer.len() as u64);
            answers.push(answer);
        },
    )
    .await?;
    bar.finish_and_clear();
    driver.finish().await?;
    sidecar.stop().await?;
    let patches = (0..frames)
        .map(|frame| patch_of(frame, &answers, stack))
        .collect::<Result<_, _>>()?;
    Ok(Run {
        mode,
        report,
        patches,
    })
}

/// Amplitude and phase that came back for `frame`; none if it was dropped.
fn patch_of(
    frame: usize,
    answers: &[Answer],
    stack: &FrameStack,
) -> Result<Option<[Array2<f32>; 2]>, DemoError> {
    let id = frame.to_string();
    let messages = answers
        .iter()
        .find_map(|answer| answer.get(&id))
        .unwrap_or_default();
    let shape = (stack.shape().height, stack.shape().width);
    let wrong = |reason: String| DemoError::Result {
        frame,
        expected: shape.0 * shape.1,
        reason,
    };
    let output = |name: &str| {
        let tagged = |message: &&Message| message.tags.iter().any(|tag| tag == name);
        messages.iter().find(tagged).map(|message| {
            let array =
                npy::Array::read(&message.value).map_err(|error| wrong(error.to_string()))?;
            let values = array
                .floats()
                .ok_or_else(|| wrong(format!("its dtype is {}", array.dtype)))?;
            Array2::from_shape_vec(shape, values).map_err(|error| wrong(error.to_string()))
        })
    };
    let [amplitude, phase] = OUTPUTS.map(output);
    amplitude
        .zip(phase)
        .map(|(amplitude, phase)| Ok([amplitude?, phase?]))
        .transpose()
}

/// Stitches, measures, draws, prints.
fn report(args: &DemoArgs, scan: &SimulatedScan, runs: &[Run]) -> Result<(), DemoError> {
    let truth = scan.object().phase();
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(runs.iter().map(|run| run.report.row(&run.mode.to_string())));
    println!("\n{}", table::render(&rows));

    // Every mode is stitched from its own results, so that a mode that went wrong would show.
    let mut errors = vec![
        [
            "mode",
            "phase error",
            "constant phase",
            "ratio",
            "span of the object",
        ]
        .map(str::to_owned),
    ];
    let mut last: Option<(Stitched, PhaseError)> = None;
    for run in runs {
        let stitched = stitch(scan, run)?;
        let error = PhaseError::measure(&stitched, truth.view())?;
        errors.push([
            run.mode.to_string(),
            format!("{:.3} rad", error.median),
            format!("{:.3} rad", error.constant_median),
            format!("{:.2}", error.ratio),
            format!("{:.2} rad", error.span),
        ]);
        last = Some((stitched, error));
    }
    println!("{}", table::render(&errors));
    let same = runs.windows(2).all(|pair| match pair {
        [a, b] => a.patches == b.patches,
        _ => true,
    });
    let without_result = runs
        .iter()
        .map(|run| run.report.frames - run.report.results)
        .sum::<usize>();
    if !same || without_result > 0 {
        return Err(DemoError::Defect {
            without_result,
            same,
        });
    }
    println!("  The modes' results are bit-identical.");

    if let Some((stitched, error)) = last {
        let reconstruction = stitched.trusted_phase(error.offset);
        PhasePicture::new(truth.view(), reconstruction.view())
            .caption(format!(
                "{} simulated frames of {} x {} counts. Median error {:.3} rad; a constant phase scores {:.3} rad.",
                scan.len(),
                scan.size(),
                scan.size(),
                error.median,
                error.constant_median
            ))
            .write_png(&args.picture)?;
        println!("  The picture is in {}.", args.picture.display());
    }
    Ok(())
}

fn stitch(scan: &SimulatedScan, run: &Run) -> Result<Stitched, StitchError> {
    let stitcher = Stitcher::new(scan.object().shape(), &scan.probe().intensity())?;
    let patches: Vec<_> = scan
        .positions()
        .iter()
        .zip(&run.patches)
        .filter_map(|(position, patch)| {
            let [amplitude, phase] = patch.as_ref()?;
            Some(Patch {
                position: *position,
                amplitude: amplitude.view(),
                phase: phase.view(),
            })
        })
        .collect();
    let levelled = stitcher.level(&patches)?;
    let positions = patches.iter().map(|patch| patch.position);
    stitcher.stitch(positions.zip(levelled.iter().map(|phase| phase.view())))
}

fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::System { doing, source }
}
