//! The PV: this project's own PVA server, on a private port; and which frames it has posted.

use super::account::{Account, Key};
use beamflow::frame::{Dtype, FrameShape};
use beamflow::pva::{Image, ImagePv, NewImage, Server, ServerOptions};
use std::time::{SystemTime, UNIX_EPOCH};

pub const PV: &str = "campaign:image";

const SHAPE: FrameShape = FrameShape {
    height: 1,
    width: 4,
};

/// See the module documentation.
pub struct Detector {
    server: Option<(Server, ImagePv)>,
    port: u16,
    /// Of the last frame.
    id: i32,
    /// When it was taken, in ns since 1970.
    time: i64,
    last: i32,
    updates: u64,
    /// In this life of the source: frames that were posted, and ids that were not.
    posted: u64,
    left_out: u64,
}

/// The pixels of a frame follow from what it is called.
pub fn pixels(key: Key) -> Vec<u8> {
    let Key { id, time } = key;
    [i64::from(id), time / 1_000, time, !time]
        .iter()
        .flat_map(|part| (*part as u16).to_le_bytes())
        .collect()
}

fn serve(port: u16) -> (Server, ImagePv) {
    let options = ServerOptions {
        tcp_port: Some(port),
        ..ServerOptions::loopback()
    };
    let server = Server::start(&options).unwrap();
    let pv = server.image(PV).unwrap();
    (server, pv)
}

impl Detector {
    pub fn start() -> Self {
        let (server, pv) = serve(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            port: server.tcp_port(),
            server: Some((server, pv)),
            id: 0,
            time: now.as_nanos() as i64,
            last: 0,
            updates: 0,
            posted: 0,
            left_out: 0,
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

    /// Frames that were posted in this life of the source, and ids that were left out between them.
    pub const fn truth(&self) -> (u64, u64) {
        (self.posted, self.left_out)
    }

    pub fn new_life(&mut self) {
        (self.posted, self.left_out) = (0, 0);
    }

    fn next(&mut self) -> Key {
        self.id += 1;
        self.time += 1_000_000;
        Key {
            id: self.id,
            time: self.time,
        }
    }

    fn send(&mut self, key: Key, account: &mut Account) {
        let (_, pv) = self.server.as_ref().unwrap();
        let image = NewImage {
            image: Image {
                pixels: pixels(key).into(),
                dtype: Dtype::U16,
                shape: SHAPE,
                codec: None,
            },
            unique_id: key.id,
            data_time_stamp: key.time,
            attributes: Vec::new(),
        };
        pv.post(&image).unwrap();
        self.last = key.id;
        self.updates += 1;
        self.posted += 1;
        account.posted(key);
    }

    pub fn post(&mut self, account: &mut Account) {
        let key = self.next();
        self.send(key, account);
    }

    /// Takes a frame and does not post it.
    pub fn lose(&mut self) {
        self.next();
        self.left_out += 1;
    }

    /// Posts the last frame once more.
    pub fn repeat(&mut self) {
        let (_, pv) = self.server.as_ref().unwrap();
        pv.repeat().unwrap();
        self.updates += 1;
    }

    /// Posts two frames, the later one first.
    pub fn swap(&mut self, account: &mut Account) {
        let (first, second) = (self.next(), self.next());
        self.send(second, account);
        self.send(first, account);
    }

    /// The server goes.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// It is back on its port, with so many frames taken meanwhile.
    pub fn restart(&mut self, missed: u64) {
        self.server = Some(serve(self.port));
        for _ in 0..missed {
            self.lose();
        }
    }

    /// The ids begin at 1.
    pub fn reset(&mut self) {
        self.id = 0;
    }
}
