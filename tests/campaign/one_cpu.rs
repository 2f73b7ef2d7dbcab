//! One CPU for all threads of a sidecar, shared with a busy process.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// See the module documentation.
pub struct OneCpu {
    number: String,
    rival: Option<Child>,
}

impl OneCpu {
    /// A CPU that this process may use; with `rival`, a busy process runs on it too.
    pub fn new(with_rival: bool) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mut one = Self {
            number: allowed(&status)
                .rsplit([',', '-'])
                .next()
                .unwrap()
                .to_owned(),
            rival: None,
        };
        if with_rival {
            let mut rival = one.command(Path::new("sh"));
            // The shell ends with this process, however that ends.
            rival.args(["-c", "while [ -d /proc/$PPID ]; do :; done"]);
            one.rival = Some(rival.stdin(Stdio::null()).spawn().unwrap());
        }
        one
    }

    /// `program`, pinned from its start.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.number]).arg(program);
        command
    }

    /// Asserts that every thread of a process is pinned.
    pub fn check(&self, pid: i32) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut checked = 0;
        for thread in threads {
            // A thread may end while they are read.
            let Ok(status) = std::fs::read_to_string(thread.unwrap().path().join("status")) else {
                continue;
            };
            assert_eq!(allowed(&status), self.number);
            checked += 1;
        }
        assert!(checked > 1, "a sidecar has several threads");
    }
}

/// The CPUs that `/proc/PID/status` allows, as `0-3,5`.
fn allowed(status: &str) -> &str {
    let (_, rest) = status.split_once("Cpus_allowed_list:").unwrap();
    rest.lines().next().unwrap().trim()
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        if let Some(mut rival) = self.rival.take() {
            rival.kill().unwrap();
            rival.wait().unwrap();
        }
    }
}
