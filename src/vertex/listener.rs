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
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;

use super::MapMode;
use super::error::ServerError;
use super::folder::{FolderTrouble, Process, owned};

/// The SDK whose protocol this host speaks, as it announces itself to numa.
const SDK_VERSION: &str = "0.6.0";

/// The oldest Numaflow that SDK works with. The `-z` lets numa's check pass release candidates.
const MINIMUM_NUMAFLOW_VERSION: &str = "1.4.0-z";

/// Numa reads the server-info file until it sees this, and only then uses it.
const END: &str = "U+005C__END__";

/// The longest path of a socket on Linux: `sun_path` has 108 bytes, and the last is zero.
const LONGEST: usize = 107;

/// What kind of program numa takes this one for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A map.
    Map(MapMode),
    /// A source that supports nacks: numa finds that out by the SDK's language and version.
    Source,
    /// A sink.
    Sink,
}

/// Where a program listens, and as what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) kind: Kind,
    pub(super) sock_path: &'a Path,
    pub(super) server_info_path: &'a Path,
}

/// One of the two files.
#[derive(Clone, Copy)]
struct File<'a> {
    what: &'static str,
    flag: &'static str,
    path: &'a Path,
}

/// A socket that the host listens on. Drop removes the socket and the server-info file.
pub(super) struct Listening {
    kind: Kind,
    sock_path: PathBuf,
    server_info_path: PathBuf,
    /// Device and inode of the socket, to recognise it.
    identity: Option<(u64, u64)>,
}

