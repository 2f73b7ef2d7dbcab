//! Answers the datums of a call: the code between the schedule and Numaflow's messages.
//!
//! What always holds: one `Response` per datum, with at least one message in it, as soon as its frame is settled. A datum
//! without results gets a DROP message, because an empty list stalls Numaflow's sink. What is counted as answered has been
//! handed over.

use crate::inference::common::Common;
use crate::inference::deliveries::Delivery;
use crate::inference::failure::Failure;
use crate::inference::ledger::{Answer, Outcome, Tally};
use crate::inference::metrics::intake::Intake;
use crate::inference::models::{Models, Served, deal};
use crate::inference::policy::{OnFailure, Response};
use crate::inference::read_batch::ReadBatchWatch;
use crate::inference::schedule::{Call, Datums, Mode, Outlet, Report};
use crate::inference::sync::Mutex;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Answers of the SDK's `BatchMapper` that wait to be collected.
const COLLECTED_AHEAD: usize = 2;

/// Answers datums by running their frames through the schedules of their models.
pub struct FrameHandler {
    mode: Mode,
    on_failure: OnFailure,
    models: Arc<Models>,
    common: Arc<Common>,
    in_hand: Mutex<ReadBatchWatch>,
    abort: CancellationToken,
}

impl FrameHandler {
    /// Creates a handler for `models`. With [`OnFailure::Abort`] it cancels `abort` at the first failed frame.
    #[must_use]
    pub(crate) fn new(
        mode: Mode,
        on_failure: OnFailure,
        models: Models,
        common: Arc<Common>,
        in_hand: ReadBatchWatch,
        abort: CancellationToken,
    ) -> Self {
        Self {
            mode,
            on_failure,
            models: Arc::new(models),
            common,
            in_hand: Mutex::new(in_hand),
            abort,
        }
    }

    /// Answers the datums of a call: one response per datum, in any order, as soon as it is there.
    pub async fn run<T: From<Response> + Send>(
        &self,
        input: mpsc::Receiver<Datum>,
        answers: mpsc::Sender<Vec<T>>,
    ) {
        // The call sees these models to its end.
        let models = Arc::clone(&self.models);
        let intake = Mutex::new(Intake::new(&self.common.counts));
        let datums = Datums::Coming(input, &intake);
        let outgoing = |served| Outgoing {
            handler: self,
            served,
            intake: &intake,
            answers: answers.clone(),
        };
        let reports = match models.all() {
            [only] => vec![outgoing(only).take(datums).await],
            all => {
                let mut backlogs = Vec::new();
                let runs: FuturesUnordered<_> = all
                    .iter()
                    .enumerate()
                    .map(|(place, served)| {
                        let (backlog, datums) = mpsc::channel(served.backlog);
                        backlogs.push((backlog, Arc::clone(&served.metrics)));
                        let outgoing = outgoing(served);
                        async move { (place, outgoing.take(Datums::Routed(datums)).await) }
                    })
                    .collect();
                let dealt = deal(&self.common.routes, datums, backlogs);
                // In any order: each of them has its turn.
                let (mut reports, ()) = tokio::join!(runs.collect::<Vec<_>>(), dealt);
                reports.sort_unstable_by_key(|(place, _)| *place);
                reports.into_iter().map(|(_, report)| report).collect()
            }
        };
        let total = {
            let mut intake = intake.lock();
            intake.settle_gaps();
            intake.elapsed()
        };
        self.note(&models, &reports, total);
    }

    /// The response to a datum that the host found without an answer that can be sent.
    #[must_use]
    pub fn unanswered(&self, id: String) -> BatchResponse {
        let delivery = self.common.deliveries.of(&id, None);
        self.note_failure(&id, delivery, &Failure::Unsettled, false);
        self.on_failure.unanswered(id, delivery)
    }

    /// Counts and logs a call that has ended.
    fn note(&self, models: &Models, reports: &[Report], total: Duration) {
        let joined = reports.iter().copied().reduce(Report::join);
        let report = joined.unwrap_or_default();
        let Report { tally, times, .. } = report;
        if tally.repeated > 0 {
            tracing::error!(
                repeated = tally.repeated,
                "Frames were settled more than once; the first outcome is answered."
            );
        }
        let what = match self.mode {
            Mode::Streaming => "A stream has ended, and is answered.",
            _ => {
                self.common.counts.call(tally.frames, total);
                self.note_in_hand(tally.frames);
                "A read batch is answered."
            }
        };
        if tally.frames > 0 {
            let ms = |duration: Duration| duration.as_micros() as f64 / 1000.0;
            let of_model = |(served, report): (&Served, &Report)| {
                (report.tally.frames > 0)
                    .then(|| format!("{}: {}", served.name, report.tally.frames))
            };
            let of_models = || models.all().iter().zip(reports).filter_map(of_model);
            let of_models = (reports.len() > 1).then(|| of_models().collect::<Vec<_>>().join(", "));
            tracing::info!(
                frames = tally.frames,
                of_models,
                batches = report.batches,
                not_finite = tally.not_finite,
                rejected = tally.rejected,
                failed = tally.failed,
                retried = report.retried,
                padding = report.padding,
                depth = report.depth,
                collection_ms = ms(times.collection),
                inference_ms = ms(times.inference),
                total_ms = ms(total),
                "{what}"
            );
        }
    }

