//! The status of a PVA sink: its page, `/stats`, `/metrics`, health.

use super::http::Site;
use super::mosaic::{self, MosaicStats};
use crate::sink::pva::metrics::SinkMetrics;
use crate::sink::pva::output::{Counts, OutputTally};
use crate::sink::pva::sinker::PvaSink;
use crate::telemetry::{logs, names};
use axum::Json;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Seconds that the history has.
const SECONDS: usize = 120;

/// See the module's essay.
pub(crate) struct SinkStatus {
    sink: PvaSink,
    registry: Registry,
    started: Instant,
    /// The results of each output, a second apart, the oldest first. An output that came later is not in the oldest.
    history: Mutex<VecDeque<Vec<u64>>>,
}

/// The answer to `/stats`.
#[derive(Serialize)]
struct SinkStats {
    version: &'static str,
    uptime_seconds: f64,
    tcp_port: u16,
    udp_port: u16,
    clients: usize,
    results: u64,
    duplicates: u64,
    other_models: u64,
    rounded: u64,
    over: u64,
    unserved: u64,
    no_results: BTreeMap<&'static str, u64>,
    frames: u64,
    missing: u64,
    series: u64,
    outputs: Vec<OutputStats>,
    /// `null` without a mosaic.
    mosaic: Option<MosaicStats>,
}

#[derive(Serialize)]
struct OutputStats {
    output: String,
    pv: String,
    #[serde(flatten)]
    counts: Counts,
    held: u64,
    newest: Option<NewestStats>,
    /// In each of the last seconds, the newest last.
    results_per_second: Vec<u64>,
}

#[derive(Serialize)]
struct NewestStats {
    number: u64,
    shape: String,
    latency_ms: f64,
    seconds_since: f64,
}

impl SinkStatus {
    pub(crate) fn new(sink: PvaSink) -> Self {
        let mut registry = Registry::with_prefix(names::PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names::BUILD.register(&mut registry, build);
        names::SINK_LATENCY_SECONDS.register(&mut registry, sink.latency());
        registry.register_collector(Box::new(logs::DroppedLines));
        registry.register_collector(Box::new(SinkMetrics(sink.clone())));
        Self {
            sink,
            registry,
            started: Instant::now(),
            history: Mutex::default(),
        }
    }

    /// Takes a sample every second. Never ends.
    pub(crate) async fn watch(&self) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let outputs = self.sink.tally().outputs;
            let results = outputs.iter().map(|output| output.counts.results);
            let mut history = self.history.lock();
            history.push_back(results.collect());
            if history.len() > SECONDS + 1 {
                history.pop_front();
            }
        }
    }

    fn results_per_second(&self, output: usize) -> Vec<u64> {
        let history = self.history.lock();
        let results = history.iter();
        let results: Vec<u64> = results
            .map(|all| all.get(output).copied().unwrap_or(0))
            .collect();
        results
            .array_windows()
            .map(|[before, after]| after.saturating_sub(*before))
            .collect()
    }

    fn output(&self, index: usize, tally: OutputTally) -> OutputStats {
        let OutputTally {
            output,
            pv,
            counts,
            held,
            newest,
        } = tally;
        OutputStats {
            output,
            pv,
            counts,
            held,
            newest: newest.map(|newest| NewestStats {
                number: newest.number,
                shape: newest.shape.to_string(),
                latency_ms: newest.latency_ms,
                seconds_since: newest.at.elapsed().as_secs_f64(),
            }),
            results_per_second: self.results_per_second(index),
        }
    }
}

impl Site for SinkStatus {
    fn page(&self) -> String {
        include_str!("sink.html").replace("/* style */", super::STYLE)
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn stats(&self) -> Response {
        let tally = self.sink.tally();
        let server = self.sink.server();
        let outputs = tally.outputs.into_iter().enumerate();
        Json(SinkStats {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            tcp_port: server.tcp_port(),
            udp_port: server.udp_port(),
            clients: tally.clients,
            results: tally.results,
            duplicates: tally.duplicates,
            other_models: tally.other_models,
            rounded: tally.rounded,
            over: tally.over,
            unserved: tally.unserved,
            no_results: tally.no_results,
            frames: tally.series.frames,
            missing: tally.series.missing.saturating_sub(tally.series.filled),
            series: tally.series.series,
            mosaic: self.sink.mosaic().map(|mosaic| mosaic.look().into()),
            outputs: outputs
                .map(|(index, tally)| self.output(index, tally))
                .collect(),
        })
        .into_response()
    }

    fn mosaic(&self, sequence: Option<u64>, name: &str) -> Option<(&'static str, Vec<u8>)> {
        let drawn = self.sink.mosaic()?.drawn(sequence)?;
        mosaic::part(&drawn, name)
    }

    // A sink is ready without clients.
}
