//! Models of the schedules: after any fault of the lanes, every datum of a call has one outcome, and every slot
//! is returned.

use crate::engine::{Engine, EngineError};
use crate::frame::{
    BadPixels, Decoder, Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, OutputSize,
};
use crate::inference::batch::Ring;
use crate::inference::batch::slot::Slot;
use crate::inference::common::Common;
use crate::inference::decoding::Decoders;
use crate::inference::deliveries::Deliveries;
use crate::inference::lane::{Balance, LanePlan, Lanes};
use crate::inference::ledger::{Answer, Outcome};
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::intake::Intake;
use crate::inference::model::{Limits, Model, SelectedOutput};
use crate::inference::routes::Routes;
use crate::inference::schedule::{
    BatchTime, BatchWait, Call, Concurrent, Datums, Depth, Outlet, Pipelined, Report, Schedule,
    Sequential, Streaming,
};
use crate::inference::sync::{Mutex, choose, spawn, timeout, until};
use crate::ring::assert_whole;
use crate::scripted::{ADDED, Fate, Gate, Scripted, Tallies};
use beamflow::inference::schedule::Mode;
use beamflow::telemetry::newest::Newest;
use numaflow::batchmap::Datum;
use prometheus_client::registry::Registry;
use shuttle::future::{block_on, yield_now};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

const LANES: usize = 2;
const BATCH: usize = 2;
/// Datums of a call: two full batches and a short one; one datum is not a valid frame.
pub const DATUMS: usize = 6;
const NO_FRAME: usize = 3;

/// One of the four modes, with its resources for inspection.
pub struct Subject {
    pub schedule: Arc<dyn Schedule>,
    pub model: Arc<Model>,
    gate: Gate,
    tallies: Tallies,
}

impl Subject {
    pub fn new(mode: Mode, fates: &[Fate], limits: Limits) -> Self {
        Self::with_depth(Depth::fixed(LANES), mode, fates, limits)
    }

    fn with_depth(depth: Depth, mode: Mode, fates: &[Fate], limits: Limits) -> Self {
        let depth = Arc::new(depth);
        let mut engine = Scripted::new(fates);
        engine.devices = 2;
        let (gate, tallies) = (engine.gate.clone(), engine.tallies.clone());
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let plan = LanePlan {
            lanes: LANES,
            rows: BATCH,
            balance: Balance::QueueDepth,
            gates: Vec::new(),
        };
        let lanes = Lanes::start(Arc::clone(&engine), plan).unwrap();
        let wanted = 0..1;
        let made = AtomicUsize::new(0);
        let slot = move || {
            // Making a replacement slot may fail for a while.
            if made.fetch_add(1, Ordering::SeqCst) > LANES && choose(2) == 0 {
                return Err(EngineError::Memory {
                    bytes: 1,
                    reason: "just now".into(),
                });
            }
            Slot::new(engine.as_ref(), BATCH, true, std::slice::from_ref(&wanted))
        };
        let (height, width) = (1, 1);
        let envelope = Envelope::new(
            &[height, width],
            OutputSize::Full,
            OutputDtype::Float32,
            OutputFormat::Raw,
        );
        let counts = Arc::new(Counts::new(&mut Registry::default(), mode));
        let decoder = Decoder::new(Dtype::U8, FrameShape { height, width });
        let model = Arc::new(Model {
            decoder,
            decoders: Decoders::new(decoder, 2),
            bad_pixels: BadPixels::off(),
            ring: Ring::new(LANES + 1, slot).unwrap(),
            lanes,
            outputs: vec![SelectedOutput {
                index: 0,
                name: "x".to_owned(),
                envelope: envelope.unwrap(),
            }],
            limits,
            metrics: counts.model("x"),
            common: Arc::new(Common {
                counts,
                deliveries: Deliveries::new(None),
                routes: Routes::new(["x", "y"].map(str::to_owned).to_vec(), 0, Vec::new()),
                dead_letters: false,
                newest: Arc::new(Newest::new(true)),
            }),
            input: "x".to_owned(),
            batch_is_fixed: false,
            batch_time: BatchTime::new(),
        });
        let shared = Arc::clone(&model);
        let schedule: Arc<dyn Schedule> = match mode {
            Mode::Sequential => Arc::new(Sequential { model: shared }),
            Mode::Concurrent => Arc::new(Concurrent {
                model: shared,
                workers: LANES,
            }),
            Mode::Pipelined => Arc::new(Pipelined {
                model: shared,
                depth,
            }),
            Mode::Streaming => Arc::new(Streaming {
                model: shared,
                depth,
                wait: [
                    BatchWait::Exactly(Duration::ZERO),
                    BatchWait::Exactly(Duration::from_secs(1)),
                    BatchWait::HalfOfCompute,
                ][choose(3)],
            }),
        };
        Self {
            schedule,
            model,
            gate,
            tallies,
        }
    }

