//! The simulated hardware: devices of three units that all their sessions share, the units' timelines, and
//! what was asked of them.
//!
//! Every batch passes the units in the same order (copy in, compute, copy out) and in the order in which
//! the batches were submitted, as it does through a GPU's two copy engines and its compute queue. So a
//! batch's whole way is known at the moment it is submitted: on each unit it starts when the unit before
//! has let it go and the unit itself is free. `Device::submit` enters it on the three timelines under one
//! lock; the session then sleeps once, until its end. No sleep that overshoots delays another stage.

use super::Stats;
use super::script::{Faults, Script};
use crate::StageTimes;
use parking_lot::Mutex;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardUniform};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What a batch meets on its way. The more severe wins where a script names several for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is computed.
    Computed,
    /// It blocks its lane, then it is computed.
    Hang,
    /// It fails after it was computed, before it is copied out.
    Error,
    /// The session panics, at the same point.
    Panic,
    /// The session is lost, at the same point.
    Lost,
    /// The device is lost, with all its sessions, at the same point.
    DeviceLost,
}

/// A batch's way through the device. Times are counted from the device's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    /// The device's count of batches, from 1.
    pub(crate) ordinal: u64,
    /// What it meets.
    pub fate: Fate,
    /// How long each stage takes, without the wait for its unit.
    pub times: StageTimes,
    /// When its last stage ends.
    pub end: Duration,
}

/// The devices and their common counts.
#[derive(Debug)]
pub(crate) struct Hardware {
    start: Instant,
    state: Mutex<State>,
}

/// The devices that models share, by name.
static NAMED: Mutex<BTreeMap<String, Weak<Hardware>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct State {
    devices: Vec<Device>,
    stats: Stats,
}

#[derive(Clone, Debug, Default)]
struct Device {
    copy_in: Unit,
    compute: Unit,
    copy_out: Unit,
    lost: bool,
}

#[derive(Clone, Debug, Default)]
struct Unit {
    free: Duration,
    busy: Duration,
}

impl Unit {
    /// Enters a stage that can start at `ready`: when it ends.
    fn reserve(&mut self, ready: Duration, time: Duration) -> Duration {
        self.free = self.free.max(ready) + time;
        self.busy += time;
        self.free
    }
}

impl Hardware {
    /// `devices` devices.
    #[allow(clippy::disallowed_methods, reason = "synchronous code")]
    pub(crate) fn new(devices: usize) -> Self {
        Self {
            start: Instant::now(),
            state: Mutex::new(State {
                devices: vec![Device::default(); devices],
                stats: Stats::default(),
            }),
        }
    }

    /// The devices of that name, which all models share that ask for it: at least `devices`.
    pub(crate) fn named(name: &str, devices: usize) -> Arc<Self> {
        let mut named = NAMED.lock();
        let known = named.get(name).and_then(Weak::upgrade);
        let hardware = known.unwrap_or_else(|| Arc::new(Self::new(devices)));
        let present = &mut hardware.state.lock().devices;
        present.resize(present.len().max(devices), Device::default());
        named.insert(name.to_owned(), Arc::downgrade(&hardware));
        Arc::clone(&hardware)
    }

    /// When its time began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Enters a batch that arrives at device `device` at `now`; a batch that fails is not copied out. `None`
    /// if the device is lost: the batch does not count then.
    pub(crate) fn submit(&self, script: &Script, device: usize, now: Duration) -> Option<Passage> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let device = state
            .devices
            .get_mut(device)
            .filter(|device| !device.lost)?;
        state.stats.batches += 1;
        state.stats.open += 1;
        state.stats.max_in_flight = state.stats.max_in_flight.max(state.stats.open);
        let ordinal = state.stats.batches;
        let fate = fate(&script.faults, ordinal);
        match fate {
            Fate::Computed => {}
            Fate::Hang => state.stats.hangs += 1,
            Fate::Error => state.stats.errors += 1,
            Fate::Panic => state.stats.panics += 1,
            Fate::Lost => state.stats.losses += 1,
            Fate::DeviceLost => {
                state.stats.losses += 1;
                device.lost = true;
            }
        }
        let arrival = match fate {
            Fate::Hang => now + script.faults.hang_time,
            _ => now,
        };
        let copied_out = matches!(fate, Fate::Computed | Fate::Hang);
        let times = StageTimes {
            copy_in: jittered(script.h2d, script, ordinal, 0),
            compute: jittered(script.compute, script, ordinal, 1),
            copy_out: if copied_out {
                jittered(script.d2h, script, ordinal, 2)
            } else {
                Duration::ZERO
            },
        };
        // A hung batch holds its lane, not the units: it is computed as if they were free at its hour.
        let end = if fate == Fate::Hang {
            device.copy_in.busy += times.copy_in;
            device.compute.busy += times.compute;
            device.copy_out.busy += times.copy_out;
            arrival + times.total()
        } else {
            let end = device.copy_in.reserve(arrival, times.copy_in);
            let end = device.compute.reserve(end, times.compute);
            if copied_out {
                device.copy_out.reserve(end, times.copy_out)
            } else {
                end
            }
        };
        state.stats.makespan = state.stats.makespan.max(end);
        Some(Passage {
            ordinal,
            fate,
            times,
            end,
        })
    }

    /// Takes note that a batch of `rows` has left the device, computed or not.
    pub(crate) fn leave(&self, rows: Option<usize>) {
        let mut state = self.state.lock();
        state.stats.open = state.stats.open.saturating_sub(1);
        if let Some(rows) = rows {
            state.stats.computed += 1;
            state.stats.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        }
    }

    /// Admits a session to device `device`, unless that is lost or `most` were admitted before: its
    /// number, from 1.
    pub(crate) fn admit(&self, device: usize, most: Option<u64>) -> Option<u64> {
        let mut state = self.state.lock();
        let admitted = most.is_none_or(|most| state.stats.sessions < most)
            && state.devices.get(device).is_some_and(|device| !device.lost);
        if admitted {
            state.stats.sessions += 1;
        } else {
            state.stats.refusals += 1;
        }
        admitted.then_some(state.stats.sessions)
    }

    /// How long each unit has been at work, or will have been once the batches now open are done.
    #[cfg(test)]
    pub(crate) fn busy(&self) -> StageTimes {
        let state = self.state.lock();
        let sum = |unit: fn(&Device) -> &Unit| state.devices.iter().map(|d| unit(d).busy).sum();
        StageTimes {
            copy_in: sum(|device| &device.copy_in),
            compute: sum(|device| &device.compute),
            copy_out: sum(|device| &device.copy_out),
        }
    }

    /// The counts.
    #[cfg(test)]
    pub(crate) fn stats(&self) -> Stats {
        self.state.lock().stats
    }
}

