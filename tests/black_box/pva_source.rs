//! `beamflow pva-source` as numa sees it: the real program between a real PVA server and the source protocol.
//!
//! The server is this project's own; what PVXS and pvAccessCPP do differently, `crates/pva/tests/peers` tests. All ports are
//! private to a test, and nothing is sent to the network.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::served::get;
use crate::black_box::source::{Source, connect, ids, offsets, pending, read, until_pending};
use beamflow::frame::{Codec, Dtype, FrameShape, headers};
use beamflow::pva::{Attribute, Image, ImagePv, NewImage, Server, ServerOptions};
use beamflow::vertex::client::{Message, Nack};
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::process::Command;

pub const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);
pub const PV: &str = "test:image";
const SHAPE: FrameShape = FrameShape {
    height: 3,
    width: 4,
};

/// A detector: a server with one PV.
struct Detector {
    server: Server,
    pv: ImagePv,
    /// When its frames are taken, in ns since 1970.
    time: i64,
}

impl Detector {
    fn start() -> Self {
        Self::start_at(0)
    }

    fn start_at(tcp_port: u16) -> Self {
        let options = ServerOptions {
            tcp_port: Some(tcp_port),
            ..ServerOptions::loopback()
        };
        let server = Server::start(&options).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            pv: server.image(PV).unwrap(),
            server,
            time: now.as_nanos() as i64,
        }
    }

    fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.server.tcp_port())
    }

    /// Posts frame `id`, a millisecond after the one before.
    fn post(&mut self, id: i32) {
        self.time += 1_000_000;
        self.pv.post(&self.frame(id)).unwrap();
    }

    fn frame(&self, id: i32) -> NewImage {
        let pixels: Vec<u8> = (0..12)
            .flat_map(|k| ((id * 100 + k) as u16).to_le_bytes())
            .collect();
        NewImage {
            image: Image {
                pixels: pixels.into(),
                dtype: Dtype::U16,
                shape: SHAPE,
                codec: None,
            },
            unique_id: id,
            data_time_stamp: self.time,
            attributes: vec![
                ("PosX".into(), Attribute::Number(f64::from(id) * 2.0)),
                ("Sample".into(), Attribute::Text("A 7".into())),
            ],
        }
    }
}

/// The source of a detector, connected.
async fn source(detector: &Detector, flags: &[&str]) -> Source {
    let address = detector.address();
    let all = [
        "--input-channel",
        PV,
        "--server",
        &address,
        "--http-address",
        "127.0.0.1:0",
    ];
    let source = Source::start_as("pva-source", &[&all, flags].concat()).await;
    eventually("the connection", || source.said("The PV is connected")).await;
    source
}

/// What `/stats` says of the PV, and of the frames that are kept.
async fn stats(source: &Source) -> (Value, Value) {
    let stats: Value = serde_json::from_str(&get(&source.http_address(), "/stats").await).unwrap();
    (stats["pvs"][0].clone(), stats)
}

