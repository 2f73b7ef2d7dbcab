//! Results as PVs, for viewers: one NTNDArray for each output, and a few numbers.
//!
//! ```text
//!  result ──▶ order (--reorder) ──▶ pace (--max-rate) ──▶ ImagePv ══▶ viewers
//!             held for a time        the newest wins
//! ```
//!
//! - `settings`: what the flags say;
//! - `order`: results in the order of their numbers;
//! - `pace`: at most so many a second;
//! - `output`: the PV of one output, with its counts;
//! - `image`: from a result to the NTNDArray, field by field;
//! - `sinker`: the SDK's `Sinker`, and the task that posts what was held back;
//! - `mosaic`: the live mosaic as two PVs;
//! - `numbers`: the PVs of one number;
//! - `metrics`: metrics.
//!
//! What always holds:
//!
//! 1. Every message is answered with a success, whether or not a viewer is connected: what is no result, or cannot be shown,
//!    is counted and logged.
//! 2. Nothing waits for a viewer. The server keeps a few updates for each, and cuts off one that takes none.
//! 3. `results = duplicates + unserved + posted + superseded + late + refused + held`, at any time.
//! 4. The last result of an output is posted, also with `--max-rate`.

/// From a result to the NTNDArray.
mod image;
/// Metrics.
pub(crate) mod metrics;
/// The live mosaic as PVs.
pub(crate) mod mosaic;
/// The PVs of one number.
mod numbers;
/// Results in order.
mod order;
/// The PV of one output.
pub(crate) mod output;
/// At most so many a second.
mod pace;
/// Settings.
pub(crate) mod settings;
/// The SDK's `Sinker`.
pub(crate) mod sinker;
