//! The state of a loaded model, and the metrics that are read from it at a scrape.

use crate::inference::batch::RingWatch;
use crate::inference::lane::{Health, LanesWatch, Priority};
use crate::inference::schedule::Depth;
use crate::telemetry::names::{self, Name};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The state of a loaded model.
pub(crate) struct Running {
    /// The name of the model in metrics.
    pub(crate) name: String,
    /// Whether frames that name no model are for it.
    pub(crate) is_default: bool,
    /// The engine, in words.
    pub(crate) engine: String,
    /// The model file.
    pub(crate) model: String,
    /// When batches are computed.
    pub(crate) mode: String,
    /// The names of the devices.
    pub(crate) devices: Vec<String>,
    /// Frames per batch.
    pub(crate) batch_size: usize,
    /// Whether its batches are computed before those of other models.
    pub(crate) priority: Priority,
    /// Frames that wait while all slots are full, at most.
    pub(crate) backlog: usize,
    /// Datums that a read batch must hold for every slot to be used.
    pub(crate) read_batch_needed: usize,
    pub(crate) ring: RingWatch,
    pub(crate) lanes: LanesWatch,
    /// Batches in flight in pipelined mode.
    pub(crate) depth: Arc<Depth>,
    /// The lanes and their devices.
    pub(crate) health: Health,
    /// How long loading the model took, and opening and warming up the lanes.
    pub(crate) load_times: [(&'static str, Duration); 2],
}

/// The metrics of the loaded models; none before they are loaded.
pub(crate) struct RunningMetrics(pub Arc<OnceLock<Vec<Running>>>);

impl std::fmt::Debug for RunningMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunningMetrics")
    }
}

impl Collector for RunningMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(running) = self.0.get() else {
            return Ok(());
        };
        encode_engines(running, &mut encoder)?;
        encode_lanes(running, &mut encoder)
    }
}

impl Running {
    /// Whether it has no lane any more.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.health.lost().is_cancelled()
    }

    fn gauges(&self) -> [(Name, usize); 6] {
        let lost = usize::try_from(self.health.devices_lost()).unwrap_or(usize::MAX);
        [
            (names::MODEL_READY, usize::from(!self.is_lost())),
            (names::DEVICES_LOST, lost),
            (names::SLOTS_IN_USE, self.ring.in_use()),
            (names::PIPELINE_DEPTH, self.depth.now()),
            (names::BATCH_SIZE, self.batch_size),
            (names::READ_BATCH_FRAMES_NEEDED, self.read_batch_needed),
        ]
    }
}

fn encode_engines(
    running: &[Running],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut info = names::ENGINE_INFO.encode(encoder, MetricType::Gauge)?;
    for model in running {
        let labels = [
            ("model", model.name.clone()),
            ("engine", model.engine.clone()),
            ("path", model.model.clone()),
            ("mode", model.mode.clone()),
            ("devices", model.devices.join(",")),
        ];
        ConstGauge::new(1i64).encode(info.encode_family(&labels)?)?;
    }
    let mut load = names::ENGINE_LOAD_SECONDS.encode(encoder, MetricType::Gauge)?;
    for model in running {
        for (phase, time) in model.load_times {
            let labels = [("model", model.name.as_str()), ("phase", phase)];
            ConstGauge::new(time.as_secs_f64()).encode(load.encode_family(&labels)?)?;
        }
    }
    let gauges: Vec<_> = running
        .iter()
        .map(|model| (&model.name, model.gauges()))
        .collect();
    for (n, (metric, _)) in gauges
        .first()
        .iter()
        .flat_map(|(_, gauges)| gauges)
        .enumerate()
    {
        let mut gauge = metric.encode(encoder, MetricType::Gauge)?;
        for (name, gauges) in &gauges {
            let value = gauges.get(n).map_or(0, |(_, value)| *value);
            let labels = [("model", name.as_str())];
            ConstGauge::new(value as u64).encode(gauge.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_lanes(
    running: &[Running],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let usages = running
        .iter()
        .map(|model| (model.name.as_str(), model.lanes.usage()));
    let usages: Vec<_> = usages.collect();
    let mut busy = names::LANE_BUSY_SECONDS.encode(encoder, MetricType::Counter)?;
    for (model, usage) in &usages {
        for device in &usage.devices {
            for (lane, time) in device.done.busy.iter().enumerate() {
                let labels = [
                    ("model", (*model).to_owned()),
                    ("device", device.device.clone()),
                    ("lane", lane.to_string()),
                ];
                ConstCounter::new(time.as_secs_f64()).encode(busy.encode_family(&labels)?)?;
            }
        }
    }
    let mut idle = names::IDLE_WHILE_QUEUED_SECONDS.encode(encoder, MetricType::Counter)?;
    for (model, usage) in &usages {
        let labels = [("model", *model)];
        let seconds = usage.idle_while_queued.as_secs_f64();
        ConstCounter::new(seconds).encode(idle.encode_family(&labels)?)?;
    }
    Ok(())
}
