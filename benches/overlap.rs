//! How far receiving and computing overlap, in each mode and depth, on the simulated device.
//!
//! One read batch arrives over a real socket, frame by frame, at a fixed rate; a batch takes a quarter to four
//! times as long to arrive as to compute. The ideal is a lower bound for every schedule: the first batch
//! arrives, then the slower of detector and device is never idle, and the faster one runs once more at the end.
//! The output is medians of rounds, relative to the ideal.
//!
//! `cargo bench --bench overlap`, or with the plot: `cargo bench --bench overlap -- --plot docs/overlap.svg`

/// The figures as a plot.
#[path = "overlap/plot.rs"]
mod plot;

use beamflow::app::map::Sidecar;
use beamflow::cli;
use beamflow::config::Config;
use beamflow::vertex::client::{Datum, Driver};
use clap::Parser;
use futures::{StreamExt, stream};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

const BATCHES: u32 = 24;
const BATCH: u32 = 8;
/// Time per batch of the slower of arrival and computation.
const SLOWER: Duration = Duration::from_millis(16);
/// Ratios of a batch's arrival time to its computing time.
const RATIOS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
const SUBJECTS: [(&str, &str, u32); 6] = [
    ("sequential", "sequential", 1),
    ("concurrent", "concurrent", 1),
    ("pipelined 1", "pipelined", 1),
    ("pipelined 2", "pipelined", 2),
    ("pipelined 3", "pipelined", 3),
    ("pipelined 8", "pipelined", 8),
];

#[derive(Parser)]
struct Args {
    /// A file for the plot.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Rounds per case.
    #[arg(long, default_value = "7")]
    rounds: usize,
    /// Set by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A sidecar measured at one ratio.
struct Subject {
    driver: Driver,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), beamflow::app::map::AppError>>,
    times: Vec<f64>,
    _folder: tempfile::TempDir,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!(
        "{BATCHES} batches of {BATCH} frames, the slower of arriving and computing takes {SLOWER:?} a batch;\n\
         median of {} rounds of the time, relative to the ideal\n",
        args.rounds
    );
    print!("  arriving : computing ");
    RATIOS.iter().for_each(|ratio| print!("{ratio:>8}"));
    println!();
    let mut figures = vec![Vec::new(); SUBJECTS.len()];
    for ratio in RATIOS {
        let medians = runtime.block_on(measure(ratio, args.rounds))?;
        for (figures, median) in figures.iter_mut().zip(medians) {
            figures.push(median);
        }
    }
    for ((name, ..), figures) in SUBJECTS.iter().zip(&figures) {
        print!("  {name:<21}");
        figures.iter().for_each(|median| print!("{median:>8.3}"));
        println!();
    }
    if let Some(path) = args.plot {
        let names = SUBJECTS.map(|(name, ..)| name);
        plot::write(&path, &RATIOS, &names, &figures).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Measures one ratio. The subjects alternate, so that drift of the machine affects all of them equally.
async fn measure(ratio: f64, rounds: usize) -> Result<Vec<f64>, Box<dyn Error>> {
    let (arriving, computing) = if ratio >= 1.0 {
        (SLOWER, SLOWER.div_f64(ratio))
    } else {
        (SLOWER.mul_f64(ratio), SLOWER)
    };
    let ideal = arriving + computing + SLOWER * (BATCHES - 1);
    let mut subjects = Vec::new();
    for (_, mode, depth) in SUBJECTS {
        subjects.push(Subject::start(mode, depth, computing).await?);
    }
    for _ in 0..rounds {
        for subject in &mut subjects {
            let time = subject.call(arriving).await?;
            subject.times.push(time.as_secs_f64() / ideal.as_secs_f64());
        }
    }
    let mut medians = Vec::new();
    for mut subject in subjects {
        subject.times.sort_unstable_by(f64::total_cmp);
        medians.push(subject.times.get(rounds / 2).copied().unwrap_or(f64::NAN));
        subject.driver.finish().await?;
        subject.stop.cancel();
        subject.serving.await??;
    }
    Ok(medians)
}

impl Subject {
    async fn start(mode: &str, depth: u32, computing: Duration) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let model = format!("sim:size=64x64,compute={}us", computing.as_micros());
        let flags = [
            "--mode",
            mode,
            "--model-path",
            &model,
            "--pipeline-depth",
            &depth.to_string(),
            "--bsz-size",
            &BATCH.to_string(),
            "--batch-timeout",
            "off",
        ];
        let reading = cli::read(flags.map(Into::into), |_| None)?;
        let mut config = Config::try_from(reading.cli.serve)?;
        config.sock_path = folder.path().join("batchmap.sock");
        config.server_info_path = folder.path().join("mapper-server-info");
        let (sock, info) = (config.sock_path.clone(), config.server_info_path.clone());
        let stop = CancellationToken::new();
        let loading = config.clone();
        let sidecar = tokio::task::spawn_blocking(move || Sidecar::load(&loading)).await??;
        let shutdown = stop.clone();
        let serving = tokio::spawn(async move { sidecar.serve(&config, shutdown).await });
        let driver = Driver::wait_ready(&info, &sock, Duration::from_secs(10)).await?;
        Ok(Self {
            driver,
            stop,
            serving,
            times: Vec::new(),
            _folder: folder,
        })
    }

    /// Sends one read batch whose batches take `arriving` each to arrive.
    async fn call(&mut self, arriving: Duration) -> Result<Duration, Box<dyn Error>> {
        let start = Instant::now();
        let frames = stream::iter(0..BATCHES * BATCH).then(move |k| async move {
            sleep_until(start + arriving * (k + 1) / BATCH).await;
            Datum::new(k.to_string(), vec![0; 64 * 64 * 2])
        });
        self.driver.call(frames).await?;
        Ok(start.elapsed())
    }
}
