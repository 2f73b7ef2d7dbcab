//! The status of a file sink: its page, `/stats`, `/metrics`, health.

use super::http::Site;
use crate::sink::file::metrics::FileMetrics;
use crate::sink::file::sinker::FileSink;
use crate::telemetry::{logs, names};
use axum::Json;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Seconds that the history has.
const SECONDS: usize = 120;

/// See the module's essay.
pub(crate) struct FileStatus {
    sink: FileSink,
    registry: Registry,
    started: Instant,
    /// The results that were written, a second apart, the oldest first.
    history: Mutex<VecDeque<u64>>,
}

/// The answer to `/stats`.
#[derive(Serialize)]
struct FileStats {
    version: &'static str,
    uptime_seconds: f64,
    results: u64,
    written: u64,
    duplicates: u64,
    late: u64,
    other_outputs: u64,
    unfit: u64,
    failed: u64,
    rounded: u64,
    no_results: BTreeMap<&'static str, u64>,
    frames: u64,
    missing: u64,
    completed: u64,
    /// What went wrong last; `null` when a write has succeeded since.
    trouble: Option<String>,
    open: Vec<OpenStats>,
    /// The last files that were completed, the newest first.
    done: Vec<DoneStats>,
    /// In each of the last seconds, the newest last.
    written_per_second: Vec<u64>,
}

#[derive(Serialize)]
struct OpenStats {
    path: String,
    rows: u64,
    seconds_since: f64,
}

#[derive(Serialize)]
struct DoneStats {
    path: String,
    rows: u64,
}

impl FileStatus {
    pub(crate) fn new(sink: FileSink) -> Self {
        let mut registry = Registry::with_prefix(names::PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names::BUILD.register(&mut registry, build);
        registry.register_collector(Box::new(logs::DroppedLines));
        registry.register_collector(Box::new(FileMetrics(sink.clone())));
        Self {
            sink,
            registry,
            started: Instant::now(),
            history: Mutex::default(),
        }
    }

    /// Takes a sample every second. Never ends.
    pub(crate) async fn watch(&self) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut history = self.history.lock();
            history.push_back(self.sink.tally().written);
            if history.len() > SECONDS + 1 {
                history.pop_front();
            }
        }
    }

    fn written_per_second(&self) -> Vec<u64> {
        let history = self.history.lock();
        let written: Vec<u64> = history.iter().copied().collect();
        written
            .array_windows()
            .map(|[before, after]| after.saturating_sub(*before))
            .collect()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Site for FileStatus {
    fn page(&self) -> String {
        include_str!("file_sink.html").replace("/* style */", super::STYLE)
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn stats(&self) -> Response {
        let tally = self.sink.tally();
        let open = tally.open.iter().map(|open| OpenStats {
            path: text(&open.path),
            rows: open.rows,
            seconds_since: open.last.elapsed().as_secs_f64(),
        });
        let done = tally.done.iter().rev().map(|done| DoneStats {
            path: text(&done.path),
            rows: done.rows,
        });
        Json(FileStats {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            open: open.collect(),
            done: done.collect(),
            results: tally.results,
            written: tally.written,
            duplicates: tally.duplicates,
            late: tally.late,
            other_outputs: tally.other_outputs,
            unfit: tally.unfit,
            failed: tally.failed,
            rounded: tally.rounded,
            frames: tally.series.frames,
            missing: tally.series.missing.saturating_sub(tally.series.filled),
            completed: tally.completed,
            no_results: tally.no_results,
            trouble: tally.trouble,
            written_per_second: self.written_per_second(),
        })
        .into_response()
    }

    // Ready also with a full disk: Numaflow keeps what cannot be written.
}
