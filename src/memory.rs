//! Host memory: what this process may use, and what it needs beside its slots and its model.
//!
//! A container's memory limit is the limit of its control group. Beyond it the kernel does not refuse memory: it ends the
//! process, and no log says why. Where it does refuse, the next small request ends the
//! process likewise. So whoever takes a lot at once asks here first, as slots do, and is refused in words while there is room to say so.
//!
//! What always holds: a limit of any group that this process is in counts, the pod's as well as the container's; where none can be
//! learnt there is none, and nothing here fails.

use indicatif::HumanBytes;
use procfs::process::Process;
use std::path::{Path, PathBuf};

/// What the program takes beside slots, frames and answers: itself, its threads, and what gRPC has read ahead.
pub const PROGRAM: usize = 32 << 20;

/// What nobody may take of it: serving and, if it comes to that, saying what is wrong take memory too.
const SPARE: usize = 16 << 20;

/// Where control groups are found.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a read batch of `frames` frames of `frame_bytes`, with `result_bytes` of results each, may take while it is in hand, in
/// bytes: slots aside.
///
/// Frames are held until its end in sequential mode, and where rejected ones are sent on. They come and go by the thousand, and
/// what the allocator keeps between them is up to as much again.
#[must_use]
pub const fn of_read_batch(frames: usize, frame_bytes: usize, result_bytes: usize) -> usize {
    let of_a_frame = frame_bytes.saturating_mul(2).saturating_add(result_bytes);
    frames.saturating_mul(of_a_frame)
}

/// Asks whether `bytes` more may be taken at once.
///
/// # Errors
/// Why not, in words.
pub fn ask_for(bytes: usize) -> Result<(), String> {
    let wanted = bytes.saturating_add(SPARE);
    if let Some(limit) = Limit::of_this_process()
        && limit.left() < wanted
    {
        return Err(format!("{limit} leaves no room"));
    }
    // The process may have limits of its own. What is reserved and given back untouched costs nothing.
    let mut trial = Vec::<u8>::new();
    let tried = trial.try_reserve_exact(wanted);
    tried.map_err(|error| error.to_string())
}

/// The least memory limit that holds for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    bytes: usize,
    file: PathBuf,
}

impl Limit {
    /// The limit that holds now, if there is one.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        files(&groups, Path::new(GROUPS))
            .into_iter()
            .filter_map(Self::read)
            .min_by_key(|limit| limit.bytes)
    }

    /// The limit that `file` holds: a number of bytes, or a word where there is none.
    fn read(file: PathBuf) -> Option<Self> {
        let bytes = std::fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        Some(Self { bytes, file })
    }

    /// Bytes that this process may still take, as far as it can know: others in the group are not counted, nor files in memory,
    /// which the kernel gives up before anything else.
    #[must_use]
    pub fn left(&self) -> usize {
        let status = Process::myself().and_then(|process| process.status());
        let taken = status.ok().and_then(|status| status.rssanon).unwrap_or(0); // in KiB
        let taken = usize::try_from(taken << 10).unwrap_or(usize::MAX);
        self.bytes.saturating_sub(taken)
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the memory limit of {} ({})",
            HumanBytes(self.bytes as u64),
            self.file.display()
        )
    }
}

/// Where the limits of a process may be written: one file for its group and one for each above. `groups` is its
/// `/proc/PID/cgroup`, lines of `number:controllers:path`; no controllers means version 2.
fn files(groups: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, name) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        // The last of them is the mount itself: in a container that is its own group, whatever the path says.
        files.extend(path.ancestors().map(|group| mount.join(group).join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, written: &[(&str, &str)]) -> Option<(usize, String)> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in written {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let limits = files(groups, root.path()).into_iter();
        let least = limits
            .filter_map(Limit::read)
            .min_by_key(|limit| limit.bytes)?;
        let file = least.file.strip_prefix(root.path()).unwrap();
        Some((least.bytes, file.display().to_string()))
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        let written = [
            ("pod/memory.max", "3000\n"),
            ("pod/container/memory.max", "2000\n"),
            ("memory.max", "9000\n"),
        ];
        let found = limit("0::/pod/container\n", &written);
        assert_eq!(found, Some((2000, "pod/container/memory.max".to_owned())));
        let found = limit("0::/pod\n", &written);
        assert_eq!(found, Some((3000, "pod/memory.max".to_owned())));
    }

    #[test]
    fn version_1_is_read_too_and_of_it_only_what_is_about_memory() {
        let groups = "5:cpu,cpuacct:/pod\n4:hugetlb,memory:/pod\n0::/\n";
        let written = [
            ("memory/pod/memory.limit_in_bytes", "2000\n"),
            ("cpu/pod/memory.limit_in_bytes", "1\n"),
        ];
        let file = "memory/pod/memory.limit_in_bytes".to_owned();
        assert_eq!(limit(groups, &written), Some((2000, file)));
    }

    #[test]
    fn a_container_that_does_not_see_its_own_path_has_its_limit_all_the_same() {
        let file = "memory/memory.limit_in_bytes";
        let found = limit("4:memory:/kubepods/burstable/podX/Y\n", &[(file, "2000")]);
        assert_eq!(found, Some((2000, file.to_owned())));
    }

    #[test]
    fn where_nothing_is_written_there_is_no_limit() {
        assert_eq!(limit("0::/pod\n", &[("pod/memory.max", "max\n")]), None);
        assert_eq!(limit("", &[]), None);
        assert_eq!(limit("nonsense", &[]), None);
    }

    #[test]
    fn a_read_batch_by_hand() {
        // 128 frames twice, 128 answers of two results.
        let needed = of_read_batch(128, 524_288, 2 * 16_512);
        assert_eq!(needed, 134_217_728 + 4_227_072);
        assert_eq!(of_read_batch(usize::MAX, 2, 2), usize::MAX);
    }
}
