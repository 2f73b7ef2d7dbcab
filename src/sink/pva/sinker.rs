//! The SDK's `Sinker`, and the task that posts what was held back.
//!
//! A result is posted where it is read: a post puts it into the queues of the clients, and waits for none of them.

use super::image;
use super::mosaic::MosaicPvs;
use super::numbers::{Numbers, Values};
use super::output::{Output, OutputTally};
use super::settings::{MOST_OUTPUTS, Settings};
use crate::pva::{Server, ServerError};
use crate::sink::mosaic::Patch;
use crate::sink::result::{self, Identity, Model, NoResult, Received};
use crate::sink::seen::Seen;
use crate::sink::series::{Counted, Place, Series};
use crate::telemetry::rate::RateLimit;
use numaflow::sink::{Response, SinkRequest, Sinker};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// Results that are remembered, to recognise those that are delivered again.
const SEEN: usize = 8_192;
/// Patches that are placed at once.
const MOST_PATCHES: usize = 64;
/// How often the PVs of numbers are posted.
const TICK: Duration = Duration::from_secs(1);

/// Results as PVs; clones share their state.
#[derive(Clone)]
pub(crate) struct PvaSink(Arc<Shared>);

struct Shared {
    settings: Settings,
    server: Server,
    state: Mutex<State>,
    latency: Histogram,
    mosaic: Option<MosaicPvs>,
    /// A result is held back that is due before all others.
    held: Notify,
}

struct State {
    seen: Seen<(Identity, Model)>,
    /// The same, whichever model gave them.
    given: Seen<Identity>,
    series: Series,
    outputs: Vec<Output>,
    numbers: Numbers,
    results: u64,
    duplicates: u64,
    other_models: u64,
    rounded: u64,
    over: u64,
    unserved: u64,
    no_results: BTreeMap<&'static str, (u64, RateLimit)>,
    lines: RateLimit,
    /// Frames at the last tick, and when that was.
    before: (u64, Instant),
}

/// What has happened so far.
#[derive(Clone, Debug)]
pub(crate) struct SinkTally {
    /// Messages that are results, those that came before included.
    pub(crate) results: u64,
    pub(crate) duplicates: u64,
    /// Results that another model had given before; they are posted nevertheless.
    pub(crate) other_models: u64,
    /// Results whose values were rounded to float32.
    pub(crate) rounded: u64,
    /// Results of series that were over; they are posted nevertheless.
    pub(crate) over: u64,
    /// Results of outputs that have no PV.
    pub(crate) unserved: u64,
    /// Messages that are no results, by reason.
    pub(crate) no_results: BTreeMap<&'static str, u64>,
    pub(crate) series: Counted,
    pub(crate) outputs: Vec<OutputTally>,
    pub(crate) clients: usize,
}

impl PvaSink {
    /// Starts the server. The PVs of the outputs that are named are idle until their first results.
    ///
    /// # Errors
    /// The server cannot listen, or names of PVs are equal.
    pub(crate) fn start(settings: Settings) -> Result<Self, ServerError> {
        let server = Server::start(&settings.server)?;
        let latency = Histogram::new(exponential_buckets(1e-3, 2.0, 16));
        let outputs = settings.outputs.iter();
        let output = |name: &String| Output::new(name, &server, &settings, latency.clone());
        let outputs: Vec<Output> = outputs.map(output).collect::<Result<_, _>>()?;
        let limit = || RateLimit::new(1, Duration::from_secs(10));
        let numbers = Numbers::new(&server, &settings)?;
        let mosaic = settings.mosaic.clone();
        let mosaic = mosaic.map(|mosaic| MosaicPvs::new(&server, &settings, mosaic));
        Ok(Self(Arc::new(Shared {
            mosaic: mosaic.transpose()?,
            server,
            state: Mutex::new(State {
                seen: Seen::new(SEEN),
                given: Seen::new(SEEN),
                series: Series::default(),
                outputs,
                numbers,
                results: 0,
                duplicates: 0,
                other_models: 0,
                rounded: 0,
                over: 0,
                unserved: 0,
                no_results: NoResult::kinds().map(|kind| (kind, (0, limit()))).collect(),
                lines: limit(),
                before: (0, Instant::now()),
            }),
            settings,
            latency,
            held: Notify::new(),
        })))
    }

