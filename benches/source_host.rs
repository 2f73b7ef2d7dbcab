//! Our host of a source against the SDK's own server: messages per second and CPU time per message, with the same source,
//! which costs no more than the copy of its payload. Each server is a process of its own; they take turns in every round, so
//! that drift of the machine affects both equally.
//!
//! `cargo run --release --example source_host`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use beamflow::vertex::client::Source;
use beamflow::vertex::source::{Server, ServerConfig};
use hyper_util::rt::TokioIo;
use numaflow::shared::ServerExtras;
use numaflow::source::{self, Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UnixStream;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

const SERVERS: [&str; 2] = ["sdk", "ours"];
const ROUNDS: usize = 9;
const READ_BATCH: usize = 64;

/// Always has as many messages as are requested.
struct Endless {
    payload: Vec<u8>,
    given: AtomicU64,
}

#[async_trait::async_trait]
impl Sourcer for Endless {
    async fn read(&self, request: SourceReadRequest, to: Sender<Message>) {
        for _ in 0..request.count {
            let number = self.given.fetch_add(1, Ordering::Relaxed).to_string();
            let headers = [
                ("x-txn-id", &*number),
                ("x-frame-dtype", "int16"),
                ("x-frame-shape", "512x512"),
            ];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let message = Message {
                value: self.payload.clone(),
                offset: Offset {
                    offset: number.into_bytes(),
                    partition_id: 0,
                },
                event_time: SystemTime::now().into(),
                keys: Vec::new(),
                headers: HashMap::from(headers),
                user_metadata: None,
            };
            if to.send(message).await.is_err() {
                return;
            }
        }
    }

    async fn ack(&self, _: Vec<Offset>) {}

    async fn nack(&self, _: Vec<NackOffset>) {}

    async fn pending(&self) -> Option<usize> {
        None
    }
}

fn paths(folder: &Path) -> [PathBuf; 2] {
    ["sock", "info"].map(|name| folder.join(name))
}

async fn serve(server: &str, folder: &Path, bytes: usize) {
    let source = Endless {
        payload: vec![7; bytes],
        given: AtomicU64::new(0),
    };
    let [sock_path, server_info_path] = paths(folder);
    if server == "sdk" {
        let server = source::Server::new(source)
            .with_socket_file(sock_path)
            .with_server_info_file(server_info_path);
        return server.start().await.unwrap();
    }
    let config = ServerConfig {
        sock_path,
        server_info_path,
        ..ServerConfig::default()
    };
    let server = Server::new(Arc::new(source), config, || 0);
    server.serve(CancellationToken::new()).await.unwrap();
}

/// A connection with tonic's settings: the reader's, not the server's, bound the frames that a server sends.
async fn as_numa(sock: PathBuf) -> Channel {
    let connect = tower::service_fn(move |_: Uri| {
        let sock = sock.clone();
        async move { UnixStream::connect(sock).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::try_from("http://source.local").unwrap();
    endpoint.connect_with_connector(connect).await.unwrap()
}

/// A server that is connected.
struct Subject {
    child: Child,
    client: Source,
    _folder: tempfile::TempDir,
}

impl Subject {
    async fn start(server: &str, bytes: usize, has_large_frames: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command
            .arg(server)
            .arg(folder.path())
            .arg(bytes.to_string());
        let child = command.spawn().unwrap();
        let [sock, info] = paths(folder.path());
        let client = Source::wait_ready(&info, &sock, Duration::from_secs(30)).await;
        let client = match has_large_frames {
            true => client.unwrap(),
            false => Source::over(as_numa(sock).await).await.unwrap(),
        };
        Self {
            child,
            client,
            _folder: folder,
        }
    }

    /// CPU time of the process.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = tasks.map(|task| {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let first = text.split(' ').next().unwrap();
            first.parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Messages per second, and microseconds of CPU per message.
    async fn round(&mut self, reads: usize) -> [f64; 2] {
        let (before, begun) = (self.cpu(), Instant::now());
        for _ in 0..reads {
            let read = self.client.read(READ_BATCH, Duration::from_secs(10)).await;
            let offsets = read.unwrap().into_iter().map(|message| message.offset);
            self.client.ack(offsets.collect()).await.unwrap();
        }
        let messages = (reads * READ_BATCH) as f64;
        let (cpu, time) = (self.cpu() - before, begun.elapsed());
        [
            messages / time.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / messages,
        ]
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn compare(bytes: usize, reads: usize, has_large_frames: bool) {
    let mut subjects = Vec::new();
    for server in SERVERS {
        let mut subject = Subject::start(server, bytes, has_large_frames).await;
        subject.round(reads / 4).await;
        subjects.push(subject);
    }
    // Per server, per figure.
    let mut figures = vec![[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..ROUNDS {
        for (subject, figures) in subjects.iter_mut().zip(&mut figures) {
            let [speed, cpu] = subject.round(reads).await;
            figures[0].push(speed);
            figures[1].push(cpu);
        }
    }
    let ratio = |figure: usize| {
        let pairs = figures[1][figure].iter().zip(&figures[0][figure]);
        median(pairs.map(|(ours, sdk)| ours / sdk).collect())
    };
    println!(
        "{} KiB, {}: messages/s, ours ÷ SDK's {:.2}; CPU per message, ours ÷ SDK's {:.2}",
        bytes >> 10,
        match has_large_frames {
            true => "a reader with large frames",
            false => "a reader with tonic's settings",
        },
        ratio(0),
        ratio(1)
    );
    for (server, [speed, cpu]) in SERVERS.iter().zip(figures) {
        println!(
            "  {server}: {:.0} messages/s, {:.0} µs of CPU per message",
            median(speed),
            median(cpu)
        );
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [server, folder, bytes] = &arguments[..] {
        return serve(server, Path::new(folder), bytes.parse().unwrap()).await;
    }
    for has_large_frames in [false, true] {
        compare(512 << 10, 30, has_large_frames).await;
        compare(32 << 10, 200, has_large_frames).await;
    }
}
