//! The metrics of a PVA source, read from its tallies and books at a scrape.

use super::sourcer::PvaSource;
use super::tally::{Counted, Tally};
use crate::telemetry::names::{self, Name};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// See the module's essay.
pub(crate) struct SourceMetrics(pub(crate) PvaSource);

impl std::fmt::Debug for SourceMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SourceMetrics")
    }
}

type Count = fn(&Tally) -> u64;
type Reasons = fn(&Tally) -> &Counted;

/// Counters with the label `pv`.
const COUNTERS: [(Name, Count); 10] = [
    (names::SOURCE_CONNECTIONS, |tally| tally.connections),
    (names::SOURCE_UPDATES, |tally| tally.updates),
    (names::SOURCE_FRAMES, |tally| tally.frames),
    (names::SOURCE_BYTES, |tally| tally.bytes),
    (names::SOURCE_UNCOMPRESSED_BYTES, |tally| {
        tally.uncompressed_bytes
    }),
    (names::SOURCE_GAP_FRAMES_FILLED, |tally| {
        tally.gap_frames_filled
    }),
    (names::SOURCE_LATE, |tally| tally.late),
    (names::SOURCE_SERIES, |tally| tally.series),
    (names::SOURCE_DROPPED, |tally| tally.dropped),
    (names::SOURCE_POSITIONS_MISSING, |tally| {
        tally.positions_missing
    }),
];

/// Counters with a second label.
const BY_REASON: [(Name, &str, Reasons); 5] = [
    (names::SOURCE_SKIPPED, "reason", |tally| &tally.skipped),
    (names::SOURCE_GAP_FRAMES, "reason", |tally| {
        &tally.gap_frames
    }),
    (names::SOURCE_LEFT_OUT, "by", |tally| &tally.left_out),
    (names::SOURCE_EVENT_TIMES, "from", |tally| {
        &tally.event_times
    }),
    (names::SOURCE_MONITOR_RESTARTS, "reason", |tally| {
        &tally.restarts
    }),
];

impl Collector for SourceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let tallies = self.0.tallies();
        for (name, count) in COUNTERS {
            let mut family = name.encode(&mut encoder, MetricType::Counter)?;
            for tally in &tallies {
                let labels = [("pv", tally.pv.as_str())];
                ConstCounter::new(count(tally)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, label, reasons) in BY_REASON {
            let mut family = name.encode(&mut encoder, MetricType::Counter)?;
            for tally in &tallies {
                for (reason, count) in reasons(tally) {
                    let labels = [("pv", tally.pv.as_str()), (label, *reason)];
                    ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        let mut connected = names::SOURCE_CONNECTED.encode(&mut encoder, MetricType::Gauge)?;
        for tally in &tallies {
            let labels = [("pv", tally.pv.as_str())];
            let is = u64::from(tally.peer.is_some());
            ConstGauge::new(is).encode(connected.encode_family(&labels)?)?;
        }
        let mut since =
            names::SOURCE_SECONDS_SINCE_FRAME.encode(&mut encoder, MetricType::Gauge)?;
        for tally in &tallies {
            if let Some(newest) = &tally.newest {
                let labels = [("pv", tally.pv.as_str())];
                let seconds = newest.at.elapsed().as_secs_f64();
                ConstGauge::new(seconds).encode(since.encode_family(&labels)?)?;
            }
        }
        let (books, limits) = (self.0.books(), self.0.limits());
        for (name, value) in [
            (names::SOURCE_UNREAD, books.unread),
            (names::SOURCE_UNREAD_LIMIT, limits.frames as u64),
            (names::SOURCE_UNACKED, books.unacked),
            (names::SOURCE_WAITING, books.waiting),
            (names::SOURCE_BUFFER_BYTES, books.bytes),
            (names::SOURCE_BUFFER_LIMIT, limits.bytes as u64),
        ] {
            ConstGauge::new(value).encode(name.encode(&mut encoder, MetricType::Gauge)?)?;
        }
        for (name, value) in [
            (names::SOURCE_ACKED, books.acked),
            (names::SOURCE_NACKED, books.nacked),
            (names::SOURCE_DELIVERED_AGAIN, books.again),
            (names::SOURCE_UNKNOWN_ACKS, books.unknown_acks),
        ] {
            ConstCounter::new(value).encode(name.encode(&mut encoder, MetricType::Counter)?)?;
        }
        Ok(())
    }
}
