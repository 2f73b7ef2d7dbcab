//! The lanes' promises, on an engine that opens as many sessions as it is told to.

use super::*;
use crate::engine::{
    BatchDimension, HostBuffer, ModelSpec, Place, Session, StageTimes, TensorSpec,
};
use crate::frame::values::Element;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Opens `sessions` sessions and refuses the next.
struct Limited {
    model: ModelSpec,
    sessions: usize,
    opened: AtomicUsize,
    beside_a_hang: bool,
}

struct Idle;

impl Session for Idle {
    fn run(&mut self, _: crate::engine::Batch<'_>) -> Result<StageTimes, EngineError> {
        Ok(StageTimes::default())
    }
}

impl Engine for Limited {
    fn model(&self) -> &ModelSpec {
        &self.model
    }

    fn description(&self) -> String {
        "an engine for tests".to_owned()
    }

    fn replaces_hung_sessions(&self) -> bool {
        self.beside_a_hang
    }

    /// Without a look at the machine's limits, which an interpreter does not have.
    fn allocate(&self, _: Element, elements: usize) -> Result<HostBuffer, EngineError> {
        Ok(Box::new(vec![0.0_f32; elements]))
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        if self.opened.fetch_add(1, Ordering::SeqCst) >= self.sessions {
            return Err(EngineError::Session {
                lane: place.lane,
                reason: "no more".into(),
            });
        }
        Ok(Box::new(Idle))
    }
}

fn engine(sessions: usize) -> Arc<dyn Engine> {
    engine_with(sessions, true)
}

/// An engine that cannot open a session while another hangs.
fn gpu() -> Arc<dyn Engine> {
    engine_with(usize::MAX, false)
}

fn engine_with(sessions: usize, beside_a_hang: bool) -> Arc<dyn Engine> {
    let tensor = TensorSpec {
        name: "x".to_owned(),
        shape: vec![1],
        element: Element::F32,
    };
    Arc::new(Limited {
        model: ModelSpec {
            input: tensor.clone(),
            outputs: vec![tensor],
            batch: BatchDimension::Dynamic,
        },
        sessions,
        opened: AtomicUsize::new(0),
        beside_a_hang,
    })
}

fn plan(lanes: usize) -> LanePlan {
    LanePlan {
        lanes,
        rows: 1,
        balance: Balance::QueueDepth,
        gates: Vec::new(),
    }
}

/// What a piece of work does on its lane.
enum Task {
    Succeed,
    Lose,
    Panic,
    /// Until the sender is dropped.
    Hang(mpsc::Receiver<()>),
}

impl Work for Task {
    fn frames(&self) -> usize {
        1
    }

    fn run(&mut self, _: &mut dyn Session) -> Result<StageTimes, EngineError> {
        match self {
            Self::Succeed => Ok(StageTimes::default()),
            Self::Lose => Err(EngineError::SessionLost("as told".into())),
            Self::Panic => panic!("as told"),
            Self::Hang(until) => {
                let _ = until.recv();
                Ok(StageTimes::default())
            }
        }
    }
}

fn done(pending: Pending<Task>) -> Reply<Task> {
    pending.done.blocking_recv().unwrap()
}

#[test]
fn a_start_that_cannot_open_every_session_fails_with_the_reason() {
    let error = Lanes::<Task>::start(engine(2), plan(3)).err().unwrap();
    assert!(error.to_string().contains("no more"), "{error}");
}

#[test]
fn a_job_is_run_on_another_lane_than_the_one_to_avoid() {
    let lanes = Lanes::start(engine(2), plan(2)).unwrap();
    let first = done(lanes.submit(Task::Succeed, None)).lane;
    for _ in 0..50 {
        assert_ne!(done(lanes.submit(Task::Succeed, first)).lane, first);
    }
}

#[test]
fn with_one_lane_a_job_that_avoids_it_runs_on_it_all_the_same() {
    let lanes = Lanes::start(engine(1), plan(1)).unwrap();
    let lane = done(lanes.submit(Task::Succeed, None)).lane;
    assert_eq!(done(lanes.submit(Task::Succeed, lane)).lane, lane);
}

#[test]
fn a_panic_costs_its_job_and_a_session_and_the_lane_goes_on() {
    let lanes = Lanes::start(engine(2), plan(1)).unwrap();
    let reply = done(lanes.submit(Task::Panic, None));
    assert!(matches!(reply.result, Err(Failure::Panicked(text)) if text == "as told"));
    assert!(done(lanes.submit(Task::Succeed, None)).result.is_ok());
}

#[test]
fn when_the_last_lane_is_gone_jobs_fail_and_it_is_announced() {
    let lanes = Lanes::start(engine(1), plan(1)).unwrap();
    done(lanes.submit(Task::Lose, None));
    let reply = done(lanes.submit(Task::Succeed, None));
    assert!(matches!(reply.result, Err(Failure::NoLane)));
    assert!(lanes.health().lost().is_cancelled());
    assert_eq!(lanes.alive(), 0);
}

#[test]
fn every_run_is_accounted_for_with_its_lane() {
    let lanes = Lanes::start(engine(usize::MAX), plan(2)).unwrap();
    let watch = lanes.watch();
    for task in [Task::Succeed, Task::Panic, Task::Lose, Task::Succeed] {
        done(lanes.submit(task, None));
    }
    let (release, until) = mpsc::channel();
    let hung = lanes.submit(Task::Hang(until), None);
    hung.started.blocking_recv().unwrap();
    // The lane that has just replied is at work for a moment more.
    let usage = loop {
        let usage = watch.usage();
        if usage.devices.iter().all(|device| device.running <= 1) {
            break usage;
        }
    };
    assert_eq!(usage.queued, 0);
    let [device] = usage.devices.try_into().unwrap();
    assert_eq!((device.lanes, device.running, device.queued), (2, 1, 0));
    assert_eq!((device.done.batches, device.done.frames), (4, 4));
    assert!((1..=2).contains(&device.done.busy.len()));
    drop(release);
}

