//! Models of the lanes: after any fault each job is returned, and the lanes' resources are released.

use crate::engine::{EngineError, Session, StageTimes};
use crate::inference::failure::Failure;
use crate::inference::lane::{Balance, LaneId, LanePlan, Lanes, Pending, Reply, Work};
use crate::inference::sync::{choose, spawn, timeout, until};
use crate::scripted::{Fate, Gate, Scripted, Tallies};
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A job with a fixed outcome.
struct Job {
    number: usize,
    fate: Fate,
    gate: Gate,
}

impl Work for Job {
    fn frames(&self) -> usize {
        1
    }

    fn run(&mut self, _: &mut dyn Session) -> Result<StageTimes, EngineError> {
        self.fate.befall(&self.gate)
    }
}

/// Lanes and their engine, shared by several owners.
#[derive(Clone)]
struct Subject {
    lanes: Arc<Lanes<Job>>,
    gate: Gate,
    tallies: Tallies,
}

impl Subject {
    fn start(engine: Scripted, lanes: usize, balance: Balance) -> Self {
        let (gate, tallies) = (engine.gate.clone(), engine.tallies.clone());
        let plan = LanePlan {
            lanes,
            rows: 1,
            balance,
            gates: Vec::new(),
        };
        Self {
            lanes: Arc::new(Lanes::start(Arc::new(engine), plan).unwrap()),
            gate,
            tallies,
        }
    }

    fn submit(&self, number: usize, fate: Fate, avoid: Option<LaneId>) -> Pending<Job> {
        let gate = self.gate.clone();
        self.lanes.submit(Job { number, fate, gate }, avoid)
    }

    /// Runs a job as a schedule does: it is retried once, on another lane, if a lane fails.
    async fn owner(self, number: usize, fates: &'static [Fate]) -> Result<StageTimes, Failure> {
        let first = self.submit(number, Fate::any_of(fates), None).done.await;
        let Reply { work, lane, result } = first.expect("a job is replied to");
        assert_eq!(work.number, number);
        let (Some(_), Err(_)) = (lane, &result) else {
            return result;
        };
        let second = self.submit(number, Fate::any_of(fates), lane).done.await;
        let reply = second.expect("a job is replied to again");
        assert_eq!(reply.work.number, number);
        reply.result
    }

    /// Ends the lanes. Their counts are consistent, and no resource is left.
    fn end(self) {
        self.gate.open();
        let health = self.lanes.health();
        // A lane may still be ending; its counts follow shortly after.
        until(|| health.lost().is_cancelled() == (self.lanes.alive() == 0));
        until(|| {
            let usage = self.lanes.watch().usage();
            let without = usage.devices.iter().filter(|device| device.lanes == 0);
            health.devices_lost() == without.count() as u64
        });
        let usage = self.lanes.watch().usage();
        let queued: usize = usage.devices.iter().map(|device| device.queued).sum();
        assert_eq!(queued + usage.queued, 0, "a job is still queued");
        self.lanes.end();
        let watch = self.lanes.watch();
        drop(self.lanes);
        assert_eq!(
            watch.usage().devices.len(),
            0,
            "a thread still holds the lanes"
        );
        assert_eq!(self.tallies.sessions.load(Ordering::SeqCst), 0);
    }
}

fn all(owners: impl IntoIterator<Item = impl Future<Output: Send> + Send + 'static>) {
    let owners: Vec<_> = owners.into_iter().map(spawn).collect();
    block_on(async {
        for owner in owners {
            owner.await.unwrap();
        }
    });
}

/// Errors, panics and lost sessions, on lanes with unlimited sessions.
pub fn every_job_comes_back_and_the_lanes_stay() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::Fail, Fate::LoseSession, Fate::Panic];
    let subject = Subject::start(Scripted::new(&[]), 2, Balance::QueueDepth);
    all((0..4).map(|number| subject.clone().owner(number, FATES)));
    assert_eq!(subject.lanes.alive(), 2);
    subject.end();
}

/// This holds from the start, provided that every lane gets its session.
pub fn a_job_that_failed_is_run_again_on_another_lane() {
    let subject = Subject::start(Scripted::new(&[]), 2, Balance::QueueDepth);
    all((0..3).map(|number| {
        let subject = subject.clone();
        async move {
            let first = subject.submit(number, Fate::Fail, None).done.await;
            let avoid = first.unwrap().lane;
            let second = subject.submit(number, Fate::Fail, avoid).done.await;
            assert_ne!(second.unwrap().lane, avoid);
        }
    }));
    subject.end();
}

/// Sessions run out: the lanes end one after another while jobs are queued and submitted.
pub fn when_the_last_lane_goes_every_job_comes_back() {
    const FATES: &[Fate] = &[
        Fate::LoseSession,
        Fate::LoseSession,
        Fate::Panic,
        Fate::Succeed,
    ];
    let mut engine = Scripted::new(&[]);
    engine.sessions = 3;
    let subject = Subject::start(engine, 2, Balance::QueueDepth);
    all((0..4).map(|number| subject.clone().owner(number, FATES)));
    if subject.lanes.alive() == 0 {
        let late = block_on(subject.clone().owner(9, FATES));
        assert!(matches!(late, Err(Failure::NoLane)));
    }
    subject.end();
}

