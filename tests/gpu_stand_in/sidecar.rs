//! The program on the stand-in, and the stand-in's report.

use crate::fixture::{libraries, on_a_card, program};
use crate::frames::{frame, usual};
use beamflow::cli::Cli;
use beamflow::commands::child::ChildSidecar;
use beamflow::vertex::client::{Answer, Datum, Driver};
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any expected event takes; no test waits until it has passed.
const NEVER: Duration = Duration::from_secs(60);

/// The modes whose batches a test can count, each with its default number of lanes. Streaming uses the same lanes and slots.
pub const MODES: [(&str, usize); 3] = [("sequential", 1), ("concurrent", 4), ("pipelined", 3)];

/// The stand-in's report over the life of a process.
#[derive(Debug, serde::Deserialize)]
pub struct Report {
    /// Runs enqueued on streams, directly or in a graph.
    pub enqueues: usize,
    /// Rows computed by these runs.
    pub rows: usize,
    pub graph_launches: usize,
    pub captures: usize,
    pub failed_captures: usize,
    pub graph_uploads: usize,
    /// Engine files opened.
    pub engines: usize,
    /// Kernels compiled just in time.
    pub compilations: usize,
    pub bytes_in: usize,
    pub bytes_out: usize,
    pub peak_device_bytes: usize,
    pub blocking_sync_events: usize,
    /// Calls that a program must not make.
    pub misuse: Vec<String>,
    context_releases: usize,
    live_device_bytes: usize,
    live_host_bytes: usize,
    live_streams: usize,
    live_events: usize,
    live_graphs: usize,
    live_graph_execs: usize,
    live_contexts_execution: usize,
}

impl Report {
    /// Resources that were not released: device bytes, host bytes, streams, events, graphs, execution contexts.
    fn live(&self) -> [usize; 6] {
        [
            self.live_device_bytes,
            self.live_host_bytes,
            self.live_streams,
            self.live_events,
            self.live_graphs + self.live_graph_execs,
            self.live_contexts_execution,
        ]
    }
}

/// A folder with an engine file, and the settings of the stand-in.
pub struct Bench {
    folder: TempDir,
    libraries: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Bench {
    /// `plan` is the engine file's text.
    pub fn new(plan: &str) -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            libraries: libraries().to_owned(),
            settings: Vec::new(),
        };
        std::fs::write(bench.engine(), plan).unwrap();
        bench
    }

    /// Sets one of the stand-in's variables.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Sets the folder for the library search.
    pub fn with_libraries(mut self, folder: &Path) -> Self {
        self.libraries = folder.to_owned();
        self
    }

    /// The path of the engine file.
    pub fn engine(&self) -> PathBuf {
        self.folder.path().join("model.engine")
    }

    /// The command for the program, on the stand-in instead of the driver and TensorRT.
    fn program(&self) -> Command {
        let mut program = Command::new(program());
        // On a card these settings apply to the whole run.
        let stand_in = |(name, _): &(String, String)| name.starts_with("STAND_IN_") && !on_a_card();
        for (name, _) in std::env::vars().filter(stand_in) {
            program.env_remove(name);
        }
        let cli = Cli::command();
        for name in cli.get_arguments().filter_map(clap::Arg::get_env) {
            program.env_remove(name);
        }
        program
            .env_remove("RUST_LOG")
            .env("LD_LIBRARY_PATH", self.library_path())
            // With a fixed port only the first process could listen.
            .env("HTTP_ADDRESS", "off")
            .env("STAND_IN_REPORT", self.folder.path().join("report.json"))
            .envs(self.settings.iter().map(|(name, value)| (name, value)));
        program
    }

    /// The libraries' folder; on a card, in front of the machine's own path, which may name the driver's
    /// folder.
    fn library_path(&self) -> OsString {
        let mut path = self.libraries.clone().into_os_string();
        if let (true, Some(more)) = (on_a_card(), std::env::var_os("LD_LIBRARY_PATH")) {
            path.push(":");
            path.push(more);
        }
        path
    }

    /// Runs the program with `args` to its end; fails if it does not end in time.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut child = self
            .program()
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() && begun.elapsed() < NEVER {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Already gone, unless the program runs on when it should have ended.
        let _ = child.kill();
        child.wait_with_output().unwrap()
    }

    /// Starts a sidecar that must fail with exit code 1; returns the one line with the reason, after the lines
    /// of the steps that succeeded.
    pub fn refused(&self, flags: &[&str]) -> String {
        let output = self.run(&[&["--model-path", "model.engine"], flags].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        let went_well = |line: &&str| line.contains(" INFO ");
        let why: Vec<_> = text.lines().skip_while(went_well).collect();
        assert_eq!(why.len(), 1, "{text}");
        why.concat()
    }

    /// Starts a sidecar, and waits until it is ready.
    pub async fn serve(self, flags: &[&str]) -> Sidecar {
        let mut all = Vec::new();
        let engine = self.engine().display().to_string();
        // By default results are sent whole, and batches close only when full or at the end.
        for (flag, value) in [
            ("--model-path", engine.as_str()),
            ("--output-size", "full"),
            ("--batch-timeout", "off"),
        ] {
            if !flags.contains(&flag) {
                all.extend([flag, value].map(str::to_owned));
            }
        }
        all.extend(flags.iter().map(ToString::to_string));
        let program = self.program().into();
        let mut child = ChildSidecar::start_as(program, self.folder.path(), &all).unwrap();
        let driver = child.connect().await.unwrap_or_else(|e| panic!("{e}"));
        Sidecar {
            child,
            driver,
            bench: self,
        }
    }

    /// The stand-in driver's report, in which no misuse may occur, and no release of a primary context. A real driver
    /// writes none.
    pub fn report(&self) -> Option<Report> {
        if on_a_card() {
            return None;
        }
        let text = std::fs::read(self.folder.path().join("report.json")).unwrap();
        let report: Report = serde_json::from_slice(&text).unwrap();
        assert_eq!(report.misuse, Vec::<String>::new());
        assert_eq!(report.context_releases, 0);
        Some(report)
    }

    /// Asserts that the program released everything.
    pub fn assert_all_given_back(&self) {
        if let Some(report) = self.report() {
            assert_eq!(report.live(), [0; 6], "{report:?}");
        }
    }
}

