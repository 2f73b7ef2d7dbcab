//! `beamflow simulate-source` as numa sees it: the source protocol over a real socket, with the real program.

/// Numa's side of the source protocol.
mod reader;

use crate::black_box::common::{Host, NEVER, eventually};
use beamflow::lab::Raster;
use beamflow::lab::experiment;
use beamflow::vertex::client::Datum;
use numaflow::proto::source::read_response::Result as Message;
use reader::{LONG, Reader, ids, offset};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// A source in its own process; killed when dropped.
struct Source {
    process: Child,
    sock: PathBuf,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

impl Source {
    /// Starts the program and waits for its server-info file. The scan has 3 × 3 frames.
    async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sock, log) = (
            folder.path().join("a/source.sock"),
            folder.path().join("log"),
        );
        let info = folder.path().join("sourcer-server-info");
        let mut command = Command::new(PROGRAM);
        for name in [
            "SOURCE_FPS",
            "SOURCE_FRAMES",
            "LOG_FORMAT",
            "DEBUG",
            "RUST_LOG",
        ] {
            command.env_remove(name);
        }
        let process = command
            .env("SOURCE_POINTS", "3")
            .env("NUMAFLOW_REPLICA", "2")
            .arg("simulate-source")
            .arg("--sock-path")
            .arg(&sock)
            .arg("--server-info-path")
            .arg(&info)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let announced = || {
            let text = std::fs::read_to_string(&info).unwrap_or_default();
            text.contains(r#""protocol":"uds""#) && text.ends_with("U+005C__END__")
        };
        eventually("the server-info file", announced).await;
        Self {
            process,
            sock,
            log,
            _folder: folder,
        }
    }

    /// Sends SIGTERM, as Kubernetes does; the program must exit with code 0. Returns its log.
    async fn stop(mut self) -> String {
        let pid = self.process.id().and_then(|id| Pid::from_raw(id as i32));
        kill_process(pid.unwrap(), Signal::TERM).unwrap();
        let ended = tokio::time::timeout(NEVER, self.process.wait()).await;
        let log = std::fs::read_to_string(&self.log).unwrap();
        assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{log}");
        assert!(!self.sock.exists());
        log
    }
}

/// A hundred thousand frames a second, so that no read waits; no more than the buffer holds, so that none is
/// dropped.
const FAST: [&str; 4] = ["--fps", "100000", "--frames", "1000"];

#[tokio::test]
async fn a_read_gives_consecutive_frames_with_headers() {
    let source = Source::start(&FAST).await;
    let mut reader = Reader::connect(&source.sock).await;
    assert!(reader.client.is_ready(()).await.unwrap().into_inner().ready);
    let partitions = reader.client.partitions_fn(()).await.unwrap().into_inner();
    assert_eq!(partitions.result.unwrap().partitions, [2]);
    let messages = reader.read(20, LONG).await;
    assert_eq!(ids(&messages), (1..=20).collect::<Vec<_>>());
    let raster = Raster {
        rows: 3,
        columns: 3,
        ..experiment::RASTER
    };
    let scan = experiment::scan(raster).unwrap();
    let mut offsets = BTreeSet::new();
    let mut before = None;
    for (id, message) in ids(&messages).into_iter().zip(&messages) {
        let counts = scan.frame((id as usize - 1) % 9).unwrap().counts;
        let pixels: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        assert!(message.payload == pixels, "frame {id}");
        assert_eq!(message.headers["x-frame-dtype"], "int16");
        assert_eq!(message.headers["x-frame-shape"], "64x64");
        let time = message.event_time.unwrap();
        let time = (time.seconds, time.nanos);
        assert!(before.is_none_or(|before| before < time));
        before = Some(time);
        assert_eq!(offset(message).partition_id, 2);
        assert!(offsets.insert(offset(message).offset));
    }
    source.stop().await;
}

