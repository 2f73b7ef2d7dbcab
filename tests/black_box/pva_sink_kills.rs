//! From a detector's PV to viewers and the mosaic, while a part is killed with SIGKILL and started again. All parts are
//! processes of their own; numa's part is played by the pipeline driver, which connects again as numa's containers do.

use crate::black_box::common::NEVER;
use crate::black_box::ioc::Ioc;
use crate::black_box::results::{Viewer, balanced, port, pva_sink, says, stats};
use crate::black_box::source::Source;
use beamflow::commands::child::ChildSidecar;
use beamflow::lab::experiment;
use beamflow::vertex::client::pipeline::{
    Address, Intake, Outlet, Pipeline, Report, Settings, Until,
};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Scan points along each side.
const POINTS: usize = 10;
pub const FRAMES: u64 = (POINTS * POINTS) as u64;
/// Frames that the sink has when a part is killed.
const KILLED_AT: [u64; 3] = [5, 25, 50];

const PHASE: &str = "beamflow:output_0:image";

/// The map: a simulated device with two outputs.
pub struct Map {
    child: ChildSidecar,
    folder: tempfile::TempDir,
}

impl Map {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::child(folder.path());
        Self { child, folder }
    }

    fn child(folder: &Path) -> ChildSidecar {
        let flags = ["--model-path", "sim:size=64x64,outputs=2"].map(str::to_owned);
        let program = Path::new(env!("CARGO_BIN_EXE_beamflow"));
        ChildSidecar::start(program, folder, &flags).unwrap()
    }

    fn address(&self) -> Address {
        let path = |name| self.folder.path().join(name);
        Address::new(path("batchmap.sock"), path("mapper-server-info"))
    }

    /// SIGKILL; then the same command on the same socket.
    pub async fn killed_and_started(self) -> Self {
        let Self { child, folder } = self;
        let pid = child.pid().unwrap();
        drop(child);
        let gone = async {
            while Path::new(&format!("/proc/{pid}/cmdline"))
                .metadata()
                .is_ok()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(NEVER, gone).await.unwrap();
        let child = Self::child(folder.path());
        Self { child, folder }
    }
}

/// All parts but numa.
pub struct Line {
    ioc: Ioc,
    pub source_flags: Vec<String>,
    pub source: Source,
    pub map: Map,
    pub sink: Source,
}

/// The flags of the sink.
fn sink_flags() -> Vec<String> {
    let pixel = experiment::pixel_size(64).to_string();
    [
        "--mosaic",
        "--pixel-size",
        &pixel,
        "--phase-output",
        "output_0",
        "--amplitude-output",
        "output_1",
        "--outputs",
        "output_0,output_1",
    ]
    .map(str::to_owned)
    .into()
}

