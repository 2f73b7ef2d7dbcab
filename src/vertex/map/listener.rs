//! The socket and the server-info file: taken with care, and given back.
//!
//! A container that was killed leaves both behind in the pod's shared volume. What is stale is
//! cleared away; what somebody uses is not touched.
//!
//! What always holds: a path that is not a socket is never removed, nor a socket that somebody
//! answers on; a stale server-info file is gone before the socket is bound, and the new one appears,
//! whole, only after; on the way out both are removed, unless another process has taken the socket
//! over in the meantime.

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

/// Numa reads the server-info file until it sees this, and only then believes it.
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
    /// What an earlier sidecar left could not be looked at or removed.
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

/// A socket we listen on. Dropped, it removes the socket and the server-info file.
pub(super) struct Listening {
    sock_path: PathBuf,
    server_info_path: PathBuf,
    /// Device and inode of the socket: how to know it for ours.
    identity: Option<(u64, u64)>,
}

/// Clears away what is stale and listens. Numa does not know of it until [`Listening::announce`].
///
/// # Errors
/// When the socket is in use, is no socket, or cannot be bound; when a directory cannot be made.
pub(super) async fn bind(
    config: &ServerConfig,
) -> Result<(Listening, UnixListenerStream), ServerError> {
    let sock_path = config.sock_path.clone();
    let server_info_path = config.server_info_path.clone();
    make_parent(&server_info_path)?;
    // The socket first: if somebody is alive on it, the server-info file is theirs too.
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
    /// Writes the server-info file, as the SDK's own server does. It is written aside and renamed,
    /// so that whoever sees it sees all of it.
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
                // Half a file under a name nobody reads is no harm, and there is nobody to tell.
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
        // The announcement goes first: nobody is to be sent to a socket that is gone.
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

/// Makes the directory a socket is to lie in, and removes a socket there on which nobody answers.
///
/// # Errors
/// When somebody does, when something else lies there, or when the directory cannot be made.
pub(crate) async fn make_way(sock_path: &Path) -> Result<(), ServerError> {
    make_parent(sock_path)?;
    clear_socket(sock_path).await
}

/// Removes a socket on which nobody answers.
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
        // A full backlog has an owner too, if a busy one.
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

/// Makes the directory a file is to lie in.
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