#[tokio::test]
async fn acked_frames_are_no_longer_pending() {
    let source = Source::start(&["--fps", "100000", "--frames", "50"]).await;
    let mut reader = Reader::connect(&source.sock).await;
    assert_eq!(
        reader.pending().await,
        0,
        "the first read opens the shutter"
    );
    let first = reader.read(10, LONG).await;
    assert_eq!(ids(&first), (1..=10).collect::<Vec<_>>());
    reader.until_pending(50).await;
    reader.ack(&first).await;
    assert_eq!(reader.pending().await, 40);
    let rest = reader.read(40, LONG).await;
    assert_eq!(ids(&rest), (11..=50).collect::<Vec<_>>());
    assert_eq!(reader.pending().await, 40, "read is not yet acked");
    assert!(reader.read(10, 1).await.is_empty());
    reader.ack(&rest).await;
    assert_eq!(reader.pending().await, 0);
    assert!(reader.read(10, 1).await.is_empty());
    let log = source.stop().await;
    let totals = log.lines().last().unwrap();
    for word in [
        "taken=50",
        "read=50",
        "again=0",
        "acked=50",
        "nacked=0",
        "dropped=0",
    ] {
        assert!(totals.contains(word), "{totals}");
    }
    assert!(log.contains("every frame is acked or dropped"), "{log}");
}

#[tokio::test]
async fn a_nacked_frame_comes_again_the_same_and_first() {
    let source = Source::start(&["--fps", "100000", "--frames", "50"]).await;
    let mut reader = Reader::connect(&source.sock).await;
    let first = reader.read(5, LONG).await;
    reader.nack(&first[2..4]).await;
    let second = reader.read(4, LONG).await;
    assert_eq!(ids(&second), [3, 4, 6, 7]);
    assert_eq!(
        second[..2],
        first[2..4],
        "payload, offset, headers, event time"
    );
    reader.ack(&second).await;
    assert_eq!(ids(&reader.read(1, LONG).await), [8]);
    let log = source.stop().await;
    assert!(log.contains("nacked=2") && log.contains("again=2"), "{log}");
}

#[tokio::test]
async fn unread_frames_are_dropped_oldest_first_and_counted() {
    let flags = ["--fps", "100000", "--frames", "50", "--buffer", "5"];
    let source = Source::start(&flags).await;
    let mut reader = Reader::connect(&source.sock).await;
    // Opens the shutter. Which frames are read depends on the machine, but every frame must be read or dropped.
    let mut read = reader.read(1, LONG).await;
    let log = source.log.clone();
    let has_dropped = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("slower than the detector")
    };
    let reading = async {
        while !has_dropped() {
            reader.pending().await;
        }
        while ids(&read).last() != Some(&50) {
            read.extend(reader.read(5, 10).await);
        }
    };
    let waited = tokio::time::timeout(NEVER, reading).await;
    assert!(waited.is_ok(), "no drop, or no frame 50: {:?}", ids(&read));
    assert!(ids(&read).is_sorted_by(|a, b| a < b), "{:?}", ids(&read));
    let log = source.stop().await;
    let totals = [
        format!("read={}", read.len()),
        format!("dropped={}", 50 - read.len()),
    ];
    assert!(read.len() < 50);
    assert!(totals.iter().all(|total| log.contains(total)), "{log}");
}

#[tokio::test]
async fn frames_of_a_lost_reader_go_to_the_next_one() {
    let flags = [
        "--fps",
        "100000",
        "--frames",
        "20",
        "--ack-timeout",
        "500ms",
    ];
    let source = Source::start(&flags).await;
    let mut reader = Reader::connect(&source.sock).await;
    let messages = reader.read(20, LONG).await;
    reader.ack(&messages[..15]).await;
    drop(reader);
    let mut reader = Reader::connect(&source.sock).await;
    let again = reader.read(5, LONG).await;
    assert_eq!(ids(&again), [16, 17, 18, 19, 20]);
    assert_eq!(again, messages[15..]);
    reader.ack(&again).await;
    reader.until_pending(0).await;
    source.stop().await;
}

