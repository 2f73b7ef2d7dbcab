//! A lane's life: it opens its session, runs job after job, opens another when one is lost, and ends.

use super::job::Job;
use super::queue::Queue;
use super::usage::{Account, DeviceUsage, Usage, Watched};
use super::{Health, LaneId, Member, Reply, Work};
use crate::engine::{Cause, Engine, EngineError, Place, Session, warm_up};
use crate::inference::failure::Failure;
use crate::inference::sync::atomic::Ordering;
use crate::inference::sync::{Condvar, Mutex, mpsc, since};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all lanes share.
pub(super) struct Shared<W> {
    pub(crate) queue: Mutex<Queue<W>>,
    pub(crate) changed: Condvar,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) devices: Vec<String>,
    /// The way through the gate of each device.
    pub(crate) gates: Vec<Option<Member>>,
    pub(crate) rows: usize,
    pub(crate) health: Health,
    pub(crate) account: Mutex<Account>,
}

impl<W: Work> Shared<W> {
    /// A lane's life.
    pub(crate) fn run_lane(
        &self,
        lane: LaneId,
        opened: Option<mpsc::SyncSender<Result<(), EngineError>>>,
    ) {
        let name = self.device(lane.device);
        let mut session = match self.open_session(lane) {
            Ok(session) => {
                // Before it is said: a batch that is to avoid another lane must find this one open.
                self.queue.lock().opened(lane);
                opened.map(|opened| opened.send(Ok(())));
                session
            }
            Err(error) => {
                tracing::error!(%lane, device = name, %error, "The lane has no session and ends.");
                self.no_session(lane, &error);
                opened.map(|opened| opened.send(Err(error)));
                return;
            }
        };
        while let Some(job) = self.take(lane) {
            if job.done.is_closed() {
                continue; // No call waits for it any more; its slot goes back to the ring.
            }
            let Some(broken) = self.run_job(lane, session.as_mut(), job) else {
                continue;
            };
            if !self.queue.lock().has(lane) {
                break;
            }
            drop(session);
            tracing::warn!(%lane, device = name, error = %broken, "The session is lost; the lane opens another.");
            session = match self.open_session(lane) {
                Ok(session) => session,
                Err(error) => {
                    tracing::error!(%lane, device = name, %error, "The lane cannot open another session and ends.");
                    self.no_session(lane, &error);
                    return;
                }
            };
        }
        let mut queue = self.queue.lock();
        queue.remove(lane);
        // If it was given up as hanging, it hangs no more.
        queue.hanging.remove(&lane);
    }

    /// The lane that takes the place of one that was given up as hanging and not replaced, now that its run has returned:
    /// the device works again. None if the device was given up meanwhile, or nothing is to be done any more.
    pub(crate) fn late_successor(&self, lane: LaneId) -> Option<LaneId> {
        let mut queue = self.queue.lock();
        let missing = queue.unreplaced.remove(&lane);
        (missing && !queue.closed && queue.alive_on(lane.device) > 0)
            .then(|| queue.admit(lane.device))
    }

    /// Runs one job and replies; gives the failure if it cost the session.
    fn run_job(&self, lane: LaneId, session: &mut dyn Session, job: Job<W>) -> Option<Failure> {
        if let Some(gate) = self.gate(lane) {
            gate.enter(lane);
            // It may have been given up while it waited. No owner would give it up again if its run hangs.
            if job.done.is_closed() || !self.queue.lock().has(lane) {
                gate.leave(lane, None);
                job.fail(Failure::NoLane);
                return None;
            }
        }
        let Job {
            mut work,
            started,
            done,
            submitted,
            ..
        } = job;
        // The receiver may be gone: a call may end before its last batch does.
        let _ = started.send(lane);
        let (frames, begun) = (work.frames(), Instant::now());
        let run = catch_unwind(AssertUnwindSafe(|| work.run(session)));
        self.leave(
            lane,
            Some(match &run {
                Ok(Ok(times)) => times.total(),
                _ => since(begun),
            }),
        );
        let waited = begun.saturating_duration_since(submitted);
        // One that was given up has a successor in its seat, whose time is counted there.
        if self.queue.lock().has(lane) {
            let mut account = self.account.lock();
            account.ran(lane, frames, waited, begun.elapsed());
        }
        let (result, broken) = match run {
            Ok(Ok(times)) => (Ok(times), None),
            Ok(Err(error)) => {
                let fatal = error.is_fatal();
                let failure = Failure::Engine(error);
                (Err(failure.clone()), fatal.then_some(failure))
            }
            Err(panic) => {
                let failure = Failure::Panicked(crate::telemetry::panic::message(panic.as_ref()));
                (Err(failure.clone()), Some(failure))
            }
        };
        // Before the reply: its receiver may submit the batch again.
        match &broken {
            Some(Failure::Engine(EngineError::DeviceLost(reason))) => {
                self.lose(lane.device, reason)
            }
            Some(_) => {
                self.queue.lock().reopening(lane);
                self.changed.notify_all();
            }
            None => {}
        }
        let _ = done.send(Reply {
            work,
            lane: Some(lane),
            result,
        });
        broken
    }