/// A running sidecar.
pub struct Sidecar {
    child: ChildSidecar,
    driver: Driver,
    bench: Bench,
}

impl Sidecar {
    /// Frames `0..n` as one read batch.
    pub async fn call(&mut self, n: usize) -> Answer {
        self.call_with((0..n).map(frame)).await
    }

    /// `frames` as one read batch.
    pub async fn call_with(&mut self, frames: impl Iterator<Item = Datum>) -> Answer {
        let call = self.driver.call(futures::stream::iter(frames));
        let answer = tokio::time::timeout(NEVER, call).await;
        answer.expect("the call is answered").unwrap()
    }

    /// The text of its log, once `words` are in it: lines are written by a thread of their own.
    pub async fn log(&self, words: &str) -> String {
        let file = self.bench.folder.path().join("sidecar.log");
        let reading = async {
            loop {
                let log = std::fs::read_to_string(&file).unwrap();
                if log.contains(words) {
                    return log;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let log = tokio::time::timeout(NEVER, reading).await;
        log.unwrap_or_else(|_| panic!("{words:?} is not logged"))
    }

    /// Stops it with SIGTERM, as Kubernetes does: the exit code is 0, and no device resource is left.
    pub async fn stop(self) -> Option<Report> {
        let bench = self.end().await;
        bench.assert_all_given_back();
        bench.report()
    }

    /// The same for a sidecar with a hung lane that keeps its resources: the process ends without exit
    /// handlers, and so without a report.
    pub async fn stop_with_a_lane_hanging(self) {
        let bench = self.end().await;
        assert!(!bench.folder.path().join("report.json").exists());
    }

    async fn end(self) -> Bench {
        drop(self.driver);
        self.child.stop().await.unwrap_or_else(|e| panic!("{e}"));
        self.bench
    }

    /// Waits until it has ended by itself, with everything released; returns its exit code and its log.
    pub async fn ended(self) -> (Option<i32>, String) {
        let (bench, code, log) = self.ended_by_itself().await;
        bench.assert_all_given_back();
        (code, log)
    }

    /// The same with a hung lane that keeps its resources.
    pub async fn ended_with_a_lane_hanging(self) -> (Option<i32>, String) {
        let (_, code, log) = self.ended_by_itself().await;
        (code, log)
    }

    async fn ended_by_itself(mut self) -> (Bench, Option<i32>, String) {
        let log = self.bench.folder.path().join("sidecar.log");
        drop(self.driver);
        let status = self.child.ended().await.unwrap();
        let log = std::fs::read_to_string(log).unwrap();
        (self.bench, status.code(), log)
    }
}

/// The inferences before the first batch: two for the examination of the engine, and one to warm up each lane.
pub async fn runs_before_the_first_batch(flags: &[&str]) -> usize {
    let mode = flags.iter().skip_while(|flag| **flag != "--mode").nth(1);
    let lanes = MODES
        .iter()
        .find(|(known, _)| Some(known) == mode)
        .unwrap()
        .1;
    let runs = 2 + lanes;
    let report = Bench::new(&usual()).serve(flags).await.stop().await;
    assert!(report.is_none_or(|report| report.enqueues == runs));
    runs
}
