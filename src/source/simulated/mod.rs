//! A simulated detector: the frames of `beamflow simulate-source`, with which a whole pipeline runs without a beamline.
//! `crate::app::source` serves it.
//!
//! The scan is simulated once, before anything is announced, and served again and again:
//!
//! - `exposures`: when frames are taken;
//! - `backlog`: which frames are unread, unacked or to be delivered again;
//! - `sourcer`: both as the SDK's `Sourcer`, with pixels, headers and offsets.
//!
//! What always holds:
//!
//! 1. The shutter opens at the first read, so a pipeline that is still coming up misses nothing. From then on
//!    the detector does not wait: frames that are not read in time are dropped, which shows as a gap in `x-txn-id`.
//! 2. A frame comes again after a nack (later, if the nack says so), after a read whose reader went away in the
//!    middle of it, and when it is not acked in time. The SDK does not report a reader that connects again, so only the
//!    timeout finds the frames that a lost reader had taken.
//! 3. The same number is the same frame, byte for byte, whenever it is delivered.
//! 4. Memory is bounded: the scan, `--buffer` and a fixed number of unacked frames, of which only the numbers are
//!    kept. The SDK's own queue holds up to one read of frames.
//! 5. Every process has offsets of its own. Its frames are still numbered from 1.

/// Which frames are where.
pub(crate) mod backlog;
/// When frames are taken.
pub(crate) mod exposures;
/// The SDK's `Sourcer`, implemented.
pub(crate) mod sourcer;
