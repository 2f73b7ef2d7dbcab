//! The source's process, its reader, and what it says of itself.

use super::NEVER;
use super::detector::PV;
use beamflow::vertex::client::{Message, Nack, Offset, Source};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// See the module documentation.
pub struct Process {
    child: Child,
    reader: Option<Source>,
    /// The address of the detector, and the frames that are kept.
    of: (String, usize),
    http: String,
    folder: tempfile::TempDir,
}

/// An answer to `/stats`.
#[derive(Debug)]
pub struct Stats(Value);

impl Stats {
    /// A count of the PV.
    pub fn pv(&self, name: &str) -> u64 {
        self.0["pvs"][0][name].as_u64().unwrap()
    }

    /// The sum of the PV's counts by reason.
    pub fn sum(&self, name: &str) -> u64 {
        let counts = self.0["pvs"][0][name].as_object().unwrap();
        counts.values().map(|count| count.as_u64().unwrap()).sum()
    }

    fn book(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap()
    }

    pub fn newest(&self) -> Option<i32> {
        let number = self.0.pointer("/pvs/0/newest/number")?;
        number.as_i64()?.try_into().ok()
    }

    /// Frames that the source still has.
    pub fn pending(&self) -> u64 {
        ["unread", "unacked", "waiting"]
            .map(|name| self.book(name))
            .iter()
            .sum()
    }

    fn is_connected(&self) -> bool {
        self.0.pointer("/pvs/0/peer").is_some_and(Value::is_string)
    }

    pub fn check_books(&self) {
        let states = ["acked", "dropped"]
            .map(|name| self.book(name))
            .iter()
            .sum::<u64>();
        assert_eq!(self.book("taken"), states + self.pending(), "{self:?}");
        assert_eq!(self.pv("frames"), self.book("taken"), "{self:?}");
        assert_eq!(
            self.pv("updates"),
            self.pv("frames") + self.sum("skipped"),
            "{self:?}"
        );
    }
}

impl Process {
    pub async fn start(server: &str, queue: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_beamflow"))
            .args(["pva-source", "--input-channel", PV, "--server", server])
            .args([
                "--queue-size",
                &queue.to_string(),
                "--http-address",
                "127.0.0.1:0",
            ])
            .args(["--linger", "off", "--ack-timeout", "off"])
            // Less than a burst, so that the server leaves updates out.
            .args(["--server-queue-size", "200"])
            .arg("--sock-path")
            .arg(folder.path().join("sock"))
            .arg("--server-info-path")
            .arg(folder.path().join("info"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut process = Self {
            child,
            reader: None,
            of: (server.to_owned(), queue),
            http: String::new(),
            folder,
        };
        process.http = process.address().await;
        process.reconnect().await;
        process
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn address(&self) -> String {
        let told = || {
            let log = std::fs::read_to_string(self.path("log")).ok()?;
            let (_, rest) = log.split_once("served over HTTP. address=")?;
            let (address, _) = rest.split_once(char::is_whitespace)?;
            Some(address.to_owned())
        };
        let waiting = async {
            loop {
                if let Some(address) = told() {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(NEVER, waiting).await;
        waited.expect("the address of the metrics")
    }

    /// A new reader in place of the old one, which hangs up.
    pub async fn reconnect(&mut self) {
        self.reader = None;
        let [sock, info] = ["sock", "info"].map(|name| self.path(name));
        self.reader = Some(Source::wait_ready(&info, &sock, NEVER).await.unwrap());
    }

    /// SIGKILL; another source of the same PV takes its place.
    pub async fn replaced(&mut self) -> Self {
        self.child.kill().await.unwrap();
        Self::start(&self.of.0, self.of.1).await
    }

    pub async fn stop(&mut self) {
        self.reader = None;
        let pid = Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(NEVER, self.child.wait()).await;
        let log = std::fs::read_to_string(self.path("log")).unwrap();
        assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{log}");
    }

    pub async fn stats(&self) -> Stats {
        stats(&self.http).await
    }

    /// Waits until the stats are as wanted.
    pub async fn until(&self, wanted: impl Fn(&Stats) -> bool) -> Stats {
        until(&self.http, wanted).await
    }

    /// Waits until the PV is connected and the first update of the connection has come: `before` came earlier.
    pub async fn connected(&self, before: u64) -> Stats {
        let is_there = |stats: &Stats| stats.is_connected() && stats.pv("updates") > before;
        self.until(is_there).await
    }

    /// Waits until the source knows that the connection is lost.
    pub async fn lost(&self) -> Stats {
        self.until(|stats| !stats.is_connected()).await
    }

    pub async fn read(&mut self, count: usize) -> Vec<Message> {
        let reader = self.reader.as_mut().unwrap();
        let read = tokio::time::timeout(NEVER, reader.read(count, Duration::from_millis(5))).await;
        read.expect("the read ends").unwrap()
    }

    /// Begins a read that cannot come to its end, and leaves it when the source has given it frames, if there are any.
    pub async fn begin_read(&mut self) {
        let reader = self.reader.as_mut().unwrap();
        let has_frames = |stats: &Stats| stats.book("unacked") > 0 || stats.pending() == 0;
        tokio::select! {
            read = reader.read(1_000_000, NEVER) => panic!("there are not so many frames: {read:?}"),
            _ = until(&self.http, has_frames) => {}
        }
    }

    pub async fn ack(&mut self, offsets: Vec<Offset>) {
        if !offsets.is_empty() {
            self.reader.as_mut().unwrap().ack(offsets).await.unwrap();
        }
    }

    pub async fn nack(&mut self, nacks: Vec<(Offset, Option<Duration>)>) {
        if !nacks.is_empty() {
            let nacks = nacks
                .into_iter()
                .map(|(offset, delay)| Nack { offset, delay });
            self.reader
                .as_mut()
                .unwrap()
                .nack(nacks.collect())
                .await
                .unwrap();
        }
    }
}

async fn stats(address: &str) -> Stats {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /stats HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    Stats(serde_json::from_str(body).unwrap())
}

async fn until(address: &str, wanted: impl Fn(&Stats) -> bool) -> Stats {
    let waiting = async {
        loop {
            let stats = stats(address).await;
            if wanted(&stats) {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(NEVER, waiting).await {
        Ok(stats) => stats,
        Err(_) => panic!("it does not come: {:?}", stats(address).await),
    }
}
