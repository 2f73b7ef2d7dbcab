//! Models of the gate: the lanes of two models on one device, with runs that succeed, fail or hang.

use crate::engine::{EngineError, Session, StageTimes};
use crate::inference::lane::{Balance, Gate as Door, LanePlan, Lanes, Priority, Work};
use crate::inference::sync::{choose, spawn, timeout, until};
use crate::scripted::{Fate, Gate, Scripted, Tallies};
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Lanes of each model, and places at the gate.
const LANES: usize = 2;

/// A job that counts those that run at once on the device.
struct Job {
    fate: Fate,
    gate: Gate,
    running: Arc<AtomicUsize>,
}

impl Work for Job {
    fn frames(&self) -> usize {
        1
    }

    fn run(&mut self, _: &mut dyn Session) -> Result<StageTimes, EngineError> {
        // One that hangs gives its place away at any time.
        let _running = (self.fate != Fate::Hang).then(|| Running::begin(&self.running));
        shuttle::thread::yield_now();
        self.fate.befall(&self.gate)
    }
}

/// Counts one while it exists.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(running: &Arc<AtomicUsize>) -> Self {
        let before = running.fetch_add(1, Ordering::SeqCst);
        assert!(before < LANES, "{before} run already");
        Self(Arc::clone(running))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A model on the device.
#[derive(Clone)]
struct Subject {
    lanes: Arc<Lanes<Job>>,
    gate: Gate,
    tallies: Tallies,
    running: Arc<AtomicUsize>,
}

/// Two models of any priorities that share a device.
fn subjects() -> [Subject; 2] {
    let door = Door::new(LANES);
    let running = Arc::new(AtomicUsize::new(0));
    [0, 1].map(|_| {
        let engine = Scripted::new(&[]);
        let (gate, tallies) = (engine.gate.clone(), engine.tallies.clone());
        let priority = [Priority::Normal, Priority::High][choose(2)];
        let plan = LanePlan {
            lanes: LANES,
            rows: 1,
            balance: Balance::QueueDepth,
            gates: vec![Some(door.join(priority))],
        };
        Subject {
            lanes: Arc::new(Lanes::start(Arc::new(engine), plan).unwrap()),
            gate,
            tallies,
            running: Arc::clone(&running),
        }
    })
}

impl Subject {
    /// Runs a job as a schedule does, which gives the lane's place away after an unusual time, and then the lane.
    async fn owner(self, fates: &'static [Fate]) {
        let job = Job {
            fate: Fate::any_of(fates),
            gate: self.gate.clone(),
            running: Arc::clone(&self.running),
        };
        let hangs = job.fate == Fate::Hang;
        let pending = self.lanes.submit(job, None);
        let Ok(lane) = pending.started.await else {
            return;
        };
        let mut done = pending.done;
        if hangs {
            self.lanes.give_way(lane, Duration::ZERO);
            if timeout(Duration::from_millis(4), &mut done).await.is_err() {
                self.lanes.abandon(lane);
            }
        } else {
            assert!(done.await.is_ok(), "a job is replied to");
        }
    }

    fn end(self) {
        self.gate.open();
        self.lanes.end();
        drop(self.lanes);
        until(|| self.tallies.sessions.load(Ordering::SeqCst) == 0);
    }
}

fn run(fates: [&'static [Fate]; 2]) {
    let subjects = subjects();
    let owners = subjects
        .iter()
        .zip(fates)
        .flat_map(|(subject, fates)| (0..3).map(move |_| spawn(subject.clone().owner(fates))));
    let owners: Vec<_> = owners.collect();
    block_on(async {
        for owner in owners {
            owner.await.unwrap();
        }
    });
    assert_eq!(subjects[0].running.load(Ordering::SeqCst), 0);
    subjects.into_iter().for_each(Subject::end);
}

/// Errors, panics and lost sessions: every job passes the gate, and no more run at once than it has places.
pub fn every_batch_passes_and_no_more_run_than_there_are_places() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::Fail, Fate::Panic, Fate::LoseSession];
    run([FATES, FATES]);
}

/// The lanes of one model hang for good: the jobs of the other run all the same.
pub fn a_model_that_hangs_keeps_no_place() {
    run([&[Fate::Hang, Fate::Succeed], &[Fate::Succeed]]);
}

/// A device is lost for one model while the other has jobs for it.
pub fn a_model_that_loses_the_device_keeps_no_place() {
    run([
        &[Fate::LoseDevice, Fate::Succeed],
        &[Fate::Succeed, Fate::Fail],
    ]);
}
