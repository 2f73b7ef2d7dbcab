//! Memory limits: the limit that `beamflow size` prints is sufficient for any input, and a limit that is too
//! small is reported.
//!
//! The limit is a control group's, as for a container. Where none can be created, the tests that need one print
//! so and pass; limits of the process (`ulimit`) can be set everywhere.

use crate::black_box::common::{MODES, NEVER, ended, eventually};
use beamflow::commands::child::ChildSidecar;
use beamflow::engine::simulated::expected;
use beamflow::frame::headers::SHAPE;
use beamflow::vertex::client::{Answer, Datum};
use beamflow_needs::needs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

const PROGRAM: &str = env!("CARGO_BIN_EXE_beamflow");

/// Side of the frames here, in pixels.
const SIDE: usize = 512;

/// Results are cropped to this.
const CUT: usize = 64;

/// Frames in a read batch.
const READ_BATCH: usize = 128;

const MIB: usize = 1 << 20;

/// A control group with a memory limit; removed when dropped.
struct Group {
    folder: PathBuf,
    peak: &'static str,
}

impl Group {
    /// Creates a group below this process's own, or below the root.
    fn with_limit(bytes: usize) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("beamflow-test-{}-{number}", std::process::id());
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = |kind: &str| {
            let line = groups.lines().find_map(|line| line.split_once(kind));
            line.map_or("", |(_, path)| path.trim_start_matches('/'))
        };
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let v2 = Path::new("/sys/fs/cgroup");
        let places = [
            (
                v1.join(own(":memory:")),
                "limit_in_bytes",
                "memory.max_usage_in_bytes",
            ),
            (v1.to_owned(), "limit_in_bytes", "memory.max_usage_in_bytes"),
            (v2.join(own("0::")), "max", "memory.peak"),
            (v2.to_owned(), "max", "memory.peak"),
        ];
        for (parent, limit, peak) in &places {
            let folder = parent.join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self { folder, peak };
            let file = group.folder.join(format!("memory.{limit}"));
            // Only files that the kernel has created may be written.
            if file.exists() && std::fs::write(&file, bytes.to_string()).is_ok() {
                // Swapped memory would not count.
                let swap = group.folder.join("memory.swap.max");
                assert!(!swap.exists() || std::fs::write(&swap, "0").is_ok());
                return group;
            }
        }
        panic!("no control group with a memory limit can be made in any of {places:?}");
    }

    /// The program, started inside this group.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.folder.join("cgroup.procs"))
            .arg(PROGRAM);
        command
    }

    /// The peak memory use, if this kernel reports it.
    fn peak(&self) -> Option<usize> {
        let peak = std::fs::read_to_string(self.folder.join(self.peak));
        peak.ok()?.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Possible once its last process is gone; a failed test does not wait for that.
        let again = |_: &usize| std::thread::sleep(std::time::Duration::from_millis(10));
        let gone = |_| std::fs::remove_dir(&self.folder).is_ok();
        (0..100).inspect(again).any(gone);
    }
}

/// The smallest memory limit that `beamflow size` prints for a depth of 3 and a batch of 8.
fn recommended() -> usize {
    let given = "size --frame-size 512x512 --read-batch 128 --batch-time 4ms --collection-time 2ms --fps 1000 --json";
    let output = Command::new(PROGRAM).args(given.split(' ')).output();
    let json: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let at = |name: &str| {
        let figure = json.pointer(&format!("/rates/0/{name}")).unwrap();
        usize::try_from(figure.as_u64().unwrap()).unwrap()
    };
    assert_eq!((at("pipeline_depth"), at("read_batch")), (3, READ_BATCH));
    at("memory_bytes")
}

/// Pixels go from 0 to this, over and over.
const PERIOD: usize = 30_000;

fn pixel(frame: usize, position: usize) -> i16 {
    ((frame * 131 + position) % PERIOD) as i16
}

/// Frame `k`, copied from the pixels of one long frame: there are many frames, and this code is not optimised.
fn frame(k: usize) -> Datum {
    static LONG: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let positions = 0..PERIOD + SIDE * SIDE;
        positions
            .flat_map(|at| pixel(0, at).to_le_bytes())
            .collect()
    });
    let first = 2 * (k * 131 % PERIOD);
    Datum::new(k.to_string(), LONG[first..first + 2 * SIDE * SIDE].to_vec())
}

/// What is sent in place of frame `k`.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    Frame,
    /// A frame of another shape and the same size: rejected, and forwarded with its payload.
    OtherShape,
    /// Twice as large.
    Oversized,
}

/// Read batch `n`: valid frames only, no valid frame, or a mixture.
fn sent(n: usize, k: usize) -> Sent {
    match (n % 4, k % 8) {
        (1, _) => Sent::OtherShape,
        (3, 0) => Sent::Oversized,
        _ => Sent::Frame,
    }
}

fn datum(n: usize, k: usize) -> Datum {
    match sent(n, k) {
        Sent::Frame => frame(k),
        Sent::OtherShape => frame(k).with_header(SHAPE, "256x1024"),
        Sent::Oversized => Datum::new(k.to_string(), vec![7; 2 * SIDE * SIDE * 2]),
    }
}

