//! Which frame rates the PVA source carries on this machine, alone and beside a pvaPy consumer that only copies pixels.
//!
//! The simulated IOC posts frames at a rate, the source follows its PV, and a client reads and acks as numa does. All are
//! processes of their own; each case runs the source alone, pvaPy alone, and both. Frames that the source lost are printed
//! with their reason, and the processor time of each process as a share of one core.
//!
//! ```text
//! cargo build --release --features pva --bin beamflow
//! export BEAMFLOW_PYTHON=...    # as scripts/pva-peers.sh prints
//! cargo run --release --features pva --example pva_rates [SECONDS]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

/// Programs as child processes.
#[path = "process.rs"]
mod process;

use beamflow::vertex::client::Source;
use process::{Process, get};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Updates that the IOC keeps for a client.
const QUEUE: &str = "64";
const READ_BATCH: usize = 500;

struct Case {
    side: usize,
    codec: &'static str,
    fps: u64,
}

const CASES: [Case; 3] = [
    Case {
        side: 512,
        codec: "none",
        fps: 300,
    },
    Case {
        side: 512,
        codec: "bslz4",
        fps: 500,
    },
    Case {
        side: 128,
        codec: "none",
        fps: 1500,
    },
];

/// Reads and acks as numa does; counts the frames.
async fn read(mut source: Source, frames: Arc<AtomicU64>, stop: CancellationToken) {
    // The source may be gone by the time the reader is.
    while let Ok(messages) = source.read(READ_BATCH, Duration::from_secs(1)).await {
        if stop.is_cancelled() {
            return;
        }
        if messages.is_empty() {
            continue;
        }
        frames.fetch_add(messages.len() as u64, Ordering::Relaxed);
        let offsets = messages.into_iter().map(|message| message.offset).collect();
        if source.ack(offsets).await.is_err() {
            return;
        }
    }
}

struct Ours {
    process: Process,
    address: String,
    frames: Arc<AtomicU64>,
    stop: CancellationToken,
}

async fn source(ioc: &Process, folder: &Path) -> Ours {
    let [sock, info] = ["sock", "info"].map(|name| folder.join(name));
    let server = format!("tcp://127.0.0.1:{}", ioc.said("tcp_port="));
    let arguments = [
        "pva-source",
        "--server",
        &server,
        "--server-queue-size",
        QUEUE,
        "--http-address",
        "127.0.0.1:0",
        "--sock-path",
        sock.to_str().unwrap(),
        "--server-info-path",
        info.to_str().unwrap(),
    ];
    let process = Process::beamflow(&arguments, folder.join("source.log"));
    let address = process.said("address=");
    process.said("The PV is connected");
    let reader = Source::wait_ready(&info, &sock, Duration::from_secs(30))
        .await
        .unwrap();
    let (frames, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    tokio::spawn(read(reader, Arc::clone(&frames), stop.clone()));
    Ours {
        process,
        address,
        frames,
        stop,
    }
}

fn pvapy(ioc: &Process, last: u64, folder: &Path) -> Process {
    let python = std::env::var("BEAMFLOW_PYTHON")
        .expect("BEAMFLOW_PYTHON, as scripts/pva-peers.sh prints it");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pva_rates.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args(["pva:image", QUEUE, &last.to_string()])
        .env("EPICS_PVA_AUTO_ADDR_LIST", "NO")
        .env("EPICS_PVA_ADDR_LIST", "127.0.0.1")
        .env("EPICS_PVA_BROADCAST_PORT", ioc.said("search_port="));
    let mut process = Process::start(&mut command, folder.join("pvapy.log"));
    let mut line = String::new();
    BufReader::new(process.child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    process
}

async fn measure(case: &Case, seconds: u64, is_ours: bool, is_pvapy: bool) {
    let folder = tempfile::tempdir().unwrap();
    let last = case.fps * seconds;
    let (side, fps, frames) = (
        format!("{0}x{0}", case.side),
        case.fps.to_string(),
        last.to_string(),
    );
    let arguments = [
        "simulate-ioc",
        "--bind",
        "127.0.0.1",
        "--server-port",
        "0",
        "--search-port",
        "0",
        "--points",
        "6",
        "--wait-for-client",
        "--frame-size",
        &side,
        "--codec",
        case.codec,
        "--fps",
        &fps,
        "--frames",
        &frames,
    ];
    let ioc = Process::beamflow(&arguments, folder.path().join("ioc.log"));
    ioc.said("The detector waits for a client");
    let peer = is_pvapy.then(|| pvapy(&ioc, last, folder.path()));
    let ours = match is_ours {
        true => Some(source(&ioc, folder.path()).await),
        false => None,
    };
    ioc.said("The detector starts");
    let begun = Instant::now();
    let cpu = |process: &Process| process.cpu().as_secs_f64();
    let before = (
        cpu(&ioc),
        ours.as_ref().map(|ours| cpu(&ours.process)),
        peer.as_ref().map(cpu),
    );
    let limit = Duration::from_secs(seconds * 4 + 20);
    while !std::fs::read_to_string(&ioc.log)
        .unwrap()
        .contains("The last frame is posted")
    {
        assert!(
            begun.elapsed() < limit,
            "the IOC is too slow for {fps} frames/s"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let share = |after: f64, before: f64| (after - before) / took * 100.0;
    println!(
        "{side} {} {fps}/s for {took:.1} s ({:.0}/s): the IOC takes {:.0} % of a core",
        case.codec,
        last as f64 / took,
        share(cpu(&ioc), before.0)
    );
    if let Some(ours) = &ours {
        let stats: Value = serde_json::from_str(&get(&ours.address, "/stats")).unwrap();
        let pv = &stats["pvs"][0];
        println!(
            "  beamflow: {} frames, {} read; gaps {}, filled {}, dropped {}, skipped {}; {:.0} % of a core",
            pv["frames"],
            ours.frames.load(Ordering::Relaxed),
            pv["gap_frames"],
            pv["gap_frames_filled"],
            pv["dropped"],
            pv["skipped"],
            share(cpu(&ours.process), before.1.unwrap())
        );
        ours.stop.cancel();
    }
    if let Some(peer) = peer {
        let used = share(cpu(&peer), before.2.unwrap());
        peer.terminate();
        let log = std::fs::read_to_string(&peer.log).unwrap();
        let told = peer.output();
        print!("{log}");
        println!("  pvaPy: {}; {used:.0} % of a core", told.trim());
    }
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args()
        .nth(1)
        .map_or(15, |text| text.parse().expect("SECONDS, a whole number"));
    for case in &CASES {
        for (is_ours, is_pvapy) in [(true, false), (false, true), (true, true)] {
            measure(case, seconds, is_ours, is_pvapy).await;
        }
    }
}
