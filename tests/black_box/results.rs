//! Results for tests of the sinks, a `pva-sink` that takes them, and a viewer of its PVs.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::served::get;
use crate::black_box::source::Source;
use beamflow::frame::{FrameShape, headers};
use beamflow::pva::{Content, Event, Image, Monitor, MonitorOptions, ReadOptions, Update};
use beamflow::vertex::client::{Datum, Sink, Verdict};
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shape of all results.
pub const SHAPE: FrameShape = FrameShape {
    height: 2,
    width: 3,
};

/// A program that is a sink.
pub type Sinking = Source;

/// Starts `pva-sink` on this machine, on free ports unless `flags` name others.
pub async fn pva_sink(flags: &[&str]) -> Sinking {
    let mut all = vec!["--bind", "127.0.0.1", "--http-address", "127.0.0.1:0"];
    for port in ["--tcp-port", "--udp-port"] {
        if !flags.contains(&port) {
            all.extend([port, "0"]);
        }
    }
    all.extend(flags);
    Source::start_as("pva-sink", &all).await
}

/// Numa's end of a sink.
pub async fn connect(sink: &Sinking) -> Sink {
    Sink::wait_ready(&sink.info, &sink.sock, NEVER)
        .await
        .unwrap()
}

/// Writes a batch, each message of which must be written.
pub async fn write(numa: &mut Sink, batch: &[Datum]) {
    let written = tokio::time::timeout(NEVER, numa.write(batch)).await;
    let verdicts = written.expect("the batch is answered").unwrap();
    assert_eq!(verdicts, vec![Verdict::Written; batch.len()]);
}

/// Now, in ns since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_nanos() as i64
}

/// Results of one scan.
pub struct Scan {
    /// When frame 0 was taken; a frame takes 1 ms.
    pub start: i64,
    pub pv: &'static str,
}

impl Scan {
    /// A scan that began 10 s ago.
    pub fn new() -> Self {
        Self {
            start: now() - 10_000_000_000,
            pv: "13SIM1:Pva1:Image",
        }
    }

    pub fn time(&self, number: u64) -> i64 {
        self.start + number as i64 * 1_000_000
    }

    /// The result of a frame, as a map of this project gives it and numa hands it on.
    pub fn result(&self, number: u64, output: &str) -> Datum {
        let metadata = [
            ("output", output),
            ("model", "ptycho"),
            ("version", "abc123"),
            ("engine", "ONNX in fp16"),
        ];
        let id = format!("vertex-{number}-{output}-{}", self.start);
        let mut datum = Datum::new(id, npy(&values(number)));
        for (name, value) in [
            (headers::TXN_ID, number.to_string()),
            (headers::PV, self.pv.to_owned()),
            (headers::SERIES_START, self.start.to_string()),
            (headers::FRAME_TIME, self.time(number).to_string()),
            (headers::POSITION_X, "0.000002".to_owned()),
            (headers::POSITION_Y, "-1e-6".to_owned()),
            (headers::SCAN, "scan 7".to_owned()),
        ] {
            datum = datum.with_header(name, value);
        }
        datum.metadata = Some(notes(&metadata));
        datum
    }
}

/// Metadata of the group of this project.
pub fn notes(notes: &[(&str, &str)]) -> Metadata {
    let note = |(key, value): &(&str, &str)| ((*key).to_owned(), value.as_bytes().to_vec());
    let key_value = notes.iter().map(note).collect();
    Metadata {
        user_metadata: HashMap::from([("beamflow".to_owned(), KeyValueGroup { key_value })]),
        ..Metadata::default()
    }
}

/// The values of a result.
pub fn values(number: u64) -> [f32; 6] {
    std::array::from_fn(|k| number as f32 + k as f32 / 8.0)
}

pub fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Values as numpy writes them.
pub fn npy(values: &[f32]) -> Vec<u8> {
    let shape = format!("({}, {})", SHAPE.height, SHAPE.width);
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
    file.extend(dict.as_bytes());
    file.resize(127, b' ');
    file.push(b'\n');
    file.extend(bytes(values));
    file
}

/// The port that the program says it has.
pub async fn port(sink: &Sinking, name: &str) -> u16 {
    let told = || {
        let log = sink.log_text();
        let mut words = log.split_inclusive(char::is_whitespace);
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.strip_suffix(char::is_whitespace)?.parse().ok())
    };
    eventually("the port", || told().is_some()).await;
    told().unwrap()
}

/// A viewer of one PV, whose queues are longer than all that is posted to it.
pub struct Viewer(Monitor);

impl Viewer {
    /// A viewer that is connected and has seen what the PV holds.
    pub async fn of(sink: &Sinking, pv: &str) -> (Self, Update) {
        let mut viewer = Self::start(port(sink, "tcp_port").await, pv);
        let first = viewer.update().await;
        (viewer, first)
    }

    pub fn start(tcp_port: u16, pv: &str) -> Self {
        let names = [
            "ColorMode",
            "SourcePV",
            "SeriesStart",
            "Scan",
            "PositionX",
            "PositionY",
            "LatencyMs",
            "Model",
            "ModelVersion",
            "Placed",
            "Missing",
            "Unpositioned",
            "Outside",
            "PixelSize",
            "OriginX",
            "OriginY",
            "Final",
        ];
        Self(Monitor::new(MonitorOptions {
            server: Some(format!("tcp://127.0.0.1:{tcp_port}").parse().unwrap()),
            server_queue: 1_000,
            queue: 1_000,
            watchdog: None,
            read: ReadOptions {
                attributes: names.map(str::to_owned).into(),
                ..ReadOptions::default()
            },
            ..MonitorOptions::new(pv)
        }))
    }

    pub async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(NEVER, self.0.next()).await;
        event.expect("nothing happens")
    }

    pub async fn update(&mut self) -> Update {
        loop {
            if let Event::Update(update) = self.event().await {
                return *update;
            }
        }
    }

    /// The numbers of the next images.
    pub async fn numbers(&mut self, count: usize) -> Vec<i64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            numbers.push(self.update().await.unique_id.unwrap());
        }
        numbers
    }
}

/// The image of an update.
pub fn image(update: &Update) -> &Image {
    match &update.content {
        Content::Image(image) => image,
        other => panic!("{other:?}"),
    }
}

/// What `/stats` say.
pub async fn stats(sink: &Sinking) -> Value {
    serde_json::from_str(&get(&sink.http_address().await, "/stats").await).unwrap()
}

/// Waits until a count of `/stats` is `wanted`.
pub async fn until(sink: &Sinking, name: &str, wanted: u64) {
    let waiting = async {
        while stats(sink).await.pointer(name).and_then(Value::as_u64) != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(NEVER, waiting).await;
    assert!(
        waited.is_ok(),
        "{name} is not {wanted}: {}",
        sink.log_text()
    );
}

/// The books balance: every result is a duplicate, without a PV, or in one state of its output.
pub async fn balanced(sink: &Sinking) {
    let stats = stats(sink).await;
    let of = |value: &Value, name: &str| value[name].as_u64().unwrap();
    let outputs = stats["outputs"].as_array().unwrap();
    let mut all = of(&stats, "duplicates") + of(&stats, "unserved");
    for output in outputs {
        let states = ["posted", "superseded", "late", "refused", "held"];
        let states: u64 = states.iter().map(|state| of(output, state)).sum();
        assert_eq!(of(output, "results"), states, "{output}");
        all += states;
    }
    assert_eq!(of(&stats, "results"), all, "{stats}");
}

/// Waits until the program has said something.
pub async fn says(sink: &Sinking, words: &str) {
    eventually(words, || sink.said(words)).await;
}