    /// A call of [`DATUMS`] datums that arrive at any time.
    async fn call(schedule: Arc<dyn Schedule>, common: Arc<Common>) -> (Vec<Answer>, Report) {
        let (sender, datums) = mpsc::channel(2);
        spawn(async move {
            for number in 0..DATUMS {
                yield_now().await;
                // If the call is given up, the receiver is gone.
                let _ = sender.send(datum(number)).await;
            }
        });
        let answers = Collected::default();
        let intake = Mutex::new(Intake::new(&common.counts));
        let call = Call::new(&common, &intake, &answers);
        schedule.run(Datums::Coming(datums, &intake), &call).await;
        let report = call.finish().await;
        (answers.take(), report)
    }

    fn start(&self) -> impl Future<Output = (Vec<Answer>, Report)> + Send + use<> {
        Self::call(Arc::clone(&self.schedule), Arc::clone(&self.model.common))
    }

    /// The lanes return and end: every slot is in the ring, no session is open.
    pub fn end(self) {
        self.gate.open();
        let Self {
            schedule,
            model,
            tallies,
            ..
        } = self;
        drop(schedule);
        let ring = model.ring.clone();
        until(|| ring.free() == ring.slots());
        // Batches of a call that was given up add to this count.
        until(|| Arc::strong_count(&model) == 1);
        model.lanes.end();
        assert_whole(&ring, &tallies);
        assert_eq!(tallies.sessions.load(Ordering::SeqCst), 0);
        assert_eq!(tallies.misused.load(Ordering::SeqCst), 0);
    }
}

pub fn datum(number: usize) -> Datum {
    let value = if number == NO_FRAME {
        Vec::new()
    } else {
        vec![number as u8]
    };
    Datum {
        keys: Vec::new(),
        value,
        watermark: Default::default(),
        event_time: Default::default(),
        id: number.to_string(),
        headers: Default::default(),
    }
}

/// The numbers of datums with a result, and without one because a lane hung.
pub struct Checked {
    pub done: usize,
    timed_out: usize,
}

/// The answers of a call.
pub struct Collected(Mutex<Vec<Answer>>);

