//! A simulated device: given times, scripted faults, and results that can be checked.
//!
//! It stands in for a GPU where there is none: in tests, in benches, and when sizing a pipeline before the
//! model exists. It is chosen with `--model-path sim:KEY=VALUE,…` and says in its description, and so in
//! the logs, that it is no model. `sim:` alone takes every default.
//!
//! | key | value | default | meaning |
//! |---|---|---|---|
//! | `size` | `HxW` or `N`, to 8192 | `64x64` | a frame, and each output, in pixels |
//! | `input` | `f32` or `f16` | `f32` | the type of the input's values |
//! | `outputs` | 1 to 7 | 1 | outputs: `output`, or `output_0`, `output_1`, … |
//! | `batch` | `dynamic`, a number, or `least:best:most` | `dynamic` | the batch dimension |
//! | `devices` | 1 to 16 | 1 | devices, `sim-0`, `sim-1`, …, each with units of its own |
//! | `on` | a name, such as `gpu` | its own | devices `gpu-0`, …, which all simulated models of the process with this name share |
//! | `memory` | MiB | not told | memory of a device; a session takes what a batch takes |
//! | `h2d`, `compute`, `d2h` | a time: `2ms`, `0.3ms`, `300us`, `0` | `0` | per batch, whatever its rows |
//! | `jitter` | 0 to 1 | 0 | each stage takes its time × (1 ± up to this), evenly spread |
//! | `seed` | a number | 0 | where the jitter starts |
//! | `clock` | `real` or `virtual` | `real` | virtual: stages take no time, they are only added up |
//! | `error` | batches: `3` or `3+7` | none | these batches fail (`EngineError::Run`) |
//! | `error-every` | N | none | and so does every N-th |
//! | `panic` | batches | none | the session panics |
//! | `hang` | batches | none | the batch blocks its lane for `hang-time`, then is computed |
//! | `hang-time` | a time | `1h` | |
//! | `lost` | batches | none | `EngineError::SessionLost`; the session answers nothing else from then on |
//! | `device-lost` | batches | none | `EngineError::DeviceLost`; the device never answers again |
//! | `hang-session` | sessions | none | opening the session blocks its lane for `hang-time` |
//! | `refuse-sessions-after` | N | none | no more than N sessions open (`EngineError::Session`) |
//!
//! Batches are numbered from 1, over all devices and the models that share them, in the order in which they reach them, retries included.
//! A time is at most 24h. Where a batch has several faults, lost goes before panic, hang and error.
//!
//! What always holds:
//! - output `k` at position `p` is [`expected`]`(k, p, pixel)`, whatever the batch, the row or the lane;
//! - a device has three units (copy in, compute, copy out), each at work on one batch at a time: lanes
//!   overlap copies with computing, but two batches never compute at once (one that hung excepted);
//! - reported `StageTimes` are the stages' own durations; waiting for a unit is not in them;
//! - on the virtual clock a session's next batch arrives when its last one ended, and hosts take no time.
//!   Then `SimulatedEngine::busy` is exact, and `SimulatedEngine::device_time` is exact for sessions
//!   driven from one thread; with several threads it depends on which submits first.
//!
//! [`expected`]: crate::simulated::expected

/// The hardware units and their timelines.
mod device;
/// What it computes.
mod results;
/// The text after `sim:`.
mod script;
/// Numbers, times, sizes and lists in that text.
mod value;

pub(crate) use results::MAX_OUTPUTS;
pub use results::expected;
pub use script::Script;
pub(crate) use script::{Clock, ScriptError};

use super::room::DeviceMemory;
use super::{Batch, Engine, EngineError, ModelSpec, Place, Session, StageTimes, TensorSpec};
use beamflow_frame::values::Element;
use device::{Fate, Hardware, Passage};
use results::Results;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a simulated device has been asked to do so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches begun: the ordinal of the latest.
    pub batches: u64,
    /// Batches that came back with results.
    pub computed: u64,
    /// Rows in those, padding included.
    pub rows: u64,
    /// Batches begun and not ended, now.
    pub open: u64,
    /// The most batches that were open at once.
    pub(crate) max_in_flight: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Sessions refused.
    pub(crate) refusals: u64,
    /// Batches that were told to fail.
    pub errors: u64,
    /// Batches in which the session was told to panic.
    pub panics: u64,
    /// Batches that were told to hang.
    pub hangs: u64,
    /// Batches that were told to lose their session or device.
    pub(crate) losses: u64,
    /// When the last stage entered so far ends, counted from the device's start.
    pub(crate) makespan: Duration,
}

/// A simulated device. See the module's essay. Clones share the device.
#[derive(Clone, Debug)]
pub struct SimulatedEngine {
    script: Arc<Script>,
    model: Arc<ModelSpec>,
    results: Arc<Results>,
    hardware: Arc<Hardware>,
}

impl SimulatedEngine {
    /// The device that `script` describes.
    #[must_use]
    pub fn new(script: Script) -> Self {
        let tensor = |name: String| TensorSpec {
            name,
            shape: vec![1, script.size.0, script.size.1],
            element: Element::F32,
        };
        let input = TensorSpec {
            element: script.input,
            ..tensor("input".to_owned())
        };
        let results = Results::new(input.elements());
        let model = ModelSpec {
            outputs: match script.outputs {
                1 => vec![tensor("output".to_owned())],
                n => (0..n).map(|k| tensor(format!("output_{k}"))).collect(),
            },
            input,
            batch: script.batch,
        };
        Self {
            hardware: match &script.on {
                Some(name) => Hardware::named(name, script.devices),
                None => Arc::new(Hardware::new(script.devices)),
            },
            script: Arc::new(script),
            model: Arc::new(model),
            results: Arc::new(results),
        }
    }

