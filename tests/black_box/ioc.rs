//! `beamflow simulate-ioc` as clients of pvAccess see it: the real program on private ports of this machine.
//!
//! Counts and events decide, not times: the detector waits for the client, and all queues hold all frames.

use crate::black_box::common::{NEVER, ended, eventually};
use beamflow::lab::encoder::Encoder;
use beamflow::lab::stack::FrameStack;
use beamflow::lab::{Raster, SimulatedScan, experiment};
use beamflow::pva::{Attribute, Content, Event, Monitor, MonitorOptions, ReadOptions, Update};
use beamflow_needs::needs;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// Flags of all tests: nothing leaves this machine, and no port can be taken.
const PRIVATE: [&str; 6] = [
    "--bind",
    "127.0.0.1",
    "--server-port",
    "0",
    "--search-port",
    "0",
];

/// Frames in the scan of [`command`].
const SCAN: usize = 9;

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["IOC_", "EPICS_"].iter().any(|own| text.starts_with(own)) {
            command.env_remove(&name);
        }
    }
    for name in ["LOG_FORMAT", "DEBUG", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
        .env("IOC_POINTS", "3")
        .env("IOC_FRAME_SIZE", "16x16")
        .env("IOC_FPS", "1000")
        .arg("simulate-ioc")
        .args(flags)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// The program in its own process; killed when dropped.
pub struct Ioc {
    process: Child,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Ioc {
    /// Starts the program, and waits until it serves.
    pub async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let process = command(&PRIVATE)
            .args(flags)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let ioc = Self {
            process,
            log,
            _folder: folder,
        };
        eventually("the server", || ioc.said("The PV is served")).await;
        ioc
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn said(&self, text: &str) -> bool {
        let log = self.log();
        log.lines().any(|line| line.contains(text)) && log.ends_with('\n')
    }

    /// The port that it says it has.
    pub fn port(&self, name: &str) -> u16 {
        let log = self.log();
        let mut words = log.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.expect(&log).parse().unwrap()
    }

    /// A client whose queues are longer than all that is posted to it.
    fn monitor(&self, server: &str) -> Monitor {
        let names = ["PositionX", "PositionY", "PixelSize", "ScanNumber"];
        Monitor::new(MonitorOptions {
            server: Some(server.parse().unwrap()),
            server_queue: 1000,
            queue: 1000,
            watchdog: None,
            read: ReadOptions {
                attributes: names.map(str::to_owned).into(),
                ..ReadOptions::default()
            },
            ..MonitorOptions::new("pva:image")
        })
    }

    /// The first `count` frames that a new client gets, repeated ones included.
    async fn frames(&self, count: usize) -> Vec<Update> {
        let server = format!("tcp://127.0.0.1:{}", self.port("tcp_port"));
        frames(&mut self.monitor(&server), count).await
    }

    /// Sends SIGTERM, as Kubernetes does; the program must exit with code 0. Returns its log.
    pub async fn stop(mut self) -> String {
        let pid = self.process.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.unwrap(), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(NEVER, self.process.wait()).await;
        let log = self.log();
        assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{log}");
        log
    }
}

async fn frames(monitor: &mut Monitor, count: usize) -> Vec<Update> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let event = tokio::time::timeout(NEVER, monitor.next()).await;
        if let Event::Update(update) = event.expect("nothing happens")
            && update.content != Content::Idle
        {
            frames.push(*update);
        }
    }
    frames
}

/// The scan that the program simulates.
fn scan() -> SimulatedScan {
    let raster = Raster {
        rows: 3,
        columns: 3,
        ..experiment::RASTER
    };
    experiment::scan_on(16, raster).unwrap()
}

/// Asserts that these are the frames of `stack` from its first on, again and again.
fn assert_frames(updates: &[Update], stack: &FrameStack) {
    for (k, update) in updates.iter().enumerate() {
        let Content::Image(image) = &update.content else {
            panic!("{:?}", update.content)
        };
        assert_eq!(update.unique_id, Some(k as i64 + 1));
        assert!(image.pixels == stack.frame(k % SCAN), "frame {k}");
        let of_stack = stack.describe(0);
        assert_eq!(
            (image.dtype, image.shape, image.codec),
            (of_stack.dtype, of_stack.shape, of_stack.codec)
        );
    }
}

