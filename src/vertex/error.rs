//! Why the sidecar cannot serve.

use super::folder::{FolderTrouble, Process};
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the sidecar cannot serve.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error(
        "socket {}: another process answers on it; stop that one, or give this one a --sock-path \
         of its own", path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path exists and is something else.
    #[error(
        "socket {}: a file that is not a socket lies there; move it away, or choose another \
         --sock-path", path.display()
    )]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A directory on the way could not be made.
    #[error("folder {}: cannot be created ({source}); create it, or choose another path", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder of a file does not let this process do what it must.
    #[error("{what} {}: {trouble}", path.display())]
    Folder {
        /// Which file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with its folder.
        trouble: FolderTrouble,
    },
    /// A file of an earlier sidecar could not be removed.
    #[error("{what} {}: left by an earlier sidecar, and cannot be removed: {why}", path.display())]
    Stale {
        /// Which file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why, and the remedy.
        why: String,
    },
    /// The socket of another user: whether a process answers on it cannot be told.
    #[error(
        "socket {}: it belongs to {owner}, and {Process} may not connect to it to see whether a sidecar answers there; stop \
         that sidecar, remove the socket, or choose another --sock-path", path.display()
    )]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// Its owner and mode.
        owner: String,
    },
    /// The path of the socket is too long.
    #[error(
        "socket {}: its path has {} bytes, and a socket's path has at most 107; choose a shorter --sock-path",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// The socket could not be bound.
    #[error("socket {}: cannot listen on it ({source}); choose another --sock-path", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server-info file could not be written.
    #[error(
        "server-info file {}: cannot be written ({source}); choose a writable --server-info-path",
        path.display()
    )]
    Announce {
        /// The server-info file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// gRPC failed.
    #[error("the gRPC server failed ({0}); start the sidecar again")]
    Transport(#[source] tonic::transport::Error),
}

impl ServerError {
    /// The kind of error, as a label for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "in_use",
            Self::NotASocket { .. } => "not_a_socket",
            Self::Directory { .. } => "directory",
            Self::Folder { .. } => "folder",
            Self::Stale { .. } => "stale",
            Self::Foreign { .. } => "foreign",
            Self::TooLong { .. } => "too_long",
            Self::Bind { .. } => "bind",
            Self::Announce { .. } => "announce",
            Self::Transport(_) => "transport",
        }
    }
}