/// Two devices; one or both are lost.
pub fn a_lost_device_leaves_no_job_behind() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::LoseDevice, Fate::LoseSession];
    let mut engine = Scripted::new(&[]);
    engine.devices = 2;
    let balance = [Balance::QueueDepth, Balance::RoundRobin][choose(2)];
    let subject = Subject::start(engine, 3, balance);
    all((0..4).map(|number| subject.clone().owner(number, FATES)));
    subject.end();
}

/// A lane hangs, several callers give it up, and it returns at any time.
pub fn a_lane_that_hangs_is_given_up_once_and_the_others_go_on() {
    let subject = Subject::start(Scripted::new(&[]), 2, Balance::QueueDepth);
    let hung = subject.submit(0, Fate::Hang, None);
    let lane = block_on(hung.started).unwrap();
    let given_up = Arc::new(AtomicUsize::new(0));
    let mut tasks: Vec<_> = (0..2)
        .map(|_| {
            let (subject, given_up) = (subject.clone(), Arc::clone(&given_up));
            spawn(async move {
                let first = subject.lanes.abandon(lane);
                given_up.fetch_add(usize::from(first), Ordering::SeqCst);
            })
        })
        .collect();
    for number in 1..4 {
        let owner = subject.clone().owner(number, &[Fate::Succeed]);
        tasks.push(spawn(async move { assert!(owner.await.is_ok()) }));
    }
    if choose(2) == 0 {
        let gate = subject.gate.clone();
        tasks.push(spawn(async move { gate.open() }));
    }
    block_on(futures::future::join_all(tasks));
    assert_eq!(given_up.load(Ordering::SeqCst), 1);
    assert_eq!(subject.lanes.alive(), 2);
    subject.end();
}

/// A lane that hangs or loses its session takes long to return: the other device's lane runs the jobs that were
/// reserved for it.
pub fn a_reopening_lane_keeps_no_job_from_the_others() {
    let mut engine = Scripted::new(&[]);
    (engine.devices, engine.prompt_sessions) = (2, 2);
    let subject = Subject::start(engine, 2, Balance::RoundRobin);
    let fate = [Fate::Hang, Fate::LoseSession][choose(2)];
    let first = subject.submit(0, fate, None);
    let mut tasks: Vec<_> = (1..4)
        .map(|number| {
            let owner = subject.clone().owner(number, &[Fate::Succeed]);
            spawn(async move { assert!(owner.await.is_ok()) })
        })
        .collect();
    let lanes = Arc::clone(&subject.lanes);
    tasks.push(spawn(async move {
        let lane = first.started.await.unwrap();
        if fate == Fate::Hang {
            lanes.abandon(lane);
        }
    }));
    block_on(futures::future::join_all(tasks));
    subject.end();
}

/// All lanes are given up while jobs are queued, running and submitted.
pub fn condemned_lanes_leave_no_job_waiting() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::LoseSession, Fate::LoseDevice];
    let mut engine = Scripted::new(&[]);
    engine.devices = 2;
    let subject = Subject::start(engine, 2, Balance::RoundRobin);
    let condemned = subject.clone();
    let mut tasks = vec![spawn(async move { condemned.lanes.condemn() })];
    for number in 0..3 {
        let owner = subject.clone().owner(number, FATES);
        tasks.push(spawn(async move { drop(owner.await) }));
    }
    block_on(futures::future::join_all(tasks));
    assert_eq!(subject.lanes.alive(), 0);
    // Idle lanes end by themselves.
    until(|| subject.tallies.sessions.load(Ordering::SeqCst) == 0);
    subject.end();
}

/// The lanes are dropped with jobs in the queue: these run first, except those without a receiver.
pub fn dropped_lanes_finish_their_queued_jobs() {
    let subject = Subject::start(Scripted::new(&[]), 2, Balance::QueueDepth);
    let Subject {
        lanes,
        gate,
        tallies,
    } = subject;
    let submit = |number| {
        let (fate, gate) = (Fate::Succeed, gate.clone());
        lanes.submit(Job { number, fate, gate }, None)
    };
    let pending: Vec<_> = (0..3).map(submit).collect();
    drop(submit(3));
    let watch = lanes.watch();
    drop(lanes);
    for pending in pending {
        assert!(block_on(pending.done).unwrap().result.is_ok());
    }
    until(|| watch.usage().devices.is_empty());
    assert_eq!(tallies.sessions.load(Ordering::SeqCst), 0);
}

/// All faults together, with owners that time out at any step, as schedules do.
pub fn counts_agree_under_all_faults_at_once() {
    const FATES: &[Fate] = &[
        Fate::Succeed,
        Fate::Hang,
        Fate::Panic,
        Fate::LoseSession,
        Fate::LoseDevice,
    ];
    let mut engine = Scripted::new(&[]);
    engine.devices = 2;
    engine.sessions = 6;
    let subject = Subject::start(engine, 3, Balance::QueueDepth);
    all((0..4).map(|number| {
        let subject = subject.clone();
        async move {
            let Pending { started, mut done } = subject.submit(number, Fate::any_of(FATES), None);
            let Ok(lane) = started.await else {
                let reply = done.await.expect("a job that no lane takes is replied to");
                assert!(matches!(reply.result, Err(Failure::NoLane)));
                return;
            };
            if timeout(Duration::from_millis(8), &mut done).await.is_err() {
                subject.lanes.abandon(lane);
            }
        }
    }));
    subject.end();
}
