//! `beamflow demo --live`: the whole beamline on one machine.
//!
//! ```text
//! simulate-ioc ══PVA══▶ pva-source ──▶ sidecar ──▶ pva-sink ══PVA══▶ this command, and the page in a browser
//!                                          └─────▶ file-sink ──▶ HDF5
//! ```
//!
//! Each part is this program as a child process. They are connected as Numaflow connects them, by `vertex::client::pipeline`.
//! The command is a viewer of the mosaic's PV: what it measures is what a viewer gets.

/// The mosaic as a viewer gets it, and its error.
mod picture;

use super::child::{ChildError, ChildSidecar};
use super::demo::MODEL;
use super::table;
use crate::cli::DemoArgs;
use crate::lab::picture::{PhasePicture, PictureError};
use crate::lab::{DetectorError, Raster, SimulatedScan, experiment};
use crate::mosaic::StitchError;
use crate::vertex::client::DriverError;
use crate::vertex::client::pipeline::{Intake, Outlet, Pipeline, Report, Settings, Until};
use picture::{Seen, Watcher};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Frames per second if nothing else is asked for.
const FPS: f64 = 100.0;
/// How long the final picture may take after the last frame.
const FINAL_WITHIN: Duration = Duration::from_secs(120);

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    /// The scan cannot be simulated.
    #[error(transparent)]
    Detector(#[from] DetectorError),
    /// A part did not start or stop.
    #[error("{name}: {source}")]
    Child {
        name: &'static str,
        source: ChildError,
    },
    /// A part broke a promise.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The picture does not fit the scan.
    #[error(transparent)]
    Stitch(#[from] StitchError),
    /// The picture cannot be drawn.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The PV has something else than a picture.
    #[error(
        "the PV of the mosaic has no picture: {0}; this is a defect of beamflow, please report it"
    )]
    NoPicture(String),
    /// Nothing more comes.
    #[error(
        "the final picture did not come within {} s of the last frame: {placed} of {frames} frames are placed",
        FINAL_WITHIN.as_secs()
    )]
    NoFinalPicture { placed: u64, frames: u64 },
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        doing: &'static str,
        source: std::io::Error,
    },
}

/// The parts, in the order in which they are stopped.
struct Parts {
    source: ChildSidecar,
    ioc: ChildSidecar,
    map: ChildSidecar,
    viewers: ChildSidecar,
    files: ChildSidecar,
}

/// Runs the demo and prints its results.
///
/// # Errors
/// [`LiveError`].
pub(crate) async fn run(args: DemoArgs) -> Result<(), LiveError> {
    let scan = experiment::scan(Raster {
        rows: args.points,
        columns: args.points,
        seed: experiment::RASTER.seed,
        ..experiment::RASTER
    })?;
    let fps = args.fps.unwrap_or(FPS);
    let frames = scan.len() as u64;
    let folder = tempfile::tempdir().map_err(system("make a temporary folder"))?;
    let (mut parts, watcher) = start(&args, &scan, fps, folder.path()).await?;
    let page = parts
        .viewers
        .told("served over HTTP. address=")
        .await
        .map_err(child("pva-sink"))?;
    println!(
        "A detector posts {frames} frames of {size} × {size} counts at {fps} frames/s as the PV pva:image.\n\
         The mosaic grows at http://{page}/",
        size = scan.size(),
    );
    let (report, seconds, seen) = scan_through(&parts, watcher, &args, frames).await?;
    stop(parts).await?;
    print(&args, &scan, &report, seconds, &seen)
}

/// Starts all parts; the detector waits for its first client.
async fn start(
    args: &DemoArgs,
    scan: &SimulatedScan,
    fps: f64,
    folder: &Path,
) -> Result<(Parts, Watcher), LiveError> {
    let program = std::env::current_exe().map_err(system("find this program"))?;
    let model = folder.join("ptychonn_64.onnx");
    std::fs::write(&model, MODEL).map_err(system("write the model"))?;
    let weights = folder.join("weights.npy");
    let probe = scan.probe().intensity();
    picture::write_npy(&weights, &probe).map_err(system("write the weights"))?;
    let place = |name: &'static str| {
        let place = folder.join(name);
        let made = std::fs::create_dir(&place);
        made.map_err(system("make a temporary folder"))?;
        Ok::<_, LiveError>(place)
    };
    let part = |name: &'static str, flags: &[&str], has_socket| {
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let started = ChildSidecar::start_part(&program, name, &place(name)?, &flags, has_socket);
        started.map_err(child(name))
    };
    let (points, frames) = (args.points.to_string(), scan.len().to_string());
    let (fps, pixel) = (
        fps.to_string(),
        experiment::pixel_size(scan.size()).to_string(),
    );
    let loopback = ["--bind", "127.0.0.1"];
    let mut ioc = part(
        "simulate-ioc",
        &[
            &loopback[..],
            &[
                "--server-port",
                "0",
                "--search-port",
                "0",
                "--wait-for-client",
            ],
            &[
                "--codec", "bslz4", "--points", &points, "--frames", &frames, "--fps", &fps,
            ],
        ]
        .concat(),
        false,
    )?;
    let port = ioc.told("tcp_port=").await.map_err(child("simulate-ioc"))?;
    let mut viewers = part(
        "pva-sink",
        &[
            &loopback[..],
            &[
                "--tcp-port",
                "0",
                "--udp-port",
                "0",
                "--http-address",
                "127.0.0.1:0",
            ],
            &[
                "--outputs",
                "phase,amplitude",
                "--mosaic",
                "--pixel-size",
                &pixel,
            ],
            &[
                "--weights",
                &weights.to_string_lossy(),
                "--mosaic-idle",
                "2s",
            ],
        ]
        .concat(),
        true,
    )?;
    let results = args.results.to_string_lossy();
    let files = part(
        "file-sink",
        &[
            &["--folder", &results, "--http-address", "off"][..],
            &["--mosaic", "--pixel-size", &pixel],
            &["--weights", &weights.to_string_lossy()],
        ]
        .concat(),
        true,
    )?;
    let map = ChildSidecar::start(
        &program,
        &place("sidecar")?,
        &[
            "--model-path",
            &model.to_string_lossy(),
            "--output-size",
            "full",
        ]
        .map(str::to_owned),
    );
    let mut map = map.map_err(child("the sidecar"))?;
    // Ready before the detector starts.
    drop(map.connect().await.map_err(child("the sidecar"))?);
    let sink_port = viewers.told("tcp_port=").await.map_err(child("pva-sink"))?;
    let watcher = Watcher::start(&sink_port)?;
    let server = format!("tcp://127.0.0.1:{port}");
    let source = part(
        "pva-source",
        &[
            &["--server", &server, "--http-address", "off"][..],
            &["--position-x", "PositionX", "--position-y", "PositionY"],
        ]
        .concat(),
        true,
    )?;
    let parts = Parts {
        source,
        ioc,
        map,
        viewers,
        files,
    };
    Ok((parts, watcher))
}

