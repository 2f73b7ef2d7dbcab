//! The gate of a device that several models share: it decides which batch the device takes first.
//!
//! Each model has lanes of its own on the device. A lane that has taken a batch passes the gate before it runs it. The gate
//! has as many places as the model with the most lanes has: the device runs no more at once than it would for that model alone.
//!
//! ```text
//!  low:   queue ▶ lanes ─┐
//!  high:  queue ▶ lanes ─┼─▶ gate ▶ device     the next one: high before normal,
//!  other: queue ▶ lanes ─┘                     then the model that has used the device least
//! ```
//!
//! What always holds:
//! - a batch of normal priority that waits is passed by at most `MOST_PASSED` batches of high priority in a row, then
//!   one of normal priority is next;
//! - among models of one priority that always have a batch waiting, each gets the same time of the device. A model that had
//!   nothing to do gets no more later: it begins where the model of the latest batch was (start-time fair queueing, Goyal,
//!   Vin and Cheng, 1996);
//! - of one model, the batch that came first is next;
//! - a place is held from `enter` to the first `leave` of the same lane. A lane that takes too long loses its place before its
//!   run ends (`Lanes::give_way`), so that a model that hangs does not stop the others.
//!
//! It has no clock: the time of a run is what the session says, or for a run without a result what it took.

use super::LaneId;
use crate::inference::sync::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Batches of high priority that may pass one of normal priority in a row.
pub(crate) const MOST_PASSED: usize = 8;

/// Whose batches a device takes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Priority {
    /// Those of models that say nothing.
    #[default]
    Normal,
    /// Before those of normal priority.
    High,
}

/// See the module's essay.
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// A place was given back.
    freed: Notify,
}

struct State {
    places: usize,
    models: Vec<Account>,
    /// The lanes that wait, by their model, in order of arrival.
    waiting: Vec<Key>,
    /// The lanes that hold a place, and the time that their models were charged for it.
    running: BTreeMap<Key, Duration>,
    /// What the model of the latest batch had used before it, of each priority.
    turn: [Duration; 2],
    /// Batches of high priority that were taken since one of normal priority has waited.
    passed: usize,
}

/// A lane of a model.
type Key = (usize, LaneId);

/// What a model has used of the device.
#[derive(Clone, Debug)]
struct Account {
    priority: Priority,
    used: Duration,
    /// The time of its latest run.
    latest: Duration,
}

impl Gate {
    /// The gate of a device that runs `places` batches at once.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(places)),
            changed: Condvar::new(),
            freed: Notify::new(),
        })
    }

    /// Adds a model.
    pub(crate) fn join(self: &Arc<Self>, priority: Priority) -> Member {
        Member {
            gate: Arc::clone(self),
            model: self.state.lock().join(priority),
        }
    }
}

#[cfg(test)]
impl Gate {
    /// What a model has used of the device.
    pub(super) fn used(&self, model: usize) -> Duration {
        self.state.lock().models[model].used
    }
}

/// A model's way through the gate of a device.
#[derive(Clone)]
pub(crate) struct Member {
    gate: Arc<Gate>,
    model: usize,
}

impl Member {
    /// Blocks until it is the lane's turn. It holds a place from then on.
    pub(super) fn enter(&self, lane: LaneId) {
        let key = (self.model, lane);
        let mut state = self.gate.state.lock();
        state.arrive(key);
        while state.next() != Some(key) {
            self.gate.changed.wait(&mut state);
        }
        state.admit(key);
        // There may be another place, for a lane that was not next before.
        self.gate.changed.notify_all();
    }

    /// Gives the lane's place back, if it holds one; its batch took `time` of the device, if that is known.
    pub(super) fn leave(&self, lane: LaneId, time: Option<Duration>) {
        self.gate.state.lock().leave((self.model, lane), time);
        self.gate.changed.notify_all();
        self.gate.freed.notify_waiters();
    }

    /// Whether a lane of this model waits for a place.
    pub(super) fn waits(&self) -> bool {
        let state = self.gate.state.lock();
        state.waiting.iter().any(|(model, _)| *model == self.model)
    }

