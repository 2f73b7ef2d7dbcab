//! Batches: where frames wait to be computed together.
//!
//! A `Slot` is the staging memory of one batch. A `Ring` owns a fixed number of slots and lends
//! them out. `Fill` decides when a batch closes. Together they bound the memory of the
//! sidecar: a frame's pixels are converted once, into a slot, and stored nowhere else.
//!
//! What always holds:
//! - there are never more slots than the ring was made with;
//! - a slot has exactly one holder: the collector that fills it, the lane that runs it, or the
//!   task that reads its results;
//! - rows past the frames of a batch are zeros when it runs, and are never read back.

/// When a batch closes.
pub(crate) mod fill;
/// The fixed set of slots, lent out and returned.
pub(crate) mod ring;
/// The staging memory of one batch.
pub(crate) mod slot;

pub use fill::Close;
pub use fill::Fill;
pub(crate) use ring::{Claim, Lease, NoSlots, Ring, RingWatch};