/// Waits until the PV's count `name` is `wanted`.
pub async fn until(source: &Source, name: &str, wanted: u64) {
    let waiting = async {
        while stats(source).await.0.pointer(name).and_then(Value::as_u64) != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(NEVER, waiting).await;
    assert!(
        waited.is_ok(),
        "{name} is not {wanted}: {}",
        source.log_text()
    );
}

/// The books balance: every update is a frame or skipped, every frame in one state.
pub async fn balanced(source: &Source) {
    let (pv, books) = stats(source).await;
    let of = |value: &Value, name: &str| value[name].as_u64().unwrap();
    let skipped: u64 = pv["skipped"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(of(&pv, "updates"), of(&pv, "frames") + skipped, "{pv}");
    assert_eq!(of(&pv, "frames"), of(&books, "taken"));
    let states = ["acked", "dropped", "unread", "unacked", "waiting"];
    let states: u64 = states.iter().map(|state| of(&books, state)).sum();
    assert_eq!(of(&books, "taken"), states, "{books}");
}

pub fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.datum.headers.get(name).map_or("", String::as_str)
}

#[tokio::test]
async fn a_frame_comes_as_it_was_posted_with_its_headers() {
    let mut detector = Detector::start();
    let flags = [
        "--attributes",
        "Sample",
        "--position-x",
        "PosX*1e-6",
        "--linger",
        "off",
    ];
    let source = source(&detector, &flags).await;
    let mut reader = connect(&source).await;
    assert!(reader.is_ready().await.unwrap());
    assert_eq!(reader.partitions().await.unwrap(), [0]);
    for id in 1..=5 {
        detector.post(id);
    }
    // A compressed one goes on as it is.
    let mut compressed = detector.frame(6);
    compressed.image.codec = Some(Codec::Bslz4);
    compressed.image.pixels = vec![1, 2, 3].into();
    detector.pv.post(&compressed).unwrap();
    let messages = read(&mut reader, 6, LONG).await;
    assert_eq!(ids(&messages), [1, 2, 3, 4, 5, 6]);
    for (k, message) in (1..=5).zip(&messages) {
        assert_eq!(message.datum.value, detector.frame(k).image.pixels);
        assert_eq!(header(message, headers::CODEC), "");
    }
    let first = &messages[0];
    for (name, value) in [
        (headers::DTYPE, "uint16"),
        (headers::SHAPE, "3x4"),
        (headers::PV, PV),
        (headers::POSITION_X, "0.000002"),
        (headers::DELIVERY, ""),
        ("x-attr-Sample", "A 7"),
    ] {
        assert_eq!(header(first, name), value, "{name}");
    }
    let taken = header(first, headers::FRAME_TIME).to_owned();
    assert_eq!(header(first, headers::SERIES_START), taken);
    assert_eq!(header(&messages[4], headers::SERIES_START), taken);
    let time = first.datum.event_time.unwrap();
    assert_eq!(format!("{}{:09}", time.seconds, time.nanos), taken);
    let last = &messages[5];
    assert_eq!(
        (header(last, headers::CODEC), &last.datum.value[..]),
        ("bslz4", &[1, 2, 3][..])
    );
    // The identity: 28 bytes, of which the first four are the PV.
    let offsets = offsets(&messages);
    assert!(
        offsets
            .iter()
            .all(|offset| offset.offset.len() == 28 && offset.offset.starts_with(&[0; 4]))
    );
    assert_eq!(pending(&reader).await, 6);
    reader.ack(offsets).await.unwrap();
    assert_eq!(pending(&reader).await, 0);
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn repeats_are_skipped_gaps_counted_and_scans_told_apart() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in [1, 2, 5, 6] {
        detector.post(id);
    }
    // Posted again by a plugin: the same times of the detector.
    detector.pv.post(&detector.frame(6)).unwrap();
    for id in [1, 2, 3] {
        detector.post(id);
    }
    let messages = read(&mut reader, 7, LONG).await;
    assert_eq!(ids(&messages), [1, 2, 5, 6, 1, 2, 3]);
    let start = |k: usize| header(&messages[k], headers::SERIES_START);
    assert_eq!(start(0), start(3));
    assert_ne!(start(3), start(4));
    until(&source, "/gap_frames/upstream", 2).await;
    let (pv, _) = stats(&source).await;
    assert_eq!(
        (pv["series"].as_u64(), pv["skipped"]["duplicate"].as_u64()),
        (Some(2), Some(1))
    );
    // The first update of the idle PV is none.
    assert_eq!(pv["skipped"]["idle"].as_u64(), Some(1));
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn the_oldest_unread_frame_goes_and_no_unacked_one() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--queue-size", "4", "--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in 1..=3 {
        detector.post(id);
    }
    let held = read(&mut reader, 3, LONG).await;
    for id in 4..=20 {
        detector.post(id);
        until(&source, "/frames", id as u64).await;
    }
    until(&source, "/dropped", 13).await;
    let newest = read(&mut reader, 4, LONG).await;
    assert_eq!(ids(&newest), [17, 18, 19, 20]);
    reader.ack(offsets(&newest)).await.unwrap();
    let nacks = offsets(&held).into_iter().map(|offset| Nack {
        offset,
        delay: None,
    });
    reader.nack(nacks.collect()).await.unwrap();
    let again = read(&mut reader, 3, LONG).await;
    assert_eq!(ids(&again), [1, 2, 3]);
    assert!(
        again
            .iter()
            .all(|message| header(message, headers::DELIVERY) == "2")
    );
    assert_eq!(again[0].datum.value, held[0].datum.value);
    reader.ack(offsets(&again)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn what_a_killed_reader_had_comes_again() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in 1..=2 {
        detector.post(id);
    }
    until_pending(&reader, 2).await;
    // It reads, and goes in the middle: two of three frames have come.
    let reading = tokio::time::timeout(Duration::from_millis(200), reader.read(3, LONG));
    assert!(reading.await.is_err());
    drop(reader);
    eventually("the loss of the reader", || {
        source.said("The reader has gone in mid-read")
    })
    .await;
    let mut reader = connect(&source).await;
    let again = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&again), [1, 2]);
    reader.ack(offsets(&again)).await.unwrap();
    assert!(read(&mut reader, 1, SHORT).await.is_empty());
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn a_detector_that_comes_back_goes_on_and_its_gap_is_told() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    detector.post(1);
    detector.post(2);
    let before = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&before), [1, 2]);
    reader.ack(offsets(&before)).await.unwrap();
    let (port, time) = (detector.server.tcp_port(), detector.time);
    drop(detector);
    eventually("the loss of the connection", || {
        source.said("The connection is lost")
    })
    .await;
    let mut detector = Detector::start_at(port);
    detector.time = time;
    until(&source, "/connections", 2).await;
    detector.post(5);
    detector.post(6);
    let after = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&after), [5, 6]);
    reader.ack(offsets(&after)).await.unwrap();
    until(&source, "/gap_frames/connection", 2).await;
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_in_words() {
    let mut detector = Detector::start();
    let flags = ["--max-frame-bytes", "23", "--queue-bytes", "10000"];
    let source = source(&detector, &flags).await;
    detector.post(1);
    until(&source, "/skipped/too_large", 1).await;
    eventually("the reason", || {
        source.said("exceeds the limit of 23 bytes: raise --max-frame-bytes")
    })
    .await;
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn flags_that_disagree_are_refused_in_one_line() {
    for (flags, words) in [
        (
            &["--input-channel", "a,b,a"][..],
            "--input-channel: 'a' is not allowed: the PV is in the list twice",
        ),
        (
            &["--input-channel", "a,b,c", "--server", "x,y"],
            "--server: ",
        ),
        (&["--max-frame-bytes", "2GiB"], "--max-frame-bytes: "),
        (&["--position-x", "PosX*um"], "--position-x"),
        (&["--initial", "sometimes"], "--initial"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
            .arg("pva-source")
            .args(flags)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(words) && told.lines().count() == 1, "{told}");
    }
}

#[tokio::test]
async fn the_metrics_are_those_that_the_readme_lists() {
    let mut detector = Detector::start();
    let source = source(&detector, &[]).await;
    detector.post(1);
    until(&source, "/frames", 1).await;
    let text = get(&source.http_address(), "/metrics").await;
    let names = |text: &str, prefix: &str, end: char| {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.split_once(end));
        let mut names: Vec<_> = lines.map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    };
    let told = names(&text, "# TYPE beamflow_source_", ' ');
    let readme = include_str!("../../README.md");
    let listed = names(readme, "| `beamflow_source_", '`');
    let listed: Vec<_> = listed
        .iter()
        .map(|name| name.split('{').next().unwrap())
        .collect();
    assert_eq!(told, listed);
    for name in [
        "frames_total",
        "connected",
        "skipped_total",
        "gap_frames_total",
    ] {
        assert!(
            text.contains(&format!("beamflow_source_{name}{{pv=\"{PV}\"")),
            "{name}"
        );
    }
    source.stop().await;
}
