//! The ring of slots: the only back pressure there is.
//!
//! A ring is made with a fixed number of slots, in-flight limit + 1: one fills while the others are
//! computed. `Ring::lease` waits until a slot is free; dropping the `Lease` returns it.
//! `Claim::write_off` replaces a slot that hangs in a lost lane. If the lost slot comes back later, it is dropped.

use super::slot::Slot;
use crate::engine::EngineError;
use crate::engine::{Session, StageTimes};
use crate::inference::lane::Work;
use crate::inference::sync::atomic::{AtomicBool, Ordering};
use crate::inference::sync::{Mutex, Semaphore};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};

type MakeSlot = dyn Fn() -> Result<Slot, EngineError> + Send + Sync;

struct Shared {
    free: Mutex<Vec<Slot>>,
    /// As many permits as there are free slots.
    available: Semaphore,
    make: Box<MakeSlot>,
}

impl Shared {
    fn put(&self, slot: Slot) {
        self.free.lock().push(slot);
        self.available.add_permits(1);
    }
}

/// The slots do not fit into the host's memory.
#[derive(Debug, thiserror::Error)]
#[error("{fit} of the {asked} requested slots fit into host memory ({source})")]
pub struct NoSlots {
    /// Slots that fit.
    pub(crate) fit: usize,
    /// Slots asked for: one more than batches may be in flight.
    pub(crate) asked: usize,
    /// Why there is no other.
    pub(crate) source: EngineError,
}

/// A fixed number of slots. See the module's essay.
#[derive(Clone)]
pub(crate) struct Ring {
    shared: Arc<Shared>,
    slots: usize,
}

impl Ring {
    /// A ring of `slots` slots, each made by `make`.
    ///
    /// # Errors
    /// [`NoSlots`] if they cannot all be made: how many could, and what `make` says.
    pub(crate) fn new(
        slots: usize,
        make: impl Fn() -> Result<Slot, EngineError> + Send + Sync + 'static,
    ) -> Result<Self, NoSlots> {
        let mut free = Vec::with_capacity(slots);
        for fit in 0..slots {
            free.push(make().map_err(|source| NoSlots {
                fit,
                asked: slots,
                source,
            })?);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                free: Mutex::new(free),
                available: Semaphore::new(slots),
                make: Box::new(make),
            }),
            slots,
        })
    }

    /// Waits for a free slot; it comes empty.
    pub(crate) async fn lease(&self) -> Lease {
        loop {
            // The semaphore is never closed. If it were, waiting without end would be safe.
            let Ok(permit) = self.shared.available.acquire().await else {
                std::future::pending().await
            };
            permit.forget();
            let slot = self.shared.free.lock().pop();
            if let Some(mut slot) = slot {
                slot.clear();
                return Lease {
                    slot,
                    claim: Claim {
                        shared: Arc::clone(&self.shared),
                        closed: Arc::default(),
                    },
                };
            }
        }
    }

    /// A view that does not keep its slots alive.
    #[must_use]
    pub(crate) fn watch(&self) -> RingWatch {
        RingWatch {
            shared: Arc::downgrade(&self.shared),
            slots: self.slots,
        }
    }

    /// Slots in the ring.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Free slots.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.shared.available.available_permits()
    }
}

/// A view of a ring that does not keep its slots alive.
#[derive(Clone)]
pub(crate) struct RingWatch {
    shared: Weak<Shared>,
    slots: usize,
}

impl RingWatch {
    /// Slots in the ring.
    #[must_use]
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Leased slots; none once the ring is dropped.
    #[must_use]
    pub(crate) fn in_use(&self) -> usize {
        self.shared.upgrade().map_or(0, |shared| {
            self.slots
                .saturating_sub(shared.available.available_permits())
        })
    }
}

/// A slot on loan; dropping it returns the slot to its ring.
pub(crate) struct Lease {
    slot: Slot,
    claim: Claim,
}

impl Lease {
    /// A claim on this slot's place in the ring, to be kept while the lease is with a lane.
    #[must_use]
    pub(crate) fn claim(&self) -> Claim {
        self.claim.clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.claim.close() {
            let slot = std::mem::replace(&mut self.slot, Slot::vacant());
            self.claim.shared.put(slot);
        }
    }
}

impl Deref for Lease {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

/// The right to a leased slot's place in the ring, used once: by the lease that returns the slot,
/// or by the task that writes the slot off.
#[derive(Clone)]
pub(crate) struct Claim {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
}

impl Claim {
    /// True for the first caller only.
    fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// Writes the leased slot off and adds a new one in its place. Does nothing if the slot has been returned.
    ///
    /// # Errors
    /// What the engine says if the new slot cannot be made; the ring is then one slot short until the lost one comes
    /// back, or this is tried again.
    pub(crate) fn write_off(&self) -> Result<(), EngineError> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Make the new slot first: if that fails, the claim stays open and the lost slot can still come back.
        let slot = (self.shared.make)()?;
        if self.close() {
            self.shared.put(slot);
        }
        Ok(())
    }
}

impl Work for Lease {
    fn run(&mut self, session: &mut dyn Session) -> Result<StageTimes, EngineError> {
        self.slot.run(session)
    }

    fn frames(&self) -> usize {
        self.slot.frames()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_returned_during_write_off_counts_once() {
        let ring = Ring::new(2, || Ok(Slot::vacant())).unwrap();
        let holders: Vec<_> = (0..3)
            .map(|_| {
                let ring = ring.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build();
                    let runtime = runtime.unwrap();
                    for _ in 0..10 {
                        let lease = runtime.block_on(ring.lease());
                        let claim = lease.claim();
                        let late = std::thread::spawn(move || drop(lease));
                        claim.write_off().unwrap();
                        late.join().unwrap();
                    }
                })
            })
            .collect();
        for holder in holders {
            holder.join().unwrap();
        }
        assert_eq!((ring.free(), ring.shared.free.lock().len()), (2, 2));
    }
}