#[tokio::test]
async fn a_client_gets_every_frame_in_order_with_its_pixels() {
    let ioc = Ioc::start(&["--wait-for-client", "--frames", "20"]).await;
    let updates = ioc.frames(20).await;
    assert_frames(&updates, &FrameStack::simulate(&scan(), || ()).unwrap());
    // Exposures are 1 ms apart; posts have times of their own.
    let first = &updates[0];
    for (k, update) in updates.iter().enumerate() {
        let since = update.data_time_stamp - first.data_time_stamp;
        assert!(since.abs_diff(k as i64 * 1_000_000) <= 1, "{k}: {since}");
    }
    let in_order = |pair: &[Update]| pair[0].time_stamp < pair[1].time_stamp;
    assert!(updates.windows(2).all(in_order));
    let log = ioc.stop().await;
    for word in ["taken=20", "posted=20", "dropped=0", "repeated=0", "late=0"] {
        assert!(log.lines().last().unwrap().contains(word), "{word}: {log}");
    }
}

#[tokio::test]
async fn compressed_frames_are_those_of_the_encoder() {
    let stack = FrameStack::simulate(&scan(), || ()).unwrap();
    for encoder in Encoder::ALL {
        let name = encoder.to_string();
        let flags = ["--wait-for-client", "--frames", "9", "--codec", &name];
        let ioc = Ioc::start(&flags).await;
        assert_frames(&ioc.frames(SCAN).await, &stack.compressed(encoder));
        ioc.stop().await;
    }
}

#[tokio::test]
async fn attributes_have_the_positions_and_the_scans_number() {
    let ioc = Ioc::start(&["--wait-for-client", "--frames", "12"]).await;
    let scan = scan();
    for (k, update) in ioc.frames(12).await.into_iter().enumerate() {
        let (x, y) = experiment::probe_position(&scan, k % SCAN).unwrap();
        let expected = [
            ("PositionX", Attribute::Number(x)),
            ("PositionY", Attribute::Number(y)),
            ("PixelSize", Attribute::Number(32e-9)),
            ("ScanNumber", Attribute::Integer(1 + (k / SCAN) as i64)),
        ];
        let seen = update.attributes.iter();
        let mut seen = seen.map(|(name, value)| (name.as_str(), value.clone()));
        for attribute in expected {
            assert_eq!(seen.next(), Some(attribute), "frame {k}");
        }
    }
    ioc.stop().await;
}

#[tokio::test]
async fn faults_are_where_they_are_asked_for() {
    for (flags, numbers, totals) in [
        (
            &["--drop", "3"][..],
            &[1, 2, 4, 5, 7, 8, 10][..],
            "taken=10 posted=7 dropped=3 repeated=0 late=0",
        ),
        (
            &["--repeat", "4"],
            &[1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10],
            "taken=10 posted=10 dropped=0 repeated=2 late=0",
        ),
        (
            &["--late", "4"],
            &[1, 2, 3, 5, 4, 6, 7, 9, 8, 10],
            "taken=10 posted=10 dropped=0 repeated=0 late=2",
        ),
        (
            &["--reset-every", "4", "--drop", "6"],
            &[1, 2, 3, 4, 1, 3, 4, 1, 2],
            "taken=10 posted=9 dropped=1 repeated=0 late=0",
        ),
    ] {
        let common = ["--wait-for-client", "--frames", "10"];
        let ioc = Ioc::start(&[&common, flags].concat()).await;
        let updates = ioc.frames(numbers.len()).await;
        let ids: Vec<_> = updates.iter().map(|u| u.unique_id.unwrap()).collect();
        assert_eq!(ids, numbers, "{flags:?}");
        // What is repeated has the same times too; everything else has its own.
        for pair in updates.windows(2) {
            let is_repeated = pair[0].unique_id == pair[1].unique_id;
            assert_eq!(pair[0] == pair[1], is_repeated, "{flags:?}");
            let is_same = |time: fn(&Update) -> i64| time(&pair[0]) == time(&pair[1]);
            assert_eq!(is_same(|u| u.time_stamp), is_repeated, "{flags:?}");
            assert_eq!(is_same(|u| u.data_time_stamp), is_repeated, "{flags:?}");
        }
        let log = ioc.stop().await;
        assert!(log.lines().last().unwrap().contains(totals), "{log}");
    }
}

