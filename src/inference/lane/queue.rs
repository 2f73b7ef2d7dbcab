//! The work before the lanes, and who may take it: plain state, under one lock of the lanes' own.
//!
//! What always holds:
//! - a job is taken once, by a lane that is open, and not by the lane it is to avoid while another is open;
//! - an idle lane takes any job that no device was chosen for; a job is kept for a device only while a lane
//!   of that device can take it.

use super::usage::Stopwatch;
use super::{Balance, Job, LaneId};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// See the module's essay.
pub(super) struct Queue<W> {
    jobs: VecDeque<Job<W>>,
    lanes: BTreeMap<LaneId, State>,
    balance: Balance,
    devices: usize,
    /// The device whose turn it is.
    turn: usize,
    next_number: usize,
    /// Whether a lane is idle while a job waits.
    idle: Stopwatch,
    /// No more work will come.
    pub(crate) closed: bool,
    /// Lanes given up whose threads have not come back.
    pub(crate) hanging: HashSet<LaneId>,
    /// Those of them that no lane replaces until then.
    pub(crate) unreplaced: HashSet<LaneId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has no session yet.
    Opening,
    Idle,
    Busy,
}

impl<W> Queue<W> {
    pub(crate) fn new(devices: usize, balance: Balance) -> Self {
        Self {
            jobs: VecDeque::new(),
            lanes: BTreeMap::new(),
            balance,
            devices,
            turn: 0,
            next_number: 0,
            idle: Stopwatch::default(),
            closed: false,
            hanging: HashSet::new(),
            unreplaced: HashSet::new(),
        }
    }

    /// Puts a new lane on the list.
    pub(crate) fn admit(&mut self, device: usize) -> LaneId {
        let taken: HashSet<_> = self.on(device).map(|(lane, _)| lane.seat).collect();
        let lane = LaneId {
            number: self.next_number,
            device,
            seat: (0..).find(|seat| !taken.contains(seat)).unwrap_or_default(),
        };
        self.next_number += 1;
        self.lanes.insert(lane, State::Opening);
        lane
    }

    /// The lane has a session now.
    pub(crate) fn opened(&mut self, lane: LaneId) {
        self.set(lane, State::Idle);
    }

    /// The lane has lost its session and opens another; what was kept for its device, others may take.
    pub(crate) fn reopening(&mut self, lane: LaneId) {
        self.set(lane, State::Opening);
        if self.has(lane) {
            self.release(lane.device);
        }
    }

    fn set(&mut self, lane: LaneId, state: State) {
        if let Some(present) = self.lanes.get_mut(&lane) {
            *present = state;
        }
        self.time();
    }

    /// Keeps the time in which a lane is idle while a job waits; called after every change.
    fn time(&mut self) {
        let idle = !self.jobs.is_empty() && self.lanes.values().any(|l| *l == State::Idle);
        self.idle.set(idle, Instant::now);
    }

    /// For how long a lane was idle while a job waited, up to `now`.
    pub(crate) fn idle_while_queued(&self, now: Instant) -> Duration {
        self.idle.total(now)
    }

    /// Lanes of one device on the list.
    fn on(&self, device: usize) -> impl Iterator<Item = (&LaneId, &State)> {
        self.lanes
            .iter()
            .filter(move |(lane, _)| lane.device == device)
    }

    /// Whether the lane is still on the list.
    pub(crate) fn has(&self, lane: LaneId) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Lanes on the list, running or being started.
    pub(crate) fn alive(&self) -> usize {
        self.lanes.len()
    }

    /// Devices with a lane on the list.
    pub(crate) fn devices_alive(&self) -> usize {
        (0..self.devices)
            .filter(|device| self.on(*device).next().is_some())
            .count()
    }

    /// Lanes of one device on the list.
    pub(crate) fn alive_on(&self, device: usize) -> usize {
        self.on(device).count()
    }

    /// Adds a job, for the device that the balance chooses. There must be a lane.
    pub(crate) fn push(&mut self, mut job: Job<W>) {
        job.device = match self.balance {
            Balance::QueueDepth => self.least_loaded(job.avoid),
            Balance::RoundRobin => self.next_in_turn(job.avoid),
        };
        self.jobs.push_back(job);
        self.time();
    }

    /// Whether every lane may take `job`, whichever is idle.
    pub(crate) fn any_may_take(&self, job: &Job<W>) -> bool {
        self.devices == 1 && job.avoid.is_none()
    }

