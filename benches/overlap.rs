//! How much of receiving and computing overlaps, in each mode, on the simulated device.
//!
//! One read batch of 32 batches comes over a real socket, frame by frame, so that a batch takes as long to
//! arrive as to compute. The ideal is: the first batch arrives, then the device is never idle. Printed
//! are medians and their ratio to that ideal; sequential cannot do better than about 2.
//!
//! `cargo bench --bench overlap`

use beamflow::app::Sidecar;
use beamflow::cli::Cli;
use beamflow::config::Config;
use beamflow::driver::{Datum, Driver};
use clap::Parser;
use futures::{StreamExt, stream};
use std::error::Error;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

const BATCHES: usize = 32;
const BATCH: usize = 8;
const RUNS: usize = 7;
/// To arrive and to compute.
const PER_BATCH: Duration = Duration::from_millis(20);
/// Each way between host and device.
const COPY: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ideal = PER_BATCH * (BATCHES as u32 + 1) + 2 * COPY;
    println!(
        "{BATCHES} batches of {BATCH} frames, {PER_BATCH:?} to arrive and to compute each; ideal {ideal:?}; median of {RUNS}"
    );
    for mode in ["sequential", "concurrent", "pipelined"] {
        let mut times = runtime.block_on(measure(mode))?;
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!(
            "  {mode:<11} {median:>8.1?}  {:.3} × ideal",
            median.as_secs_f64() / ideal.as_secs_f64()
        );
    }
    Ok(())
}

async fn measure(mode: &str) -> Result<Vec<Duration>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let model = format!("sim:size=64x64,compute={PER_BATCH:?},h2d={COPY:?},d2h={COPY:?}");
    let cli = Cli::try_parse_from([
        "beamflow",
        "--mode",
        mode,
        "--model-path",
        &model,
        "--pipeline-depth",
        "3",
    ])?;
    let mut config = Config::from(cli.serve);
    config.sock_path = folder.path().join("batchmap.sock");
    config.server_info_path = folder.path().join("mapper-server-info");
    let (sock, info) = (config.sock_path.clone(), config.server_info_path.clone());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let loading = config.clone();
    let sidecar = tokio::task::spawn_blocking(move || Sidecar::load(&loading)).await??;
    let serving = tokio::spawn(async move { sidecar.serve(&config, stop).await });

    let mut driver = Driver::wait_ready(&info, &sock, Duration::from_secs(10)).await?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let frames = stream::iter(0..BATCHES * BATCH).then(move |k| async move {
            sleep_until(start + PER_BATCH * (k as u32 + 1) / BATCH as u32).await;
            Datum::new(k.to_string(), vec![0; 64 * 64 * 2])
        });
        driver.call(frames).await?;
        times.push(start.elapsed());
    }
    driver.finish().await?;
    shutdown.cancel();
    serving.await??;
    Ok(times)
}
