//! The metrics of a PVA sink, read from its tally at a scrape.

use super::mosaic::{MosaicPvs, View};
use super::output::OutputTally;
use super::sinker::PvaSink;
use crate::telemetry::names::{self, Name};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the module's essay.
pub(crate) struct SinkMetrics(pub(crate) PvaSink);

impl std::fmt::Debug for SinkMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SinkMetrics")
    }
}

type Count = fn(&OutputTally) -> u64;

/// Counters with the label `output`.
const BY_OUTPUT: [(Name, Count); 5] = [
    (names::SINK_POSTED, |tally| tally.counts.posted),
    (names::SINK_SUPERSEDED, |tally| tally.counts.superseded),
    (names::SINK_LATE, |tally| tally.counts.late),
    (names::SINK_REFUSED, |tally| tally.counts.refused),
    (names::SINK_NONFINITE, |tally| tally.counts.nonfinite),
];

impl Collector for SinkMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tally = self.0.tally();
        for (name, count) in BY_OUTPUT {
            let mut family = name.encode(&mut encoder, MetricType::Counter)?;
            for output in &tally.outputs {
                let labels = [("output", output.output.as_str())];
                ConstCounter::new(count(output)).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut held = names::SINK_HELD.encode(&mut encoder, MetricType::Gauge)?;
        for output in &tally.outputs {
            let labels = [("output", output.output.as_str())];
            ConstGauge::new(output.held).encode(held.encode_family(&labels)?)?;
        }
        let mut since = names::SINK_SECONDS_SINCE_RESULT.encode(&mut encoder, MetricType::Gauge)?;
        for output in &tally.outputs {
            if let Some(newest) = &output.newest {
                let labels = [("output", output.output.as_str())];
                let seconds = newest.at.elapsed().as_secs_f64();
                ConstGauge::new(seconds).encode(since.encode_family(&labels)?)?;
            }
        }
        let mut reasons = names::SINK_NO_RESULTS.encode(&mut encoder, MetricType::Counter)?;
        for (reason, count) in &tally.no_results {
            let labels = [("reason", *reason)];
            ConstCounter::new(*count).encode(reasons.encode_family(&labels)?)?;
        }
        for (name, value) in [
            (names::SINK_RESULTS, tally.results),
            (names::SINK_DUPLICATES, tally.duplicates),
            (names::SINK_OTHER_MODELS, tally.other_models),
            (names::SINK_ROUNDED, tally.rounded),
            (names::SINK_UNSERVED, tally.unserved),
            (names::SINK_OVER, tally.over),
            (names::SINK_FRAMES, tally.series.frames),
            (names::SINK_GAP_FRAMES, tally.series.missing),
            (names::SINK_GAP_FRAMES_FILLED, tally.series.filled),
            (names::SINK_SERIES, tally.series.series),
        ] {
            ConstCounter::new(value).encode(name.encode(&mut encoder, MetricType::Counter)?)?;
        }
        self.mosaic(&mut encoder)?;
        let clients = names::SINK_CLIENTS.encode(&mut encoder, MetricType::Gauge)?;
        ConstGauge::new(tally.clients as u64).encode(clients)
    }
}

impl SinkMetrics {
    /// The mosaic's; all are 0 without one.
    fn mosaic(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let view = self.0.mosaic().map(MosaicPvs::view).unwrap_or_default();
        let View { tally, bytes, .. } = view;
        for (name, value) in [
            (names::SINK_MOSAIC_PLACED, tally.placed),
            (names::SINK_MOSAIC_UNLEVELLED, tally.unlevelled),
            (names::SINK_MOSAIC_PICTURES, view.pictures),
            (names::SINK_MOSAIC_SOLVED, tally.solved),
            (names::SINK_MOSAIC_UNSOLVED, tally.unsolved),
        ] {
            ConstCounter::new(value).encode(name.encode(encoder, MetricType::Counter)?)?;
        }
        let mut reasons = names::SINK_MOSAIC_LEFT_OUT.encode(encoder, MetricType::Counter)?;
        for (reason, count) in [
            ("unpositioned", tally.unpositioned),
            ("outside", tally.outside),
            ("astray", tally.astray),
            ("unusable", tally.unusable),
            ("without_phase", tally.without_phase),
            ("earlier", tally.earlier),
            ("mismatched", tally.mismatched),
            ("other_pv", view.other_pvs),
            ("other_model", view.other_models),
        ] {
            let labels = [("reason", reason)];
            ConstCounter::new(count).encode(reasons.encode_family(&labels)?)?;
        }
        let mut family = names::SINK_MOSAIC_BYTES.encode(encoder, MetricType::Gauge)?;
        for (of, bytes) in [("canvas", bytes.0), ("kept", bytes.1)] {
            ConstGauge::new(bytes as u64).encode(family.encode_family(&[("of", of)])?)?;
        }
        Ok(())
    }
}
