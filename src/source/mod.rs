//! Sources: where frames come from, without the protocol that carries them.

/// A simulated detector.
pub(crate) mod simulated;
