//! The state of a loaded model, and the metrics that are read from it at a scrape.

use crate::inference::batch::RingWatch;
use crate::inference::lane::{Health, LanesWatch, Usage};
use crate::inference::schedule::Depth;
use crate::telemetry::names;
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

/// The metrics of the loaded model; none before it is loaded.
pub(crate) struct RunningMetrics(pub Arc<OnceLock<Running>>);

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
        running.encode(&mut encoder)?;
        encode_lanes(&running.name, &running.lanes.usage(), &mut encoder)
    }
}

impl Running {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut info = names::ENGINE_INFO.encode(encoder, MetricType::Gauge)?;
        let labels = [
            ("model", self.name.clone()),
            ("engine", self.engine.clone()),
            ("path", self.model.clone()),
            ("mode", self.mode.clone()),
            ("devices", self.devices.join(",")),
        ];
        ConstGauge::new(1i64).encode(info.encode_family(&labels)?)?;

        let mut load = names::ENGINE_LOAD_SECONDS.encode(encoder, MetricType::Gauge)?;
        for (phase, time) in self.load_times {
            let labels = [("model", self.name.as_str()), ("phase", phase)];
            ConstGauge::new(time.as_secs_f64()).encode(load.encode_family(&labels)?)?;
        }

        let lost = usize::try_from(self.health.devices_lost()).unwrap_or(usize::MAX);
        for (metric, value) in [
            (names::DEVICES_LOST, lost),
            (names::SLOTS_IN_USE, self.ring.in_use()),
            (names::PIPELINE_DEPTH, self.depth.now()),
            (names::BATCH_SIZE, self.batch_size),
            (names::READ_BATCH_FRAMES_NEEDED, self.read_batch_needed),
        ] {
            let mut gauge = metric.encode(encoder, MetricType::Gauge)?;
            let labels = [("model", self.name.as_str())];
            ConstGauge::new(value as u64).encode(gauge.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn encode_lanes(
    model: &str,
    usage: &Usage,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let mut busy = names::LANE_BUSY_SECONDS.encode(encoder, MetricType::Counter)?;
    for device in &usage.devices {
        for (lane, time) in device.done.busy.iter().enumerate() {
            let labels = [
                ("model", model.to_owned()),
                ("device", device.device.clone()),
                ("lane", lane.to_string()),
            ];
            ConstCounter::new(time.as_secs_f64()).encode(busy.encode_family(&labels)?)?;
        }
    }
    let mut idle = names::IDLE_WHILE_QUEUED_SECONDS.encode(encoder, MetricType::Counter)?;
    let labels = [("model", model)];
    ConstCounter::new(usage.idle_while_queued.as_secs_f64()).encode(idle.encode_family(&labels)?)
}
