//! Schedules: when the batches of a call are computed, and how many at a time.
//!
//! A `Schedule` takes the datums of a call and answers each as soon as its batch is done. The four modes differ in order only.
//! They share the model being served, `Model`: the frame decoder, the ring of slots, the lanes and the envelopes of the results.
//!
//! ```text
//!              datums ▶ Collector ▶ filled slot ▶ Model::start_batch ▶ lane ▶ Computed ▶ Call ▶ answers
//!
//! sequential   collect everything │ compute ▶ answer │ compute ▶ answer │ …
//! concurrent   collect ──────────────────────┐
//!                 └ queue ▶ compute, compute, compute … as they come ▶ answer
//! pipelined    collect ─ batch full: start ─ batch full: start ─ … at most depth in flight ▶ answer
//! streaming    as pipelined, without an end; a batch that is not full starts when a device is idle
//! ```
//!
//! What always holds:
//! - every datum that came in is entered in the call's ledger before anything else happens to it;
//! - a batch that was started runs to its end and returns its slot, even if its call is dropped;
//! - a failed batch is run once more, on another lane where there is one, before its frames count
//!   as failed; a batch that timed out is not, because its pixels are in the hung lane.

/// How long a batch takes.
mod batch_time;
/// The state of one call: its ledger, its batches, its times.
pub(crate) mod call;
/// Datums into filled slots.
mod collector;
/// One filled slot through a lane.
mod compute;
/// Collector, queue and workers.
mod concurrent;
/// What comes in.
mod datums;
/// How many batches are kept in flight.
pub(crate) mod depth;
/// The four modes, by name.
mod mode;
/// Each batch the moment it fills.
mod pipelined;
/// Everything first, then one batch after another.
mod sequential;
/// A batcher that never ends.
mod streaming;

pub(crate) use batch_time::BatchTime;
pub(crate) use call::{Call, Outlet, Report};
pub(crate) use collector::{Closing, Collector, Deadline, Filled};
pub(crate) use compute::{Computed, Running};
pub(crate) use concurrent::Concurrent;
pub(crate) use datums::{Arrived, Datums};
pub use depth::Depth;
pub use mode::Mode;
pub(crate) use pipelined::Pipelined;
pub(crate) use sequential::Sequential;
pub(crate) use streaming::{BatchWait, Streaming};

use futures::{Stream, StreamExt};

/// One of the four modes.
#[async_trait::async_trait]
pub(crate) trait Schedule: Send + Sync + 'static {
    /// Takes the datums of a call to their end and settles each in `call`.
    async fn run(&self, datums: Datums<'_>, call: &Call<'_>);
}

/// Answers batches as they are done, up to `most` side by side.
async fn answer(call: &Call<'_>, started: impl Stream<Item = Running>, most: usize) {
    let done = started.map(Running::done).buffer_unordered(most);
    done.for_each(|(tickets, computed)| call.settle(tickets, computed))
        .await;
}
