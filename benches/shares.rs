//! How three busy models share one simulated device.
//!
//! The batches of the models take 2, 5 and 12.5 ms. Each model has a stream of its own, which keeps more frames in flight than
//! its slots hold, so that a batch of it always waits at the gate. The output is each model's part of the device's time: a third is
//! its share. With one model of high priority, it takes eight batches for each of the others.
//!
//! `cargo run --profile dist --example shares`

use beamflow::app::map::Sidecar;
use beamflow::cli;
use beamflow::config::Config;
use beamflow::vertex::client::{Datum, Driver};
use futures::stream;
use std::error::Error;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Names and times of a batch, in µs.
const MODELS: [(&str, u32); 3] = [("short", 2_000), ("middle", 5_000), ("long", 12_500)];
const BATCH: usize = 8;
/// Pixels of a frame.
const PIXELS: usize = 16 * 16;
/// Frames in flight of each model: more than its slots hold.
const IN_FLIGHT: usize = 8 * BATCH;
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    for (what, priorities) in [
        ("all of one priority", ["normal"; 3]),
        (
            "the short one of high priority",
            ["high", "normal", "normal"],
        ),
    ] {
        let shares = measure(priorities).await?;
        println!("{what}:");
        for ((name, _), (batches, share)) in MODELS.iter().zip(shares) {
            println!(
                "  {name:<8} {batches:>7.0} batches  {:>5.1} % of the device",
                100.0 * share
            );
        }
    }
    Ok(())
}

fn file(priorities: [&str; 3]) -> String {
    let model = |((name, time), priority): (&(&str, u32), &str)| {
        format!(
            "  - {{ name: {name}, path: 'sim:size=16,on=shared,compute={time}us', priority: {priority} }}\n"
        )
    };
    let models = MODELS.iter().zip(priorities).map(model);
    format!("default: short\nmodels:\n{}", models.collect::<String>())
}

/// Batches of each model, and its part of the device's time.
async fn measure(priorities: [&str; 3]) -> Result<Vec<(f64, f64)>, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models.yaml");
    std::fs::write(&models, file(priorities))?;
    let batch = BATCH.to_string();
    let flags = [
        "--mode",
        "streaming",
        "--bsz-size",
        &batch,
        "--output-size",
        "full",
        "--models",
    ];
    let flags = flags.into_iter().map(Into::into).chain([models.into()]);
    let mut config = Config::try_from(cli::read(flags, |_| None)?.cli.serve)?;
    config.sock_path = folder.path().join("map.sock");
    config.server_info_path = folder.path().join("mapper-server-info");
    let (sock, info) = (config.sock_path.clone(), config.server_info_path.clone());
    let loading = config.clone();
    let sidecar = tokio::task::spawn_blocking(move || Sidecar::load(&loading)).await??;
    let stop = CancellationToken::new();
    let shutdown = stop.clone();
    let serving = tokio::spawn(async move { sidecar.serve(&config, shutdown).await });
    let deadline = Instant::now() + MEASURED;
    let mut streams = Vec::new();
    for (name, _) in MODELS {
        let driver = Driver::wait_ready(&info, &sock, Duration::from_secs(10)).await?;
        let mut driver = driver.with_concurrency(IN_FLIGHT);
        streams.push(tokio::spawn(async move {
            let mut answered = 0usize;
            let frame = |k: usize| {
                Datum::new(k.to_string(), vec![0; 2 * PIXELS]).with_header("x-model", name)
            };
            let stream = driver.stream(stream::iter((0..).map(frame)), |_| answered += 1);
            // It ends at the deadline, if nothing breaks.
            let broken = timeout_at(deadline, stream).await.is_ok();
            (answered, broken)
        }));
    }
    let mut batches = Vec::new();
    for stream in streams {
        let (answered, broken) = stream.await?;
        if broken {
            return Err("a stream has ended before its time".into());
        }
        batches.push(answered as f64 / BATCH as f64);
    }
    stop.cancel();
    serving.await??;
    let time = |(batches, (_, time)): (&f64, &(&str, u32))| batches * f64::from(*time);
    let times: Vec<_> = batches.iter().zip(&MODELS).map(time).collect();
    let all: f64 = times.iter().sum();
    Ok(batches
        .into_iter()
        .zip(times.into_iter().map(|time| time / all))
        .collect())
}