/// Carries every frame through the pipeline, and waits for the final picture.
async fn scan_through(
    parts: &Parts,
    mut watcher: Watcher,
    args: &DemoArgs,
    frames: u64,
) -> Result<(Report, f64, Seen), LiveError> {
    let settings = Settings {
        read_batch: args.read_batch,
        read_timeout: Duration::from_millis(100),
        until: Until::Acked(frames),
        ..Settings::default()
    };
    let source = Intake::Source(parts.source.address());
    let mut pipeline = Pipeline::new(settings, source, Outlet::Sink(parts.viewers.address()))
        .with_map(parts.map.address())
        .with_sink(Outlet::Sink(parts.files.address()));
    let bar = table::progress("placing frames", frames);
    let stop = CancellationToken::new();
    let began = Instant::now();
    let mut seconds = 0.0;
    let mut report = None;
    let mut running = std::pin::pin!(async { pipeline.run(&stop).await });
    let mut deadline = None;
    loop {
        let late = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut running, if report.is_none() => {
                report = Some(ended?);
                seconds = began.elapsed().as_secs_f64();
                deadline = Some(Instant::now() + FINAL_WITHIN);
            }
            () = watcher.step() => bar.set_position(watcher.placed()),
            () = late => {
                let placed = watcher.placed();
                return Err(LiveError::NoFinalPicture { placed, frames });
            }
        }
        if let (Some(report), Some(seen)) = (report, watcher.last_of(frames)) {
            bar.finish_and_clear();
            return Ok((report, seconds, seen?));
        }
    }
}

async fn stop(parts: Parts) -> Result<(), LiveError> {
    let Parts {
        source,
        ioc,
        map,
        viewers,
        files,
    } = parts;
    for (name, part) in [
        ("pva-source", source),
        ("simulate-ioc", ioc),
        ("the sidecar", map),
        ("pva-sink", viewers),
        ("file-sink", files),
    ] {
        part.stop().await.map_err(child(name))?;
    }
    Ok(())
}

/// Measures, draws, prints.
fn print(
    args: &DemoArgs,
    scan: &SimulatedScan,
    report: &Report,
    seconds: f64,
    seen: &Seen,
) -> Result<(), LiveError> {
    let milliseconds = |calls: crate::vertex::client::pipeline::Calls| {
        format!("{:.1} ms", calls.mean().as_secs_f64() * 1e3)
    };
    let rows = [
        [
            "frames",
            "frames/s",
            "results written",
            "map/call",
            "sinks/call",
            "missing",
            "without position",
        ]
        .map(str::to_owned),
        [
            report.acked.to_string(),
            format!("{:.0}", report.acked as f64 / seconds.max(1e-9)),
            report.written.to_string(),
            milliseconds(report.maps),
            milliseconds(report.writes),
            seen.missing.to_string(),
            seen.unpositioned.to_string(),
        ],
    ];
    println!("\n{}", table::render(&rows));
    let (reconstruction, error) = seen.compare(scan)?;
    let truth = scan.object().phase();
    PhasePicture::new(truth.view(), reconstruction.view())
        .caption(format!(
            "{} simulated frames through a whole pipeline. Median error {:.3} rad; a constant phase scores {:.3} rad.",
            scan.len(),
            error.median,
            error.constant_median
        ))
        .write_png(&args.picture)?;
    println!(
        "  The mosaic of the PV has a median error of {:.3} rad; a constant phase has {:.3} rad.",
        error.median, error.constant_median
    );
    println!("  The picture is in {}.", args.picture.display());
    match newest(&args.results) {
        Some(file) => println!("  The results of every frame are in {}.", file.display()),
        None => println!("  There is no file in {}.", args.results.display()),
    }
    Ok(())
}

/// The file of the scan: the newest that is complete.
fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let complete = entries.map(|entry| entry.path()).filter(|path| {
        let ending = path.extension();
        ending.is_some_and(|ending| ending == "h5")
    });
    complete.max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok())
}

fn child(name: &'static str) -> impl FnOnce(ChildError) -> LiveError {
    move |source| LiveError::Child { name, source }
}

fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> LiveError {
    move |source| LiveError::System { doing, source }
}
