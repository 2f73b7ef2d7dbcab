//! The answer to `/stats`: the state of the sidecar as JSON.

use super::history::History;
use super::phase::Phase;
use crate::inference::lane::{DeviceUsage, Priority, Usage};
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::running::Running;
use crate::inference::metrics::totals::{Recent, Totals};
use crate::telemetry::newest::Caption;
use crate::telemetry::setting::Setting;
use serde::Serialize;
use std::collections::BTreeMap;

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
    /// The default model, once it is loaded.
    #[serde(flatten)]
    pub(crate) engine: Option<EngineStats>,
    /// All models, once they are loaded.
    pub(crate) models: Vec<ModelStats>,
    /// The newest frame.
    pub(crate) newest: Option<Caption>,
    /// The settings in force and the origin of each.
    pub(crate) settings: Vec<Setting>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(crate) struct ModelStats {
    name: String,
    is_default: bool,
    /// Whether it has a lane.
    is_ready: bool,
    /// Which model's batches a shared device computes first: `normal` or `high`.
    priority: &'static str,
    /// Frames that wait while all slots are full, at most.
    backlog: usize,
    /// Answered frames by outcome.
    frames: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    engine: EngineStats,
}

/// What runs.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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

impl Stats {
    /// A line for each model.
    #[must_use]
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            [
                "model", "batch", "depth", "slots", "lanes", "file", "engine",
            ]
            .map(str::to_owned),
        ];
        lines.extend(self.models.iter().map(ModelStats::line));
        let widths: [usize; 7] = std::array::from_fn(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        });
        let line = |line: &[String; 7]| {
            let cells = line.iter().zip(widths);
            let cells: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        lines.iter().map(line).collect()
    }
}

impl ModelStats {
    fn line(&self) -> [String; 7] {
        let Self { name, engine, .. } = self;
        let lanes: usize = engine.devices.iter().map(|device| device.lanes).sum();
        let default = if self.is_default { " (default)" } else { "" };
        [
            format!("{name}{default}"),
            engine.batch_size.to_string(),
            engine.pipeline_depth.to_string(),
            engine.slots.to_string(),
            lanes.to_string(),
            engine.model.clone(),
            engine.engine.clone(),
        ]
    }

    /// What the models, the counts and the history tell.
    #[must_use]
    pub(crate) fn all(
        running: &[Running],
        counts: &Counts,
        history: &History,
    ) -> (Vec<Self>, Option<Recent>) {
        let usages: Vec<_> = running.iter().map(|model| model.lanes.usage()).collect();
        let devices = usages.iter().flat_map(|usage| &usage.devices);
        let lanes: Vec<_> = devices.map(|device| device.lanes).collect();
        let (recent, busy) = history.last(RECENT, &lanes).unzip();
        // In the order of models, and of the devices of each.
        let mut busy = busy.unwrap_or_default().into_iter();
        let of_model = |(model, usage): (&Running, Usage)| Self {
            name: model.name.clone(),
            is_default: model.is_default,
            is_ready: !model.is_lost(),
            priority: match model.priority {
                Priority::Normal => "normal",
                Priority::High => "high",
            },
            backlog: model.backlog,
            frames: counts.model(&model.name).frames(),
            engine: EngineStats::new(model, usage, &mut busy),
        };
        let models = running.iter().zip(usages).map(of_model).collect();
        (models, recent)
    }

    /// The engine of the default model.
    #[must_use]
    pub(crate) fn default_engine(models: &[Self]) -> Option<EngineStats> {
        let default = models.iter().find(|model| model.is_default)?;
        Some(default.engine.clone())
    }
}

impl EngineStats {
    fn new(running: &Running, usage: Usage, busy: &mut impl Iterator<Item = f64>) -> Self {
        let devices = usage.devices.iter();
        Self {
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
                .map(|device| DeviceStats::new(device, busy.next()))
                .collect(),
        }
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
