//! Models of the ring: slots are lent, returned, written off, and sometimes returned after that.

use crate::engine::EngineError;
use crate::inference::batch::Ring;
use crate::inference::batch::slot::Slot;
use crate::inference::sync::{spawn, spawn_blocking, thread, timeout, until};
use crate::scripted::{Scripted, Tallies};
use futures::FutureExt;
use shuttle::future::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const SLOTS: usize = 2;
/// One for the input, one for the output.
const BUFFERS_OF_A_SLOT: usize = 2;

fn ring() -> (Ring, Tallies) {
    let engine = Scripted::new(&[]);
    let tallies = engine.tallies.clone();
    (
        Ring::new(SLOTS, move || Slot::new(&engine, 1, true, &[])).unwrap(),
        tallies,
    )
}

/// The ring has exactly its slots, and no other slot exists.
pub fn assert_whole(ring: &Ring, tallies: &Tallies) {
    assert_eq!(ring.free(), ring.slots());
    let leases: Vec<_> = (0..ring.slots())
        .map(|_| ring.lease().now_or_never().expect("a slot for each permit"))
        .collect();
    assert!(ring.lease().now_or_never().is_none(), "a slot too many");
    drop(leases);
    // A surplus slot, made for one that was returned later, is freed when the ring notices it.
    until(|| tallies.buffers.load(Ordering::SeqCst) == ring.slots() * BUFFERS_OF_A_SLOT);
}

/// More holders than slots; some of them stop waiting.
pub fn no_waiter_starves_and_no_slot_is_lent_twice() {
    let (ring, tallies) = ring();
    let lent = Arc::new(AtomicUsize::new(0));
    let holders: Vec<_> = (0..4)
        .map(|holder| {
            let (ring, lent) = (ring.clone(), Arc::clone(&lent));
            spawn(async move {
                for _ in 0..2 {
                    // Two wait without limit, two may stop at any time.
                    let patience = if holder < 2 {
                        Duration::MAX
                    } else {
                        Duration::from_millis(4)
                    };
                    let Ok(lease) = timeout(patience, ring.lease()).await else {
                        continue;
                    };
                    assert!(lent.fetch_add(1, Ordering::SeqCst) < SLOTS);
                    thread::yield_now();
                    lent.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            })
        })
        .collect();
    block_on(futures::future::join_all(holders));
    assert_whole(&ring, &tallies);
}

/// One lane returns its slot while two callers write it off and others wait for one.
pub fn a_slot_that_is_written_off_while_it_comes_back_is_one_slot() {
    let (ring, tallies) = ring();
    block_on(async {
        let lost = ring.lease().await;
        let claims = [lost.claim(), lost.claim()];
        let mut tasks = vec![spawn(async move { drop(lost) })];
        for claim in claims {
            tasks.push(spawn(async move { claim.write_off().unwrap() }));
        }
        let ring = ring.clone();
        tasks.push(spawn(async move {
            let both = (ring.lease().await, ring.lease().await);
            drop(both);
        }));
        futures::future::join_all(tasks).await;
    });
    assert_whole(&ring, &tallies);
}

/// No memory for another slot: the ring is one slot short until the lost one is returned.
pub fn a_slot_that_cannot_be_replaced_is_missed_until_it_comes_back() {
    let engine = Scripted::new(&[]);
    let tallies = engine.tallies.clone();
    let started = Arc::new(AtomicBool::new(false));
    let refuse = Arc::clone(&started);
    let ring = Ring::new(SLOTS, move || {
        if refuse.load(Ordering::SeqCst) {
            return Err(EngineError::Memory {
                bytes: 4,
                reason: "none".into(),
            });
        }
        Slot::new(&engine, 1, true, &[])
    })
    .unwrap();
    started.store(true, Ordering::SeqCst);
    block_on(async {
        let lost = ring.lease().await;
        let claim = lost.claim();
        spawn_blocking(move || drop(lost));
        // Refused, unless the lost slot is returned before the request.
        let refused = spawn(async move { drop(claim.write_off()) });
        let both = (ring.lease().await, ring.lease().await);
        drop(both);
        refused.await.unwrap();
    });
    assert_whole(&ring, &tallies);
}
