//! A simulated detector: the frames of `beamflow simulate-source`, which runs a whole pipeline without a
//! beamline. `crate::app::source` serves it.
//!
//! The scan is simulated once, before the source announces itself, and then served repeatedly:
//!
//! - `backlog`: which frames are unread, unacked or waiting for redelivery;
//! - `sourcer`: the SDK's `Sourcer` on top of both, with pixels, headers and offsets.
//!
//! Invariants:
//!
//! 1. The shutter opens at the first read, so a pipeline that is still starting misses nothing. From then on
//!    the detector does not wait: frames that are not read in time are dropped, which shows as a gap in
//!    `x-txn-id`.
//! 2. A frame is delivered again after a nack (later, if the nack has a delay), after a read whose reader
//!    disconnected before its end, and if it is not acked in time. Only that timeout finds the frames of a
//!    complete read whose reader is lost.
//! 3. The same number is the same frame, byte for byte, at every delivery.
//! 4. Memory is bounded: the scan, `--buffer`, and a fixed number of unacked frames, of which only the numbers
//!    are stored. The host's queue holds a few frames (`crate::vertex::source`).
//! 5. Offsets are unique to a process. Frame numbers start at 1 in every process.

/// The state of each frame.
pub(crate) mod backlog;
/// The implementation of the SDK's `Sourcer`.
pub(crate) mod sourcer;
