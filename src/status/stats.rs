//! The answer to `/stats`: the state of the sidecar as JSON.

use super::history::History;
use super::phase::Phase;
use crate::inference::lane::DeviceUsage;
use crate::inference::metrics::running::Running;
use crate::inference::metrics::totals::{Recent, Totals};
use crate::telemetry::newest::Caption;
use crate::telemetry::setting::Setting;
use serde::Serialize;

/// Seconds that `recent` looks back.
const RECENT: usize = 10;

/// See the module's essay.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    /// The version of the program.
    pub(crate) version: &'static str,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Since it was started.
    pub(crate) uptime_seconds: f64,
    /// Since it was started.
    pub(crate) totals: Totals,
    /// Over the last seconds; none in the first.
    pub(crate) recent: Option<Recent>,
    /// In each of the last seconds, the newest last.
    pub(crate) frames_per_second: Vec<f64>,
    /// What runs, once it is loaded.
    #[serde(flatten)]
    pub(crate) engine: Option<EngineStats>,
    /// The newest frame.
    pub(crate) newest: Option<Caption>,
    /// The settings in force and the origin of each.
    pub(crate) settings: Vec<Setting>,
}

/// What runs.
#[derive(Debug, Serialize)]
pub(crate) struct EngineStats {
    mode: String,
    model: String,
    engine: String,
    batch_size: usize,
    pipeline_depth: usize,
    slots: usize,
    slots_in_use: usize,
    read_batch_frames_needed: usize,
    devices_lost: u64,
    idle_while_queued_seconds: f64,
    /// Batches that wait for the first idle lane.
    queue_depth: usize,
    devices: Vec<DeviceStats>,
}

/// One device.
#[derive(Debug, Serialize)]
pub(crate) struct DeviceStats {
    device: String,
    lanes: usize,
    /// Batches kept for it, and batches on its lanes.
    queue_depth: usize,
    batches: u64,
    frames: u64,
    /// Frames in a batch, in the mean.
    mean_batch_frames: Option<f64>,
    /// How long a batch waited for a lane, in the mean.
    mean_wait_seconds: Option<f64>,
    /// How long a batch was on its lane, in the mean.
    mean_inference_seconds: Option<f64>,
    busy_seconds: f64,
    /// The mean part of the last seconds that a lane was busy.
    recently_busy: Option<f64>,
}

impl EngineStats {
    /// What `running` and the history tell.
    #[must_use]
    pub(crate) fn new(running: &Running, history: &History) -> (Self, Option<Recent>) {
        let usage = running.lanes.usage();
        let lanes: Vec<_> = usage.devices.iter().map(|device| device.lanes).collect();
        let (recent, busy) = history.last(RECENT, &lanes).unzip();
        let busy = busy.unwrap_or_default();
        let devices = usage.devices.iter().enumerate();
        let stats = Self {
            mode: running.mode.clone(),
            model: running.model.clone(),
            engine: running.engine.clone(),
            batch_size: running.batch_size,
            pipeline_depth: running.depth.now(),
            slots: running.ring.slots(),
            slots_in_use: running.ring.in_use(),
            read_batch_frames_needed: running.read_batch_needed,
            devices_lost: running.health.devices_lost(),
            idle_while_queued_seconds: usage.idle_while_queued.as_secs_f64(),
            queue_depth: usage.queued,
            devices: devices
                .map(|(n, device)| DeviceStats::new(device, busy.get(n).copied()))
                .collect(),
        };
        (stats, recent)
    }
}

impl DeviceStats {
    fn new(usage: &DeviceUsage, recently_busy: Option<f64>) -> Self {
        let done = &usage.done;
        let busy = done.busy.iter().sum::<std::time::Duration>().as_secs_f64();
        let a_batch = |sum: f64| (done.batches > 0).then(|| sum / done.batches as f64);
        Self {
            device: usage.device.clone(),
            lanes: usage.lanes,
            queue_depth: usage.queued + usage.running,
            batches: done.batches,
            frames: done.frames,
            mean_batch_frames: a_batch(done.frames as f64),
            mean_wait_seconds: a_batch(done.waited.as_secs_f64()),
            mean_inference_seconds: a_batch(busy),
            busy_seconds: busy,
            recently_busy,
        }
    }
}
