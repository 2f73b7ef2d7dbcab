//! Files that an earlier process did not finish: repaired at the start, and continued if their series goes on.

use super::name;
use super::scan::ScanFile;
use crate::sink::result::Received;
use std::path::Path;

/// The files of `folder` that are not complete, repaired. One that cannot be repaired keeps its name and is left alone. One
/// whose creation was interrupted had no results, and is removed.
pub(super) fn find(folder: &Path) -> std::io::Result<Vec<ScanFile>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (file, path) = (entry.file_name(), entry.path());
        let file = file.to_string_lossy();
        if name::is_new(&file) {
            std::fs::remove_file(&path)?;
            tracing::info!(path = %path.display(), "A file that was being created is removed: it had no results.");
        }
        if !file.ends_with(name::PARTIAL) {
            continue;
        }
        match ScanFile::of(path) {
            Ok(file) => {
                tracing::info!(
                    path = %file.path().display(),
                    rows = file.rows(),
                    "A file of an earlier process is repaired: it is continued if its series goes on, and completed otherwise."
                );
                found.push(file);
            }
            Err(error) => tracing::warn!(%error, "A file of an earlier process is left alone."),
        }
    }
    Ok(found)
}

/// Whether a file is of the series and the model of this result.
pub(super) fn is_of(file: &ScanFile, received: &Received) -> bool {
    let about = file.about();
    let model = (about.model.as_str(), about.version.as_str());
    if *about.pv != *received.identity.pv
        || model != (&*received.model.name, &*received.model.version)
    {
        return false;
    }
    match (about.series_start, received.series_start) {
        (Some(before), Some(now)) => before == now,
        // A source that does not name its series: the frame is in the file, as one that is delivered again is.
        _ => about.scan == received.scan && file.has(received),
    }
}
