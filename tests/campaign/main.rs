//! The fault campaigns. The first: frames go through a real sidecar process over its real socket while all kinds of faults
//! occur repeatedly. The result is a count of frames. The same with three models, of which one has the faults.
//!
//! The driver plays numa and its buffer: a frame that was nacked, or was in an aborted call, is delivered
//! again. At the end every frame has exactly one final answer, and it is the right one.
//!
//! The campaign is repeatable by seed: `CAMPAIGN_SEED`, `CAMPAIGN_FRAMES` and, for each campaign on one CPU,
//! `CAMPAIGN_ONE_CPU_FRAMES`. By default the campaigns are short.
//!
//! `CAMPAIGN_FRAMES=1000000 cargo test --release --test campaign -- --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// The final answer of every frame.
mod account;
/// Valid and invalid frames, their models, and their expected answers.
mod frames;
/// One life of the sidecar, from start to end.
mod life;
/// One CPU, shared with a busy process.
mod one_cpu;
/// Random choices by seed.
mod plan;
/// The campaign of source, map and sink.
#[cfg(feature = "pva")]
mod sink;
/// The campaign of the PVA source.
#[cfg(feature = "pva")]
mod source;

use account::Account;
use beamflow_needs::needs;
use frames::THREE;
use life::{Ending, Life};
use one_cpu::OneCpu;
use plan::{Incident, MODES, Plan};
use std::collections::BTreeSet;

const SHORT: usize = 30_000;

fn setting(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a whole number"))
}

/// Sends frames through life after life, until each frame has its final answer.
async fn campaign(mut plan: Plan, count: usize, cpu: Option<&OneCpu>) {
    let begun = std::time::Instant::now();
    let frames = plan.frames();
    let mut account = Account::new(frames, count);
    while account.is_open() {
        let mut life = Life::start(&mut plan, cpu).await;
        let ending = loop {
            if !account.is_open() {
                break life.stop().await;
            }
            let incident = plan.incident();
            let batch = account.read_batch(plan.read_batch(incident));
            match life.call(incident, batch, &mut account, &mut plan).await {
                None => {}
                Some(ending) => break ending,
            }
        };
        account.life_ended(&ending, life.faults());
        if ending == Ending::Terminated {
            account.check_exit(life.exit_code(), 0);
        } else if ending == Ending::LastDeviceLost {
            account.check_exit(life.exit_code(), 1);
        }
    }
    println!("{}", account.verdict(begun.elapsed()));
    // A campaign without faults proves nothing.
    for incident in [Incident::Disconnect, Incident::Terminate, Incident::Kill] {
        assert!(
            account.happened(incident) > 0,
            "{incident:?} never happened"
        );
    }
    let has_faults = frames.models.iter().filter(|model| !model.is_sound);
    let has_faults: BTreeSet<_> = has_faults.map(|model| model.name).collect();
    assert_eq!(account.engine_faults(), has_faults, "models with faults");
    account.check_all_answered();
}

fn plan(frames: usize) -> Plan {
    Plan::new(setting("CAMPAIGN_SEED", 1) as u64, frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_is_answered_once_and_rightly_under_faults() {
    let frames = setting("CAMPAIGN_FRAMES", SHORT);
    campaign(plan(frames), frames, None).await;
}

/// One model hangs and fails again and again, and the two others never: none of their frames is nacked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_hangs_and_fails_costs_the_other_models_no_frame() {
    let frames = setting("CAMPAIGN_FRAMES", SHORT);
    for mode in MODES {
        println!("three models, {mode}");
        let frames = frames / MODES.len();
        campaign(plan(frames).only(mode).with_models(&THREE), frames, None).await;
    }
}

#[needs(taskset)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_cpu_the_promises_hold_in_every_mode() {
    let frames = setting("CAMPAIGN_ONE_CPU_FRAMES", SHORT / 3);
    for with_rival in [false, true] {
        let cpu = OneCpu::new(with_rival);
        for mode in MODES {
            println!("on one CPU, {mode}, with a rival: {with_rival}");
            campaign(plan(frames).only(mode), frames, Some(&cpu)).await;
        }
    }
}
