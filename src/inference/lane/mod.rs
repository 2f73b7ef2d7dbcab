//! Lanes: named OS threads that own sessions, and the queue of work before them.
//!
//! Each lane opens its own session, warms it up, and then runs one job after another from a
//! queue that all lanes share: the first idle lane takes the next job, so a slow batch does not delay
//! the others. With several devices a `Balance` chooses among them. A job is a piece of `Work` that owns its buffers; its `Reply` returns it.
//!
//! What always holds:
//! - one session per lane, opened, used and dropped on the lane's thread;
//! - every accepted job gets a reply, unless its lane hangs. Then its owner, after a timeout, calls `Lanes::abandon`, and a
//!   new lane replaces the hung one: at once, or, where the engine cannot open a session beside one that hangs, when the run
//!   that hung has returned. A device whose lanes all hang is lost;
//! - a panic in a session costs its job a `Failure::Panicked` and its lane a fresh session, not the process;
//! - a lost device ends its lanes, and the others continue; after the last lane, queued and
//!   later jobs fail with `Failure::NoLane` and `Health::lost` is cancelled;
//! - the queue holds no more jobs than there are slots, because every job owns one.

/// Which batch a device takes first, where several models share it.
mod gate;
/// A piece of work on its way to a lane and back.
mod job;
/// A lane's life.
mod life;
/// The work before the lanes, and who may take it.
mod queue;
/// Devices that other models use as well.
mod sharing;
/// What the lanes have done and what waits for them.
mod usage;

pub use gate::Priority;
pub(crate) use gate::{Gate, Member};
pub(crate) use job::{LaneId, Pending, Reply, Work};
pub(crate) use usage::{DeviceUsage, Usage};

use super::failure::Failure;
use crate::engine::room::lanes_on;
use crate::engine::{Cause, Engine, EngineError};
use crate::inference::sync::atomic::{AtomicU64, Ordering};
use crate::inference::sync::{Condvar, Mutex, mpsc, oneshot, thread};
use job::Job;
use life::Shared;
use queue::Queue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usage::{Account, Watched};

/// Abandoned lanes that may hang at once. Each holds a thread, a session and a slot; an engine that hangs more often does
/// not recover.
const MOST_HANGING: usize = 16;

/// The stack of a lane's thread, in bytes: TensorRT-RTX compiles kernels on it. Only what is used of it takes memory.
const STACK: usize = 8 << 20;

/// The time that lanes get to end and release their sessions.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How batches are spread over several devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Balance {
    /// To the device with the fewest batches.
    #[default]
    QueueDepth,
    /// To each device in turn.
    RoundRobin,
}

/// How many lanes to start, and for which batches.
#[derive(Clone)]
pub(crate) struct LanePlan {
    /// Lanes, over all devices.
    pub(crate) lanes: usize,
    /// The rows of a full batch.
    pub(crate) rows: usize,
    /// How batches are spread over the devices.
    pub(crate) balance: Balance,
    /// The way through the gate of each device, in the order of devices; none where no other model is on it.
    pub(crate) gates: Vec<Option<Member>>,
}

/// The state of the lanes and their devices. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    lost: CancellationToken,
    devices_lost: Arc<AtomicU64>,
    /// The lanes' threads.
    threads: TaskTracker,
}

impl Health {
    /// Cancelled when the last lane is gone.
    #[must_use]
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Devices that have no lane any more.
    #[must_use]
    pub fn devices_lost(&self) -> u64 {
        self.devices_lost.load(Ordering::Relaxed)
    }

    /// Waits until the threads of lanes that are told to end have dropped their sessions and are gone; only for some
    /// seconds, for one that hangs never goes. Says whether all have gone.
    pub(crate) async fn ended(&self) -> bool {
        self.threads.close();
        let ended = tokio::time::timeout(END_WITHIN, self.threads.wait()).await;
        if ended.is_err() {
            tracing::warn!(
                lanes = self.threads.len(),
                "Lanes still hang; they end with the process."
            );
        }
        ended.is_ok()
    }
}