    fn open_session(&self, lane: LaneId) -> Result<Box<dyn Session>, EngineError> {
        let open = || {
            let mut session = self.engine.open_session(Place {
                lane: lane.number,
                device: lane.device,
                rows: self.rows,
                cuda_graphs: true,
            })?;
            if self.engine.needs_warm_up() {
                warm_up(self.engine.as_ref(), session.as_mut(), self.rows)?;
            }
            Ok(session)
        };
        catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
            Err(EngineError::Session {
                lane: lane.number,
                reason: format!(
                    "the engine panicked: {}",
                    crate::telemetry::panic::message(panic.as_ref())
                )
                .into(),
            })
        })
    }

    /// Waits for the next job that `lane` may run; `None` when it is to end.
    fn take(&self, lane: LaneId) -> Option<Job<W>> {
        let mut queue = self.queue.lock();
        queue.opened(lane);
        loop {
            if !queue.has(lane) {
                return None;
            }
            if let Some(job) = queue.take(lane) {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.changed.wait(&mut queue);
        }
    }

    fn gate(&self, lane: LaneId) -> Option<&Member> {
        self.gates.get(lane.device)?.as_ref()
    }

    /// Gives the lane's place at the gate back, if it holds one.
    pub(crate) fn leave(&self, lane: LaneId, time: Option<Duration>) {
        if let Some(gate) = self.gate(lane) {
            gate.leave(lane, time);
        }
    }

    pub(crate) fn device(&self, device: usize) -> &str {
        self.devices.get(device).map_or("", String::as_str)
    }

    /// A lane ends because it cannot open a session.
    fn no_session(&self, lane: LaneId, error: &EngineError) {
        match error {
            EngineError::DeviceLost(reason) => self.lose(lane.device, reason),
            _ => self.retire(lane),
        }
    }

    /// Takes `lane` off the list.
    pub(crate) fn retire(&self, lane: LaneId) {
        self.take_off(lane.device, |queue| {
            queue.hanging.remove(&lane);
            queue.remove(lane)
        });
    }

    /// Takes a lost device's lanes off the list. Those at work end when their batches do.
    fn lose(&self, device: usize, reason: &Cause) {
        let name = self.device(device);
        if self.take_off(device, |queue| queue.remove_device(device)) {
            tracing::error!(device = name, %reason, "The device is lost.");
        }
    }

    /// Takes lanes of `device` off the list by `remove`, which says whether there were any; and takes stock.
    fn take_off(&self, device: usize, remove: impl FnOnce(&mut Queue<W>) -> bool) -> bool {
        let (gone, left) = {
            let mut queue = self.queue.lock();
            // Counted under the same lock: of two lanes that go at once, only one is the device's last.
            (remove(&mut queue), queue.alive_on(device))
        };
        if gone {
            self.take_stock(device, left);
        }
        // Jobs that were to avoid another lane may now have to run on it.
        self.changed.notify_all();
        gone
    }

    /// After a lane of `device` is gone and `left` are left there: counts the device if it was its last.
    pub(crate) fn take_stock(&self, device: usize, left: usize) {
        if left == 0 {
            self.health.devices_lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                device = self.device(device),
                lanes_elsewhere = self.queue.lock().alive(),
                "The device has no lane any more."
            );
        }
        self.give_up_if_none_is_left();
    }

    pub(crate) fn give_up_if_none_is_left(&self) {
        let stranded = {
            let mut queue = self.queue.lock();
            if queue.alive() > 0 {
                return;
            }
            queue.drain()
        };
        self.health.lost.cancel();
        stranded
            .into_iter()
            .for_each(|job| job.fail(Failure::NoLane));
    }
}

impl<W: Work> Watched for Shared<W> {
    fn usage(&self) -> Usage {
        let queue = self.queue.lock();
        let account = self.account.lock();
        let usage_of = |(device, name): (usize, &String)| DeviceUsage {
            device: name.clone(),
            lanes: queue.alive_on(device),
            queued: queue.waiting_for(device),
            running: queue.running_on(device),
            done: account.of(device),
        };
        Usage {
            devices: self.devices.iter().enumerate().map(usage_of).collect(),
            queued: queue.unassigned(),
            idle_while_queued: queue.idle_while_queued(Instant::now()),
        }
    }
}