    /// Whether no batch of any model runs or waits.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.gate.state.lock();
        state.keys().next().is_none()
    }

    /// Resolves when a place is given back after it was enabled.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.gate.freed.notified()
    }
}

impl State {
    fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            models: Vec::new(),
            waiting: Vec::new(),
            running: BTreeMap::new(),
            turn: [Duration::ZERO; 2],
            passed: 0,
        }
    }

    fn join(&mut self, priority: Priority) -> usize {
        self.models.push(Account {
            priority,
            used: Duration::ZERO,
            latest: Duration::ZERO,
        });
        self.models.len() - 1
    }

    fn arrive(&mut self, key: Key) {
        let is_active = self.keys().any(|(model, _)| *model == key.0);
        let turn = self.turn(self.priority(key));
        if let Some(account) = self.models.get_mut(key.0).filter(|_| !is_active) {
            account.used = account.used.max(turn);
        }
        self.waiting.push(key);
    }

    fn turn(&self, priority: Priority) -> Duration {
        let [normal, high] = self.turn;
        match priority {
            Priority::Normal => normal,
            Priority::High => high,
        }
    }

    /// All lanes that wait or hold a place.
    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.waiting.iter().chain(self.running.keys())
    }

    fn priority(&self, key: Key) -> Priority {
        let account = self.models.get(key.0);
        account.map_or(Priority::Normal, |account| account.priority)
    }

    fn waits(&self, priority: Priority) -> bool {
        self.waiting
            .iter()
            .any(|key| self.priority(*key) == priority)
    }

    /// The lane whose turn it is, if there is a place.
    fn next(&self) -> Option<Key> {
        if self.running.len() >= self.places {
            return None;
        }
        let normal_is_due = self.passed >= MOST_PASSED && self.waits(Priority::Normal);
        let turn = if self.waits(Priority::High) && !normal_is_due {
            Priority::High
        } else {
            Priority::Normal
        };
        let used = |key: &Key| self.models.get(key.0).map(|account| account.used);
        let candidates = self.waiting.iter().copied();
        candidates
            .filter(|key| self.priority(*key) == turn)
            .min_by_key(used)
    }

    fn admit(&mut self, key: Key) {
        self.waiting.retain(|waiting| *waiting != key);
        self.passed = match self.priority(key) {
            Priority::High if self.waits(Priority::Normal) => self.passed + 1,
            _ => 0,
        };
        let mut charged = Duration::ZERO;
        if let Some(account) = self.models.get_mut(key.0) {
            let [normal, high] = &mut self.turn;
            let turn = match account.priority {
                Priority::Normal => normal,
                Priority::High => high,
            };
            *turn = account.used.max(*turn);
            charged = account.latest;
            account.used = account.used.saturating_add(charged);
        }
        self.running.insert(key, charged);
    }

    fn leave(&mut self, key: Key, time: Option<Duration>) {
        let Some(charged) = self.running.remove(&key) else {
            return;
        };
        if let (Some(time), Some(account)) = (time, self.models.get_mut(key.0)) {
            account.used = account.used.saturating_sub(charged).saturating_add(time);
            account.latest = time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn lane(number: usize) -> LaneId {
        LaneId {
            number,
            device: 0,
            seat: 0,
        }
    }

    fn state(places: usize, priorities: &[Priority]) -> State {
        let mut state = State::new(places);
        for priority in priorities {
            state.join(*priority);
        }
        state
    }

    /// Runs what is next, for `time` of its model; says which model.
    fn run(state: &mut State, times: &[Duration]) -> usize {
        let key = state.next().unwrap();
        state.admit(key);
        state.leave(key, Some(times[key.0]));
        key.0
    }

    /// One lane of each model always waits: how much of the device each model gets in `runs` runs.
    fn shares(priorities: &[Priority], times: &[Duration], runs: usize) -> Vec<Duration> {
        let mut state = state(1, priorities);
        (0..priorities.len()).for_each(|model| state.arrive((model, lane(0))));
        let mut used = vec![Duration::ZERO; priorities.len()];
        for _ in 0..runs {
            let model = run(&mut state, times);
            used[model] += times[model];
            state.arrive((model, lane(0)));
        }
        used
    }

    #[test]
    fn models_of_one_priority_get_the_same_time_however_long_their_batches_are() {
        let used = shares(&[Priority::Normal; 3], &[MS, 3 * MS, 10 * MS], 3000);
        let fair = used.iter().sum::<Duration>() / 3;
        for used in used {
            let difference = used.abs_diff(fair);
            assert!(difference <= 10 * MS, "{used:?} of {fair:?}");
        }
    }

    #[test]
    fn high_goes_first_and_passes_a_waiting_normal_one_a_limited_number_of_times() {
        let mut state = state(1, &[Priority::Normal, Priority::High]);
        state.arrive((0, lane(0)));
        let mut taken = Vec::new();
        for _ in 0..2 * (MOST_PASSED + 1) {
            state.arrive((1, lane(0)));
            if !state.waiting.contains(&(0, lane(0))) {
                state.arrive((0, lane(0)));
            }
            taken.push(run(&mut state, &[MS, MS]));
            state.waiting.retain(|(model, _)| *model == 0);
        }
        let mut round = vec![1; MOST_PASSED];
        round.push(0);
        assert_eq!(taken, [round.clone(), round].concat());
    }

    #[test]
    fn a_model_that_had_nothing_to_do_gets_no_more_afterwards() {
        let mut state = state(1, &[Priority::Normal; 2]);
        let times = [MS, MS];
        for _ in 0..100 {
            state.arrive((0, lane(0)));
            run(&mut state, &times);
        }
        state.arrive((0, lane(0)));
        state.arrive((1, lane(0)));
        let mut taken = [0; 2];
        for _ in 0..20 {
            let model = run(&mut state, &times);
            taken[model] += 1;
            state.arrive((model, lane(0)));
        }
        assert_eq!(taken, [10, 10]);
    }

    #[test]
    fn a_lane_that_leaves_early_does_not_give_back_a_place_twice() {
        let mut state = state(1, &[Priority::Normal; 2]);
        state.arrive((0, lane(0)));
        state.admit((0, lane(0)));
        assert_eq!(state.next(), None);
        state.leave((0, lane(0)), None);
        state.arrive((1, lane(0)));
        state.admit((1, lane(0)));
        // The run that was given up returns.
        state.leave((0, lane(0)), Some(MS));
        state.arrive((0, lane(0)));
        assert_eq!(state.next(), None, "model 1 holds the only place");
    }

    proptest! {
        /// Arrivals and departures in any order.
        #[test]
        fn no_more_hold_a_place_than_there_are_and_none_waits_beside_a_free_one(
            places in 1usize..4,
            high in proptest::collection::vec(any::<bool>(), 1..4),
            steps in proptest::collection::vec((any::<bool>(), 0usize..4, 0usize..3, 0u64..50), 1..300),
        ) {
            let priority = |high| if high { Priority::High } else { Priority::Normal };
            let priorities: Vec<_> = high.into_iter().map(priority).collect();
            let mut state = state(places, &priorities);
            let mut passed = 0;
            for (arrives, model, number, time) in steps {
                let key = (model % priorities.len(), lane(number));
                let is_here = state.keys().any(|other| *other == key);
                if arrives && !is_here {
                    state.arrive(key);
                } else {
                    state.leave(key, Some(MS * u32::try_from(time).unwrap()));
                }
                while let Some(next) = state.next() {
                    let normal_waits = state.waits(Priority::Normal);
                    state.admit(next);
                    passed = match priorities[next.0] {
                        Priority::High if normal_waits => passed + 1,
                        _ => 0,
                    };
                    prop_assert!(passed <= MOST_PASSED);
                }
                prop_assert!(state.running.len() <= places);
                prop_assert!(state.waiting.is_empty() || state.running.len() == places);
            }
        }
    }
}
