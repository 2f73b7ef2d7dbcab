//! A detector for tests, a source that follows it, and what its `/stats` say.
//!
//! The detector is this project's own PVA server, on a private port; nothing is sent to the network.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::served::get;
use crate::black_box::source::Source;
use beamflow::frame::{Dtype, FrameShape};
use beamflow::pva::{Attribute, Image, ImagePv, NewImage, Server, ServerOptions};
use beamflow::vertex::client::Message;
use serde_json::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const LONG: Duration = Duration::from_secs(60);
pub const PV: &str = "test:image";
const SHAPE: FrameShape = FrameShape {
    height: 3,
    width: 4,
};

/// A detector: a server with one PV.
pub struct Detector {
    pub server: Server,
    pub pv: ImagePv,
    /// When its frames are taken, in ns since 1970.
    pub time: i64,
}

impl Detector {
    pub fn start() -> Self {
        Self::start_at(0)
    }

    pub fn start_at(tcp_port: u16) -> Self {
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
    pub fn post(&mut self, id: i32) {
        self.time += 1_000_000;
        self.pv.post(&self.frame(id)).unwrap();
    }

    pub fn frame(&self, id: i32) -> NewImage {
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
pub async fn source(detector: &Detector, flags: &[&str]) -> Source {
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
pub async fn stats(source: &Source) -> (Value, Value) {
    let stats: Value =
        serde_json::from_str(&get(&source.http_address().await, "/stats").await).unwrap();
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
