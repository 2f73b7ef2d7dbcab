//! Whether there is room on the disk, asked before a file is touched.
//!
//! HDF5 changes a file in several places at once. A write that ends in the middle because the disk is full can leave a file that
//! cannot be read. So nothing is written unless there is room for all of it.

use std::path::{Path, PathBuf};

/// Bytes that must stay free: for the indexes of a file, and to complete it.
const MARGIN: u64 = 1 << 20;

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    /// The disk is full.
    #[error(
        "the disk of {} is full: {free} bytes are free, and {needed} are needed; make room",
        path.display()
    )]
    Full {
        path: PathBuf,
        free: u64,
        needed: u64,
    },
    /// The system does not say.
    #[error("cannot read how much room {} has: {source}", path.display())]
    Unknown {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Checks that `bytes` more fit into `folder`.
///
/// # Errors
/// [`NoRoom`].
pub(crate) fn check(folder: &Path, bytes: u64) -> Result<(), NoRoom> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| NoRoom::Unknown {
        path: folder.to_owned(),
        source: error.into(),
    })?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = bytes.saturating_add(MARGIN);
    if free >= needed {
        return Ok(());
    }
    Err(NoRoom::Full {
        path: folder.to_owned(),
        free,
        needed,
    })
}
