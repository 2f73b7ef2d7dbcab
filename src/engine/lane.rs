//! Lanes: named OS threads that own sessions, and the queue of work before them.
//!
//! Each lane opens its own session, warms it up, and then runs one job after another from a
//! queue that all lanes share: whichever is idle takes the next, so a slow batch holds up
//! nobody. A job is a piece of `Work` that owns its buffers; it comes back with its `Reply`.
//!
//! What always holds:
//! - one session per lane, opened, used and dropped on the lane's thread;
//! - every job that was accepted is replied to, unless its lane hangs; then its owner, who has a
//!   time-out, calls `Lanes::abandon`, and a new lane takes the hung one's place;
//! - a panic in a session costs its job a `Failure::Panicked` and its lane a fresh session, not the process;
//! - when the last lane is gone, queued and later jobs fail with `Failure::NoLane` and `Lanes::lost`
//!   is cancelled;
//! - the queue holds no more jobs than there are slots, because every job owns one.

/// A piece of work on its way to a lane and back.
mod job;

pub use job::{LaneId, Pending, Reply, Work};

use super::failure::Failure;
use super::{Engine, EngineError, Session};
use job::Job;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Abandoned lanes that may hang at once. Each holds a thread, a session and a slot; an engine that hangs
/// more often than this is not going to recover.
const MOST_HANGING: usize = 16;

struct Queue<W> {
    jobs: VecDeque<Job<W>>,
    next_id: usize,
    alive: HashSet<LaneId>,
    closed: bool,
    /// Lanes abandoned so far whose threads have not come back.
    hanging: usize,
}

impl<W> Queue<W> {
    /// Puts a new lane on the list.
    fn admit(&mut self) -> LaneId {
        let lane = LaneId(self.next_id);
        self.next_id += 1;
        self.alive.insert(lane);
        lane
    }
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    changed: Condvar,
    engine: Arc<dyn Engine>,
    rows: usize,
    lost: CancellationToken,
}

/// The lanes of one engine. See the module's essay. Dropping it ends them once they are idle.
pub struct Lanes<W: Work> {
    shared: Arc<Shared<W>>,
}

impl<W: Work> Lanes<W> {
    /// Starts `count` lanes and waits until each has its session open and warmed up with `rows` rows.
    ///
    /// # Errors
    /// The first [`EngineError`] met; no lane is left running then.
    pub fn start(engine: Arc<dyn Engine>, count: usize, rows: usize) -> Result<Self, EngineError> {
        let lanes = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue {
                    jobs: VecDeque::new(),
                    next_id: 0,
                    alive: HashSet::new(),
                    closed: false,
                    hanging: 0,
                }),
                changed: Condvar::new(),
                engine,
                rows,
                lost: CancellationToken::new(),
            }),
        };
        let (opened_tx, opened_rx) = mpsc::sync_channel(count);
        for _ in 0..count {
            let lane = lanes.shared.queue.lock().admit();
            lanes.spawn(lane, Some(opened_tx.clone()))?;
        }
        drop(opened_tx);
        opened_rx.iter().collect::<Result<(), _>>()?;
        Ok(lanes)
    }

    /// Hands a job to the lanes. It is run on a lane other than `avoid`, unless that is the only one.
    pub fn submit(&self, work: W, avoid: Option<LaneId>) -> Pending<W> {
        let (started, started_rx) = oneshot::channel();
        let (done, done_rx) = oneshot::channel();
        let job = Job {
            work,
            avoid,
            started,
            done,
        };
        let mut queue = self.shared.queue.lock();
        if queue.alive.is_empty() {
            drop(queue);
            job.fail(Failure::NoLane);
        } else {
            queue.jobs.push_back(job);
            drop(queue);
            // All are woken: the one that would be woken alone may be the one to avoid.
            self.shared.changed.notify_all();
        }
        Pending {
            started: started_rx,
            done: done_rx,
        }
    }

    /// Gives up on a lane whose session hangs and starts another in its place. The hung thread ends by
    /// itself if its session ever returns; what it brings back is thrown away.
    pub fn abandon(&self, lane: LaneId) {
        let successor = {
            let mut queue = self.shared.queue.lock();
            if !queue.alive.remove(&lane) {
                return;
            }
            queue.hanging += 1;
            // Under the same lock, so that nobody sees the moment in which there is no lane.
            (queue.hanging <= MOST_HANGING).then(|| queue.admit())
        };
        tracing::error!(%lane, "The lane hangs; it is abandoned, and another takes its place.");
        match successor {
            Some(successor) => {
                if let Err(error) = self.spawn(successor, None) {
                    tracing::error!(%error, "No lane could be started in place of the abandoned one.");
                }
            }
            None => {
                tracing::error!(
                    hanging = MOST_HANGING,
                    "Too many lanes hang already; this one is not replaced."
                );
                self.shared.give_up_if_none_is_left();
                self.shared.changed.notify_all();
            }
        }
    }

    /// Gives up on all lanes: jobs that no lane takes up in any reasonable time mean that they hang
    /// while opening their sessions, where no time-out of a batch reaches them.
    pub fn condemn(&self) {
        tracing::error!("No lane takes up work any more; all are given up.");
        self.shared.queue.lock().alive.clear();
        self.shared.give_up_if_none_is_left();
        self.shared.changed.notify_all();
    }

    /// Lanes that are running or being started.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.shared.queue.lock().alive.len()
    }

    /// Cancelled when the last lane is gone.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.shared.lost.clone()
    }

    /// Starts the thread of an admitted lane; takes the lane off the list again if it cannot.
    fn spawn(
        &self,
        lane: LaneId,
        opened: Option<mpsc::SyncSender<Result<(), EngineError>>>,
    ) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name(lane.to_string())
            .spawn(move || {
                // A panic outside a run (a session that panics when it is dropped) ends the lane, and says so.
                let life = catch_unwind(AssertUnwindSafe(|| shared.run_lane(lane, opened)));
                if life.is_err() {
                    tracing::error!(%lane, "The lane panicked outside a run and ends.");
                    shared.retire(lane);
                }
            })
            .map(drop)
            .map_err(|error| {
                self.shared.retire(lane);
                EngineError::Session {
                    lane: lane.0,
                    reason: format!("no thread could be started: {error}"),
                }
            })
    }
}

