//! The names of files: `PV_START[_SCAN].h5`, `.h5.partial` while a file grows, and a hidden name until it can be repaired.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// What the name of a growing file ends with.
pub(super) const PARTIAL: &str = ".h5.partial";
/// What the name of a file ends with that is being created.
const NEW: &str = ".h5.new";
/// What the name of a complete file ends with.
pub(super) const COMPLETE: &str = ".h5";
/// Characters of a part of a name.
const LONGEST: usize = 80;

/// The name of a series' file without its ending: `start` is in ns since 1970.
pub(super) fn stem(pv: &str, start: i64, scan: Option<&str>) -> String {
    let pv = if pv.is_empty() { "results" } else { pv };
    let start = UNIX_EPOCH + Duration::from_nanos(u64::try_from(start).unwrap_or_default());
    let start = humantime::format_rfc3339_millis(start).to_string();
    let start: String = start.chars().filter(|c| !"-:".contains(*c)).collect();
    let parts = [Some(plain(pv)), Some(start), scan.map(plain)];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.join("_")
}

/// A text as part of a file name: letters, digits, `-` and `.`; all else becomes `-`.
fn plain(text: &str) -> String {
    let plain = text.chars().take(LONGEST);
    let plain = plain.map(|c| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    });
    plain.collect()
}

/// The paths of a file, growing and complete: neither exists. A number is added to a name that is taken.
pub(super) fn free(folder: &Path, stem: &str) -> (PathBuf, PathBuf) {
    let paths = |stem: &str| {
        let path = |ending| folder.join(format!("{stem}{ending}"));
        (path(PARTIAL), path(COMPLETE))
    };
    let is_free =
        |(partial, complete): &(PathBuf, PathBuf)| !partial.exists() && !complete.exists();
    let mut numbered = (2_u64..).map(|number| paths(&format!("{stem}_{number}")));
    Some(paths(stem))
        .filter(is_free)
        .or_else(|| numbered.find(is_free))
        .unwrap_or_else(|| paths(stem))
}

/// The path at which a file is created that is then renamed to `partial`.
pub(super) fn new(partial: &Path) -> Option<PathBuf> {
    let stem = partial.file_name()?.to_str()?.strip_suffix(PARTIAL)?;
    Some(partial.with_file_name(format!(".{stem}{NEW}")))
}

/// Whether this is the name of a file whose creation was interrupted.
pub(super) fn is_new(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(NEW)
}

/// The path of the complete file that a growing one becomes.
pub(super) fn complete(partial: &Path) -> Option<PathBuf> {
    let name = partial.file_name()?.to_str()?;
    let stem = name.strip_suffix(PARTIAL)?;
    Some(partial.with_file_name(format!("{stem}{COMPLETE}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_pv_the_start_and_the_scan() {
        let start = 1_700_000_000_123_456_789;
        assert_eq!(
            stem("13SIM1:Pva1:Image", start, Some("S0042 a/b")),
            "13SIM1-Pva1-Image_20231114T221320.123Z_S0042-a-b"
        );
        assert_eq!(stem("", start, None), "results_20231114T221320.123Z");
        assert_eq!(stem("../é", 0, None), "..--_19700101T000000.000Z");
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let next = || {
            let (partial, done) = free(folder.path(), "a");
            assert_eq!(complete(&partial).as_ref(), Some(&done));
            done.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(next(), "a.h5");
        touch("a.h5");
        assert_eq!(next(), "a_2.h5");
        touch("a_2.h5.partial");
        assert_eq!(next(), "a_3.h5");
        let (partial, _) = free(folder.path(), "a");
        let new = new(&partial).unwrap();
        assert!(is_new(new.file_name().unwrap().to_str().unwrap()));
    }
}
