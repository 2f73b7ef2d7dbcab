//! Host memory: the limits, the current use, and the need beyond slots and model.
//!
//! The memory limit of a container is that of its control group. Beyond it the kernel does not refuse memory, it kills the
//! process, and no log says why. A limit of the process itself makes an allocation fail, which ends the process too. So the
//! need is computed and compared with the limit before any of it is allocated.
//!
//! What always holds: the limits of all groups of this process count, the pod's and the container's. A limit that cannot be
//! read does not exist, and nothing here fails.

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};
use std::path::{Path, PathBuf};

/// Memory of the program without slots, frames and answers: code, threads, and the read-ahead of gRPC.
pub const PROGRAM: usize = 32 << 20;

/// The part of a limit that slots must leave free, for serving and for error messages.
pub(crate) const SPARE: usize = 16 << 20;

/// Where control groups are found.
const GROUPS: &str = "/sys/fs/cgroup";

/// What a read batch of `frames` frames of `frame_bytes`, with `result_bytes` of results each, may take while it is open, in
/// bytes, without slots.
///
/// Frames are held until its end in sequential mode, and rejected ones if they are sent on. The allocator may keep as much
/// again between allocations.
#[must_use]
pub const fn of_read_batch(frames: usize, frame_bytes: usize, result_bytes: usize) -> usize {
    let of_a_frame = frame_bytes.saturating_mul(2).saturating_add(result_bytes);
    frames.saturating_mul(of_a_frame)
}

/// A memory limit that holds for this process, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    bytes: usize,
    taken: usize,
    /// The control group's file, or the limit's name in a shell.
    place: String,
}

impl Limit {
    /// The limit that leaves the least memory, if there is any limit.
    #[must_use]
    pub(crate) fn tightest() -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = files(&groups, Path::new(GROUPS));
        let of_groups = files.into_iter().filter_map(|file| {
            Some(Self {
                bytes: read(&file)?,
                // Others in the group are not counted, nor files in memory, which the kernel gives up before anything else.
                taken: status("RssAnon"),
                place: file.display().to_string(),
            })
        });
        of_groups
            .chain(Self::of_the_process())
            .min_by_key(Self::left)
    }

    /// What `ulimit` sets: 2 MiB of each thread's stack count as data.
    fn of_the_process() -> impl Iterator<Item = Self> {
        let of = |resource, field, place: &str| {
            Some(Self {
                bytes: usize::try_from(getrlimit(resource).current?).unwrap_or(usize::MAX),
                taken: status(field),
                place: place.to_owned(),
            })
        };
        let data = of(Resource::Data, "VmData", "ulimit -d");
        let addresses = of(Resource::As, "VmSize", "ulimit -v");
        data.into_iter().chain(addresses)
    }

    /// Bytes that this process may still take.
    #[must_use]
    pub(crate) const fn left(&self) -> usize {
        self.bytes.saturating_sub(self.taken)
    }
}

/// What a file holds: a number of bytes, or a word where there is no limit. Version 1 of control groups has the largest number
/// instead of a word.
fn read(file: &Path) -> Option<usize> {
    const NO_LIMIT: usize = 1 << 60;
    let bytes = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < NO_LIMIT).then_some(bytes)
}

/// The use of one kind of memory by this process, in bytes: a field of `/proc/self/status`, which counts in KiB.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib: Option<usize> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0).saturating_mul(1 << 10)
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the memory limit of {} ({})",
            ByteSize(self.bytes as u64),
            self.place
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
        let files = files(groups, root.path()).into_iter();
        let (bytes, file) = files.filter_map(|file| Some((read(&file)?, file))).min()?;
        let file = file.strip_prefix(root.path()).unwrap();
        Some((bytes, file.display().to_string()))
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
    fn the_limit_is_found_without_the_containers_own_path() {
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
    fn the_largest_number_of_version_1_is_no_limit() {
        let file = "memory/memory.limit_in_bytes";
        let pages_of_4_kib = i64::MAX / 4096 * 4096;
        for none in [pages_of_4_kib, i64::MAX / 65_536 * 65_536, i64::MAX] {
            assert_eq!(limit("4:memory:/\n", &[(file, &none.to_string())]), None);
        }
        let terabyte = 1_usize << 40;
        let found = limit("4:memory:/\n", &[(file, &terabyte.to_string())]);
        assert_eq!(found, Some((terabyte, file.to_owned())));
    }

    #[test]
    fn a_read_batch_by_hand() {
        // 128 frames twice, 128 answers of two results.
        let needed = of_read_batch(128, 524_288, 2 * 16_512);
        assert_eq!(needed, 134_217_728 + 4_227_072);
        assert_eq!(of_read_batch(usize::MAX, 2, 2), usize::MAX);
    }
}
