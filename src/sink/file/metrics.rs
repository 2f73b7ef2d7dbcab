//! The metrics of a file sink, read from its tally at a scrape.

use super::sinker::FileSink;
use crate::telemetry::names;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the module's essay.
pub(crate) struct FileMetrics(pub(crate) FileSink);

impl std::fmt::Debug for FileMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileMetrics")
    }
}

impl Collector for FileMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tally = self.0.tally();
        for (name, value) in [
            (names::FILE_RESULTS, tally.results),
            (names::FILE_WRITTEN, tally.written),
            (names::FILE_DUPLICATES, tally.duplicates),
            (names::FILE_LATE, tally.late),
            (names::FILE_OTHER_OUTPUTS, tally.other_outputs),
            (names::FILE_UNFIT, tally.unfit),
            (names::FILE_FAILED, tally.failed),
            (names::FILE_ROUNDED, tally.rounded),
            (names::FILE_COMPLETED, tally.completed),
            (names::FILE_FRAMES, tally.series.frames),
            (names::FILE_GAP_FRAMES, tally.series.missing),
            (names::FILE_GAP_FRAMES_FILLED, tally.series.filled),
        ] {
            ConstCounter::new(value).encode(name.encode(&mut encoder, MetricType::Counter)?)?;
        }
        let mut reasons = names::FILE_NO_RESULTS.encode(&mut encoder, MetricType::Counter)?;
        for (reason, count) in &tally.no_results {
            let labels = [("reason", *reason)];
            ConstCounter::new(*count).encode(reasons.encode_family(&labels)?)?;
        }
        let rows = tally.open.iter().map(|open| open.rows).sum::<u64>();
        for (name, value) in [
            (names::FILE_OPEN, tally.open.len() as u64),
            (names::FILE_OPEN_ROWS, rows),
        ] {
            ConstGauge::new(value).encode(name.encode(&mut encoder, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
