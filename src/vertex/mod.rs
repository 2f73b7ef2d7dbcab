//! Numaflow's protocols, from both ends.

/// Numa's end: a client that drives a sidecar as numa does, for commands and tests.
pub mod client;
/// Our end of the map protocol: the host of a `BatchMapper`.
pub mod map;
