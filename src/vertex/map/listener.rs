//! The socket and the server-info file: created with care, and removed at exit.
//!
//! A killed container leaves both in the shared volume of the pod. Stale files are removed; files in use are not touched.
//!
//! What always holds: a path that is not a socket is never removed, nor a socket that a process answers on. A stale
//! server-info file is removed before the socket is bound, and the new one appears, complete, only after. At exit both are
//! removed, unless another process has taken the socket over.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use super::ServerConfig;

/// The SDK whose protocol this host speaks, as it announces itself to numa.
const SDK_VERSION: &str = "0.6.0";

/// The oldest Numaflow that SDK works with. The `-z` lets numa's check pass release candidates.
const MINIMUM_NUMAFLOW_VERSION: &str = "1.4.0-z";

/// Numa reads the server-info file until it sees this, and only then uses it.
const END: &str = "U+005C__END__";

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
    #[error("directory {}: cannot be created ({source}); create it, or choose another path", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of an earlier sidecar could not be read or removed.
    #[error("{}: left by an earlier sidecar and cannot be cleared away ({source}); remove it by hand", path.display())]
    Stale {
        /// The socket or the server-info file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The socket could not be bound.
    #[error(
        "socket {}: cannot listen on it ({source}); its directory must be writable and its path \
         shorter than 108 bytes", path.display()
    )]
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
            Self::Stale { .. } => "stale",
            Self::Bind { .. } => "bind",
            Self::Announce { .. } => "announce",
            Self::Transport(_) => "transport",
        }
    }
}

/// A socket that the host listens on. Drop removes the socket and the server-info file.
pub(super) struct Listening {
    sock_path: PathBuf,
    server_info_path: PathBuf,
    /// Device and inode of the socket, to recognise it.
    identity: Option<(u64, u64)>,
}

/// Removes stale files and listens. Numa does not see the socket until [`Listening::announce`].
///
/// # Errors
/// When the socket is in use, is no socket, or cannot be bound; when a directory cannot be made.
pub(super) async fn bind(
    config: &ServerConfig,
) -> Result<(Listening, UnixListenerStream), ServerError> {
    let sock_path = config.sock_path.clone();
    let server_info_path = config.server_info_path.clone();
    make_parent(&server_info_path)?;
    // The socket first: if a process answers on it, the server-info file is in use too.
    make_way(&sock_path).await?;
    remove(&server_info_path).map_err(|source| ServerError::Stale {
        path: server_info_path.clone(),
        source,
    })?;
    let listener = UnixListener::bind(&sock_path).map_err(|source| ServerError::Bind {
        path: sock_path.clone(),
        source,
    })?;
    let listening = Listening {
        identity: identity(&sock_path),
        sock_path,
        server_info_path,
    };
    Ok((listening, UnixListenerStream::new(listener)))
}

impl Listening {
    /// Writes the server-info file, as the SDK's own server does. It is written under another name
    /// and renamed, so that no reader sees a part of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn announce(&self) -> Result<(), ServerError> {
        let path = &self.server_info_path;
        let mut aside = path.clone().into_os_string();
        aside.push(format!(".{}.tmp", std::process::id()));
        let aside = PathBuf::from(aside);
        fs::write(&aside, server_info())
            .and_then(|()| fs::rename(&aside, path))
            .map_err(|source| {
                // A partial file under a temporary name does no harm.
                let _ = fs::remove_file(&aside);
                ServerError::Announce {
                    path: path.clone(),
                    source,
                }
            })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.identity.is_none() || identity(&self.sock_path) != self.identity {
            tracing::warn!(
                socket = %self.sock_path.display(),
                "The socket is not ours any more: it and the server-info file are left alone."
            );
            return;
        }
        // The server-info file first: it must not point to a removed socket.
        for path in [&self.server_info_path, &self.sock_path] {
            if let Err(error) = remove(path) {
                tracing::warn!(path = %path.display(), %error, "A file could not be removed on exit.");
            }
        }
    }
}

/// What the server-info file says.
fn server_info() -> String {
    let info = json!({
        "protocol": "uds",
        "language": "rust",
        "minimum_numaflow_version": MINIMUM_NUMAFLOW_VERSION,
        "version": SDK_VERSION,
        "metadata": { "MAP_MODE": "batch-map" },
    });
    format!("{info}{END}")
}

/// Makes the directory of a socket, and removes a socket that no process answers on.
///
/// # Errors
/// When a process answers, when the path is another kind of file, or when the directory cannot be made.
pub(crate) async fn make_way(sock_path: &Path) -> Result<(), ServerError> {
    make_parent(sock_path)?;
    clear_socket(sock_path).await
}

/// Removes a socket that no process answers on.
async fn clear_socket(path: &Path) -> Result<(), ServerError> {
    let stale = |source| ServerError::Stale {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServerError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(stale(error)),
    }
    match UnixStream::connect(path).await {
        // A socket with a full backlog is in use.
        Ok(_) => Err(ServerError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ServerError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => remove(path).map_err(stale),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(stale(error)),
    }
}

/// Makes the directory of a file.
fn make_parent(path: &Path) -> Result<(), ServerError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(parent).map_err(|source| ServerError::Directory {
        path: parent.to_owned(),
        source,
    })
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Device and inode of the file at a path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> ServerConfig {
        ServerConfig {
            sock_path: dir.join("run/numaflow/batchmap.sock"),
            server_info_path: dir.join("info/mapper-server-info"),
            ..ServerConfig::default()
        }
    }

    #[tokio::test]
    async fn the_sidecar_is_announced_only_after_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        fs::create_dir_all(dir.path().join("info")).unwrap();
        fs::write(&config.server_info_path, "stale").unwrap();

        let (listening, _incoming) = bind(&config).await.unwrap();
        assert!(UnixStream::connect(&config.sock_path).await.is_ok());
        assert!(!config.server_info_path.exists(), "announced too early");

        listening.announce().unwrap();
        let written = fs::read_to_string(&config.server_info_path).unwrap();
        assert!(written.ends_with(END), "{written}");
    }

    #[tokio::test]
    async fn both_files_and_nothing_else_are_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (listening, _incoming) = bind(&config).await.unwrap();
        listening.announce().unwrap();
        drop(listening);
        for path in [&config.sock_path, &config.server_info_path] {
            let parent = path.parent().unwrap();
            assert_eq!(fs::read_dir(parent).unwrap().count(), 0, "{parent:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_another_process_took_over_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (listening, _incoming) = bind(&config).await.unwrap();
        let theirs = dir.path().join("theirs.sock");
        let _listener = UnixListener::bind(&theirs).unwrap();
        fs::rename(&theirs, &config.sock_path).unwrap();
        fs::write(&config.server_info_path, "theirs").unwrap();

        drop(listening);
        assert!(UnixStream::connect(&config.sock_path).await.is_ok());
        assert!(config.server_info_path.exists());
    }

    #[tokio::test]
    async fn an_unwritable_server_info_file_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let (listening, _incoming) = bind(&config).await.unwrap();
        // A directory in its place: neither root nor anybody else can rename a file onto it.
        fs::create_dir(&config.server_info_path).unwrap();
        let error = listening.announce().unwrap_err();
        assert_eq!(error.kind(), "announce");
        let path = config.server_info_path.display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
    }
}
