//! What the sidecar is and does, for people and scrapers: the status page, `/stats`, `/metrics`, health, and the summary in
//! the log. It reads every other room; no room reads it.

/// A frame or a result as a PNG.
mod drawing;
/// The formats of metrics.
mod exposition;
/// The status of a file sink.
#[cfg(feature = "hdf5")]
pub(crate) mod file_sink;
/// The last two minutes, second by second.
mod history;
/// The HTTP server.
pub(crate) mod http;
/// Where the HTTP server listens.
mod listen;
/// The live mosaic of a PVA sink.
#[cfg(feature = "pva")]
mod mosaic;
/// Where the sidecar is in its life.
mod phase;
/// The status of a PVA sink.
#[cfg(feature = "pva")]
pub(crate) mod sink;
/// The status of a PVA source.
#[cfg(feature = "pva")]
pub(crate) mod source;
/// The answer to `/stats`.
mod stats;

use crate::inference::lane::DeviceUsage;
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::running::{Running, RunningMetrics};
use crate::inference::schedule::Mode;
use crate::telemetry::newest::{Newest, NewestFrame};
use crate::telemetry::setting::Setting;
use crate::telemetry::{logs, names};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use history::{History, Sample};
use http::Site;
use parking_lot::Mutex;
use phase::Phase;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use stats::{ModelStats, Stats};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How all pages look.
const STYLE: &str = include_str!("style.css");
/// How often the history gets a sample.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two summaries in the log.
const SUMMARY: usize = 30;

/// See the module's essay.
pub struct Status {
    registry: Registry,
    counts: Arc<Counts>,
    newest: Arc<Newest>,
    settings: Vec<Setting>,
    started: Instant,
    running: Arc<OnceLock<Vec<Running>>>,
    phase: Mutex<Phase>,
    history: Mutex<History>,
    ready: Gauge,
}

impl Status {
    /// The status of a sidecar in `mode` that has no model yet. `/stats` shows `settings`; `newest` keeps the newest frame.
    #[must_use]
    pub fn new(mode: Mode, settings: Vec<Setting>, newest: Newest) -> Self {
        let mut registry = Registry::with_prefix(names::PREFIX);
        let counts = Arc::new(Counts::new(&mut registry, mode));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names::BUILD.register(&mut registry, build);
        let ready = Gauge::default();
        names::ENGINE_READY.register(&mut registry, ready.clone());
        let running = Arc::new(OnceLock::new());
        registry.register_collector(Box::new(logs::DroppedLines));
        registry.register_collector(Box::new(RunningMetrics(Arc::clone(&running))));
        Self {
            registry,
            counts,
            newest: Arc::new(newest),
            settings,
            started: Instant::now(),
            running,
            phase: Mutex::new(Phase::Loading),
            history: Mutex::default(),
            ready,
        }
    }

    /// The counts of this process.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The keeper of the newest frame.
    #[must_use]
    pub(crate) fn newest(&self) -> &Arc<Newest> {
        &self.newest
    }

    /// The models are loaded: the sidecar is ready.
    pub(crate) fn loaded(&self, running: Vec<Running>) {
        if self.running.set(running).is_ok() {
            let mut phase = self.phase.lock();
            if *phase == Phase::Loading {
                *phase = Phase::Ready;
            }
        }
    }

    /// The shutdown has begun.
    pub(crate) fn draining(&self) {
        *self.phase.lock() = Phase::Draining;
    }

    /// Where the sidecar is in its life.
    #[must_use]
    pub(crate) fn phase(&self) -> Phase {
        let running = self.running();
        let phase = *self.phase.lock();
        match running.iter().filter(|model| model.is_lost()).count() {
            0 => phase,
            lost if lost == running.len() => Phase::Lost,
            _ if phase == Phase::Ready => Phase::Degraded,
            _ => phase,
        }
    }

    /// The loaded models; none before they are.
    fn running(&self) -> &[Running] {
        self.running.get().map_or(&[], Vec::as_slice)
    }