#[tokio::test]
async fn sigterm_ends_a_waiting_read_with_exit_code_0() {
    let source = Source::start(&["--fps", "100000", "--frames", "1"]).await;
    let mut reader = Reader::connect(&source.sock).await;
    let mut client = reader.client.clone();
    let reading = tokio::spawn(async move { reader.read(2, 3_000_000).await });
    // The first frame is taken after the read has started; there is no second one.
    let begun = async {
        while client
            .pending_fn(())
            .await
            .unwrap()
            .into_inner()
            .result
            .unwrap()
            .count
            == 0
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(NEVER, begun).await.unwrap();
    let log = source.stop().await;
    assert!(log.contains("The source has ended"), "{log}");
    let read = tokio::time::timeout(NEVER, reading).await.unwrap().unwrap();
    assert!(
        read.len() <= 1,
        "the read has come to its end of transmission"
    );
}

#[tokio::test]
async fn a_sidecar_answers_each_frame_of_the_source_once() {
    let source = Source::start(&FAST).await;
    let mut reader = Reader::connect(&source.sock).await;
    let host = Host::start(&["--model-path", "sim:size=64x64"]).await;
    let mut driver = host.driver().await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let messages = reader.read(50, LONG).await;
        let datums: Vec<_> = messages.iter().cloned().map(datum).collect();
        // The driver fails if a datum is answered twice or not at all.
        let answer = driver.call(futures::stream::iter(datums)).await.unwrap();
        assert_eq!(answer.len(), 50);
        for (id, results) in &answer.responses {
            assert_eq!(results.len(), 1);
            assert_eq!(
                crate::black_box::common::values(&results[0].value).len(),
                64 * 64
            );
            assert!(seen.insert(id.clone()), "frame {id} again");
        }
        reader.ack(&messages).await;
    }
    assert_eq!(seen.len(), 150);
    driver.finish().await.unwrap();
    host.stop().await;
    let log = source.stop().await;
    assert!(log.contains("acked=150"), "{log}");
}

/// A source's message as numa forwards it.
fn datum(message: Message) -> Datum {
    Datum {
        id: message.headers["x-txn-id"].clone(),
        keys: message.keys,
        value: message.payload,
        headers: message.headers,
        event_time: message.event_time,
        ..Datum::default()
    }
}

#[tokio::test]
async fn an_occupied_socket_path_is_kept_and_exit_code_1() {
    let source = Source::start(&FAST).await;
    let mut reader = Reader::connect(&source.sock).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    for (path, words) in [(&source.sock, "another process"), (&file, "not a socket")] {
        let second = Command::new(PROGRAM)
            .env_remove("RUST_LOG")
            .env("SOURCE_POINTS", "3")
            .arg("simulate-source")
            .arg("--sock-path")
            .arg(path)
            .arg("--server-info-path")
            .arg(folder.path().join("info"))
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(NEVER, second).await.unwrap().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(reader.read(5, LONG).await.len(), 5);
    Reader::connect(&source.sock).await;
    source.stop().await;
}

#[test]
fn a_mistake_is_one_line_and_exit_code_64() {
    for (flags, words) in [
        (&["--fps", "0"][..], &["--fps", "'0'", "0.001"][..]),
        (
            &["--frame-size", "64x32"],
            &["--frame-size", "64x32", "square"],
        ),
        (&["--ack-timeout", "never"], &["--ack-timeout", "off"]),
        (
            &["--frame-size", "1024x1024", "--points", "100"],
            &["--points", "'100'", "1 GiB"],
        ),
    ] {
        let output = std::process::Command::new(PROGRAM)
            .env_remove("RUST_LOG")
            .arg("simulate-source")
            .args(flags)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{flags:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
