//! An engine whose sessions have random outcomes, and which counts the resources it has handed out.

use crate::engine::{
    Batch, BatchDimension, Engine, EngineError, HostBuffer, HostMemory, ModelSpec, Place, Session,
    StageTimes, TensorSpec,
};
use crate::frame::values::{Element, Values, ValuesMut};
use crate::inference::sync::{Condvar, Mutex, choose};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Succeed,
    Fail,
    LoseSession,
    LoseDevice,
    Panic,
    /// Blocks until the gate opens, then succeeds.
    Hang,
}

/// Hung runs wait here.
#[derive(Clone)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn shut() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    pub fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0.0.lock();
        while !*open {
            self.0.1.wait(&mut open);
        }
    }
}

impl Fate {
    pub fn any_of(fates: &[Self]) -> Self {
        fates[choose(fates.len())]
    }

    pub fn befall(self, gate: &Gate) -> Result<StageTimes, EngineError> {
        let reason = "random failure";
        match self {
            Self::Succeed => Ok(StageTimes::default()),
            Self::Fail => Err(EngineError::Run(reason.into())),
            Self::LoseSession => Err(EngineError::SessionLost(reason.into())),
            Self::LoseDevice => Err(EngineError::DeviceLost(reason.into())),
            // Unwinds like a panic, but prints no message.
            Self::Panic => std::panic::resume_unwind(Box::new(reason)),
            Self::Hang => {
                gate.wait();
                Ok(StageTimes::default())
            }
        }
    }
}

/// Open sessions, buffers that were not returned, and errors in their use.
#[derive(Clone, Default)]
pub struct Tallies {
    pub sessions: Arc<AtomicUsize>,
    pub buffers: Arc<AtomicUsize>,
    /// Runs on lost sessions, which must not happen.
    pub misused: Arc<AtomicUsize>,
    /// Runs that have begun and not ended, and the most of them at once.
    running: Arc<AtomicUsize>,
    pub most_running: Arc<AtomicUsize>,
}

/// Counts one while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(tally: &Arc<AtomicUsize>) -> Self {
        tally.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(tally))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Rows of one value; a run adds [`ADDED`] to it.
pub struct Scripted {
    model: ModelSpec,
    pub devices: usize,
    /// The number of sessions that it can open.
    pub sessions: usize,
    /// The number of sessions that open at once; later ones wait for the gate.
    pub prompt_sessions: usize,
    /// Possible outcomes of its runs.
    pub fates: Vec<Fate>,
    pub gate: Gate,
    pub tallies: Tallies,
    opened: AtomicUsize,
}

pub const ADDED: f32 = 100.0;

impl Scripted {
    pub fn new(fates: &[Fate]) -> Self {
        let tensor = TensorSpec {
            name: "x".to_owned(),
            shape: vec![1, 1],
            element: Element::F32,
        };
        Self {
            model: ModelSpec {
                input: tensor.clone(),
                outputs: vec![tensor],
                batch: BatchDimension::Dynamic,
            },
            devices: 1,
            sessions: usize::MAX,
            prompt_sessions: usize::MAX,
            fates: fates.to_vec(),
            gate: Gate::shut(),
            tallies: Tallies::default(),
            opened: AtomicUsize::new(0),
        }
    }
}

impl Engine for Scripted {
    fn model(&self) -> &ModelSpec {
        &self.model
    }

    fn description(&self) -> String {
        "dice".to_owned()
    }

    fn devices(&self) -> Vec<String> {
        (0..self.devices).map(|n| format!("device{n}")).collect()
    }

    fn needs_warm_up(&self) -> bool {
        false
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        let opened = self.opened.fetch_add(1, Ordering::SeqCst);
        if opened >= self.prompt_sessions {
            self.gate.wait();
        }
        if opened >= self.sessions {
            return Err(EngineError::Session {
                lane: place.lane,
                reason: "no more".into(),
            });
        }
        Ok(Box::new(Dice {
            fates: self.fates.clone(),
            gate: self.gate.clone(),
            lost: false,
            tallies: self.tallies.clone(),
            _open: Counted::new(&self.tallies.sessions),
        }))
    }

    fn allocate(&self, _: Element, elements: usize) -> Result<HostBuffer, EngineError> {
        let counted = Counted::new(&self.tallies.buffers);
        Ok(Box::new(Buffer(vec![0.0; elements], counted)))
    }
}

struct Buffer(Vec<f32>, #[allow(dead_code)] Counted);

impl HostMemory for Buffer {
    fn values(&self) -> Values<'_> {
        Values::F32(&self.0)
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        ValuesMut::F32(&mut self.0)
    }
}

struct Dice {
    fates: Vec<Fate>,
    gate: Gate,
    lost: bool,
    tallies: Tallies,
    _open: Counted,
}

impl Session for Dice {
    fn run(&mut self, mut batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let misused = usize::from(self.lost);
        self.tallies.misused.fetch_add(misused, Ordering::SeqCst);
        let _running = Counted::new(&self.tallies.running);
        let running = self.tallies.running.load(Ordering::SeqCst);
        self.tallies
            .most_running
            .fetch_max(running, Ordering::SeqCst);
        let fate = Fate::any_of(&self.fates);
        self.lost = !matches!(fate, Fate::Succeed | Fate::Fail | Fate::Hang);
        let times = fate.befall(&self.gate)?;
        let (Values::F32(input), ValuesMut::F32(output)) =
            (batch.input, &mut batch.outputs[0].values)
        else {
            return Err(EngineError::Run("not single precision".into()));
        };
        for (output, input) in output.iter_mut().zip(input) {
            *output = input + ADDED;
        }
        Ok(times)
    }
}
