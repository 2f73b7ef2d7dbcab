//! The PV of one output: what is held back, what is posted, and its counts.

use super::image::Ready;
use super::order::Order;
use super::pace::{Offered, Pace};
use super::settings::Settings;
use crate::frame::FrameShape;
use crate::pva::{ImagePv, Server, ServerError};
use crate::sink::result;
use crate::telemetry::rate::RateLimit;
use prometheus_client::metrics::histogram::Histogram;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// An output that has a PV.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) name: String,
    pv: String,
    image: ImagePv,
    order: Order<Ready>,
    pace: Pace<Ready>,
    counts: Counts,
    newest: Option<Newest>,
    latency: Histogram,
    lines: RateLimit,
}

/// What has become of its results.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Results that came; those that came before not counted.
    pub(crate) results: u64,
    pub(crate) posted: u64,
    /// Not posted: a newer one came before the next post was allowed.
    pub(crate) superseded: u64,
    /// Not posted: later ones were posted already.
    pub(crate) late: u64,
    /// Refused by the server.
    pub(crate) refused: u64,
    /// Results with values that are no finite numbers.
    pub(crate) nonfinite: u64,
}

/// The result that was posted last.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) shape: FrameShape,
    /// From the frame to the post.
    pub(crate) latency_ms: f64,
    pub(crate) at: Instant,
}

/// What has happened to an output.
#[derive(Clone, Debug)]
pub(crate) struct OutputTally {
    pub(crate) output: String,
    pub(crate) pv: String,
    pub(crate) counts: Counts,
    /// Results that are held back.
    pub(crate) held: u64,
    pub(crate) newest: Option<Newest>,
}

impl Output {
    /// Serves the PV of the output `name`: idle, until the first result.
    ///
    /// # Errors
    /// The name of the PV is taken.
    pub(crate) fn new(
        name: &str,
        server: &Server,
        settings: &Settings,
        latency: Histogram,
    ) -> Result<Self, ServerError> {
        let pv = settings.pv(name);
        Ok(Self {
            name: name.to_owned(),
            image: server.image(&pv)?,
            pv,
            order: Order::new(settings.reorder),
            pace: Pace::new(settings.interval),
            counts: Counts::default(),
            newest: None,
            latency,
            lines: RateLimit::new(1, Duration::from_secs(10)),
        })
    }

    /// Takes a result of a series, and posts what may be posted now.
    pub(crate) fn take(&mut self, series: u64, ready: Ready, nonfinite: bool, now: Instant) {
        self.counts.results += 1;
        self.counts.nonfinite += u64::from(nonfinite);
        let key = (series, ready.number);
        // Bytes of float32.
        let values = ready.image.image.pixels.len() / 4;
        if let Err(late) = self.order.insert(key, values, ready, now) {
            self.counts.late += 1;
            if let Some(more) = self.lines.pass(now) {
                tracing::warn!(
                    pv = self.pv,
                    number = late.number,
                    more,
                    "A result came after later ones were posted, and is left out: a longer --reorder would wait for it."
                );
            }
        }
        self.advance(now);
    }

    /// Posts what is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(ready) = self.order.next(now) {
            self.pass(ready, now);
        }
        if let Some(ready) = self.pace.due(now) {
            self.post(ready, now);
        }
    }

    /// Posts everything that is held back: the process ends.
    pub(crate) fn flush(&mut self, now: Instant) {
        while let Some(ready) = self.order.release() {
            self.pass(ready, now);
        }
        if let Some(ready) = self.pace.rest() {
            self.post(ready, now);
        }
    }

    /// When something is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.order.due(), self.pace.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> OutputTally {
        OutputTally {
            output: self.name.clone(),
            pv: self.pv.clone(),
            counts: self.counts,
            held: self.order.len() as u64 + u64::from(self.pace.next().is_some()),
            newest: self.newest.clone(),
        }
    }

    /// A result whose turn it is.
    fn pass(&mut self, ready: Ready, now: Instant) {
        match self.pace.offer(ready, now) {
            Offered::Post(ready) => self.post(ready, now),
            Offered::Held => {}
            Offered::Superseded(_) => self.counts.superseded += 1,
        }
    }

    fn post(&mut self, mut ready: Ready, now: Instant) {
        let latency_ms = ready.stamp(result::now());
        if let Err(error) = self.image.post(&ready.image) {
            self.counts.refused += 1;
            if let Some(more) = self.lines.pass(now) {
                tracing::warn!(
                    pv = self.pv,
                    number = ready.number,
                    more,
                    %error,
                    "A result cannot be posted."
                );
            }
            return;
        }
        self.counts.posted += 1;
        self.latency.observe(latency_ms / 1e3);
        if self.newest.is_none() {
            tracing::info!(
                pv = self.pv,
                shape = %ready.image.image.shape,
                number = ready.number,
                "The first result of an output is posted."
            );
        }
        self.newest = Some(Newest {
            number: ready.number,
            shape: ready.image.image.shape,
            latency_ms,
            at: now,
        });
    }
}