pub fn texts(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

impl Line {
    pub async fn start(fps: &str) -> Self {
        let (points, frames) = (POINTS.to_string(), FRAMES.to_string());
        let flags = ["--points", &points, "--frames", &frames, "--fps", fps];
        let ioc =
            Ioc::start(&[&flags[..], &["--frame-size", "64x64", "--wait-for-client"]].concat())
                .await;
        let server = format!("tcp://127.0.0.1:{}", ioc.port("tcp_port"));
        let source_flags = [
            "--server",
            &server,
            "--server-queue-size",
            "200",
            "--http-address",
            "127.0.0.1:0",
            "--position-x",
            "PositionX",
            "--position-y",
            "PositionY",
            "--ack-timeout",
            "1s",
        ];
        let source_flags = source_flags.map(str::to_owned).to_vec();
        let sink = pva_sink(&texts(&sink_flags())).await;
        let source = Source::start_as("pva-source", &texts(&source_flags)).await;
        Self {
            ioc,
            source_flags,
            source,
            map: Map::start(),
            sink,
        }
    }

    /// Numa, which connects again whenever a part is gone.
    pub fn numa(&self) -> Pipeline {
        let settings = Settings {
            read_batch: 8,
            read_timeout: Duration::from_millis(50),
            read_ahead: 2,
            restarts: 1_000,
            until: Until::Stopped,
            ..Settings::default()
        };
        let intake = Intake::Source(Address::new(&self.source.sock, &self.source.info));
        let outlet = Outlet::Sink(Address::new(&self.sink.sock, &self.sink.info));
        Pipeline::new(settings, intake, outlet).with_map(self.map.address())
    }

    /// Waits until the sink has results of so many frames.
    async fn until_frames(&self, wanted: u64) {
        self.until(&self.sink, |told| told["frames"].as_u64() >= Some(wanted))
            .await;
    }

    pub async fn until(&self, of: &Source, wanted: impl Fn(&serde_json::Value) -> bool) {
        let waiting = async {
            while !wanted(&stats(of).await) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(NEVER, waiting).await.is_err() {
            panic!("it does not come: {}", stats(of).await);
        }
    }

    pub async fn stop(self) {
        self.source.stop().await;
        self.ioc.stop().await;
        self.sink.stop().await;
        self.map.child.stop().await.unwrap();
    }
}

/// Runs numa until `story` has ended.
pub async fn during<T>(mut numa: Pipeline, story: impl Future<Output = T>) -> (T, Report) {
    let stop = CancellationToken::new();
    let telling = async {
        let told = story.await;
        stop.cancel();
        told
    };
    let (told, report) = tokio::join!(telling, numa.run(&stop));
    let report = report.unwrap();
    assert!(report.is_balanced(), "{report:?}");
    (told, report)
}

/// The numbers that a viewer gets until it has seen `count` images, sorted.
async fn numbers(viewer: &mut Viewer, count: u64) -> Vec<i64> {
    let mut numbers = viewer.numbers(count as usize).await;
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn every_frame_is_posted_and_placed_once_however_often_the_map_is_killed() {
    let line = Line::start("200").await;
    let mut phase = Viewer::of(&line.sink, PHASE).await.0;
    let numa = line.numa();
    let story = async {
        let mut line = line;
        for written in KILLED_AT {
            line.until_frames(written).await;
            line.map = line.map.killed_and_started().await;
        }
        line.until_frames(FRAMES).await;
        line
    };
    let (line, report) = during(numa, story).await;
    assert!(report.restarts >= KILLED_AT.len() as u64, "{report:?}");
    let all: Vec<i64> = (1..=FRAMES as i64).collect();
    assert_eq!(numbers(&mut phase, FRAMES).await, all);
    let told = stats(&line.sink).await;
    assert_eq!(told["mosaic"]["placed"], FRAMES, "{told}");
    assert_eq!(told["outputs"][0]["posted"], FRAMES, "{told}");
    balanced(&line.sink).await;
    line.stop().await;
}

#[tokio::test]
async fn a_killed_source_loses_what_it_had_not_delivered_and_the_sink_counts_it_as_missing() {
    let line = Line::start("50").await;
    let mut phase = Viewer::of(&line.sink, PHASE).await.0;
    let numa = line.numa();
    let story = async {
        let mut line = line;
        for written in &KILLED_AT[..2] {
            line.until_frames(*written).await;
            line.source = line
                .source
                .killed_and_started(&texts(&line.source_flags))
                .await;
        }
        // The last frame is not lost: it stays in the PV.
        let is_last = |told: &serde_json::Value| told["mosaic"]["newest"] == FRAMES;
        line.until(&line.sink, is_last).await;
        line.until(&line.source, |told| told["unacked"] == 0).await;
        // Gaps are certain when nothing has come for a while.
        let adds_up = |told: &serde_json::Value| {
            let count = |name: &str| told[name].as_u64().unwrap();
            count("frames") + count("missing") == FRAMES
        };
        line.until(&line.sink, adds_up).await;
        line
    };
    let (line, report) = during(numa, story).await;
    assert!(report.restarts >= 2, "{report:?}");
    let told = stats(&line.sink).await;
    let frames = told["frames"].as_u64().unwrap();
    assert_eq!(told["series"], 1, "the scan goes on: {told}");
    let mut posted = numbers(&mut phase, frames).await;
    posted.dedup();
    assert_eq!(posted.len() as u64, frames, "no result is posted twice");
    assert_eq!(told["outputs"][0]["posted"], frames, "{told}");
    assert_eq!(told["mosaic"]["placed"], frames, "{told}");
    balanced(&line.sink).await;
    line.stop().await;
}

#[tokio::test]
async fn a_killed_sink_begins_with_an_empty_mosaic_and_gets_every_frame_that_was_not_acked() {
    let line = Line::start("100").await;
    let tcp_port = port(&line.sink, "tcp_port").await;
    let mut phase = Viewer::of(&line.sink, PHASE).await.0;
    let numa = line.numa();
    let story = async {
        let mut line = line;
        line.until_frames(40).await;
        let flags = [
            sink_flags(),
            vec![
                "--bind".into(),
                "127.0.0.1".into(),
                "--http-address".into(),
                "127.0.0.1:0".into(),
                "--udp-port".into(),
                "0".into(),
                "--tcp-port".into(),
                tcp_port.to_string(),
            ],
        ];
        line.sink = line.sink.killed_and_started(&texts(&flags.concat())).await;
        let all_acked = |told: &serde_json::Value| told["acked"] == FRAMES;
        line.until(&line.source, all_acked).await;
        line
    };
    let (line, report) = during(numa, story).await;
    assert!(report.restarts >= 1, "{report:?}");
    says(&line.sink, "The mosaic is empty.").await;
    // The viewer has connected again by itself.
    while phase.numbers(1).await != [FRAMES as i64] {}
    let is_drawn = |told: &serde_json::Value| {
        let picture = &told["mosaic"]["picture"];
        picture["placed"] == told["mosaic"]["placed"]
    };
    line.until(&line.sink, is_drawn).await;
    let told = stats(&line.sink).await;
    // Nothing between what was acked before and the end is missing, and nothing is placed twice.
    let first = told["mosaic"]["picture"]["first"].as_u64().unwrap();
    assert!(first > 1, "{told}");
    let frames = FRAMES + 1 - first;
    assert_eq!(
        (&told["frames"], &told["mosaic"]["placed"]),
        (&frames.into(), &frames.into()),
        "{told}"
    );
    balanced(&line.sink).await;
    line.stop().await;
}
