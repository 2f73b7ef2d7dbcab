//! What `beamflow file-sink` takes for a steady stream of results: 1,000 frames/s, each with a phase and an amplitude of
//! 64 × 64 pixels. A line every ten seconds: rates, processor time as a share of one core, memory, files. A file is complete
//! after 20,000 frames, and is then removed: the disk must hold two, 1.3 GB.
//!
//! ```text
//! cargo build --release --features pva,hdf5 --bin beamflow
//! cargo run --release --features pva,hdf5 --example file_rates FOLDER [SECONDS [FPS]]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

/// Programs as child processes.
#[path = "process.rs"]
mod process;
/// What is sent.
#[path = "results.rs"]
mod results;

use beamflow::vertex::client::{Datum, Sink, Verdict};
use process::{Process, get};
use results::{payload, result};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two lines.
const LINE: Duration = Duration::from_secs(10);
/// Frames in a batch.
const BATCH: u64 = 50;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let files = arguments.next().expect("FOLDER");
    let mut whole = |name: &str, default: u64| {
        let given = arguments.next();
        given.map_or(default, |text| text.parse().expect(name))
    };
    let (seconds, fps) = (whole("SECONDS", 60), whole("FPS", 1_000));
    let folder = tempfile::tempdir().unwrap();
    let [sock, info] = ["sock", "info"].map(|name| folder.path().join(name));
    let arguments = [
        "file-sink",
        "--folder",
        &files,
        "--frames-per-file",
        "20000",
        "--http-address",
        "127.0.0.1:0",
        "--sock-path",
        sock.to_str().unwrap(),
        "--server-info-path",
        info.to_str().unwrap(),
    ];
    let sink = Process::beamflow(&arguments, folder.path().join("sink.log"));
    let address = sink.said("address=");
    let mut numa = Sink::wait_ready(&info, &sock, Duration::from_secs(30))
        .await
        .unwrap();
    let payload = payload();
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    let (begun, mut frame) = (Instant::now(), 0);
    let mut told = (Instant::now(), sink.cpu(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let due = begun + Duration::from_secs_f64(frame as f64 / fps as f64);
        tokio::time::sleep_until(due.into()).await;
        let frames = frame..frame + BATCH;
        let batch: Vec<Datum> = frames
            .flat_map(|frame| {
                ["phase", "amplitude"].map(|output| result(frame, output, started, &payload))
            })
            .collect();
        let verdicts = numa.write(&batch).await.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Written));
        frame += BATCH;
        if told.0.elapsed() >= LINE {
            let now = (Instant::now(), sink.cpu(), frame);
            let passed = (now.0 - told.0).as_secs_f64();
            let stats: Value = serde_json::from_str(&get(&address, "/stats")).unwrap();
            println!(
                "{:.0} results/s, {:.0} % of a core, {} MiB; {} written, {} files complete",
                2.0 * (now.2 - told.2) as f64 / passed,
                (now.1 - told.1).as_secs_f64() / passed * 100.0,
                sink.memory(),
                stats["written"],
                stats["completed"]
            );
            told = now;
            remove_complete(Path::new(&files));
        }
    }
}

fn remove_complete(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "h5") {
            std::fs::remove_file(path).unwrap();
        }
    }
}
