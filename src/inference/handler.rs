//! The SDK's `BatchMapper`, implemented: the code between the schedule and Numaflow's messages.
//!
//! What always holds: one `BatchResponse` per datum, with at least one message in it. A datum without
//! results gets a DROP message, because an empty list stalls Numaflow's sink.

use crate::inference::metrics::counts::Counts;
use crate::inference::policy::{AnswerPolicy, OnFailure, Response};
use crate::inference::read_batch::ReadBatchWatch;
use crate::inference::schedule::{Call, Schedule};
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Answers read batches by running their frames through a schedule.
pub struct FrameHandler {
    schedule: Box<dyn Schedule>,
    policy: AnswerPolicy,
    counts: Arc<Counts>,
    read_batches: Mutex<ReadBatchWatch>,
    abort: CancellationToken,
}

impl FrameHandler {
    /// Creates a handler that computes with `schedule` and answers by `policy`. With [`OnFailure::Abort`] it cancels
    /// `abort` after a call with a failed frame.
    #[must_use]
    pub(crate) fn new(
        schedule: Box<dyn Schedule>,
        policy: AnswerPolicy,
        counts: Arc<Counts>,
        read_batches: ReadBatchWatch,
        abort: CancellationToken,
    ) -> Self {
        Self {
            schedule,
            policy,
            counts,
            read_batches: Mutex::new(read_batches),
            abort,
        }
    }

    fn note_read_batch(&self, datums: usize) {
        let mut watch = self.read_batches.lock();
        if let Some(largest) = watch.note(datums) {
            tracing::warn!(
                largest,
                needed = watch.needed(),
                "Read batches never hold more than {largest} datums, too few to use every slot. If the \
                 detector is faster than this, raise limits.readBatchSize of the vertex to at least {}.",
                watch.needed()
            );
        }
    }

    /// Logs and counts a call, and turns it into responses.
    fn answer(&self, mut call: Call) -> Vec<Response> {
        let tally = call.ledger.tally();
        let times = call.times();
        call.intake.answered();
        self.counts.call(tally, times.total);
        self.note_read_batch(tally.frames);
        if tally.repeated > 0 {
            tracing::error!(
                repeated = tally.repeated,
                "Frames were settled more than once; the first outcome is answered."
            );
        }
        if tally.frames > 0 {
            let ms = |duration: std::time::Duration| duration.as_micros() as f64 / 1000.0;
            tracing::info!(
                frames = tally.frames,
                batches = call.batches,
                not_finite = tally.not_finite,
                rejected = tally.rejected,
                failed = tally.failed,
                retried = call.retried,
                padding = call.padding,
                depth = call.depth,
                collection_ms = ms(times.collection),
                inference_ms = ms(times.inference),
                total_ms = ms(times.total),
                "A read batch is answered."
            );
        }
        let answers = call.ledger.finish().into_iter();
        let responses: Vec<_> = answers.map(|a| self.policy.respond(a)).collect();
        let messages = responses
            .iter()
            .flat_map(|response| &response.messages.message);
        self.counts
            .sent(messages.map(|message| message.value.len()).sum());
        responses
    }
}

impl FrameHandler {
    /// Answers a read batch: one response per datum, in order of arrival.
    pub async fn run(&self, input: mpsc::Receiver<Datum>) -> Vec<Response> {
        let call = self.schedule.run(input).await;
        if self.policy.on_failure == OnFailure::Abort && call.ledger.tally().failed > 0 {
            tracing::error!(
                failed = call.ledger.tally().failed,
                "Frames have no result and --on-failure is abort: the process ends without an answer, \
                 so that Numaflow delivers the read batch again."
            );
            self.abort.cancel();
            // No answer may be sent before the process ends.
            return std::future::pending().await;
        }
        self.answer(call)
    }
}

/// The SDK's messages have no metadata: they are left out.
#[tonic::async_trait]
impl BatchMapper for FrameHandler {
    async fn batchmap(&self, input: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        let responses = self.run(input).await;
        responses
            .into_iter()
            .map(|response| response.messages)
            .collect()
    }
}
