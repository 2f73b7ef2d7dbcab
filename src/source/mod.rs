//! Sources of frames, without the protocol that carries them.

/// A simulated detector.
pub(crate) mod simulated;