    /// The server of the PVs.
    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    /// From a frame's time to the post of its result.
    pub(crate) fn latency(&self) -> Histogram {
        self.0.latency.clone()
    }

    /// The live mosaic, if it is on.
    pub(crate) fn mosaic(&self) -> Option<&MosaicPvs> {
        self.0.mosaic.as_ref()
    }

    async fn place(&self, patches: Vec<Patch>) {
        if let Some(mosaic) = &self.0.mosaic {
            mosaic.take(patches).await;
        }
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> SinkTally {
        let state = self.0.state.lock();
        let no_results = state.no_results.iter();
        SinkTally {
            results: state.results,
            duplicates: state.duplicates,
            other_models: state.other_models,
            rounded: state.rounded,
            over: state.over,
            unserved: state.unserved,
            no_results: no_results
                .map(|(kind, (count, _))| (*kind, *count))
                .collect(),
            series: state.series.counted(),
            outputs: state.outputs.iter().map(Output::tally).collect(),
            clients: self.0.server.connections(),
        }
    }

    /// Posts what was held back when it is due, and the PVs of numbers, until the process ends. Then everything is posted.
    pub(crate) async fn post(&self, ended: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = self.0.next();
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ended.cancelled() => break,
                () = due => self.0.advance(),
                () = self.0.held.notified() => {}
                _ = ticks.tick() => self.0.tick(),
            }
        }
        let now = Instant::now();
        let mut state = self.0.state.lock();
        for output in &mut state.outputs {
            output.flush(now);
        }
        drop(state);
        self.0.tick();
    }
}

#[async_trait::async_trait]
impl Sinker for PvaSink {
    async fn sink(&self, mut input: Receiver<SinkRequest>) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut patches = Vec::new();
        while let Some(request) = input.recv().await {
            let read = result::read(&request, self.0.settings.raw);
            // A result that came before, too: whether the other sink has it, only that sink knows.
            responses.push(match self.0.settings.on_success && read.is_ok() {
                true => Response::on_success(request.id.clone(), None),
                false => Response::ok(request.id.clone()),
            });
            match read {
                Ok(received) => patches.extend(self.0.take(received)),
                Err(why) => self.0.no_result(&why, &request.id),
            }
            if patches.len() >= MOST_PATCHES {
                self.place(std::mem::take(&mut patches)).await;
            }
        }
        self.place(patches).await;
        responses
    }
}

