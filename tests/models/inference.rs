//! The ring, the lanes and the schedules from the program's source, on the primitives of `sync`; the other
//! modules are the library's.

pub use beamflow::inference::{deliveries, failure, ledger, metrics, policy};

#[path = "../../src/inference/common.rs"]
pub(crate) mod common;
#[path = "../../src/inference/decoding.rs"]
pub(crate) mod decoding;
#[path = "../../src/inference/lane/mod.rs"]
pub(crate) mod lane;
#[path = "../../src/inference/model.rs"]
pub(crate) mod model;
#[path = "../../src/inference/models.rs"]
pub(crate) mod models;
#[path = "../../src/inference/routes.rs"]
pub(crate) mod routes;
#[path = "../../src/inference/schedule/mod.rs"]
pub(crate) mod schedule;

/// The replacement for `src/inference/sync.rs`.
#[path = "sync.rs"]
pub(crate) mod sync;

/// The slots and their ring.
#[path = "batch.rs"]
pub(crate) mod batch;