    /// The next job for `lane`, which is idle until there is one.
    pub(crate) fn take(&mut self, lane: LaneId) -> Option<Job<W>> {
        self.set(lane, State::Idle);
        if !self.has(lane) {
            return None;
        }
        let another_is_open = self
            .lanes
            .iter()
            .any(|(other, state)| *other != lane && *state != State::Opening);
        let next = self.jobs.iter().position(|job| {
            job.device.is_none_or(|chosen| chosen == lane.device)
                && (job.avoid != Some(lane) || !another_is_open)
        });
        let job = self.jobs.remove(next?)?;
        self.set(lane, State::Busy);
        Some(job)
    }

    /// Takes a lane off the list; says whether it was there.
    pub(crate) fn remove(&mut self, lane: LaneId) -> bool {
        let was_there = self.lanes.remove(&lane).is_some();
        if was_there {
            self.release(lane.device);
        }
        was_there
    }

    /// Takes all lanes of a device off the list; says whether there were any.
    pub(crate) fn remove_device(&mut self, device: usize) -> bool {
        let before = self.lanes.len();
        self.lanes.retain(|lane, _| lane.device != device);
        self.release(device);
        self.lanes.len() < before
    }

    /// Takes all lanes off the list; gives how many devices had one.
    pub(crate) fn clear(&mut self) -> usize {
        let lanes = std::mem::take(&mut self.lanes);
        self.time();
        let devices: HashSet<_> = lanes.keys().map(|lane| lane.device).collect();
        devices.len()
    }

    /// All jobs that no lane has taken.
    pub(crate) fn drain(&mut self) -> VecDeque<Job<W>> {
        let jobs = std::mem::take(&mut self.jobs);
        self.time();
        jobs
    }

    /// Jobs that were kept for `device` may be taken by any lane.
    fn release(&mut self, device: usize) {
        for job in &mut self.jobs {
            job.device = job.device.filter(|chosen| *chosen != device);
        }
        self.time();
    }

    /// Devices, beginning with the one whose turn it is.
    fn in_turn(&self) -> impl Iterator<Item = usize> + use<W> {
        let (turn, devices) = (self.turn, self.devices.max(1));
        (0..devices).map(move |n| (turn + n) % devices)
    }

    fn lanes_in(&self, device: usize, states: &[State], avoid: Option<LaneId>) -> usize {
        self.on(device)
            .filter(|(lane, state)| states.contains(state) && Some(**lane) != avoid)
            .count()
    }

    /// Batches on the lanes of one device.
    pub(crate) fn running_on(&self, device: usize) -> usize {
        self.lanes_in(device, &[State::Busy], None)
    }

    /// Jobs that no device was chosen for.
    pub(crate) fn unassigned(&self) -> usize {
        self.jobs.iter().filter(|job| job.device.is_none()).count()
    }

