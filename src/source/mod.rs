//! Sources of frames, without the protocol that carries them.

/// Reads, acks and nacks.
pub(crate) mod exchange;
/// A detector's frames over pvAccess.
#[cfg(feature = "pva")]
pub(crate) mod pva;
/// A simulated detector.
pub(crate) mod simulated;
