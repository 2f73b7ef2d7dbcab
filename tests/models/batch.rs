//! The ring and its slots from the program's source; closing a batch is pure and needs no model.

pub use beamflow::inference::batch::{Close, Fill};

#[path = "../../src/inference/batch/ring.rs"]
pub(crate) mod ring;
#[path = "../../src/inference/batch/slot.rs"]
pub(crate) mod slot;

pub(crate) use ring::{Claim, Lease, NoSlots, Ring};
