//! Where results go, without the protocol that carries them.
//!
//! ```text
//!  numa ──▶ result ──▶ seen ──▶ series ──▶ pva: a PV for each output
//!           (typed, or why it is none)
//! ```
//!
//! - `result`: one message of a sink, as a result of a frame, or the reason why it is none;
//! - `seen`: what came before, so that a message that is delivered twice counts once;
//! - `series`: which series a frame belongs to, and which of its frames are missing;
//! - `pva`: results as PVs, for viewers.
//!
//! What always holds: a message that is no result is counted by its reason, and never an error of the pipeline. Memory is
//! bounded: nothing here grows with the number of frames, series or PVs.

/// Results as PVs.
pub(crate) mod pva;
/// From a message to a result.
pub(crate) mod result;
/// What came before.
pub(crate) mod seen;
/// Series, and the frames that they lack.
pub(crate) mod series;
