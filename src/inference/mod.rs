//! Inference: one answer for every datum, whatever fails.
//!
//! ```text
//!  datums ──▶ handler ──▶ router ──▶ schedule of the model ──▶ answers
//!                                      │    ▲
//!                      frame ▶ slot ▶ lane ─┘    ledger: one outcome per datum
//! ```
//!
//! Every datum is entered in the ledger of its call. A schedule decides when batches are computed: it converts
//! frames into the rows of a slot (`batch`), submits slots to lanes (`lane`), which run them on the engine, and settles
//! the outcomes in the ledger. Each answer leaves at once: the handler has the policy turn it into messages.
//!
//! This room knows engines and frames. It knows neither flags nor sockets nor HTTP.

/// Slots, and the ring that lends them.
pub mod batch;
/// What all models share.
pub(crate) mod common;
/// Compressed frames, decoded ahead of the collector.
pub(crate) mod decoding;
/// How often a frame has come, and which delivery is the last.
pub mod deliveries;
/// Why a good frame has no result.
pub mod failure;
/// From answers to messages, as they come.
pub mod handler;
/// Named threads that own sessions, and the queue before them.
#[allow(
    clippy::disallowed_methods,
    reason = "lanes are threads, and their times are those of a device"
)]
pub mod lane;
/// One outcome per datum.
pub mod ledger;
/// What inference counts and measures.
pub mod metrics;
/// The model being served.
pub mod model;
/// All models, and the router before them.
pub(crate) mod models;
/// From outcomes to messages.
pub mod policy;
/// Notices read batches that are too small.
pub(crate) mod read_batch;
/// Which model a frame is for.
pub mod routes;
/// When the batches of a call are computed.
pub mod schedule;
/// Locks, channels, threads and time-outs of this room.
mod sync;
