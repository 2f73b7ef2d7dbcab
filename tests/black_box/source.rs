//! `beamflow simulate-source` as numa sees it: the source protocol over a real socket, with the real program.

use crate::black_box::common::{Host, NEVER, eventually};
use beamflow::lab::Raster;
use beamflow::lab::experiment;
use beamflow::vertex::client::{Message, Nack, Offset, Source as Reader};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// A timeout that no successful read reaches.
const LONG: Duration = Duration::from_secs(60);

/// A timeout for a read that gets nothing.
const SHORT: Duration = Duration::from_millis(1);

pub async fn connect(source: &Source) -> Reader {
    Reader::connect(&source.sock).await.unwrap()
}

/// One read.
pub async fn read(reader: &mut Reader, count: usize, timeout: Duration) -> Vec<Message> {
    let read = tokio::time::timeout(NEVER, reader.read(count, timeout)).await;
    read.expect("the read ends").unwrap()
}

pub fn offsets(messages: &[Message]) -> Vec<Offset> {
    messages
        .iter()
        .map(|message| message.offset.clone())
        .collect()
}

/// The number of pending frames that the source reports.
pub async fn pending(reader: &Reader) -> u64 {
    reader.pending().await.unwrap().unwrap()
}

/// Waits until `wanted` frames are pending.
pub async fn until_pending(reader: &Reader, wanted: u64) {
    let waiting = async {
        while pending(reader).await != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(NEVER, waiting).await;
    assert!(waited.is_ok(), "timeout: {wanted} frames are not pending");
}

/// The frame numbers of messages.
pub fn ids(messages: &[Message]) -> Vec<u64> {
    let id = |message: &Message| message.datum.headers["x-txn-id"].parse().unwrap();
    messages.iter().map(id).collect()
}

/// A source in its own process; killed when dropped.
#[cfg_attr(
    not(feature = "pva"),
    allow(dead_code, reason = "tests of the PVA source use it all")
)]
pub struct Source {
    process: Child,
    pub sock: PathBuf,
    pub info: PathBuf,
    log: PathBuf,
    command: String,
    folder: tempfile::TempDir,
}

#[cfg_attr(
    not(feature = "pva"),
    allow(dead_code, reason = "tests of the PVA source use it all")
)]
impl Source {
    /// Starts `simulate-source`. The scan has 3 × 3 frames.
    async fn start(flags: &[&str]) -> Self {
        Self::start_as("simulate-source", flags).await
    }

    /// Starts a command that is a source, and waits for its server-info file.
    pub async fn start_as(name: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), name, flags).await
    }

    /// SIGKILL; then the same command on the same socket.
    pub async fn killed_and_started(mut self, flags: &[&str]) -> Self {
        self.process.kill().await.unwrap();
        // It would be taken for that of the new process.
        std::fs::remove_file(&self.info).unwrap();
        Self::start_in(self.folder, &self.command, flags).await
    }

    async fn start_in(folder: tempfile::TempDir, name: &str, flags: &[&str]) -> Self {
        let (sock, log) = (
            folder.path().join("a/source.sock"),
            folder.path().join("log"),
        );
        let info = folder.path().join("sourcer-server-info");
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["SOURCE_", "PVA_", "FILE_", "EPICS_"]
                .iter()
                .any(|own| text.starts_with(own))
            {
                command.env_remove(&name);
            }
        }
        for name in ["LOG_FORMAT", "DEBUG", "RUST_LOG"] {
            command.env_remove(name);
        }
        let process = command
            .env("SOURCE_POINTS", "3")
            // A read ends at its count or its time alone, however slow this machine is.
            .env("SOURCE_LINGER", "off")
            .env("NUMAFLOW_REPLICA", "2")
            .arg(name)
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
            info,
            log,
            command: name.to_owned(),
            folder,
        }
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn said(&self, words: &str) -> bool {
        self.log_text().contains(words)
    }

    /// The address of its HTTP server.
    pub async fn http_address(&self) -> String {
        let told = || {
            let log = self.log_text();
            let (_, rest) = log.split_once("served over HTTP. address=")?;
            let (address, _) = rest.split_once(char::is_whitespace)?;
            Some(address.to_owned())
        };
        eventually("the address", || told().is_some()).await;
        told().unwrap()
    }

    #[cfg(feature = "hdf5")]
    /// Sends SIGKILL, and waits until the program is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// Sends SIGTERM, as Kubernetes does; the program must exit with code 0. Returns its log.
    pub async fn stop(mut self) -> String {
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
    let mut reader = connect(&source).await;
    assert!(reader.is_ready().await.unwrap());
    assert_eq!(reader.partitions().await.unwrap(), [2]);
    let messages = read(&mut reader, 20, LONG).await;
    assert_eq!(ids(&messages), (1..=20).collect::<Vec<_>>());
    let raster = Raster {
        rows: 3,
        columns: 3,
        ..experiment::RASTER
    };
    let scan = experiment::scan(raster).unwrap();
    let mut seen = BTreeSet::new();
    let mut before = None;
    for (id, message) in ids(&messages).into_iter().zip(&messages) {
        let counts = scan.frame((id as usize - 1) % 9).unwrap().counts;
        let pixels: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        assert!(message.datum.value == pixels, "frame {id}");
        assert_eq!(message.datum.headers["x-frame-dtype"], "int16");
        assert_eq!(message.datum.headers["x-frame-shape"], "64x64");
        let time = message.datum.event_time.unwrap();
        let time = (time.seconds, time.nanos);
        assert!(before.is_none_or(|before| before < time));
        before = Some(time);
        assert_eq!(message.offset.partition_id, 2);
        assert!(seen.insert(message.offset.offset.clone()));
    }
    drop(reader);
    source.stop().await;
}

