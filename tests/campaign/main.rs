//! The fault campaign: frames through a real sidecar process over its real socket, while everything that can go wrong
//! does, again and again, and the verdict is a count.
//!
//! The driver plays numa and its buffer: what is nacked, or was in a call that broke off, is delivered again. In the end
//! every frame has exactly one final answer, and it is the right one.
//!
//! Seeded and repeatable: `CAMPAIGN_SEED`, `CAMPAIGN_FRAMES` and, for each campaign on one CPU, `CAMPAIGN_ONE_CPU_FRAMES` (short ones
//! if not given).
//!
//! `CAMPAIGN_FRAMES=1000000 cargo test --release --test campaign -- --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// Every frame's final answer.
mod account;
/// Frames, good and bad, and what must be answered to each.
mod frames;
/// One life of the sidecar, from its start to its end.
mod life;
/// One CPU, and a rival on it.
mod one_cpu;
/// Chance, by seed.
mod plan;

use account::Account;
use life::{Ending, Life};
use one_cpu::OneCpu;
use plan::{Incident, MODES, Plan};

const SHORT: usize = 30_000;

fn setting(name: &str, default: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a whole number"))
}

/// Frames through lives, until each has its final answer.
async fn campaign(mut plan: Plan, frames: usize, cpu: Option<&OneCpu>) {
    let begun = std::time::Instant::now();
    let seed = plan.seed();
    let mut account = Account::new(seed, frames);
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
        if ending == Ending::Told {
            account.check_exit(life.exit_code(), 0);
        } else if ending == Ending::LastDeviceLost {
            account.check_exit(life.exit_code(), 1);
        }
    }
    println!("{}", account.verdict(seed, begun.elapsed()));
    // A campaign in which nothing went wrong proves nothing.
    for incident in [Incident::Disconnect, Incident::Terminate, Incident::Kill] {
        assert!(
            account.happened(incident) > 0,
            "{incident:?} never happened"
        );
    }
    assert!(account.engine_faults() > 0, "the engine never failed");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_cpu_the_promises_hold_in_every_mode() {
    let frames = setting("CAMPAIGN_ONE_CPU_FRAMES", SHORT / 3);
    for with_rival in [false, true] {
        let Some(cpu) = OneCpu::new(with_rival) else {
            return;
        };
        for mode in MODES {
            println!("on one CPU, {mode}, with a rival: {with_rival}");
            campaign(plan(frames).only(mode), frames, Some(&cpu)).await;
        }
    }
}
