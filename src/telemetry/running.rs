//! What is known once the model is loaded, and the metrics that are read off it when they are asked for.

use super::logs;
use crate::batch::RingWatch;
use crate::engine::lane::{Health, LanesWatch, Usage};
use crate::schedule::Depth;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
    /// Datums that a read batch must hold for every slot to be used.
    pub read_batch_needed: usize,
    /// The slots.
    pub ring: RingWatch,
    /// The lanes.
    pub lanes: LanesWatch,
    /// Batches in flight in pipelined mode.
    pub depth: Arc<Depth>,
    /// The lanes and their devices.
    pub health: Health,
    /// How long loading the model took, and opening and warming up the lanes.
    pub load_times: [(&'static str, Duration); 2],
}

/// The running sidecar's metrics; none before it runs.
pub(super) struct RunningMetrics(pub Arc<OnceLock<Running>>);

impl std::fmt::Debug for RunningMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunningMetrics")
    }
}

impl Collector for RunningMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let dropped = encoder.encode_descriptor(
            "log_lines_dropped",
            "Log lines that nobody took in time",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(logs::dropped()).encode(dropped)?;
        let Some(running) = self.0.get() else {
            return Ok(());
        };
        running.encode(&mut encoder)?;
        encode_lanes(&running.lanes.usage(), &mut encoder)
    }
}

impl Running {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut info = encoder.encode_descriptor(
            "engine_info",
            "The engine; always 1",
            None,
            MetricType::Gauge,
        )?;
        let labels = [
            ("engine", self.engine.clone()),
            ("model", self.model.clone()),
            ("mode", self.mode.clone()),
            ("devices", self.devices.join(",")),
        ];
        ConstGauge::new(1i64).encode(info.encode_family(&labels)?)?;

        let mut load = encoder.encode_descriptor(
            "engine_load_seconds",
            "How long the start took, by phase",
            None,
            MetricType::Gauge,
        )?;
        for (phase, time) in self.load_times {
            let labels = [("phase", phase)];
            ConstGauge::new(time.as_secs_f64()).encode(load.encode_family(&labels)?)?;
        }

        let lost = usize::try_from(self.health.devices_lost()).unwrap_or(usize::MAX);
        for (name, help, value) in [
            ("devices_lost", "Devices that have no lane any more", lost),
            (
                "slots_in_use",
                "Slots that are being filled or computed",
                self.ring.in_use(),
            ),
            (
                "pipeline_depth",
                "Batches that may be in flight in pipelined mode",
                self.depth.now(),
            ),
            (
                "read_batch_frames_needed",
                "Datums that a read batch must hold for every slot to be used",
                self.read_batch_needed,
            ),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value as u64).encode(gauge)?;
        }
        Ok(())
    }
}

fn encode_lanes(usage: &Usage, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let mut busy = encoder.encode_descriptor(
        "lane_busy_seconds",
        "How long a lane was at work, by its place on its device",
        None,
        MetricType::Counter,
    )?;
    for device in &usage.devices {
        for (lane, time) in device.done.busy.iter().enumerate() {
            let labels = [
                ("device", device.device.clone()),
                ("lane", lane.to_string()),
            ];
            ConstCounter::new(time.as_secs_f64()).encode(busy.encode_family(&labels)?)?;
        }
    }
    let idle = encoder.encode_descriptor(
        "idle_while_queued_seconds",
        "How long a lane was idle while a batch waited for one",
        None,
        MetricType::Counter,
    )?;
    ConstCounter::new(usage.idle_while_queued.as_secs_f64()).encode(idle)
}
