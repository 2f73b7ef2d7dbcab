//! One filled slot through a lane, and its results encoded.

use super::Filled;
use crate::engine::StageTimes;
use crate::inference::batch::{Claim, Lease};
use crate::inference::failure::Failure;
use crate::inference::lane::{LaneId, Pending, Reply};
use crate::inference::ledger::{Outcome, Results, Ticket};
use crate::inference::metrics::model::BatchNote;
use crate::inference::model::{Model, SelectedOutput};
use crate::inference::sync::{JoinError, JoinHandle, sleep, spawn, spawn_blocking, timeout};
use crate::telemetry::newest::Image;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The time between two attempts to make a slot.
const SLOT_AGAIN: Duration = Duration::from_secs(5);

/// A batch that has been through its lane.
#[derive(Debug)]
pub(crate) struct Computed {
    /// The outcome of each of its frames.
    pub(crate) outcomes: Vec<(Ticket, Outcome)>,
    /// Rows computed beyond its frames.
    pub(crate) padding: usize,
    /// Whether it was run a second time.
    pub(crate) retried: bool,
    /// The times of the run that gave results.
    pub(crate) times: Option<StageTimes>,
    /// When it was done.
    pub(crate) at: Instant,
}

/// A batch that is being computed.
pub(crate) struct Running {
    tickets: Vec<Ticket>,
    task: JoinHandle<Computed>,
}

impl Running {
    /// Waits until it is computed; gives the tickets of its frames, and their outcomes unless the task broke off.
    pub(crate) async fn done(self) -> (Vec<Ticket>, Result<Computed, JoinError>) {
        (self.tickets, self.task.await)
    }
}

/// A batch that was handed to the lanes.
struct Submitted {
    claim: Claim,
    at: Instant,
    pending: Pending<Lease>,
}

/// One attempt at a batch.
struct Attempt {
    /// The slot; `None` while a hung lane holds it.
    lease: Option<Lease>,
    lane: Option<LaneId>,
    result: Result<StageTimes, Failure>,
}

impl Model {
    /// Submits a batch to the lanes. The rest runs to its end in its own task, even if the handle is dropped: a hung lane is
    /// noticed and the slot returned although no call waits for the results. `place` is dropped when the batch has left the
    /// lanes, before its results are encoded.
    pub(crate) fn start_batch(
        self: &Arc<Self>,
        batch: Filled,
        place: impl Send + 'static,
    ) -> Running {
        let Filled {
            lease,
            close,
            filling,
            decoding,
        } = batch;
        let tickets = lease.tickets().to_vec();
        let padding = lease.padding();
        self.metrics.batch(BatchNote {
            frames: tickets.len(),
            padding,
            close,
            filling,
            decoding,
        });
        let first = self.submit(lease, None);
        let model = Arc::clone(self);
        let running = tickets.clone();
        let task = spawn(async move { model.compute(first, running, padding, place).await });
        Running { tickets, task }
    }

    async fn compute(
        &self,
        first: Submitted,
        tickets: Vec<Ticket>,
        padding: usize,
        place: impl Send,
    ) -> Computed {
        let mut attempt = self.attempt(first).await;
        let mut retried = false;
        if let Attempt {
            lease: Some(lease),
            lane: Some(lane),
            result: Err(failure),
        } = attempt
        {
            if let Some(held_back) = self.metrics.failure_line() {
                tracing::warn!(%lane, kind = failure.kind(), error = %failure, frames = tickets.len(),
                    unlogged_before = held_back,
                    "A batch failed; it is run once more, on another lane if there is one.");
            }
            self.metrics.retry();
            retried = true;
            attempt = self.attempt(self.submit(lease, Some(lane))).await;
        }
        drop(place);
        let times = attempt.result.as_ref().ok().copied();
        let outcomes = match (attempt.result, attempt.lease) {
            (Ok(_), Some(lease)) => {
                let begun = Instant::now();
                let outcomes = self.encode(&tickets, &lease);
                self.metrics.encoded(begun.elapsed());
                self.show(&lease);
                outcomes
            }
            (Ok(_), None) => fail(&tickets, &Failure::Unsettled),
            (Err(failure), _) => {
                if let Some(held_back) = self.metrics.failure_line() {
                    tracing::warn!(kind = failure.kind(), error = %failure, frames = tickets.len(),
                        unlogged_before = held_back,
                        "A batch failed for good; its frames have no result.");
                }
                fail(&tickets, &failure)
            }
        };
        Computed {
            outcomes,
            padding,
            retried,
            times,
            at: Instant::now(),
        }
    }

    fn submit(&self, lease: Lease, avoid: Option<LaneId>) -> Submitted {
        Submitted {
            claim: lease.claim(),
            at: Instant::now(),
            pending: self.lanes.submit(lease, avoid),
        }
    }

