//! Why a file cannot be made, reached or removed in its folder: the folder, its owner and mode, this process's user, and what to
//! do about it in a pod.
//!
//! The system's own words ("Permission denied") name neither the folder nor the user. In a pod the folder is a volume, and its
//! owner is set by the pod, so that these are what the reader needs.

use rustix::process::{getegid, geteuid};
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is wrong with a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It must not be written to.
    Write,
    /// It must not be entered, so that what is below it cannot be seen.
    Enter,
    /// Its file system is read-only.
    ReadOnly,
    /// It is another kind of file.
    NoFolder,
    /// It is a link, and its target is missing.
    Dangling,
}

/// Owner and permissions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    user: u32,
    group: u32,
    mode: u32,
}

/// A folder in which this process cannot do what it must.
#[derive(Debug)]
pub struct FolderTrouble {
    folder: PathBuf,
    trouble: Trouble,
    /// Of the folder, if they can be read.
    owner: Option<Owner>,
    /// The flag that chooses another folder.
    flag: &'static str,
}

impl FolderTrouble {
    /// The reason why `error` came up for a file at `path`, if its folder is the reason. `flag` chooses another path.
    pub(super) fn find(path: &Path, error: &io::Error, flag: &'static str) -> Option<Self> {
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let (folder, trouble) = match error.kind() {
            ErrorKind::ReadOnlyFilesystem => (existing(parent), Trouble::ReadOnly),
            ErrorKind::PermissionDenied => {
                let folder = existing(parent);
                // Whether the next folder on the way exists cannot be told where this one must not be entered.
                let next = parent.ancestors().take_while(|up| *up != folder).last();
                let denied = |path: &Path| {
                    let found = fs::symlink_metadata(path);
                    found.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
                };
                match next.unwrap_or(path) {
                    next if denied(next) => (folder, Trouble::Enter),
                    _ => (folder, Trouble::Write),
                }
            }
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                let no_folder = |up: &&Path| fs::metadata(up).is_ok_and(|found| !found.is_dir());
                match parent.ancestors().find(no_folder) {
                    Some(file) => (file, Trouble::NoFolder),
                    None => (dangling(parent)?, Trouble::Dangling),
                }
            }
            ErrorKind::NotFound => (dangling(parent)?, Trouble::Dangling),
            _ => return None,
        };
        Some(Self {
            folder: folder.to_owned(),
            trouble,
            owner: Owner::of(folder),
            flag,
        })
    }
}

impl fmt::Display for FolderTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            folder,
            trouble,
            owner,
            flag,
        } = self;
        let folder = folder.display();
        let doing = match trouble {
            Trouble::ReadOnly => {
                return write!(
                    f,
                    "the folder {folder} is on a read-only file system; mount a writable volume there (in a pod: an \
                     emptyDir), or choose another {flag}"
                );
            }
            Trouble::NoFolder => {
                return write!(f, "{folder} is a file, not a folder; choose another {flag}");
            }
            Trouble::Dangling => {
                return write!(
                    f,
                    "{folder} is a link to a folder that does not exist; create that folder, or choose another {flag}"
                );
            }
            Trouble::Write => "write to",
            Trouble::Enter => "enter",
        };
        write!(f, "{} cannot {doing} the folder {folder}", Process)?;
        if let Some(owner) = owner {
            write!(f, ", which belongs to {owner}")?;
        }
        if owner.is_some_and(|owner| owner.allows_this_process()) {
            return write!(
                f,
                "; its mode allows that, so something else forbids it, such as SELinux or AppArmor: look in the node's \
                 audit log, or choose another {flag}"
            );
        }
        write!(
            f,
            "; set fsGroup or runAsUser in the pod's securityContext so that it can, or choose another {flag}"
        )
    }
}

/// This process, in messages.
pub(super) struct Process;

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        write!(f, "this process (user {user}, group {group})")
    }
}

/// Who owns the file at `path`, and its mode, in words; empty if they cannot be read.
pub(super) fn owned(path: &Path) -> String {
    let found = fs::symlink_metadata(path).ok();
    found.map_or_else(String::new, |found| Owner::new(&found).to_string())
}

impl Owner {
    fn new(found: &fs::Metadata) -> Self {
        Self {
            user: found.uid(),
            group: found.gid(),
            mode: found.mode() & 0o7777,
        }
    }

    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::new)
    }

    /// Whether this process may write to the folder by its mode. Groups are not looked at: their number is no reason to doubt.
    fn allows_this_process(self) -> bool {
        let user = geteuid().as_raw();
        user == 0 || (user == self.user && self.mode & 0o300 == 0o300)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, group, mode } = self;
        write!(f, "user {user}, group {group}, with mode {mode:04o}")
    }
}

/// The nearest folder on the way to `folder` that can be seen, itself included.
fn existing(folder: &Path) -> &Path {
    let mut ways = folder.ancestors();
    let seen = ways.find(|up| *up != Path::new("") && fs::metadata(up).is_ok());
    seen.unwrap_or(Path::new("."))
}

/// A link on the way to `folder` whose target is missing.
fn dangling(folder: &Path) -> Option<&Path> {
    let mut ways = folder.ancestors();
    ways.find(|up| fs::symlink_metadata(up).is_ok() && fs::metadata(up).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &Path, kind: ErrorKind) -> String {
        let trouble = FolderTrouble::find(path, &kind.into(), "--sock-path");
        trouble.map_or_else(String::new, |trouble| trouble.to_string())
    }

    #[test]
    fn the_folder_that_is_the_reason_is_told_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, user) = (dir.path().display(), geteuid().as_raw());
        // Its mode allows it; as another user the black-box test sees the remedy of the pod.
        for path in [dir.path().join("sock"), dir.path().join("a/b/sock")] {
            let told = told(&path, ErrorKind::PermissionDenied);
            let start = format!("this process (user {user}, group ");
            assert!(told.starts_with(&start), "{told}");
            let found =
                format!("cannot write to the folder {folder}, which belongs to user {user}, ");
            assert!(
                told.contains(&found) && told.contains("with mode 0"),
                "{told}"
            );
            assert!(
                told.contains("SELinux") && told.ends_with("another --sock-path"),
                "{told}"
            );
        }
        let read_only = told(&dir.path().join("a/sock"), ErrorKind::ReadOnlyFilesystem);
        assert!(
            read_only.starts_with(&format!("the folder {folder} is on a read-only")),
            "{read_only}"
        );
        assert_eq!(told(&dir.path().join("sock"), ErrorKind::StorageFull), "");
        assert_eq!(told(&dir.path().join("sock"), ErrorKind::NotFound), "");
    }

    #[test]
    fn a_file_or_a_link_to_nothing_in_place_of_the_folder_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.join("sock"), file.join("a/sock")] {
            let told = told(&path, ErrorKind::NotADirectory);
            assert!(
                told.starts_with(&format!("{} is a file", file.display())),
                "{told}"
            );
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let told = told(&link.join("sock"), ErrorKind::AlreadyExists);
        assert!(
            told.starts_with(&format!("{} is a link", link.display())),
            "{told}"
        );
    }
}