    /// What has been asked of the device so far.
    #[must_use]
    #[cfg(test)]
    pub fn stats(&self) -> Stats {
        self.hardware.stats()
    }

    /// How long each unit has been at work, batches now open included.
    #[must_use]
    #[cfg(test)]
    pub fn busy(&self) -> StageTimes {
        self.hardware.busy()
    }

    /// When the last stage entered so far ends, counted from the device's start.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn device_time(&self) -> Duration {
        self.stats().makespan
    }
}

impl Engine for SimulatedEngine {
    fn model(&self) -> &ModelSpec {
        &self.model
    }

    fn description(&self) -> String {
        let script = &self.script;
        let written = match script.to_string() {
            text if text.is_empty() => "all defaults".to_owned(),
            text => text,
        };
        format!(
            "SIMULATED device, not a model: {}x{} frames, {} output(s), batch {}; copy in {:?}, compute {:?}, \
             copy out {:?} a batch ({written})",
            script.size.0,
            script.size.1,
            script.outputs,
            script.batch,
            script.h2d,
            script.compute,
            script.d2h,
        )
    }

    // A warm-up would use up the first ordinals of the script, and gains nothing.
    fn needs_warm_up(&self) -> bool {
        false
    }

    fn devices(&self) -> Vec<String> {
        let name = self.script.on.as_deref().unwrap_or("sim");
        (0..self.script.devices)
            .map(|n| format!("{name}-{n}"))
            .collect()
    }

    fn memory(&self, rows: usize) -> Result<Option<Vec<DeviceMemory>>, EngineError> {
        let memory = self.script.memory.map(|mebibytes| {
            let device = |device| DeviceMemory {
                device,
                free: mebibytes << 20,
                per_lane: self.model.batch_bytes(self.model.batch.rows(rows)),
            };
            self.devices().into_iter().map(device).collect()
        });
        Ok(memory)
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        let faults = &self.script.faults;
        let most = faults.refuse_sessions_after;
        let Some(session) = self.hardware.admit(place.device, most) else {
            return Err(EngineError::Session {
                lane: place.lane,
                reason: match most {
                    Some(most) => {
                        format!("the simulated device refuses sessions after {most}").into()
                    }
                    None => "the simulated device is lost".into(),
                },
            });
        };
        if faults.hang_session.contains(&session) {
            std::thread::sleep(faults.hang_time);
        }
        Ok(Box::new(SimulatedSession {
            engine: self.clone(),
            device: place.device,
            now: Duration::ZERO,
            lost: false,
        }))
    }
}

struct SimulatedSession {
    engine: SimulatedEngine,
    device: usize,
    /// On the virtual clock, when this session's last batch ended.
    now: Duration,
    lost: bool,
}

/// Sees to it that a batch leaves the device, whatever becomes of it.
struct Visit<'a> {
    hardware: &'a Hardware,
    computed: Option<usize>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.hardware.leave(self.computed);
    }
}

impl Session for SimulatedSession {
    fn run(&mut self, batch: Batch<'_>) -> Result<StageTimes, EngineError> {
        let SimulatedEngine {
            script,
            model,
            hardware,
            ..
        } = &self.engine;
        if self.lost {
            return Err(EngineError::SessionLost(
                "the simulated session was lost before this batch".into(),
            ));
        }
        batch.check(model)?;
        let rows = batch.rows;
        let now = match script.clock {
            Clock::Real => hardware.start().elapsed(),
            Clock::Virtual => self.now,
        };
        let passage = hardware.submit(script, self.device, now).ok_or_else(|| {
            EngineError::DeviceLost("the simulated device was lost before this batch".into())
        })?;
        let mut visit = Visit {
            hardware,
            computed: None,
        };
        // Computed before the wait, so that it takes none of the time after it.
        if matches!(passage.fate, Fate::Computed | Fate::Hang) {
            self.engine.results.write(batch);
        }
        match script.clock {
            Clock::Real => wait_until(hardware.start() + passage.end),
            Clock::Virtual => self.now = passage.end,
        }
        self.lost = passage.fate == Fate::Lost;
        let times = settle(passage)?;
        visit.computed = Some(rows);
        Ok(times)
    }
}

/// What the batch comes to after its time on the device.
#[allow(clippy::panic)] // A script that says panic=N asks for it; lanes are tested with it.
fn settle(passage: Passage) -> Result<StageTimes, EngineError> {
    let n = passage.ordinal;
    match passage.fate {
        Fate::Computed | Fate::Hang => Ok(passage.times),
        Fate::Error => Err(EngineError::Run(
            format!("simulated error in batch {n}").into(),
        )),
        Fate::Lost => Err(EngineError::SessionLost(
            format!("simulated in batch {n}").into(),
        )),
        Fate::DeviceLost => Err(EngineError::DeviceLost(
            format!("simulated in batch {n}").into(),
        )),
        Fate::Panic => panic!("simulated panic in batch {n}"),
    }
}

/// Sleeps until just before `deadline`, then yields until it is there: a sleep alone is 50 to 100 µs late.
#[allow(clippy::disallowed_methods, reason = "synchronous code")]
fn wait_until(deadline: Instant) {
    const MARGIN: Duration = Duration::from_micros(100);
    loop {
        match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return,
            left if left > MARGIN => std::thread::sleep(left - MARGIN),
            _ => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests;
