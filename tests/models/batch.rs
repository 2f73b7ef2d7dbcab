//! The ring and its slots, as they are; when a batch closes is pure.

pub use beamflow::batch::{Close, Fill};

#[path = "../../src/batch/ring.rs"]
pub mod ring;
#[path = "../../src/batch/slot.rs"]
pub mod slot;

pub use ring::{Claim, Lease, Ring};