fn fate(faults: &Faults, ordinal: u64) -> Fate {
    let every = faults
        .error_every
        .is_some_and(|n| ordinal.is_multiple_of(n));
    if faults.device_lost.contains(&ordinal) {
        Fate::DeviceLost
    } else if faults.lost.contains(&ordinal) {
        Fate::Lost
    } else if faults.panic.contains(&ordinal) {
        Fate::Panic
    } else if faults.hang.contains(&ordinal) {
        Fate::Hang
    } else if every || faults.error.contains(&ordinal) {
        Fate::Error
    } else {
        Fate::Computed
    }
}

/// `time` × (1 + jitter × u), with u uniform in [−1, 1). It depends on seed, batch and stage alone, not on the lane.
fn jittered(time: Duration, script: &Script, ordinal: u64, stage: u64) -> Duration {
    if script.jitter == 0.0 {
        return time;
    }
    let mut numbers = ChaCha8Rng::seed_from_u64(script.seed);
    numbers.set_stream(ordinal.wrapping_mul(3).wrapping_add(stage));
    let even: f64 = StandardUniform.sample(&mut numbers);
    time.mul_f64(1.0 + script.jitter * (2.0 * even - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ends(script: &str, arrivals: &[u32]) -> Vec<Duration> {
        let (hardware, script) = (Hardware::new(1), script.parse().unwrap());
        let end = |&at: &u32| hardware.submit(&script, 0, at * MS).unwrap().end;
        arrivals.iter().map(end).collect()
    }

    #[test]
    fn each_unit_serves_one_batch_at_a_time_and_overlaps_the_others() {
        // In: 0–1, 1–2, 2–3. Compute: 1–5, 5–9, 9–13. Out: 5–7, 9–11, 13–15.
        let script = "h2d=1ms,compute=4ms,d2h=2ms";
        assert_eq!(ends(script, &[0, 0, 0]), [7 * MS, 11 * MS, 15 * MS]);
    }

    #[test]
    fn a_batch_that_arrives_late_finds_the_units_idle() {
        let script = "h2d=1ms,compute=4ms,d2h=2ms";
        assert_eq!(ends(script, &[0, 20]), [7 * MS, 27 * MS]);
    }

    #[test]
    fn a_failed_batch_is_not_copied_out() {
        let script = "h2d=1ms,compute=4ms,d2h=2ms,error=1";
        assert_eq!(ends(script, &[0, 0]), [5 * MS, 11 * MS]);
    }

    #[test]
    fn a_hung_batch_holds_no_unit() {
        let script = "h2d=1ms,compute=4ms,d2h=2ms,hang=1,hang-time=50ms";
        assert_eq!(ends(script, &[0, 0]), [57 * MS, 7 * MS]);
    }

    #[test]
    fn jitter_stays_within_its_fraction_uses_it_and_repeats() {
        let script: Script = "compute=10ms,jitter=0.2,seed=5".parse().unwrap();
        let times: Vec<_> = (1..=1000)
            .map(|batch| jittered(script.compute, &script, batch, 1))
            .collect();
        let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
        assert!((8 * MS..9 * MS).contains(least), "{least:?}");
        assert!((11 * MS..=12 * MS).contains(most), "{most:?}");
        assert_eq!(times[6], jittered(script.compute, &script, 7, 1));
        let other_seed = Script { seed: 6, ..script };
        assert_ne!(times[6], jittered(other_seed.compute, &other_seed, 7, 1));
    }

    #[test]
    fn the_severest_of_several_faults_wins() {
        let script: Script =
            "error=1+2+3+4,hang=2+3+4,panic=3+4,lost=4+7,error-every=5,device-lost=7"
                .parse()
                .unwrap();
        let fates: Vec<_> = (1..=7).map(|n| fate(&script.faults, n)).collect();
        use Fate::{Computed, DeviceLost, Error, Hang, Lost, Panic};
        assert_eq!(
            fates,
            [Error, Hang, Panic, Lost, Error, Computed, DeviceLost]
        );
    }
}