impl<W: Work> Drop for Lanes<W> {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<W: Work> Shared<W> {
    /// A lane's life.
    fn run_lane(&self, lane: LaneId, opened: Option<mpsc::SyncSender<Result<(), EngineError>>>) {
        let mut session = match self.open_session(lane) {
            Ok(session) => {
                opened.map(|opened| opened.send(Ok(())));
                session
            }
            Err(error) => {
                tracing::error!(%lane, %error, "The lane has no session and ends.");
                self.retire(lane);
                opened.map(|opened| opened.send(Err(error)));
                return;
            }
        };
        while let Some(job) = self.take(lane) {
            if job.done.is_closed() {
                continue; // Nobody waits for it any more; its slot goes back to the ring.
            }
            let Some(broken) = self.run_job(lane, session.as_mut(), job) else {
                continue;
            };
            if !self.queue.lock().alive.contains(&lane) {
                break;
            }
            drop(session);
            tracing::warn!(%lane, error = %broken, "The session is lost; the lane opens another.");
            session = match self.open_session(lane) {
                Ok(session) => session,
                Err(error) => {
                    tracing::error!(%lane, %error, "The lane cannot open another session and ends.");
                    self.retire(lane);
                    return;
                }
            };
        }
        self.came_back(lane);
    }

    /// A lane's thread ends. If it was given up as hanging, it hangs no more.
    fn came_back(&self, lane: LaneId) {
        let mut queue = self.queue.lock();
        if !queue.alive.remove(&lane) {
            queue.hanging = queue.hanging.saturating_sub(1);
        }
    }

    /// Runs one job and replies; gives the failure if it cost the session.
    fn run_job(&self, lane: LaneId, session: &mut dyn Session, job: Job<W>) -> Option<Failure> {
        let Job {
            mut work,
            started,
            done,
            ..
        } = job;
        // Nobody need be listening: a call may end before its last batch does.
        let _ = started.send(lane);
        let run = catch_unwind(AssertUnwindSafe(|| work.run(session)));
        let (result, broken) = match run {
            Ok(Ok(times)) => (Ok(times), None),
            Ok(Err(error)) => {
                let fatal = error.is_fatal();
                let failure = Failure::Engine(error);
                (Err(failure.clone()), fatal.then_some(failure))
            }
            Err(panic) => {
                let failure = Failure::Panicked(crate::panic::message(panic.as_ref()));
                (Err(failure.clone()), Some(failure))
            }
        };
        let _ = done.send(Reply {
            work,
            lane: Some(lane),
            result,
        });
        broken
    }

    fn open_session(&self, lane: LaneId) -> Result<Box<dyn Session>, EngineError> {
        let open = || {
            let mut session = self.engine.open_session(lane.0)?;
            if self.engine.needs_warm_up() {
                super::warm_up(self.engine.as_ref(), session.as_mut(), self.rows)?;
            }
            Ok(session)
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
            Err(EngineError::Session {
                lane: lane.0,
                reason: format!(
                    "the engine panicked: {}",
                    crate::panic::message(panic.as_ref())
                ),
            })
        })
    }

    /// Waits for the next job that `lane` may run; `None` when it is to end.
    fn take(&self, lane: LaneId) -> Option<Job<W>> {
        let mut queue = self.queue.lock();
        loop {
            if !queue.alive.contains(&lane) {
                return None;
            }
            let only_one = queue.alive.len() == 1;
            let next = queue
                .jobs
                .iter()
                .position(|job| only_one || job.avoid != Some(lane));
            if let Some(job) = next.and_then(|n| queue.jobs.remove(n)) {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    /// Takes `lane` off the list.
    fn retire(&self, lane: LaneId) {
        self.queue.lock().alive.remove(&lane);
        self.give_up_if_none_is_left();
        // Jobs that were to avoid another lane may now have to run on it.
        self.changed.notify_all();
    }

    fn give_up_if_none_is_left(&self) {
        let stranded = {
            let mut queue = self.queue.lock();
            if !queue.alive.is_empty() {
                return;
            }
            std::mem::take(&mut queue.jobs)
        };
        self.lost.cancel();
        stranded
            .into_iter()
            .for_each(|job| job.fail(Failure::NoLane));
    }
}

#[cfg(test)]
mod tests;
