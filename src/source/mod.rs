//! Sources of frames, without the protocol that carries them.

/// A detector's frames over pvAccess.
#[cfg(feature = "pva")]
pub(crate) mod pva;
/// Reads.
pub(crate) mod reading;
/// A simulated detector.
pub(crate) mod simulated;
