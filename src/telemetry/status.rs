//! What the sidecar is and how it is, for whoever asks over HTTP.

use super::counts::{Counts, PREFIX, Totals};
use crate::batch::RingWatch;
use crate::engine::lane::Health;
use crate::schedule::Depth;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Where a sidecar is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The model is being loaded and warmed up.
    Loading,
    /// Calls are answered.
    Ready,
    /// Calls in hand are answered, then the process ends.
    Draining,
    /// The last device is lost.
    Lost,
}

/// What is known once the model is loaded.
pub struct Running {
    /// The engine, in words.
    pub engine: String,
    /// The model file.
    pub model: String,
    /// When batches are computed.
    pub mode: String,
    /// The names of the devices.
    pub devices: Vec<String>,
    /// Frames per batch.
    pub batch_size: usize,
    /// The slots.
    pub ring: RingWatch,
    /// Batches in flight in pipelined mode.
    pub depth: Arc<Depth>,
    /// The lanes and their devices.
    pub health: Health,
    /// How long loading the model took, and opening and warming up the lanes.
    pub load_times: [(&'static str, Duration); 2],
}

type Seconds = Gauge<f64, AtomicU64>;

/// See the module's essay.
pub struct Status {
    registry: Registry,
    counts: Arc<Counts>,
    running: OnceLock<Running>,
    phase: Mutex<Phase>,
    engine_info: Family<[(&'static str, String); 4], Gauge>,
    ready: Gauge,
    devices_lost: Gauge,
    slots_in_use: Gauge,
    pipeline_depth: Gauge,
    load_seconds: Family<[(&'static str, &'static str); 1], Seconds>,
}

/// The answer to `/stats`.
#[derive(Debug, Serialize)]
pub struct Stats {
    version: &'static str,
    phase: Phase,
    totals: Totals,
    #[serde(flatten)]
    engine: Option<EngineStats>,
}

#[derive(Debug, Serialize)]
struct EngineStats {
    mode: String,
    model: String,
    engine: String,
    devices: Vec<String>,
    devices_lost: u64,
    batch_size: usize,
    pipeline_depth: usize,
    slots: usize,
    slots_in_use: usize,
}

impl Default for Status {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let counts = Arc::new(Counts::new(&mut registry));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let mut status = Self {
            counts,
            running: OnceLock::new(),
            phase: Mutex::new(Phase::Loading),
            engine_info: Family::default(),
            ready: Gauge::default(),
            devices_lost: Gauge::default(),
            slots_in_use: Gauge::default(),
            pipeline_depth: Gauge::default(),
            load_seconds: Family::default(),
            registry,
        };
        let r = &mut status.registry;
        r.register(
            "engine_info",
            "The engine; always 1",
            status.engine_info.clone(),
        );
        r.register(
            "engine_ready",
            "1 while calls are answered",
            status.ready.clone(),
        );
        r.register(
            "devices_lost",
            "Devices that have no lane any more",
            status.devices_lost.clone(),
        );
        r.register(
            "slots_in_use",
            "Slots that are being filled or computed",
            status.slots_in_use.clone(),
        );
        r.register(
            "pipeline_depth",
            "Batches that may be in flight in pipelined mode",
            status.pipeline_depth.clone(),
        );
        r.register(
            "engine_load_seconds",
            "How long the start took, by phase",
            status.load_seconds.clone(),
        );
        status
    }
}

impl Status {
    /// What this sidecar counts.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The model is loaded: the sidecar is ready.
    pub fn loaded(&self, running: Running) {
        let labels = [
            ("engine", running.engine.clone()),
            ("model", running.model.clone()),
            ("mode", running.mode.clone()),
            ("devices", running.devices.join(",")),
        ];
        self.engine_info.get_or_create(&labels).set(1);
        for (phase, time) in running.load_times {
            let gauge = self.load_seconds.get_or_create(&[("phase", phase)]);
            gauge.set(time.as_secs_f64());
        }
        if self.running.set(running).is_ok() {
            let mut phase = self.phase.lock();
            if *phase == Phase::Loading {
                *phase = Phase::Ready;
            }
        }
    }

    /// The sidecar is told to end.
    pub fn draining(&self) {
        *self.phase.lock() = Phase::Draining;
    }

    /// Where the sidecar is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let lost = |running: &Running| running.health.lost().is_cancelled();
        if self.running.get().is_some_and(lost) {
            return Phase::Lost;
        }
        *self.phase.lock()
    }

    /// Everything counted and measured, as OpenMetrics text.
    ///
    /// # Errors
    /// None that is known: it is written to memory.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.ready.set((self.phase() == Phase::Ready).into());
        if let Some(running) = self.running.get() {
            let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            let lost = running.health.devices_lost();
            self.devices_lost
                .set(i64::try_from(lost).unwrap_or(i64::MAX));
            self.slots_in_use.set(number(running.ring.in_use()));
            self.pipeline_depth.set(number(running.depth.now()));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Totals, engine and settings at this moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let engine = self.running.get().map(|running| EngineStats {
            mode: running.mode.clone(),
            model: running.model.clone(),
            engine: running.engine.clone(),
            devices: running.devices.clone(),
            devices_lost: running.health.devices_lost(),
            batch_size: running.batch_size,
            pipeline_depth: running.depth.now(),
            slots: running.ring.slots(),
            slots_in_use: running.ring.in_use(),
        });
        Stats {
            version: env!("CARGO_PKG_VERSION"),
            phase: self.phase(),
            totals: self.counts.totals(),
            engine,
        }
    }
}
