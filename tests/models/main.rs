//! Models: the ring, the lanes, the gate, the schedules and the router under a scheduler that decides at every lock, channel, thread
//! and task which one runs next.
//!
//! The models run the program's own source, included here by path and built on the primitives of `sync.rs`.
//! Each model runs in thousands of orders, two thirds of them random, one third with few, well-placed changes
//! (PCT). The orders come from a seed, so they are repeatable. A thread or task that never finishes is a
//! failure.
//!
//! ```sh
//! cargo test --test models                                # all
//! cargo test --test models -- hangs                       # those with this in their name
//! MODEL_SEED=7 MODEL_SCHEDULES=100000 cargo test --release --test models
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

// The program's source, at the paths that it has under `crate::`. Its unit tests use real threads and are not
// run here.
#[allow(dead_code, unused_imports)]
mod inference;

use beamflow::{engine, frame, telemetry};

/// Models of the gate of a device.
mod gates;
/// Models of the lanes.
mod lanes;
/// Models of the ring.
mod ring;
/// Models of the router.
mod routers;
/// Models of the schedules.
mod schedules;
/// An engine with random outcomes.
mod scripted;

use libtest_mimic::{Arguments, Trial};
use shuttle::scheduler::{
    PctScheduler, RandomScheduler, Scheduler, UncontrolledNondeterminismCheckScheduler,
};
use shuttle::{Config, FailurePersistence, Runner};
use std::time::Instant;

/// Schedules of each model.
const FEW: usize = 3_000;
/// Changes of the running thread in a PCT schedule.
const CHANGES: usize = 3;

type Model = (&'static str, fn());

macro_rules! models {
    ($($name:path),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

const MODELS: &[Model] = models![
    ring::no_waiter_starves_and_no_slot_is_lent_twice,
    ring::a_slot_that_is_written_off_while_it_comes_back_is_one_slot,
    ring::a_slot_that_cannot_be_replaced_is_missed_until_it_comes_back,
    lanes::every_job_comes_back_and_the_lanes_stay,
    lanes::a_job_that_failed_is_run_again_on_another_lane,
    lanes::when_the_last_lane_goes_every_job_comes_back,
    lanes::a_lost_device_leaves_no_job_behind,
    lanes::a_lane_that_hangs_is_given_up_once_and_the_others_go_on,
    lanes::a_reopening_lane_keeps_no_job_from_the_others,
    lanes::condemned_lanes_leave_no_job_waiting,
    lanes::dropped_lanes_finish_their_queued_jobs,
    lanes::counts_agree_under_all_faults_at_once,
    gates::every_batch_passes_and_no_more_run_than_there_are_places,
    gates::a_model_that_hangs_keeps_no_place,
    gates::a_model_that_loses_the_device_keeps_no_place,
    routers::each_frame_is_answered_once_by_its_model_while_another_hangs,
    schedules::sound_lanes_give_every_frame_its_result,
    schedules::every_datum_has_one_outcome_under_engine_faults,
    schedules::a_call_is_answered_while_its_lanes_still_hang,
    schedules::lanes_that_return_late_change_no_outcome,
    schedules::no_more_batches_run_than_the_depth_allows,
    schedules::a_call_that_is_given_up_leaves_nothing_behind,
];

fn setting(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a whole number"))
}

fn main() {
    let seed = setting("MODEL_SEED", 1) as u64;
    let schedules = setting("MODEL_SCHEDULES", FEW);
    let trial = |(name, model): &Model| {
        let (name, model) = (*name, *model);
        Trial::test(name, move || {
            explore(name, model, seed, schedules);
            Ok(())
        })
    };
    let trials = MODELS.iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn explore(name: &str, model: fn(), seed: u64, schedules: usize) {
    let begun = Instant::now();
    let by_pct = schedules / 3;
    let random = RandomScheduler::new_from_seed(seed, schedules - by_pct);
    run(model, random);
    run(model, PctScheduler::new_from_seed(seed, CHANGES, by_pct));
    // Each of these runs twice, to show that only the schedule decides the result.
    let again = RandomScheduler::new_from_seed(seed, schedules / 50);
    run(model, UncontrolledNondeterminismCheckScheduler::new(again));
    println!("{name}: {schedules} schedules, {:.1?}", begun.elapsed());
}

fn run(model: fn(), scheduler: impl Scheduler + 'static) {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    // The seed is enough to repeat a failure.
    config.failure_persistence = FailurePersistence::None;
    Runner::new(scheduler, config).run(model);
}
