//! Numaflow's protocols, from both ends.

/// Numa's end: a client that drives a sidecar as numa does, for commands and tests.
pub mod client;
/// Why a program cannot serve.
mod error;
/// Why a file cannot be made in its folder.
mod folder;
/// The socket and the server-info file.
mod listener;
/// Our end of the map protocol: the host of a `BatchMapper`.
pub mod map;
/// What the hosts have in common: HTTP/2, and the way from start to drained stop.
mod serving;
/// Our end of the sink protocol: the host of a `Sinker`.
pub mod sink;
/// Our end of the source protocol: the host of a `Sourcer`.
pub mod source;

pub use error::ServerError;

/// The kind of map that numa takes this program for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapMode {
    /// Read batches, each ended by an end of transmission.
    #[default]
    Batch,
    /// Datum by datum, without an end.
    Unary,
}

impl MapMode {
    /// The socket that Numaflow expects.
    #[must_use]
    pub fn sock_path(self) -> &'static str {
        match self {
            Self::Batch => numaflow::batchmap::SOCK_ADDR,
            Self::Unary => numaflow::map::SOCK_ADDR,
        }
    }

    /// Its name as `MAP_MODE` in the server-info file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch-map",
            Self::Unary => "unary-map",
        }
    }
}
