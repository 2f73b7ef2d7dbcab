//! The ring and its slots, as they are; when a batch closes is pure.

pub use beamflow::batch::{Close, Fill};

#[path = "../../src/batch/ring.rs"]
pub(crate) mod ring;
#[path = "../../src/batch/slot.rs"]
pub(crate) mod slot;

pub(crate) use ring::{Claim, Lease, Ring};
