//! The log of a working sidecar, and the absence of lines otherwise.

use crate::black_box::common::{NEVER, SIM, call, config, eventually};
use crate::black_box::served::Served;
use beamflow::app::map::Sidecar;
use beamflow::inference::ledger::Tally;
use beamflow::status::Status;
use beamflow::telemetry::newest::Newest;
use beamflow::vertex::client::Driver;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tracing_subscriber::fmt::MakeWriter;

/// A log whose text can be read.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines_with(&self, words: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = log.lines().filter(|line| line.contains(words));
        lines.map(ToOwned::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_busy_half_minute_is_summarised() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let config = config(&["--model-path", SIM, "--output-size", "full"]);
    let status = Status::new(config.mode, Vec::new(), Newest::new(false));
    let sidecar = Sidecar::load_for(&config, &status).unwrap();
    let work = async {
        // Half a minute with work, half a minute idle, half a minute with work; the ticks are in between.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for busy in [true, false, true] {
            for _ in 0..30 {
                if busy {
                    let tally = Tally {
                        frames: 50,
                        done: 48,
                        rejected: 2,
                        ..Tally::default()
                    };
                    status.counts().answered(tally);
                    status
                        .counts()
                        .call(tally.frames, Duration::from_millis(80));
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        () = status.watch() => {}
        () = work => {}
    }
    let lines = log.lines_with("The last 30 seconds");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for told in [
        "frames_per_second=",
        "rejected=",
        "read_batch_frames=50.0",
        "answer_ms=80.0",
        "depth=3",
        "busy=\"sim-0: 0 %\"",
    ] {
        assert!(lines[0].contains(told), "{told}: {}", lines[0]);
    }
    drop(sidecar);
}

#[tokio::test]
async fn the_log_starts_with_version_model_and_settings() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    drop(served.sidecar.connect().await.unwrap());
    let loaded = || served.sidecar.log().contains("loaded and warm");
    eventually("the line", loaded).await;
    let log = served.sidecar.log();
    let banner = log.lines().find(|line| line.contains("loaded and warm"));
    for told in [
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        "mode=pipelined",
        "model=sim:size=4x4",
        "devices=\"sim-0\"",
        "depth=3",
        "batch=8",
    ] {
        assert!(banner.unwrap().contains(told), "{told}: {banner:?}");
    }
    served.sidecar.stop().await.unwrap();
}

/// A sidecar with `log` as its standard error: it gets many read batches, then SIGTERM.
async fn answers_all_the_same(log: Stdio, check: impl AsyncFnOnce(&str)) {
    let folder = tempfile::tempdir().unwrap();
    let (sock, info) = (folder.path().join("s.sock"), folder.path().join("info"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut program = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args([
            "--model-path",
            SIM,
            "--output-size",
            "full",
            "--http-address",
            &address,
        ])
        .arg("--sock-path")
        .arg(&sock)
        .arg("--server-info-path")
        .arg(&info)
        .env("RUST_LOG", "trace")
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut driver = Driver::wait_ready(&info, &sock, NEVER).await.unwrap();
    for _ in 0..1_000 {
        assert_eq!(call(&mut driver, 9).await.len(), 9);
    }
    check(&address).await;
    drop(driver);
    signal(&program, Signal::TERM);
    let ended = tokio::time::timeout(NEVER, program.wait()).await;
    assert_eq!(ended.unwrap().unwrap().code(), Some(0));
}

/// Sends a signal to a program.
fn signal(program: &tokio::process::Child, signal: Signal) {
    let pid = program.id().and_then(|id| i32::try_from(id).ok());
    kill_process(pid.and_then(Pid::from_raw).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_signal_shows_debug_lines_and_the_next_one_hides_them() {
    for configured in ["", "error"] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (sock, info, log) = (path("s.sock"), path("info"), path("log"));
        let mut program = Command::new(env!("CARGO_BIN_EXE_beamflow"))
            .args(["--model-path", SIM, "--output-size", "full"])
            .args(["--http-address", "off"])
            .arg("--sock-path")
            .arg(&sock)
            .arg("--server-info-path")
            .arg(&info)
            .env("RUST_LOG", configured)
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = |words: &str| {
            std::fs::read_to_string(&log)
                .unwrap()
                .matches(words)
                .count()
        };
        let mut driver = Driver::wait_ready(&info, &sock, NEVER).await.unwrap();
        call(&mut driver, 9).await;

        signal(&program, Signal::USR1);
        let shown = || lines("The log shows debug lines until") == 1;
        eventually("the line of the first switch", shown).await;
        call(&mut driver, 9).await;
        let answered = || lines("The call is answered.") == 1;
        eventually("the debug line of the second call alone", answered).await;

        signal(&program, Signal::USR1);
        let hidden = || lines("The log shows the configured lines again.") == 1;
        eventually("the line of the second switch", hidden).await;
        // The lines are changed after that one. A third switch comes behind the change.
        signal(&program, Signal::USR1);
        let shown = || lines("The log shows debug lines until") == 2;
        eventually("the line of the third switch", shown).await;
        signal(&program, Signal::USR1);
        let hidden = || lines("The log shows the configured lines again.") == 2;
        eventually("the line of the fourth switch", hidden).await;

        drop(driver);
        signal(&program, Signal::TERM);
        let ended = tokio::time::timeout(NEVER, program.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0));
        // Its last lines come at INFO: they are hidden again where only errors are configured.
        let is_told = lines("these are its totals") == 1;
        assert_eq!(is_told, configured.is_empty(), "{configured:?}");
    }
}

#[tokio::test]
async fn an_unread_log_stops_no_frame_and_counts_lost_lines() {
    // The pipe is kept open and never read: it is full after 64 KiB.
    let (unread, log) = std::io::pipe().unwrap();
    answers_all_the_same(log.into(), async |address| {
        let metrics = crate::black_box::served::get(address, "/metrics").await;
        let name = "\nbeamflow_log_lines_dropped_total ";
        let (_, dropped) = metrics.split_once(name).unwrap();
        let dropped: u64 = dropped.lines().next().unwrap().parse().unwrap();
        assert!(dropped > 0, "the log was never full: log more");
    })
    .await;
    drop(unread);
}

#[tokio::test]
async fn a_full_disk_under_the_log_stops_no_frame() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    answers_all_the_same(full.into(), async |_| ()).await;
}
