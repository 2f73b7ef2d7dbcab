//! The status of a PVA source: its page, `/stats`, `/metrics`, health.

use super::http::Site;
use crate::source::pva::backlog::Books;
use crate::source::pva::metrics::SourceMetrics;
use crate::source::pva::sourcer::PvaSource;
use crate::source::pva::tally::Tally;
use crate::telemetry::newest::{Caption, Newest, NewestFrame};
use crate::telemetry::{logs, names};
use axum::Json;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Seconds that the history has.
const SECONDS: usize = 120;

/// See the module's essay.
pub(crate) struct SourceStatus {
    source: PvaSource,
    registry: Registry,
    started: Instant,
    /// The frames of each PV, a second apart, the oldest first.
    history: Mutex<VecDeque<Vec<u64>>>,
}

/// The answer to `/stats`.
#[derive(Serialize)]
struct SourceStats {
    version: &'static str,
    uptime_seconds: f64,
    pvs: Vec<PvStats>,
    #[serde(flatten)]
    books: Books,
}

#[derive(Serialize)]
struct PvStats {
    #[serde(flatten)]
    tally: Tally,
    seconds_since_frame: Option<f64>,
    /// In each of the last seconds, the newest last.
    frames_per_second: Vec<u64>,
    /// The newest frame as an image: `/newest/SEQUENCE/N.png` for PV number N.
    picture: Option<Caption>,
}

impl SourceStatus {
    pub(crate) fn new(source: PvaSource) -> Self {
        let mut registry = Registry::with_prefix(names::PREFIX);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        names::BUILD.register(&mut registry, build);
        registry.register_collector(Box::new(logs::DroppedLines));
        registry.register_collector(Box::new(SourceMetrics(source.clone())));
        names::SOURCE_FRAME_AGE.register(&mut registry, source.ages());
        Self {
            source,
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
            let frames = self
                .source
                .tallies()
                .iter()
                .map(|tally| tally.frames)
                .collect();
            let mut history = self.history.lock();
            history.push_back(frames);
            if history.len() > SECONDS + 1 {
                history.pop_front();
            }
        }
    }

    fn frames_per_second(&self, pv: usize) -> Vec<u64> {
        let history = self.history.lock();
        let frames: Vec<u64> = history
            .iter()
            .filter_map(|all| all.get(pv).copied())
            .collect();
        frames
            .windows(2)
            .filter_map(|pair| pair.last()?.checked_sub(*pair.first()?))
            .collect()
    }
}

impl Site for SourceStatus {
    fn page(&self) -> String {
        include_str!("source.html").replace("/* style */", super::STYLE)
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn stats(&self) -> Response {
        let pv = |(k, tally): (usize, Tally)| PvStats {
            seconds_since_frame: tally
                .newest
                .as_ref()
                .map(|newest| newest.at.elapsed().as_secs_f64()),
            frames_per_second: self.frames_per_second(k),
            picture: self.source.shown(k).and_then(Newest::look),
            tally,
        };
        Json(SourceStats {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            pvs: self
                .source
                .tallies()
                .into_iter()
                .enumerate()
                .map(pv)
                .collect(),
            books: self.source.books(),
        })
        .into_response()
    }

    fn picture(&self, sequence: u64, index: usize) -> Option<(Arc<NewestFrame>, usize)> {
        Some((self.source.shown(index)?.get(sequence)?, 0))
    }

    // A source is ready without its PVs: a detector that is off is no fault of the pod.
}