#[test]
fn an_abandoned_lane_is_replaced_without_a_gap() {
    let lanes = Lanes::start(engine(2), plan(1)).unwrap();
    let (release, until) = mpsc::channel();
    let hung = lanes.submit(Task::Hang(until), None);
    lanes.abandon(hung.started.blocking_recv().unwrap());
    assert_eq!(lanes.alive(), 1);
    assert!(done(lanes.submit(Task::Succeed, None)).result.is_ok());
    assert!(!lanes.health().lost().is_cancelled());
    drop(release);
}

#[test]
fn lanes_that_hang_too_often_are_not_replaced_for_ever() {
    let lanes = Lanes::start(engine(usize::MAX), plan(1)).unwrap();
    let mut releases = Vec::new();
    for _ in 0..=MOST_HANGING {
        let (release, until) = mpsc::channel();
        let hung = lanes.submit(Task::Hang(until), None);
        lanes.abandon(hung.started.blocking_recv().unwrap());
        releases.push(release);
    }
    assert_eq!(lanes.alive(), 0);
    assert!(lanes.health().lost().is_cancelled());
}

#[test]
fn on_a_gpu_a_hung_lane_is_replaced_when_its_run_returns() {
    let lanes = Lanes::start(gpu(), plan(2)).unwrap();
    let (release, until) = mpsc::channel();
    let hung = lanes.submit(Task::Hang(until), None);
    let lane = hung.started.blocking_recv().unwrap();
    assert!(lanes.abandon(lane));
    assert_eq!(lanes.alive(), 1);
    assert!(done(lanes.submit(Task::Succeed, None)).result.is_ok());
    drop(release);
    while lanes.alive() < 2 {
        thread::yield_now();
    }
    assert!(!lanes.abandon(lane), "it is another lane");
    assert!(!lanes.health().lost().is_cancelled());
}

#[test]
fn a_gpu_whose_lanes_all_hang_is_lost_at_once() {
    let lanes = Lanes::start(gpu(), plan(2)).unwrap();
    let hang = || {
        let (release, until) = mpsc::channel();
        (release, lanes.submit(Task::Hang(until), None))
    };
    let [(first, one), (second, other)] = [hang(), hang()];
    for hung in [one, other] {
        assert!(!lanes.health().lost().is_cancelled());
        lanes.abandon(hung.started.blocking_recv().unwrap());
    }
    assert!(lanes.health().lost().is_cancelled());
    // What returns now finds its device given up.
    drop((first, second));
    lanes.end();
    assert_eq!(lanes.alive(), 0);
}

#[test]
fn condemned_lanes_leave_no_job_waiting() {
    let lanes = Lanes::start(engine(1), plan(1)).unwrap();
    let (release, until) = mpsc::channel();
    let hung = lanes.submit(Task::Hang(until), None);
    hung.started.blocking_recv().unwrap();
    let waiting = lanes.submit(Task::Succeed, None);
    lanes.condemn();
    assert!(matches!(done(waiting).result, Err(Failure::NoLane)));
    assert!(lanes.health().lost().is_cancelled());
    drop(release);
}

#[test]
fn a_queued_job_without_a_waiter_is_not_run() {
    let lanes = Lanes::start(engine(1), plan(1)).unwrap();
    let (release, until) = mpsc::channel();
    let busy = lanes.submit(Task::Hang(until), None);
    let (unused, until) = mpsc::channel();
    drop(lanes.submit(Task::Hang(until), None));
    drop(release);
    done(busy);
    // Would it be run, the lane would hang until `unused` is dropped, and this would never come.
    assert!(done(lanes.submit(Task::Succeed, None)).result.is_ok());
    drop(unused);
}

/// Lanes of a model that shares its only device with another.
fn sharing(gate: &Arc<Gate>) -> Lanes<Task> {
    let gates = vec![Some(gate.join(Priority::Normal))];
    Lanes::start(engine(1), LanePlan { gates, ..plan(1) }).unwrap()
}

#[test]
fn a_lane_that_is_given_up_at_the_gate_runs_nothing_and_keeps_no_place() {
    let gate = Gate::new(1);
    let (lanes, others) = (sharing(&gate), sharing(&gate));
    let (release, until) = mpsc::channel();
    let running = others.submit(Task::Hang(until), None);
    running.started.blocking_recv().unwrap();
    let (never, until) = mpsc::channel();
    let waiting = lanes.submit(Task::Hang(until), None);
    while !lanes.wait_for_others() {
        thread::yield_now();
    }
    lanes.condemn();
    drop(release);
    assert!(matches!(done(waiting).result, Err(Failure::NoLane)));
    assert!(done(others.submit(Task::Succeed, None)).result.is_ok());
    drop(never);
}

/// A model whose runs fail is charged for what they take.
#[test]
fn runs_that_fail_use_up_the_share_of_their_model() {
    let gate = Gate::new(1);
    let (failing, sound) = (sharing(&gate), sharing(&gate));
    let failed = done(failing.submit(Task::Panic, None));
    assert!(failed.result.is_err());
    assert!(done(sound.submit(Task::Succeed, None)).result.is_ok());
    let [of_failing, of_sound] = [0, 1].map(|model| gate.used(model));
    assert!(of_failing > of_sound, "{of_failing:?}, {of_sound:?}");
}