#[tokio::test]
async fn acked_frames_are_no_longer_pending() {
    let source = Source::start(&["--fps", "100000", "--frames", "50"]).await;
    let mut reader = connect(&source).await;
    assert_eq!(
        pending(&reader).await,
        0,
        "the first read opens the shutter"
    );
    let first = read(&mut reader, 10, LONG).await;
    assert_eq!(ids(&first), (1..=10).collect::<Vec<_>>());
    until_pending(&reader, 50).await;
    reader.ack(offsets(&first)).await.unwrap();
    assert_eq!(pending(&reader).await, 40);
    let rest = read(&mut reader, 40, LONG).await;
    assert_eq!(ids(&rest), (11..=50).collect::<Vec<_>>());
    assert_eq!(pending(&reader).await, 40, "read is not yet acked");
    assert!(read(&mut reader, 10, SHORT).await.is_empty());
    reader.ack(offsets(&rest)).await.unwrap();
    assert_eq!(pending(&reader).await, 0);
    assert!(read(&mut reader, 10, SHORT).await.is_empty());
    drop(reader);
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
    let mut reader = connect(&source).await;
    let first = read(&mut reader, 5, LONG).await;
    let nacks = offsets(&first[2..4]).into_iter();
    let nacks = nacks.map(|offset| Nack {
        offset,
        delay: None,
    });
    reader.nack(nacks.collect()).await.unwrap();
    let second = read(&mut reader, 4, LONG).await;
    assert_eq!(ids(&second), [3, 4, 6, 7]);
    assert_eq!(
        second[..2],
        first[2..4],
        "payload, offset, headers, event time"
    );
    reader.ack(offsets(&second)).await.unwrap();
    assert_eq!(ids(&read(&mut reader, 1, LONG).await), [8]);
    drop(reader);
    let log = source.stop().await;
    assert!(log.contains("nacked=2") && log.contains("again=2"), "{log}");
}

#[tokio::test]
async fn unread_frames_are_dropped_oldest_first_and_counted() {
    let flags = ["--fps", "100000", "--frames", "50", "--buffer", "5"];
    let source = Source::start(&flags).await;
    let mut reader = connect(&source).await;
    // Opens the shutter. Which frames are read depends on the machine, but every frame must be read or dropped.
    let mut taken = read(&mut reader, 1, LONG).await;
    let log = source.log.clone();
    let has_dropped = || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("slower than the detector")
    };
    let reading = async {
        while !has_dropped() {
            pending(&reader).await;
        }
        while ids(&taken).last() != Some(&50) {
            taken.extend(read(&mut reader, 5, Duration::from_millis(10)).await);
        }
    };
    let waited = tokio::time::timeout(NEVER, reading).await;
    assert!(waited.is_ok(), "no drop, or no frame 50: {:?}", ids(&taken));
    assert!(ids(&taken).is_sorted_by(|a, b| a < b), "{:?}", ids(&taken));
    drop(reader);
    let log = source.stop().await;
    let totals = [
        format!("read={}", taken.len()),
        format!("dropped={}", 50 - taken.len()),
    ];
    assert!(taken.len() < 50);
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
    let mut reader = connect(&source).await;
    let messages = read(&mut reader, 20, LONG).await;
    reader.ack(offsets(&messages[..15])).await.unwrap();
    drop(reader);
    let mut reader = connect(&source).await;
    let again = read(&mut reader, 5, LONG).await;
    assert_eq!(ids(&again), [16, 17, 18, 19, 20]);
    assert_eq!(again, messages[15..]);
    reader.ack(offsets(&again)).await.unwrap();
    until_pending(&reader, 0).await;
    drop(reader);
    source.stop().await;
}