    /// Which of the models are lost.
    fn lost_models(&self) -> String {
        let names = |lost: bool| {
            let models = self
                .running()
                .iter()
                .filter(|model| model.is_lost() == lost);
            models
                .map(|model| model.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!("lost: {}; answered: {}\n", names(true), names(false))
    }

    /// Everything counted and measured, as OpenMetrics text.
    ///
    /// # Errors
    /// None is known: the text is written to memory.
    pub(crate) fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.ready.set((self.phase() == Phase::Ready).into());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Totals, engine and settings at this moment.
    #[must_use]
    pub(crate) fn stats(&self) -> Stats {
        let (models, recent, frames_per_second) = {
            let history = self.history.lock();
            let (models, recent) = ModelStats::all(self.running(), &self.counts, &history);
            (models, recent, history.frames_per_second())
        };
        Stats {
            version: env!("CARGO_PKG_VERSION"),
            phase: self.phase(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            totals: self.counts.totals(),
            recent,
            frames_per_second,
            engine: ModelStats::default_engine(&models),
            models,
            newest: self.newest.look(),
            settings: self.settings.clone(),
        }
    }

    /// Takes a sample every second, and logs a summary every half minute if frames were answered. Never ends.
    pub async fn watch(&self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0usize.. {
            ticks.tick().await;
            self.sample();
            if tick > 0 && tick.is_multiple_of(SUMMARY) {
                self.summarise();
            }
        }
    }

    fn sample(&self) {
        let devices = self.devices();
        self.history.lock().add(Sample {
            at: Instant::now(),
            totals: self.counts.totals(),
            busy: devices.iter().map(|d| d.done.busy.iter().sum()).collect(),
        });
    }

    /// The devices of each model, one after the other.
    fn devices(&self) -> Vec<DeviceUsage> {
        let running = self.running().iter();
        running
            .flat_map(|model| model.lanes.usage().devices)
            .collect()
    }

    fn summarise(&self) {
        let running = self.running();
        let devices = self.devices();
        let lanes: Vec<_> = devices.iter().map(|device| device.lanes).collect();
        let Some((recent, busy)) = self.history.lock().last(SUMMARY, &lanes) else {
            return;
        };
        if recent.frames == 0 {
            return;
        }
        let ms = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1e5).round() / 100.0);
        let one = |value: f64| (value * 10.0).round() / 10.0;
        let busy: Vec<_> = devices
            .iter()
            .zip(busy)
            .map(|(device, busy)| format!("{}: {:.0} %", device.device, 100.0 * busy))
            .collect();
        let depths = || running.iter().map(|model| model.depth.now().to_string());
        let (depth, depths) = match running {
            [only] => (Some(only.depth.now()), None),
            _ => (None, Some(depths().collect::<Vec<_>>().join(", "))),
        };
        tracing::info!(
            frames = recent.frames,
            frames_per_second = one(recent.frames_per_second),
            rejected = recent.rejected,
            failed = recent.failed,
            batches = recent.batches,
            batch_frames = recent.batch_frames.map(one),
            read_batch_frames = recent.read_batch_frames.map(one),
            answer_ms = ms(recent.answer_seconds),
            latency_ms = ms(recent.latency_seconds),
            depth,
            depths,
            busy = busy.join(", "),
            log_lines_dropped = Some(logs::dropped()).filter(|lines| *lines > 0),
            "The last {:.0} seconds.",
            recent.seconds
        );
    }
}

impl Site for Status {
    fn page(&self) -> String {
        include_str!("page.html").replace("/* style */", STYLE)
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        Self::metrics(self)
    }

    fn stats(&self) -> Response {
        Json(Self::stats(self)).into_response()
    }

    fn readiness(&self) -> (StatusCode, Cow<'static, str>) {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self.phase() {
            Phase::Ready => (StatusCode::OK, "ready\n".into()),
            Phase::Loading => (unavailable, "the model is loading\n".into()),
            Phase::Draining => (
                unavailable,
                "calls in hand are answered, then the process ends\n".into(),
            ),
            Phase::Degraded => (unavailable, self.lost_models().into()),
            Phase::Lost => (unavailable, "the last device is lost\n".into()),
        }
    }

    fn picture(&self, sequence: u64, index: usize) -> Option<(Arc<NewestFrame>, usize)> {
        Some((self.newest.get(sequence)?, index))
    }
}
