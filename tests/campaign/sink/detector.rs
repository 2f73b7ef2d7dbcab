//! The PV: this project's own PVA server, on a private port; and which frames it has posted.

use beamflow::frame::{Dtype, FrameShape};
use beamflow::pva::{Attribute, Image, ImagePv, NewImage, Server, ServerOptions};
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub const PV: &str = "campaign:image";

/// Pixels along each side.
const SIDE: usize = 8;

/// What a frame is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub id: i32,
    /// `dataTimeStamp`, in ns since 1970.
    pub time: i64,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It has a position on the canvas.
    Good,
    Unpositioned,
    /// Its position is far away.
    Outside,
    /// The map rejects it.
    Odd,
}

/// A frame that was posted.
#[derive(Clone, Copy, Debug)]
pub struct Posted {
    pub kind: Kind,
    /// Counted from 0.
    pub series: u64,
}

/// See the module documentation.
pub struct Detector {
    _server: Server,
    pv: ImagePv,
    port: u16,
    id: i32,
    time: i64,
    last: i32,
    series: u64,
    updates: u64,
    posted: HashMap<Key, Posted>,
}

/// The kind of a frame follows from when it was taken.
fn kind(key: Key) -> Kind {
    match (key.time / 1_000_000) % 50 {
        0 | 1 => Kind::Unpositioned,
        2 => Kind::Outside,
        3 => Kind::Odd,
        _ => Kind::Good,
    }
}

impl Detector {
    pub fn start() -> Self {
        let server = Server::start(&ServerOptions {
            tcp_port: Some(0),
            ..ServerOptions::loopback()
        });
        let server = server.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            pv: server.image(PV).unwrap(),
            port: server.tcp_port(),
            _server: server,
            id: 0,
            time: now.as_nanos() as i64,
            last: 0,
            series: 0,
            updates: 0,
            posted: HashMap::new(),
        }
    }

    pub fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// The number of the frame that was posted last.
    pub const fn last(&self) -> i32 {
        self.last
    }

    pub fn posted(&self, key: Key) -> Posted {
        self.posted[&key]
    }

    fn next(&mut self) -> Key {
        self.id += 1;
        self.time += 1_000_000;
        Key {
            id: self.id,
            time: self.time,
        }
    }

    fn send(&mut self, key: Key) {
        let kind = kind(key);
        // An odd frame is wider.
        let shape = FrameShape {
            height: SIDE,
            width: SIDE + usize::from(kind == Kind::Odd),
        };
        let pixels = (0..shape.height * shape.width).flat_map(|pixel| {
            let value = (i64::from(key.id) + pixel as i64) % 1_000;
            (value as u16).to_le_bytes()
        });
        // Rows of 100 points, 4 pixels apart.
        let metres = |steps: i32| f64::from(steps) * 4e-8;
        let (x, y) = match kind {
            Kind::Outside => (1.0, 1.0),
            _ => (metres(key.id % 100), metres(key.id / 100 % 100)),
        };
        let attributes = match kind {
            Kind::Unpositioned => Vec::new(),
            _ => [("PositionX", x), ("PositionY", y)]
                .map(|(name, value)| (name.to_owned(), Attribute::Number(value)))
                .into(),
        };
        let image = NewImage {
            image: Image {
                pixels: pixels.collect::<Vec<u8>>().into(),
                dtype: Dtype::U16,
                shape,
                codec: None,
            },
            unique_id: key.id,
            data_time_stamp: key.time,
            attributes,
        };
        self.pv.post(&image).unwrap();
        self.last = key.id;
        self.updates += 1;
        let series = self.series;
        let known = self.posted.insert(key, Posted { kind, series });
        assert!(known.is_none(), "the test posts {key:?} twice");
    }

    pub fn post(&mut self) {
        let key = self.next();
        self.send(key);
    }

    /// Takes a frame and does not post it.
    pub fn lose(&mut self) {
        self.next();
    }

    /// Posts the last frame once more.
    pub fn repeat(&mut self) {
        self.pv.repeat().unwrap();
        self.updates += 1;
    }

    /// Posts two frames, the later one first.
    pub fn swap(&mut self) {
        let (first, second) = (self.next(), self.next());
        self.send(second);
        self.send(first);
    }

    /// The ids begin at 1.
    pub fn reset(&mut self) {
        self.id = 0;
        self.series += 1;
    }
}
