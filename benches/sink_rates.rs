//! What `beamflow pva-sink` with a mosaic takes for a steady stream of results: 1,000 frames/s, each with a phase and an
//! amplitude of 64 × 64 pixels, read by two subscribers for each output. A line every ten seconds: rates, processor time as a
//! share of one core, memory.
//!
//! All frames are of one scan, which goes over the same points again and again: the solver runs at the end, when the rates have
//! been taken, and its time is printed. A higher FPS than the sink can take shows what it can.
//!
//! ```text
//! cargo build --release --features pva --bin beamflow
//! cargo run --release --features pva --example sink_rates [SECONDS [FPS]]
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

/// Programs as child processes.
#[path = "process.rs"]
mod process;
/// What is sent.
#[path = "results.rs"]
mod results;

use beamflow::pva::{Content, Event, Monitor, MonitorOptions};
use beamflow::vertex::client::{Datum, Sink};
use process::{Process, get};
use results::{PIXEL, payload, result};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two lines.
const LINE: Duration = Duration::from_secs(10);
/// Frames in a batch.
const BATCH: u64 = 50;

/// Counts the images of a PV.
async fn subscribe(server: String, pv: String, images: Arc<AtomicU64>) {
    let mut monitor = Monitor::new(MonitorOptions {
        server: Some(server.parse().unwrap()),
        // A batch at once, and more.
        server_queue: 1_000,
        queue: 1_000,
        ..MonitorOptions::new(&pv)
    });
    loop {
        if let Event::Update(update) = monitor.next().await
            && matches!(update.content, Content::Image(_))
        {
            images.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut whole = |name: &str, default: u64| {
        let given = arguments.next();
        given.map_or(default, |text| text.parse().expect(name))
    };
    let (seconds, fps) = (whole("SECONDS", 60), whole("FPS", 1_000));
    let folder = tempfile::tempdir().unwrap();
    let [sock, info] = ["sock", "info"].map(|name| folder.path().join(name));
    let pixel = PIXEL.to_string();
    let arguments = [
        "pva-sink",
        "--bind",
        "127.0.0.1",
        "--tcp-port",
        "0",
        "--udp-port",
        "0",
        "--outputs",
        "phase,amplitude",
        "--mosaic",
        "--pixel-size",
        &pixel,
        "--edge",
        "16",
        "--http-address",
        "127.0.0.1:0",
        "--sock-path",
        sock.to_str().unwrap(),
        "--server-info-path",
        info.to_str().unwrap(),
    ];
    let sink = Process::beamflow(&arguments, folder.path().join("sink.log"));
    let server = format!("tcp://127.0.0.1:{}", sink.said("tcp_port="));
    let address = sink.said("address=");
    let mut numa = Sink::wait_ready(&info, &sock, Duration::from_secs(30))
        .await
        .unwrap();
    let images = Arc::new(AtomicU64::new(0));
    for output in ["phase", "phase", "amplitude", "amplitude"] {
        let pv = format!("beamflow:{output}:image");
        tokio::spawn(subscribe(server.clone(), pv, Arc::clone(&images)));
    }
    while sink_stats(&address)["clients"].as_u64().unwrap() < 4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let payload = payload();
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as i64;
    let (begun, mut frame, mut told) = (Instant::now(), 0, Told::new(&sink));
    while begun.elapsed() < Duration::from_secs(seconds) {
        let due = begun + Duration::from_secs_f64(frame as f64 / fps as f64);
        tokio::time::sleep_until(due.into()).await;
        let frames = frame..frame + BATCH;
        let batch: Vec<Datum> = frames
            .flat_map(|frame| {
                ["phase", "amplitude"].map(|output| result(frame, output, started, &payload))
            })
            .collect();
        numa.write(&batch).await.unwrap();
        frame += BATCH;
        if told.at.elapsed() >= LINE {
            told = told.tell(&sink, &address, frame, &images);
        }
    }
    told.tell(&sink, &address, frame, &images);
    let ended = Instant::now();
    let finals = |name: &str| sink_stats(&address)["mosaic"][name].as_u64().unwrap();
    while finals("solved") + finals("unsolved") == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "the final picture: {:.1} s after the end of the scan, of which 5 s are without results; {} MiB",
        ended.elapsed().as_secs_f64(),
        sink.memory()
    );
}

fn sink_stats(address: &str) -> Value {
    serde_json::from_str(&get(address, "/stats")).unwrap()
}

/// What was printed last.
struct Told {
    at: Instant,
    cpu: Duration,
    frames: u64,
    images: u64,
}

impl Told {
    fn new(sink: &Process) -> Self {
        Self {
            at: Instant::now(),
            cpu: sink.cpu(),
            frames: 0,
            images: 0,
        }
    }

    fn tell(self, sink: &Process, address: &str, frames: u64, images: &AtomicU64) -> Self {
        let now = Self {
            at: Instant::now(),
            cpu: sink.cpu(),
            frames,
            images: images.load(Ordering::Relaxed),
        };
        let seconds = (now.at - self.at).as_secs_f64();
        let per_second = |new: u64, old: u64| (new - old) as f64 / seconds;
        let mosaic = &sink_stats(address)["mosaic"];
        println!(
            "{:.0} results/s, {:.0} images/s to the subscribers, {:.0} % of a core, {} MiB; mosaic: placed {} of {frames}, \
             pictures {}, final ones {}, without a final one {}",
            2.0 * per_second(now.frames, self.frames),
            per_second(now.images, self.images),
            (now.cpu - self.cpu).as_secs_f64() / seconds * 100.0,
            sink.memory(),
            mosaic["placed"],
            mosaic["pictures"],
            mosaic["solved"],
            mosaic["unsolved"]
        );
        now
    }
}