/// Asserts that each datum has the right answer. A nack is right if the engine failed twice or hung; returns
/// the number of nacks.
fn check(answer: &Answer, n: usize) -> usize {
    assert_eq!(answer.len(), READ_BATCH);
    let mut nacked = 0;
    for k in 0..READ_BATCH {
        let id = k.to_string();
        let messages = answer.get(&id).unwrap();
        if answer.tags(&id).any(|tag| tag.ends_with("NACK__")) {
            assert!(sent(n, k) == Sent::Frame);
            nacked += 1;
        } else if sent(n, k) == Sent::Frame {
            assert_eq!(messages.len(), 2, "one for each output");
            for (output, message) in messages.iter().enumerate() {
                let values = crate::black_box::common::values(&message.value);
                let from = (SIDE - CUT) / 2;
                let right = (0..CUT * CUT).all(|place| {
                    let position = (from + place / CUT) * SIDE + from + place % CUT;
                    values[place] == expected(output, position, f32::from(pixel(k, position)))
                });
                assert!(right, "frame {k} of read batch {n}: wrong pixels");
            }
        } else {
            let tags: Vec<_> = answer.tags(&id).collect();
            assert_eq!(tags, ["rejected"], "frame {k} of read batch {n}");
        }
    }
    nacked
}

#[needs(memory_limits)]
#[tokio::test]
async fn the_memory_limit_that_size_names_is_enough() {
    let limit = recommended();
    for mode in MODES {
        let group = Group::with_limit(limit);
        let folder = tempfile::tempdir().unwrap();
        let model = format!(
            "sim:size={SIDE}x{SIDE},outputs=2,error-every=9,panic=5+50,lost=30,hang=40,hang-time=3s"
        );
        let flags = [
            "--mode",
            mode,
            "--model-path",
            &model,
            "--max-concurrent-batches",
            "3",
        ];
        let more = ["--on-invalid", "tag:rejected", "--inference-timeout", "2s"];
        let flags: Vec<_> = flags.iter().chain(&more).map(ToString::to_string).collect();
        let command = group.command().into();
        let mut sidecar = ChildSidecar::start_as(command, folder.path(), &flags).unwrap();
        let mut driver = sidecar.connect().await.unwrap();
        assert!(!sidecar.log().contains("may exceed"), "{}", sidecar.log());
        let mut nacked = 0;
        for n in 0..12 {
            let call = driver.call(futures::stream::iter((0..READ_BATCH).map(|k| datum(n, k))));
            let answer = tokio::time::timeout(NEVER, call).await.unwrap();
            let answer =
                answer.unwrap_or_else(|error| panic!("{mode}, {error}: {}", sidecar.log_tail()));
            nacked += check(&answer, n);
        }
        drop(driver);
        sidecar.stop().await.unwrap();
        println!(
            "{mode}: {} MiB of {} MiB, {nacked} nacked",
            group.peak().unwrap_or_default() / MIB,
            limit / MIB
        );
    }
}

/// Starts a sidecar with 4 slots of 24 MiB, and waits until it has ended.
async fn refused(mut command: Command) -> String {
    let folder = tempfile::tempdir().unwrap();
    command
        .args(["--model-path", "sim:size=512x512,outputs=2"])
        .args(["--http-address", "off"])
        // Each worker's stack counts, so the number of workers is fixed on every machine.
        .env("TOKIO_WORKER_THREADS", "2")
        .arg("--sock-path")
        .arg(folder.path().join("sock"))
        .arg("--server-info-path")
        .arg(folder.path().join("info"));
    let Output { status, stderr, .. } = ended(command).await;
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{status}: {said}");
    assert!(!said.contains("panic"), "{said}");
    said
}

#[needs(memory_limits)]
#[tokio::test]
async fn slots_beyond_the_memory_limit_are_refused() {
    let group = Group::with_limit(64 * MIB);
    let said = refused(group.command()).await;
    for words in [
        "1 of the 4 requested slots",
        "the memory limit of 64.0 MiB",
        "lower --pipeline-depth",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
}

#[needs(memory_limits)]
#[tokio::test]
async fn a_limit_too_small_for_read_batches_is_logged() {
    let group = Group::with_limit(126 * MIB);
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--model-path", "sim:size=512x512,outputs=2"].map(str::to_owned);
    let command = group.command().into();
    let mut sidecar = ChildSidecar::start_as(command, folder.path(), &flags).unwrap();
    drop(sidecar.connect().await.unwrap());
    eventually("the warning", || {
        let log = sidecar.log();
        log.contains("Read batches of 32 frames may exceed the memory limit of 126.0 MiB")
    })
    .await;
    sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn slots_beyond_the_process_limit_are_refused() {
    // MiB of data, including what the program itself takes.
    for limit in [40, 64, 96] {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("ulimit -d {} && exec \"$0\" \"$@\"", limit * 1024),
            ])
            .arg(PROGRAM);
        let said = refused(command).await;
        assert!(
            said.contains("of the 4 requested slots fit"),
            "{limit}: {said}"
        );
    }
}