impl Default for Collected {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl Collected {
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[async_trait::async_trait]
impl Outlet for Collected {
    async fn answer(&self, answers: Vec<Answer>) -> bool {
        // The socket may be slow.
        yield_now().await;
        self.0.lock().extend(answers);
        true
    }
}

/// Checks that each datum has one answer, its own.
pub fn check((answers, report): (Vec<Answer>, Report)) -> Checked {
    let tally = report.tally;
    assert_eq!(
        (tally.frames, tally.repeated, tally.rejected),
        (DATUMS, 0, 1)
    );
    let mut open: Vec<_> = (0..DATUMS).map(|number| number.to_string()).collect();
    let mut timed_out = 0;
    for answer in answers {
        let place = open.iter().position(|id| *id == answer.id);
        open.remove(place.expect("a datum that is not answered"));
        let number: usize = answer.id.parse().unwrap();
        match answer.outcome {
            Outcome::Done(results) => {
                let expected = number as f32 + ADDED;
                assert_eq!(results.as_slice(), [expected.to_le_bytes().to_vec()]);
            }
            Outcome::NotFinite(_) => panic!("a sum of small numbers is not finite"),
            Outcome::Rejected(..) => assert_eq!(number, NO_FRAME),
            Outcome::Failed(failure) => {
                assert_ne!(failure.kind(), "unsettled");
                timed_out += usize::from(failure.kind() == "timeout");
            }
        }
    }
    assert_eq!(open, [""; 0]);
    Checked {
        done: tally.done,
        timed_out,
    }
}

pub fn any_mode() -> Mode {
    [
        Mode::Sequential,
        Mode::Concurrent,
        Mode::Pipelined,
        Mode::Streaming,
    ][choose(4)]
}

pub const PATIENT: Limits = Limits {
    batch_timeout: None,
    inference_timeout: Duration::MAX,
};

/// Steps instead of milliseconds: see `timeout`.
pub const IMPATIENT: Limits = Limits {
    batch_timeout: Some(Duration::from_millis(1)),
    inference_timeout: Duration::from_millis(12),
};

/// Batches close when they are full, when the stream ends, or at any time; two calls share slots and lanes.
pub fn sound_lanes_give_every_frame_its_result() {
    let limits = Limits {
        batch_timeout: [None, IMPATIENT.batch_timeout][choose(2)],
        ..PATIENT
    };
    let subject = Subject::new(any_mode(), &[Fate::Succeed], limits);
    let calls = [0, 1].map(|_| spawn(subject.start()));
    for call in calls {
        assert_eq!(check(block_on(call).unwrap()).done, DATUMS - 1);
    }
    subject.end();
}

/// Errors, panics, lost sessions and devices, until no device is left.
pub fn every_datum_has_one_outcome_under_engine_faults() {
    const FATES: &[Fate] = &[
        Fate::Succeed,
        Fate::Succeed,
        Fate::Fail,
        Fate::Panic,
        Fate::LoseSession,
        Fate::LoseDevice,
    ];
    let subject = Subject::new(any_mode(), FATES, PATIENT);
    check(block_on(subject.start()));
    subject.end();
}

/// Lanes hang until the call is answered, a sound lane may exceed the timeout, and all other faults happen too.
pub fn a_call_is_answered_while_its_lanes_still_hang() {
    const FATES: &[Fate] = &[
        Fate::Succeed,
        Fate::Succeed,
        Fate::Hang,
        Fate::Fail,
        Fate::LoseSession,
    ];
    let subject = Subject::new(any_mode(), FATES, IMPATIENT);
    for _ in 0..2 {
        let call = check(block_on(subject.start()));
        let Model { common, lanes, .. } = subject.model.as_ref();
        if call.timed_out > 0 && !lanes.health().lost().is_cancelled() {
            assert!(common.counts.totals().lanes_replaced > 0);
        }
    }
    subject.end();
}

/// A lane that was given up returns at any time, while its slot is written off and lent again.
pub fn lanes_that_return_late_change_no_outcome() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::Hang];
    let subject = Subject::new(any_mode(), FATES, IMPATIENT);
    let gate = subject.gate.clone();
    spawn(async move {
        for _ in 0..choose(40) {
            yield_now().await;
        }
        gate.open();
    });
    let calls = [0, 1].map(|_| spawn(subject.start()));
    for call in calls {
        check(block_on(call).unwrap());
    }
    subject.end();
}

/// A depth that follows the measured times may be below the number of lanes. Then a batch waits although a lane is free.
pub fn no_more_batches_run_than_the_depth_allows() {
    let depth = Depth::following();
    while depth.now() > 1 {
        depth.note(Duration::from_secs(1), Duration::ZERO);
    }
    let mode = [Mode::Pipelined, Mode::Streaming][choose(2)];
    let subject = Subject::with_depth(depth, mode, &[Fate::Hang], PATIENT);
    let gate = subject.gate.clone();
    spawn(async move {
        for _ in 0..choose(40) {
            yield_now().await;
        }
        gate.open();
    });
    assert_eq!(check(block_on(subject.start())).done, DATUMS - 1);
    assert_eq!(subject.tallies.most_running.load(Ordering::SeqCst), 1);
    subject.end();
}

/// Numa cancels a call at any time: its batches run to their end, and the next call has all slots.
pub fn a_call_that_is_given_up_leaves_nothing_behind() {
    const FATES: &[Fate] = &[Fate::Succeed, Fate::Fail, Fate::Panic];
    let subject = Subject::new(any_mode(), FATES, PATIENT);
    let patience = Duration::from_millis(30);
    let call = subject.start();
    if let Ok(call) = block_on(timeout(patience, call)) {
        check(call);
    }
    check(block_on(subject.start()));
    subject.end();
}