impl Shared {
    /// Takes a result. Returns what is to be placed in the mosaic.
    fn take(&self, received: Received) -> Option<Patch> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.results += 1;
        let identity = &received.identity;
        if !state
            .seen
            .insert((identity.clone(), received.model.clone()))
        {
            state.duplicates += 1;
            return None;
        }
        let is_first = state.given.insert(identity.clone());
        if !is_first {
            state.note_other_model(&received, now);
        }
        let place = state.series.place(&received, now);
        state.over += u64::from(place.over);
        report(&received, &place);
        state.note_rounding(&received, now);
        let mosaic = self.mosaic.as_ref();
        let patch = mosaic.and_then(|mosaic| match is_first {
            true => mosaic.patch(&received, &place, now),
            false => mosaic.leave_out(&received),
        });
        let index = self.output(&mut state, &received.identity.output, now);
        let Some(output) = index.and_then(|index| state.outputs.get_mut(index)) else {
            state.unserved += 1;
            return patch;
        };
        let (ready, nonfinite) = image::ready(received, self.settings.keep_nan, result::now());
        output.take(place.series, ready, nonfinite, now);
        if output.next().is_some() {
            self.held.notify_one();
        }
        patch
    }

    /// The output of that name; it gets its PV now if it may have one.
    fn output(&self, state: &mut State, name: &str, now: Instant) -> Option<usize> {
        let outputs = &mut state.outputs;
        if let Some(index) = outputs.iter().position(|output| output.name == name) {
            return Some(index);
        }
        let refused = if !self.settings.outputs.is_empty() {
            "it is not among --outputs".to_owned()
        } else if outputs.len() >= MOST_OUTPUTS {
            format!("{MOST_OUTPUTS} outputs have one, which is the most")
        } else {
            match Output::new(name, &self.server, &self.settings, self.latency.clone()) {
                Ok(output) => {
                    outputs.push(output);
                    return outputs.len().checked_sub(1);
                }
                Err(error) => error.to_string(),
            }
        };
        if let Some(more) = state.lines.pass(now) {
            tracing::warn!(output = name, more, "An output has no PV: {refused}.");
        }
        None
    }

    /// A message that is no result.
    fn no_result(&self, why: &NoResult, id: &str) {
        let mut state = self.state.lock();
        let Some((count, lines)) = state.no_results.get_mut(why.kind()) else {
            return;
        };
        *count += 1;
        if let Some(more) = lines.pass(Instant::now()) {
            tracing::warn!(
                id,
                reason = why.kind(),
                more,
                "A message is no result: {why}."
            );
        }
    }

    /// When the next result that is held back is due.
    fn next(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.outputs.iter().filter_map(Output::next).min()
    }

    fn advance(&self) {
        let now = Instant::now();
        for output in &mut self.state.lock().outputs {
            output.advance(now);
        }
    }

    /// Posts the PVs of numbers.
    fn tick(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.series.sweep(now);
        let values = state.values(now);
        if let Err(error) = state.numbers.post(values)
            && let Some(more) = state.lines.pass(now)
        {
            tracing::warn!(more, %error, "A number cannot be posted.");
        }
    }
}

impl State {
    fn values(&mut self, now: Instant) -> Values {
        let counted = self.series.counted();
        let (frames, since) = std::mem::replace(&mut self.before, (counted.frames, now));
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let new = (counted.frames - frames) as f64;
        let newest = self
            .outputs
            .iter()
            .filter_map(|output| output.tally().newest);
        let newest = newest.max_by_key(|newest| newest.at);
        [
            counted.frames as f64,
            if seconds > 0.0 { new / seconds } else { 0.0 },
            newest.map_or(0.0, |newest| newest.latency_ms),
            counted.missing.saturating_sub(counted.filled) as f64,
        ]
    }

    /// Says that a result is the same output of the same frame as one of another model.
    fn note_other_model(&mut self, received: &Received, now: Instant) {
        self.other_models += 1;
        if let Some(more) = self.lines.pass(now) {
            tracing::warn!(
                output = %received.identity.output,
                number = received.identity.number,
                model = %received.model.name,
                version = %received.model.version,
                more,
                "Two models give the same output of a frame. Its PV shows the results of both as they come, and the mosaic has \
                 the first: leave the output out of one map (--output), or run a pva-sink with another --prefix for one of \
                 them. When a model is exchanged, a frame that is delivered again does this once."
            );
        }
    }

    /// Says once that values are rounded.
    fn note_rounding(&mut self, received: &Received, now: Instant) {
        if !received.image.rounded {
            return;
        }
        self.rounded += 1;
        if let Some(more) = self.lines.pass(now) {
            tracing::warn!(
                output = %received.identity.output,
                more,
                "The values of a result are rounded to float32, which viewers take."
            );
        }
    }
}

/// Logs what begins with a result.
fn report(received: &Received, place: &Place) {
    if place.begins {
        tracing::info!(
            pv = %received.identity.pv,
            series = place.series,
            scan = received.scan.as_deref().unwrap_or("unnamed"),
            first = received.identity.number,
            model = %received.model.name,
            version = %received.model.version,
            "A series begins."
        );
    }
}
