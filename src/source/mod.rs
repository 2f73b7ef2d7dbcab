//! Sources of frames, without the protocol.

/// A simulated detector.
pub(crate) mod simulated;