/// A view of the lanes that does not keep them alive.
#[derive(Clone)]
pub(crate) struct LanesWatch(Weak<dyn Watched>);

impl LanesWatch {
    /// The lanes now; nothing once they are gone.
    #[must_use]
    pub(crate) fn usage(&self) -> Usage {
        self.0
            .upgrade()
            .map_or_else(Usage::default, |lanes| lanes.usage())
    }
}

/// The lanes of one engine. See the module's essay. Dropping it ends them once they are idle.
pub(crate) struct Lanes<W: Work> {
    shared: Arc<Shared<W>>,
}

impl<W: Work> Lanes<W> {
    /// Starts the lanes, dealt out over the engine's devices, and waits until each has its session open and
    /// warmed up.
    ///
    /// # Errors
    /// The first [`EngineError`] met; no lane is left running then.
    pub(crate) fn start(engine: Arc<dyn Engine>, plan: LanePlan) -> Result<Self, EngineError> {
        let devices = engine.devices();
        let count = devices.len();
        let lanes = Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Queue::new(count, plan.balance)),
                changed: Condvar::new(),
                engine,
                devices,
                gates: plan.gates,
                rows: plan.rows,
                health: Health::default(),
                account: Mutex::new(Account::new(count)),
            }),
        };
        let (opened_tx, opened_rx) = mpsc::sync_channel(plan.lanes);
        for device in 0..count {
            for _ in 0..lanes_on(device, count, plan.lanes) {
                let lane = lanes.shared.queue.lock().admit(device);
                lanes.spawn(lane, Some(opened_tx.clone()))?;
            }
        }
        drop(opened_tx);
        // Wait for all, so that none is still opening its session when the start fails.
        let opened: Vec<_> = opened_rx.iter().collect();
        if let Some(error) = opened.into_iter().find_map(Result::err) {
            lanes.end();
            return Err(error);
        }
        Ok(lanes)
    }

    /// Hands a job to the lanes. It is run on a lane other than `avoid`, unless that is the only one open.
    pub(crate) fn submit(&self, work: W, avoid: Option<LaneId>) -> Pending<W> {
        let (started, started_rx) = oneshot::channel();
        let (done, done_rx) = oneshot::channel();
        let job = Job {
            work,
            avoid,
            submitted: Instant::now(),
            device: None,
            started,
            done,
        };
        let mut queue = self.shared.queue.lock();
        if queue.alive() == 0 {
            drop(queue);
            job.fail(Failure::NoLane);
        } else {
            let any_will_do = queue.any_may_take(&job);
            queue.push(job);
            drop(queue);
            // To wake a lane costs as much as a small batch. But one that is woken alone must be one that may take it.
            if any_will_do {
                self.shared.changed.notify_one();
            } else {
                self.shared.changed.notify_all();
            }
        }
        Pending {
            started: started_rx,
            done: done_rx,
        }
    }

    /// Gives up on a lane whose session hangs and starts another in its place, if the engine can open a session beside one
    /// that hangs. The hung thread ends by itself if its session ever returns; what it brings back is thrown away. False
    /// if it was given up before.
    pub(crate) fn abandon(&self, lane: LaneId) -> bool {
        let (successor, left) = {
            let mut queue = self.shared.queue.lock();
            if !queue.remove(lane) {
                return false;
            }
            queue.hanging.insert(lane);
            // Under the same lock, so that no other thread sees a moment without a lane.
            let replaceable = self.shared.engine.replaces_hung_sessions();
            if !replaceable {
                queue.unreplaced.insert(lane);
            }
            let replaced = replaceable && queue.hanging.len() <= MOST_HANGING;
            let successor = replaced.then(|| queue.admit(lane.device));
            (successor, queue.alive_on(lane.device))
        };
        tracing::error!(%lane, device = self.shared.device(lane.device), "The lane hangs; it is abandoned.");
        self.shared.leave(lane, None);
        match successor {
            Some(successor) => {
                if let Err(error) = self.spawn(successor, None) {
                    tracing::error!(%error, "No lane could be started in place of the abandoned one.");
                } else {
                    tracing::warn!(lane = %successor, "Another lane takes the hung one's place.");
                }
            }
            None => {
                if self.shared.engine.replaces_hung_sessions() {
                    tracing::error!(
                        hanging = MOST_HANGING,
                        "Too many lanes hang already; this one is not replaced."
                    );
                } else {
                    tracing::error!(
                        left,
                        "No session can be opened on this device while a run hangs: the lane is replaced when its run returns."
                    );
                }
                self.shared.take_stock(lane.device, left);
            }
        }
        self.shared.changed.notify_all();
        true
    }

    /// Gives up on all lanes: jobs that no lane takes up in any reasonable time mean that they hang
    /// while opening their sessions, where no time-out of a batch reaches them.
    pub(crate) fn condemn(&self) {
        tracing::error!("No lane takes up work any more; all are given up.");
        let devices = self.shared.queue.lock().clear();
        let lost = &self.shared.health.devices_lost;
        lost.fetch_add(devices as u64, Ordering::Relaxed);
        self.shared.give_up_if_none_is_left();
        self.shared.changed.notify_all();
    }

    /// Devices with a lane that is running or being started.
    #[must_use]
    pub(crate) fn devices(&self) -> usize {
        self.shared.queue.lock().devices_alive()
    }

    /// Lanes that are running or being started.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn alive(&self) -> usize {
        self.shared.queue.lock().alive()
    }

    /// Tells the lanes to end and blocks until they have, or for some seconds: one that hangs never does.
    pub(crate) fn end(&self) {
        self.close();
        let deadline = Instant::now() + END_WITHIN;
        while !self.shared.health.threads.is_empty() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Tells the lanes to end once the queue is empty.
    pub(crate) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// A look at them that does not keep them.
    #[must_use]
    pub(crate) fn watch(&self) -> LanesWatch {
        let weak: Weak<Shared<W>> = Arc::downgrade(&self.shared);
        LanesWatch(weak)
    }

    /// How the lanes and their devices are.
    #[must_use]
    pub(crate) fn health(&self) -> Health {
        self.shared.health.clone()
    }

    /// Starts the thread of an admitted lane; takes the lane off the list again if it cannot.
    fn spawn(
        &self,
        lane: LaneId,
        opened: Option<mpsc::SyncSender<Result<(), EngineError>>>,
    ) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        let running = shared.health.threads.token();
        thread::Builder::new()
            .name(lane.to_string())
            .stack_size(STACK)
            .spawn(move || {
                // A panic outside a run (a session that panics when it is dropped) ends the lane, and says so.
                let (mut lane, mut opened) = (lane, opened);
                loop {
                    let opened = opened.take();
                    let life = catch_unwind(AssertUnwindSafe(|| shared.run_lane(lane, opened)));
                    if life.is_err() {
                        tracing::error!(%lane, "The lane panicked outside a run and ends.");
                        shared.retire(lane);
                    }
                    let Some(successor) = shared.late_successor(lane) else {
                        break;
                    };
                    tracing::warn!(%lane, %successor, "The run that hung has returned; another lane takes its place.");
                    lane = successor;
                }
                // The engine goes with the last lane: before the lane counts as gone.
                drop(shared);
                drop(running);
            })
            .map(drop)
            .map_err(|error| {
                self.shared.retire(lane);
                let words = format!("no thread could be started: {error}");
                EngineError::Session {
                    lane: lane.number,
                    reason: Cause::of(error).in_words(words),
                }
            })
    }
}

impl<W: Work> Drop for Lanes<W> {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