    /// Jobs kept for one device.
    pub(crate) fn waiting_for(&self, device: usize) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.device == Some(device))
            .count()
    }

    /// Of the devices with a lane to spare, the one with the least to do. None if no lane is idle: whichever is
    /// first takes the job.
    fn least_loaded(&mut self, avoid: Option<LaneId>) -> Option<usize> {
        let chosen = self
            .in_turn()
            .filter(|d| self.lanes_in(*d, &[State::Idle], avoid) > self.waiting_for(*d))
            .min_by_key(|d| self.running_on(*d) + self.waiting_for(*d))?;
        self.turn = chosen + 1;
        Some(chosen)
    }

    /// The next device in turn that has an open lane. None if no device has.
    fn next_in_turn(&mut self, avoid: Option<LaneId>) -> Option<usize> {
        let chosen = self
            .in_turn()
            .find(|d| self.lanes_in(*d, &[State::Idle, State::Busy], avoid) > 0)?;
        self.turn = chosen + 1;
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::sync::oneshot;

    fn job(work: usize, avoid: Option<LaneId>) -> Job<usize> {
        Job {
            work,
            avoid,
            submitted: Instant::now(),
            device: None,
            started: oneshot::channel().0,
            done: oneshot::channel().0,
        }
    }

    /// Two lanes on each of two devices: lanes 0 and 2 on device 0, 1 and 3 on device 1. All are open.
    fn queue(balance: Balance) -> (Queue<usize>, [LaneId; 4]) {
        let mut queue = Queue::new(2, balance);
        let lanes = [0, 1, 0, 1].map(|device| queue.admit(device));
        lanes.iter().for_each(|lane| queue.opened(*lane));
        (queue, lanes)
    }

    fn taken(queue: &mut Queue<usize>, lane: LaneId) -> Option<usize> {
        queue.take(lane).map(|job| job.work)
    }

    #[test]
    fn by_queue_depth_idle_devices_get_batches_first() {
        let (mut queue, [a, b, c, d]) = queue(Balance::QueueDepth);
        queue.push(job(0, None));
        queue.push(job(1, None));
        // One batch for each device, although device 0 has two idle lanes.
        assert_eq!(taken(&mut queue, a), Some(0));
        assert_eq!(taken(&mut queue, c), None);
        assert_eq!(taken(&mut queue, d), Some(1));
        // Both devices have one batch; two more, and all lanes are busy.
        queue.push(job(2, None));
        queue.push(job(3, None));
        assert!(taken(&mut queue, b).is_some() && taken(&mut queue, c).is_some());
        // No lane is idle: whichever is first takes the next.
        queue.push(job(4, None));
        assert_eq!(taken(&mut queue, b), Some(4));
    }

    #[test]
    fn by_round_robin_devices_take_turns_however_busy_they_are() {
        let (mut queue, [a, b, ..]) = queue(Balance::RoundRobin);
        (0..6).for_each(|work| queue.push(job(work, None)));
        let of_a: Vec<_> = std::iter::from_fn(|| taken(&mut queue, a)).collect();
        let of_b: Vec<_> = std::iter::from_fn(|| taken(&mut queue, b)).collect();
        assert_eq!((of_a, of_b), (vec![0, 2, 4], vec![1, 3, 5]));
    }

    #[test]
    fn idle_lanes_are_timed_while_a_batch_waits() {
        let (mut queue, [a, b, c, d]) = queue(Balance::RoundRobin);
        let far = Instant::now() + Duration::from_secs(3600);
        (0..3).for_each(|work| queue.push(job(work, None)));
        assert_eq!(taken(&mut queue, a), Some(0));
        assert_eq!(taken(&mut queue, b), Some(1));
        // The third is kept for device 0 by turns, where one lane is still idle.
        assert!(queue.idle_while_queued(far) > Duration::from_secs(1800));
        assert_eq!(taken(&mut queue, d), None);
        assert_eq!(taken(&mut queue, c), Some(2));
        let idle = queue.idle_while_queued(far);
        assert!(idle < Duration::from_secs(1800), "nothing waits any more");
        assert_eq!(queue.idle_while_queued(far + Duration::from_secs(9)), idle);
    }

    #[test]
    fn seats_are_taken_again_by_the_lanes_that_replace_others() {
        let (mut queue, [_, b, _, d]) = queue(Balance::QueueDepth);
        assert_eq!((b.seat, d.seat), (0, 1));
        for _ in 0..5 {
            let gone = *queue.on(1).map(|(lane, _)| lane).min().unwrap();
            assert!(queue.remove(gone));
            let successor = queue.admit(1);
            assert_eq!(successor.seat, gone.seat);
            assert_ne!(successor, gone);
        }
    }

    #[test]
    fn what_was_kept_for_a_lost_device_is_taken_by_the_others() {
        for balance in [Balance::QueueDepth, Balance::RoundRobin] {
            let (mut queue, [a, b, ..]) = queue(balance);
            (0..4).for_each(|work| queue.push(job(work, None)));
            assert!(queue.remove_device(0));
            assert_eq!(taken(&mut queue, a), None);
            let of_b: Vec<_> = std::iter::from_fn(|| taken(&mut queue, b)).collect();
            assert_eq!(of_b, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn jobs_kept_for_a_reopening_device_go_to_the_others() {
        let mut queue = Queue::new(2, Balance::RoundRobin);
        let lanes = [queue.admit(0), queue.admit(1)];
        lanes.iter().for_each(|lane| queue.opened(*lane));
        (0..2).for_each(|work| queue.push(job(work, None)));
        queue.reopening(lanes[0]);
        let taken: Vec<_> = std::iter::from_fn(|| taken(&mut queue, lanes[1])).collect();
        assert_eq!(taken, [0, 1]);
    }

    #[test]
    fn a_lane_that_is_still_opening_is_not_waited_for() {
        let mut queue = Queue::new(1, Balance::QueueDepth);
        let (healthy, opening) = (queue.admit(0), queue.admit(0));
        queue.opened(healthy);
        queue.push(job(7, Some(healthy)));
        assert_eq!(taken(&mut queue, healthy), Some(7));

        queue.opened(opening);
        queue.push(job(8, Some(healthy)));
        assert_eq!(taken(&mut queue, healthy), None);
        assert_eq!(taken(&mut queue, opening), Some(8));
    }

    #[test]
    fn a_job_is_not_kept_for_a_device_that_it_avoids() {
        for balance in [Balance::QueueDepth, Balance::RoundRobin] {
            let mut queue = Queue::new(2, balance);
            let lanes = [queue.admit(0), queue.admit(1)];
            lanes.iter().for_each(|lane| queue.opened(*lane));
            for _ in 0..4 {
                queue.push(job(9, Some(lanes[0])));
                assert_eq!(taken(&mut queue, lanes[0]), None);
                assert_eq!(taken(&mut queue, lanes[1]), Some(9));
            }
        }
    }
}