/// Removes stale files and listens. Numa does not see the socket until [`Listening::announce`].
///
/// # Errors
/// When the socket is in use, is no socket, or cannot be bound; when a directory cannot be made.
pub(super) async fn bind(place: Place<'_>) -> Result<(Listening, UnixListenerStream), ServerError> {
    let (sock, info) = files(place.sock_path, place.server_info_path);
    info.make_parent()?;
    // The socket first: if a process answers on it, the server-info file is in use too.
    sock.make_parent()?;
    sock.clear_socket().await?;
    info.clear()?;
    let listener = UnixListener::bind(sock.path).map_err(|source| {
        sock.refused(&source).unwrap_or_else(|| ServerError::Bind {
            path: sock.path.to_owned(),
            source,
        })
    })?;
    let listening = Listening {
        identity: identity(sock.path),
        kind: place.kind,
        sock_path: place.sock_path.to_owned(),
        server_info_path: place.server_info_path.to_owned(),
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
        let aside = aside(path);
        fs::write(&aside, server_info(self.kind))
            .and_then(|()| fs::rename(&aside, path))
            .map_err(|source| {
                // A partial file under a temporary name does no harm.
                let _ = fs::remove_file(&aside);
                let (_, info) = files(&self.sock_path, path);
                info.refused(&source)
                    .unwrap_or_else(|| ServerError::Announce {
                        path: path.clone(),
                        source,
                    })
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

/// What the server-info file says; what the SDK's own server would say.
fn server_info(kind: Kind) -> String {
    let metadata = match kind {
        Kind::Map(map_mode) => json!({ "MAP_MODE": map_mode.name() }),
        Kind::Source | Kind::Sink => json!({}),
    };
    let info = json!({
        "protocol": "uds",
        "language": "rust",
        "minimum_numaflow_version": MINIMUM_NUMAFLOW_VERSION,
        "version": SDK_VERSION,
        "metadata": metadata,
    });
    format!("{info}{END}")
}

fn files<'a>(sock_path: &'a Path, server_info_path: &'a Path) -> (File<'a>, File<'a>) {
    let sock = File {
        what: "socket",
        flag: "--sock-path",
        path: sock_path,
    };
    let info = File {
        what: "server-info file",
        flag: "--server-info-path",
        path: server_info_path,
    };
    (sock, info)
}

impl File<'_> {
    /// The error if the folder is the reason for `source`.
    fn refused(self, source: &io::Error) -> Option<ServerError> {
        let trouble = FolderTrouble::find(self.path, source, self.flag)?;
        Some(ServerError::Folder {
            what: self.what,
            path: self.path.to_owned(),
            trouble,
        })
    }

    /// The file is there and cannot be removed.
    fn stale(self, source: &io::Error) -> ServerError {
        let owner = owned(self.path);
        // In a folder with the sticky bit only the owner of a file may remove it: the folder itself is writable.
        let by_folder = FolderTrouble::find(self.path, source, self.flag)
            .filter(|_| source.raw_os_error() != Some(rustix::io::Errno::PERM.raw_os_error()));
        let why = by_folder.map_or_else(
            || {
                let flag = self.flag;
                format!(
                    "it belongs to {owner}, and {Process} gets \"{source}\"; remove it by hand, or choose another {flag}"
                )
            },
            |trouble| trouble.to_string(),
        );
        ServerError::Stale {
            what: self.what,
            path: self.path.to_owned(),
            why,
        }
    }

    /// Removes a socket that no process answers on.
    async fn clear_socket(self) -> Result<(), ServerError> {
        let path = self.path;
        let owned_path = || path.to_owned();
        // The system's own error would be "invalid argument".
        if path.as_os_str().len() > LONGEST {
            return Err(ServerError::TooLong { path: owned_path() });
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ServerError::NotASocket { path: owned_path() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(self.refused(&source).unwrap_or_else(|| ServerError::Bind {
                    path: owned_path(),
                    source,
                }));
            }
        }
        match UnixStream::connect(path).await {
            // A socket with a full backlog is in use.
            Ok(_) => Err(ServerError::InUse { path: owned_path() }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(ServerError::InUse { path: owned_path() })
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                remove(path).map_err(|source| self.stale(&source))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(ServerError::Foreign {
                    path: owned_path(),
                    owner: owned(path),
                })
            }
            Err(source) => Err(ServerError::Bind {
                path: owned_path(),
                source,
            }),
        }
    }

    /// Removes the file if it is there.
    fn clear(self) -> Result<(), ServerError> {
        remove(self.path).map_err(|source| {
            // On a read-only disk the system says so before it looks for the file.
            let is_there = fs::symlink_metadata(self.path).is_ok();
            let refused = self.refused(&source).filter(|_| !is_there);
            refused.unwrap_or_else(|| self.stale(&source))
        })
    }

    /// Makes the folder of the file.
    fn make_parent(self) -> Result<(), ServerError> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(parent).map_err(|source| {
            self.refused(&source)
                .unwrap_or_else(|| ServerError::Directory {
                    path: parent.to_owned(),
                    source,
                })
        })
    }
}

/// A temporary name beside `path`.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".{}.tmp", std::process::id()));
    aside.into()
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

    /// The paths in a folder.
    struct Paths {
        sock_path: PathBuf,
        server_info_path: PathBuf,
    }

    impl Paths {
        fn place(&self) -> Place<'_> {
            Place {
                kind: Kind::Map(MapMode::Batch),
                sock_path: &self.sock_path,
                server_info_path: &self.server_info_path,
            }
        }
    }

    fn config(dir: &Path) -> Paths {
        Paths {
            sock_path: dir.join("run/numaflow/batchmap.sock"),
            server_info_path: dir.join("info/mapper-server-info"),
        }
    }

    #[tokio::test]
    async fn the_sidecar_is_announced_only_after_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        fs::create_dir_all(dir.path().join("info")).unwrap();
        fs::write(&config.server_info_path, "stale").unwrap();

        let (listening, _incoming) = bind(config.place()).await.unwrap();
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
        let (listening, _incoming) = bind(config.place()).await.unwrap();
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
        let (listening, _incoming) = bind(config.place()).await.unwrap();
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
        let (listening, _incoming) = bind(config.place()).await.unwrap();
        // A directory in its place: neither root nor anybody else can rename a file onto it.
        fs::create_dir(&config.server_info_path).unwrap();
        let error = listening.announce().unwrap_err();
        assert_eq!(error.kind(), "announce");
        let path = config.server_info_path.display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
    }
}