#[tokio::test]
async fn a_source_survives_a_numa_that_is_killed_in_mid_read() {
    let source = Source::start(&["--fps", "100000", "--frames", "3", "--ack-timeout", "off"]).await;
    let other = connect(&source).await;
    for _ in 0..3 {
        let mut reader = connect(&source).await;
        let in_mid_read = async {
            tokio::select! {
                read = reader.read(4, LONG) => panic!("there is no fourth frame: {read:?}"),
                () = until_pending(&other, 3) => {}
            }
        };
        in_mid_read.await;
    }
    let mut reader = connect(&source).await;
    let messages = read(&mut reader, 3, LONG).await;
    assert_eq!(ids(&messages), [1, 2, 3]);
    drop((reader, other));
    source.stop().await;
}

#[tokio::test]
async fn acks_are_taken_after_sigterm_until_nothing_is_out() {
    let source = Source::start(&["--fps", "100000", "--frames", "6"]).await;
    let mut reader = connect(&source).await;
    let messages = read(&mut reader, 6, LONG).await;
    let pid = source.process.id().and_then(|id| Pid::from_raw(id as i32));
    kill_process(pid.unwrap(), Signal::TERM).unwrap();
    while reader.is_ready().await.unwrap() {
        tokio::task::yield_now().await;
    }
    for message in messages {
        let acked = reader.ack(vec![message.offset]).await;
        acked.unwrap();
    }
    // The reader is still connected, and a second signal would end the program with code 1.
    let mut source = source;
    let ended = tokio::time::timeout(NEVER, source.process.wait()).await;
    let log = std::fs::read_to_string(&source.log).unwrap();
    assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{log}");
    assert!(log.contains("acked=6"), "{log}");
}

#[tokio::test]
async fn sigterm_ends_a_waiting_read_with_exit_code_0() {
    let source = Source::start(&["--fps", "100000", "--frames", "1"]).await;
    let mut reader = connect(&source).await;
    let other = connect(&source).await;
    let reading =
        tokio::spawn(async move { read(&mut reader, 2, Duration::from_secs(3_000)).await });
    // The first frame is taken after the read has started; there is no second one.
    until_pending(&other, 1).await;
    drop(other);
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
    let mut reader = connect(&source).await;
    let host = Host::start(&["--model-path", "sim:size=64x64"]).await;
    let mut driver = host.driver().await;
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let messages = read(&mut reader, 50, LONG).await;
        let datums: Vec<_> = messages
            .iter()
            .map(|message| message.datum.clone())
            .collect();
        // The driver fails if a datum is answered twice or not at all.
        let answer = driver.call(futures::stream::iter(datums)).await.unwrap();
        assert_eq!(answer.len(), 50);
        for (id, results) in &answer.responses {
            assert_eq!(results.len(), 1);
            assert_eq!(
                crate::black_box::common::values(&results[0].value).len(),
                64 * 64
            );
            assert!(seen.insert(id.clone()), "message {id} again");
        }
        reader.ack(offsets(&messages)).await.unwrap();
    }
    assert_eq!(seen.len(), 150);
    driver.finish().await.unwrap();
    host.stop().await;
    drop(reader);
    let log = source.stop().await;
    assert!(log.contains("acked=150"), "{log}");
}

#[tokio::test]
async fn an_occupied_socket_path_is_kept_and_exit_code_1() {
    let source = Source::start(&FAST).await;
    let mut reader = connect(&source).await;
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
    assert_eq!(read(&mut reader, 5, LONG).await.len(), 5);
    connect(&source).await;
    drop(reader);
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