#[tokio::test]
async fn a_new_scan_begins_at_the_first_point_with_its_number() {
    let flags = ["--wait-for-client", "--frames", "8", "--reset-every", "4"];
    let ioc = Ioc::start(&flags).await;
    let updates = ioc.frames(8).await;
    for k in 0..4 {
        let (first, second) = (&updates[k], &updates[k + 4]);
        assert_eq!(first.content, second.content);
        assert_eq!(first.unique_id, second.unique_id);
        assert!(first.data_time_stamp < second.data_time_stamp);
        let scan = |update: &Update| update.attributes[3].1.clone();
        assert_eq!(
            (scan(first), scan(second)),
            (Attribute::Integer(1), Attribute::Integer(2))
        );
    }
    ioc.stop().await;
}

#[tokio::test]
async fn the_last_frame_stays_for_clients_that_come_later() {
    let ioc = Ioc::start(&["--frames", "5"]).await;
    eventually("the last frame", || ioc.said("The last frame is posted")).await;
    // Found by a search over UDP.
    let server = format!("udp://127.0.0.1:{}", ioc.port("search_port"));
    let update = &frames(&mut ioc.monitor(&server), 1).await[0];
    assert_eq!((update.unique_id, update.first), (Some(5), true));
    ioc.stop().await;
}

#[tokio::test]
async fn sigterm_ends_a_detector_that_waits_for_a_client() {
    let ioc = Ioc::start(&["--wait-for-client"]).await;
    eventually("the wait", || ioc.said("waits for a client")).await;
    let log = ioc.stop().await;
    assert!(log.lines().last().unwrap().contains("taken=0"), "{log}");
}

#[tokio::test]
async fn a_taken_port_that_was_asked_for_is_an_error() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    // The UDP port is free.
    let flags = ["--bind", "127.0.0.1", "--search-port", "0"];
    let mut command = command(&flags);
    command.args(["--server-port", &port]);
    let output = ended(command.into_std()).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("port {port}")), "{told}");
}

#[tokio::test]
async fn a_scan_too_large_for_the_memory_is_refused() {
    let mut command = command(&PRIVATE);
    command.args(["--points", "100", "--frame-size", "1024x1024"]);
    let output = ended(command.into_std()).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("more than 1 GiB"), "{told}");
}

/// PVXS, as a Python program. It prints a line for each update.
#[needs(pva_peers)]
#[tokio::test]
async fn pvxs_gets_every_frame_with_its_attributes() {
    let ioc = Ioc::start(&["--wait-for-client", "--frames", "9"]).await;
    // Read at compile time too: this test is compiled anew when it is set.
    let _ = option_env!("BEAMFLOW_PYTHON");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/pva/tests/peers/p4p_client.py"
    );
    let free = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let udp = free.local_addr().unwrap().port().to_string();
    drop(free);
    let mut peer = Command::new(std::env::var_os("BEAMFLOW_PYTHON").unwrap())
        .args(["-u", script, "pva:image"])
        .args([&ioc.port("tcp_port").to_string(), &udp, "1000"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
    let stack = FrameStack::simulate(&scan(), || ()).unwrap();
    let mut k = 0;
    while k < SCAN {
        let line = tokio::time::timeout(NEVER, lines.next_line()).await;
        let seen: Value = serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        if seen["dimension"] == json!([]) {
            continue;
        }
        let hex: String = stack.frame(k).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(seen["value"], json!(["<i2", hex]));
        assert_eq!(seen["uniqueId"], k + 1);
        let (x, y) = experiment::probe_position(&scan(), k).unwrap();
        let attributes = seen["attribute"].as_array().unwrap().iter();
        let attributes: Vec<_> = attributes.map(|a| (&a["name"], &a["value"])).collect();
        assert_eq!(attributes[1], (&json!("PositionX"), &json!(x)));
        assert_eq!(attributes[2], (&json!("PositionY"), &json!(y)));
        assert_eq!(attributes[4], (&json!("ScanNumber"), &json!(1)));
        k += 1;
    }
    ioc.stop().await;
}