    /// Warns if there are never enough frames in hand to use every slot.
    fn note_in_hand(&self, frames: usize) {
        let mut watch = self.in_hand.lock();
        let Some(largest) = watch.note(frames) else {
            return;
        };
        let needed = watch.needed();
        match self.mode {
            Mode::Streaming => tracing::warn!(
                largest,
                needed,
                "Never more than {largest} frames are in flight, too few to use every slot. If the detector is faster \
                 than this, raise limits.concurrency of the vertex to at least {needed}; a MonoVertex also needs \
                 NUMAFLOW_READ_AHEAD=true.",
            ),
            _ => tracing::warn!(
                largest,
                needed,
                "Read batches never hold more than {largest} datums, too few to use every slot. If the \
                 detector is faster than this, raise limits.readBatchSize of the vertex to at least {needed}.",
            ),
        }
    }
}

/// The answers of one model in one call, on their way to the host.
struct Outgoing<'a, T> {
    handler: &'a FrameHandler,
    served: &'a Served,
    intake: &'a Mutex<Intake>,
    answers: mpsc::Sender<Vec<T>>,
}

impl<T: From<Response> + Send> Outgoing<'_, T> {
    /// Takes the datums of the model to their end.
    async fn take(self, datums: Datums<'_>) -> Report {
        let call = Call::new(&self.handler.common, self.intake, &self);
        self.served.schedule.run(datums, &call).await;
        call.finish().await
    }
}

#[async_trait::async_trait]
impl<T: From<Response> + Send> Outlet for Outgoing<'_, T> {
    async fn answer(&self, answers: Vec<Answer>) -> bool {
        let Served {
            policy, metrics, ..
        } = self.served;
        let counts = &self.handler.common.counts;
        let tally = tally(&answers);
        if policy.on_failure == OnFailure::Abort && tally.failed > 0 {
            tracing::error!(
                failed = tally.failed,
                "Frames have no result and --on-failure is abort: the process ends without an answer to them, \
                 so that Numaflow delivers them again."
            );
            self.handler.abort.cancel();
            // They may not be answered before the process ends.
            return pending().await;
        }
        let Ok(room) = self.answers.reserve().await else {
            return false;
        };
        counts.answered(tally);
        metrics.answered(tally);
        self.handler.note_times(&answers, self.intake.lock().open());
        self.handler
            .note_failures(&answers, policy.exhausted().is_some());
        let responses = answers.into_iter().map(|answer| policy.respond(answer));
        let responses: Vec<_> = responses.collect();
        let messages = responses.iter().flat_map(|r| &r.messages.message);
        counts.sent(messages.map(|message| message.value.len()).sum());
        room.send(responses.into_iter().map(T::from).collect());
        true
    }
}

impl FrameHandler {
    fn note_failures(&self, answers: &[Answer], is_kept: bool) {
        for answer in answers {
            if let Outcome::Failed(failure) = &answer.outcome {
                self.note_failure(&answer.id, answer.arrival.delivery, failure, is_kept);
            }
        }
    }

    /// Notes that a frame has failed: it is delivered again, or this was its last delivery.
    fn note_failure(&self, id: &str, delivery: Delivery, failure: &Failure, is_kept: bool) {
        let Common {
            counts, deliveries, ..
        } = self.common.as_ref();
        match self.on_failure {
            OnFailure::Nack if !delivery.is_last => deliveries.nacked(id, delivery.number),
            OnFailure::Nack => counts.exhausted(id, delivery, failure, is_kept),
            OnFailure::Drop => counts.dropped(id, failure),
            // Delivered again by Numaflow.
            OnFailure::Fail | OnFailure::Abort => {}
        }
    }

    /// Counts the times of answered frames.
    fn note_times(&self, answers: &[Answer], open: usize) {
        let now = SystemTime::now();
        for Answer { arrival, .. } in answers {
            if let Some(event) = arrival.event {
                // An event in the future is another machine's clock: it took no time then.
                let latency = now.duration_since(event).unwrap_or_default();
                self.common.counts.latency(latency);
            }
            if self.mode == Mode::Streaming {
                self.common.counts.handled(arrival.at.elapsed());
            }
        }
        if self.mode == Mode::Streaming {
            self.note_in_hand(open);
        }
    }
}

fn tally(answers: &[Answer]) -> Tally {
    let mut tally = Tally::default();
    for Answer { outcome, .. } in answers {
        tally.add(outcome);
    }
    tally
}

/// The SDK's handler of read batches. Its messages have no metadata: they are left out.
#[tonic::async_trait]
impl BatchMapper for FrameHandler {
    async fn batchmap(&self, input: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        let (answers, mut collected) = mpsc::channel::<Vec<Response>>(COLLECTED_AHEAD);
        let collect = async {
            let mut responses = Vec::new();
            while let Some(answered) = collected.recv().await {
                responses.extend(answered.into_iter().map(|response| response.messages));
            }
            responses
        };
        let ((), responses) = tokio::join!(self.run(input, answers), collect);
        responses
    }
}
