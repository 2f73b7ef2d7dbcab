//! Schedules: when the batches of a call are computed, and how many at a time.
//!
//! A `Schedule` takes the datums of one read batch and returns the finished `Call`. The three modes differ in order only.
//! They share the model being served, `Model`: the frame decoder, the ring of slots, the lanes and the envelopes of the results.
//!
//! ```text
//!              datums ▶ Collector ▶ filled slot ▶ Model::start_batch ▶ lane ▶ Computed ▶ Call
//!
//! sequential   collect everything │ compute │ compute │ compute │ answer
//! concurrent   collect ───────────────────────┐
//!                 └ queue ▶ compute, compute, compute … as they come ┘ answer
//! pipelined    collect ─ batch full: start ─ batch full: start ─ … at most depth in flight ─ answer
//! ```
//!
//! What always holds:
//! - every datum that came in is entered in the call's ledger before anything else happens to it;
//! - a batch that was started runs to its end and returns its slot, even if its call is dropped;
//! - a failed batch is run once more, on another lane where there is one, before its frames count
//!   as failed; a batch that timed out is not, because its pixels are in the hung lane.

/// The state of one call: its ledger, its batches, its times.
pub(crate) mod call;
/// Datums into filled slots.
mod collector;
/// One filled slot through a lane.
mod compute;
/// Collector, queue and workers.
mod concurrent;
/// How many batches pipelined mode keeps in flight.
pub(crate) mod depth;
/// The three modes, by name.
mod mode;
/// Each batch the moment it fills.
mod pipelined;
/// Everything first, then one batch after another.
mod sequential;

pub(crate) use call::Call;
pub(crate) use collector::{Collector, Filled};
pub(crate) use compute::Computed;
pub(crate) use concurrent::Concurrent;
pub use depth::Depth;
pub use mode::Mode;
pub(crate) use pipelined::Pipelined;
pub(crate) use sequential::Sequential;

use numaflow::batchmap::Datum;
use tokio::sync::mpsc;

/// One of the three modes.
#[async_trait::async_trait]
pub(crate) trait Schedule: Send + Sync + 'static {
    /// Takes the datums of one read batch to its end.
    async fn run(&self, datums: mpsc::Receiver<Datum>) -> Call;
}