    async fn attempt(&self, submitted: Submitted) -> Attempt {
        let Submitted { claim, at, pending } = submitted;
        let Pending {
            mut started,
            mut done,
        } = pending;
        let mut waited = Duration::ZERO;
        // The timeout starts when a lane takes the job, not while it is queued. With healthy lanes a job waits at most
        // for all other jobs, each run twice, and where other models are on the device, for theirs.
        let patience = self
            .limits
            .inference_timeout
            .saturating_mul(2 * self.ring.slots() as u32 + 1);
        let taken_up = loop {
            match timeout(patience, &mut started).await {
                Err(_) if self.lanes.wait_for_others() => {}
                taken_up => break taken_up,
            }
        };
        let reply = match taken_up {
            Err(_) => {
                self.lanes.condemn();
                // A lane may have taken it at this moment, and may hang with it.
                timeout(self.limits.inference_timeout, &mut done)
                    .await
                    .map_err(|_| None)
            }
            Ok(Err(_)) => Ok(done.await),
            Ok(Ok(lane)) => {
                waited = at.elapsed();
                self.run_ends(lane, &mut done).await.ok_or(Some(lane))
            }
        };
        let attempt = match reply {
            Ok(Ok(Reply { work, lane, result })) => Attempt {
                lease: Some(work),
                lane,
                result,
            },
            Ok(Err(_)) => Attempt {
                lease: None,
                lane: None,
                result: Err(Failure::NoLane),
            },
            Err(lane) => {
                if lane.is_some_and(|lane| self.lanes.abandon(lane)) {
                    self.metrics.lane_replaced();
                }
                spawn(replace(claim));
                Attempt {
                    lease: None,
                    lane,
                    result: Err(Failure::TimedOut(self.limits.inference_timeout)),
                }
            }
        };
        match &attempt.result {
            Ok(times) => {
                self.batch_time.add(times.total());
                self.metrics.ran(waited, *times);
            }
            Err(failure) => self.metrics.engine_error(failure),
        }
        attempt
    }

    /// Waits for the reply to a batch that `lane` has taken up; `None` after the time-out. After an unusual time the lane
    /// gives way to those of other models.
    async fn run_ends<T>(
        &self,
        lane: LaneId,
        mut done: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        let mut limit = self.limits.inference_timeout;
        if self.lanes.has_gates() {
            let usual = self.batch_time.unusual().min(limit);
            if let Ok(reply) = timeout(usual, &mut done).await {
                return Some(reply);
            }
            self.lanes.give_way(lane, usual);
            limit = limit.saturating_sub(usual);
        }
        timeout(limit, done).await.ok()
    }

    /// Offers the last frame of a computed batch to the status page.
    fn show(&self, lease: &Lease) {
        let Some((frame, number)) = lease.last() else {
            return;
        };
        self.common.newest.offer(number, || {
            let shape = self.decoder.shape();
            let input = lease.input(frame).map(|row| {
                let plane = (shape.height, shape.width, row.to_single());
                Image::new(self.input.clone(), plane)
            });
            let outputs = self.outputs.iter().filter_map(|output| {
                let row = lease.result(output.index, frame)?;
                let plane = output.envelope.first_plane(row).ok()?;
                Some(Image::new(output.name.clone(), plane))
            });
            input.into_iter().chain(outputs).collect()
        });
    }

    fn encode(&self, tickets: &[Ticket], lease: &Lease) -> Vec<(Ticket, Outcome)> {
        let encoded = |frame: usize| -> Result<(Results, usize), Failure> {
            let mut not_finite = 0;
            let mut encode = |output: &SelectedOutput| -> Result<Vec<u8>, Failure> {
                let row = lease.result(output.index, frame);
                let row = row.ok_or(Failure::Unsettled)?;
                let encoded = output.envelope.encode(row);
                let encoded = encoded.map_err(|source| Failure::Output {
                    output: output.name.clone(),
                    source,
                })?;
                not_finite += encoded.not_finite;
                Ok(encoded.message)
            };
            let results = self
                .outputs
                .iter()
                .map(&mut encode)
                .collect::<Result<_, _>>()?;
            Ok((results, not_finite))
        };
        let outcome = |frame| match encoded(frame) {
            Ok((results, 0)) => Outcome::Done(results),
            Ok((results, values)) => {
                self.metrics.not_finite(values);
                Outcome::NotFinite(results)
            }
            Err(failure) => {
                if let Some(held_back) = self.metrics.failure_line() {
                    tracing::error!(kind = failure.kind(), error = %failure, unlogged_before = held_back,
                        "A result cannot be encoded; its frame has no result.");
                }
                self.metrics.engine_error(&failure);
                Outcome::Failed(failure)
            }
        };
        tickets
            .iter()
            .enumerate()
            .map(|(frame, ticket)| (*ticket, outcome(frame)))
            .collect()
    }
}

/// Replaces a slot that hangs with its lane. A hung driver may take long to allocate memory, or there may be none at the
/// moment. Until the slot is replaced, one batch less is in flight; no call waits for it.
async fn replace(claim: Claim) {
    let mut logged = false;
    loop {
        let claim = claim.clone();
        match spawn_blocking(move || claim.write_off()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) if !logged => tracing::error!(
                %error,
                "The slot that hangs with its lane cannot be replaced; one batch less is in flight. The next attempt \
                 is in {} s.",
                SLOT_AGAIN.as_secs()
            ),
            Ok(Err(_)) => {}
            Err(error) => {
                tracing::error!(%error, "The engine panicked over a new slot; one batch less is in flight from now on.");
                return;
            }
        }
        logged = true;
        sleep(SLOT_AGAIN).await;
    }
}

fn fail(tickets: &[Ticket], failure: &Failure) -> Vec<(Ticket, Outcome)> {
    tickets
        .iter()
        .map(|ticket| (*ticket, Outcome::Failed(failure.clone())))
        .collect()
}
