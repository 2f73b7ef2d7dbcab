//! How far receiving and computing overlap, in each mode and depth, on the simulated device, and how long a frame waits.
//!
//! Frames arrive over a real socket at a fixed rate; a batch takes a quarter to four times as long to arrive as to compute.
//! The ideal is a lower bound for every schedule: the first batch arrives, then the slower of detector and device works without
//! a pause, and the faster one runs once more at the end. The output is medians of rounds, relative to the ideal, once for one read batch,
//! inside which all modes overlap, and once for many: what arrives while a read batch is in hand waits for the next.
//! Streaming mode has no read batches.
//!
//! The latency of a frame is that from its arrival to its answer, at a third of the rate that the device carries.
//!
//! `cargo bench --bench overlap`, or with the plot: `cargo bench --bench overlap -- --plot docs/overlap.svg`

/// The figures as a plot.
#[path = "overlap/plot.rs"]
mod plot;

use beamflow::app::map::Sidecar;
use beamflow::cli;
use beamflow::config::Config;
use beamflow::vertex::client::{Datum, Driver, MapMode};
use clap::Parser;
use futures::{StreamExt, stream};
use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

const BATCH: u32 = 8;
/// Time per batch of the slower of arrival and computation.
const SLOWER: Duration = Duration::from_millis(16);
/// Ratios of a batch's arrival time to its computing time.
const RATIOS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Frames of a read batch, where there are many.
const READ_BATCH: u32 = 48;
const SUBJECTS: [(&str, &str, u32); 7] = [
    ("sequential", "sequential", 1),
    ("concurrent", "concurrent", 1),
    ("pipelined 1", "pipelined", 1),
    ("pipelined 2", "pipelined", 2),
    ("pipelined 3", "pipelined", 3),
    ("pipelined 8", "pipelined", 8),
    ("streaming 3", "streaming", 3),
];

#[derive(Parser)]
struct Args {
    /// A file for the plot.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Batches of a round.
    #[arg(long, default_value = "24")]
    batches: u32,
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
        "{} batches of {BATCH} frames, the slower of arriving and computing takes {SLOWER:?} a batch;\n\
         median of {} rounds of the time, relative to the ideal\n",
        args.batches, args.rounds
    );
    let (batches, rounds) = (args.batches, args.rounds);
    let figures = runtime.block_on(table(batches, batches * BATCH, rounds))?;
    println!("\nthe same frames in read batches of {READ_BATCH}\n");
    runtime.block_on(table(batches, READ_BATCH, rounds))?;
    runtime.block_on(latency(batches))?;
    if let Some(path) = args.plot {
        let names = SUBJECTS.map(|(name, ..)| name);
        plot::write(&path, &RATIOS, &names, &figures).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Prints and returns the medians of each subject at all ratios.
async fn table(
    batches: u32,
    read_batch: u32,
    rounds: usize,
) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    print!("  arriving : computing ");
    RATIOS.iter().for_each(|ratio| print!("{ratio:>8}"));
    println!();
    let mut figures = vec![Vec::new(); SUBJECTS.len()];
    for ratio in RATIOS {
        let medians = measure(ratio, batches, read_batch, rounds).await?;
        for (figures, median) in figures.iter_mut().zip(medians) {
            figures.push(median);
        }
    }
    for ((name, ..), figures) in SUBJECTS.iter().zip(&figures) {
        print!("  {name:<21}");
        figures.iter().for_each(|median| print!("{median:>8.3}"));
        println!();
    }
    Ok(figures)
}

/// Prints how long frames take in streaming mode, at a third of the rate that the device carries.
async fn latency(batches: u32) -> Result<(), Box<dyn Error>> {
    let mut subject = Subject::start("streaming", 3, SLOWER).await?;
    let mut times = Vec::new();
    let frames = frames(0..batches * BATCH, Instant::now(), 3 * SLOWER);
    let streamed = subject
        .driver
        .stream(frames, |answered| times.push(answered.duration));
    streamed.await?;
    subject.end().await?;
    times.sort_unstable();
    let at = |fraction: usize| times.get(times.len() * fraction / 100).copied();
    println!(
        "\nstreaming at a third of full load: a batch computes for {SLOWER:?}; a frame takes {:.1?} (p50), {:.1?} (p99)",
        at(50).unwrap_or_default(),
        at(99).unwrap_or_default()
    );
    Ok(())
}

/// These frames, each when it arrives; a batch takes `arriving`.
fn frames(
    numbers: Range<u32>,
    start: Instant,
    arriving: Duration,
) -> impl futures::Stream<Item = Datum> {
    stream::iter(numbers).then(move |k| async move {
        sleep_until(start + arriving * (k + 1) / BATCH).await;
        Datum::new(k.to_string(), vec![0; 64 * 64 * 2])
    })
}

/// Measures one ratio. The subjects alternate, so that drift of the machine affects all of them equally.
async fn measure(
    ratio: f64,
    batches: u32,
    read_batch: u32,
    rounds: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let (arriving, computing) = if ratio >= 1.0 {
        (SLOWER, SLOWER.div_f64(ratio))
    } else {
        (SLOWER.mul_f64(ratio), SLOWER)
    };
    let ideal = arriving + computing + SLOWER * (batches - 1);
    let mut subjects = Vec::new();
    for (_, mode, depth) in SUBJECTS {
        subjects.push(Subject::start(mode, depth, computing).await?);
    }
    for _ in 0..rounds {
        for subject in &mut subjects {
            let time = subject.run(arriving, batches * BATCH, read_batch).await?;
            subject.times.push(time.as_secs_f64() / ideal.as_secs_f64());
        }
    }
    let mut medians = Vec::new();
    for mut subject in subjects {
        subject.times.sort_unstable_by(f64::total_cmp);
        medians.push(subject.times.get(rounds / 2).copied().unwrap_or(f64::NAN));
        subject.end().await?;
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

    /// Sends `all` frames, whose batches take `arriving` each to arrive, in read batches where there are such.
    async fn run(
        &mut self,
        arriving: Duration,
        all: u32,
        read_batch: u32,
    ) -> Result<Duration, Box<dyn Error>> {
        let start = Instant::now();
        let read_batch = match self.driver.map_mode() {
            MapMode::Batch => read_batch,
            MapMode::Unary => all,
        };
        for first in (0..all).step_by(read_batch as usize) {
            let numbers = first..(first + read_batch).min(all);
            self.driver.call(frames(numbers, start, arriving)).await?;
        }
        Ok(start.elapsed())
    }

    async fn end(self) -> Result<(), Box<dyn Error>> {
        self.driver.finish().await?;
        self.stop.cancel();
        Ok(self.serving.await??)
    }
}
