//! The ring, the lanes and the schedules from the program's source, on the primitives of `sync`; the rest of the room as it is
//! in the library.

pub use beamflow::inference::{failure, ledger, metrics, newest};

#[path = "../../src/inference/lane/mod.rs"]
pub(crate) mod lane;
#[path = "../../src/inference/model.rs"]
pub(crate) mod model;
#[path = "../../src/inference/schedule/mod.rs"]
pub(crate) mod schedule;

/// What takes the place of `src/inference/sync.rs`.
#[path = "sync.rs"]
pub(crate) mod sync;

/// Slots and their ring.
#[path = "batch.rs"]
pub(crate) mod batch;
