//! A program that is measured: a sidecar of this program, or a peer.

use super::BenchError;
use super::stage::{Expected, Stage};
use crate::cli::{self, Peer};
use crate::commands::child::ChildSidecar;
use crate::config::Config;
use crate::inference::model::OrAuto;
use crate::inference::schedule::Mode;
use crate::vertex::client::pipeline::Address;
use crate::vertex::client::{Driver, DriverError};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// What is to be measured.
pub(crate) struct Plan<'a> {
    /// Modes of the sidecar.
    pub(crate) modes: &'a [Mode],
    /// Depths, in pipelined mode.
    pub(crate) depths: &'a [usize],
    /// Frames per batch.
    pub(crate) batch_sizes: &'a [usize],
    /// Other programs.
    pub(crate) peers: &'a [Peer],
    /// Datums in a read batch.
    pub(crate) read_batch: usize,
    /// Datums in flight of a unary map.
    pub(crate) concurrency: usize,
    /// Read batches in hand of a whole vertex, if that is measured.
    pub(crate) read_ahead: Option<usize>,
}

/// What a process has used of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Time on CPUs, in seconds.
    pub(crate) cpu: f64,
    /// Memory that it holds now, in bytes.
    pub(crate) resident: u64,
}

impl Used {
    /// From `/proc/PID/stat` (proc_pid_stat(5)): fields 14 and 15 are ticks on CPUs, for the program and the kernel, and
    /// field 24 is its pages in memory. The name, field 2, is in parentheses and may hold anything.
    fn read(stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: (field(14)? + field(15)?) as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident: field(24)? * rustix::param::page_size() as u64,
        })
    }
}

/// A running program that is measured.
pub(crate) struct Subject {
    /// In the table.
    pub(crate) name: String,
    /// Its connection.
    pub(crate) driver: Driver,
    /// What it must answer.
    pub(crate) expected: Expected,
    /// Memory that its configuration allows for frames, in bytes, where it is known: of its slots, and of a read batch.
    pub(crate) bound: Option<usize>,
    child: ChildSidecar,
}

impl Subject {
    /// Starts what `plan` asks for, the peers first, each in a folder of its own under `folder`.
    pub(crate) async fn start_all(
        plan: &Plan<'_>,
        stage: &Stage,
        folder: &Path,
    ) -> Result<Vec<Self>, BenchError> {
        let mut subjects = Vec::new();
        for peer in plan.peers {
            let folder = own_folder(folder, subjects.len())?;
            let mut command = Command::new(peer.command.first().map_or("", String::as_str));
            command.args(peer.command.get(1..).unwrap_or_default());
            let child = ChildSidecar::start_peer(command, &folder)?;
            let (name, expected) = (peer.name.clone(), Expected::learned());
            subjects.push(Self::up(name, child, expected, plan.concurrency).await?);
        }
        for (name, flags) in sidecars(plan, stage) {
            let folder = own_folder(folder, subjects.len())?;
            let program = std::env::current_exe().map_err(|source| BenchError::File {
                doing: "find",
                path: "this program".into(),
                source,
            })?;
            let child = ChildSidecar::start(&program, &folder, &flags)?;
            let bound = bound(&flags, plan.read_batch, stage);
            let subject = Self::up(name, child, stage.expected(), plan.concurrency).await?;
            subjects.push(Self { bound, ..subject });
        }
        Ok(subjects)
    }

    async fn up(
        name: String,
        mut child: ChildSidecar,
        expected: Expected,
        concurrency: usize,
    ) -> Result<Self, BenchError> {
        let driver = child.connect().await?.with_concurrency(concurrency);
        Ok(Self {
            name,
            driver,
            expected,
            bound: None,
            child,
        })
    }

    /// What it has used so far.
    pub(crate) fn used(&self) -> Result<Used, BenchError> {
        let failed = |source| BenchError::Usage {
            subject: self.name.clone(),
            source,
        };
        let pid = self.child.pid().unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed)?;
        Used::read(&stat).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
    }

    /// The error of a promise that it broke.
    pub(crate) fn broke(&self, source: DriverError) -> BenchError {
        BenchError::Driver {
            subject: self.name.clone(),
            source,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        self.child.address()
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Result<(), BenchError> {
        drop(self.driver);
        Ok(self.child.stop().await?)
    }
}

fn own_folder(folder: &Path, n: usize) -> Result<std::path::PathBuf, BenchError> {
    let path = folder.join(n.to_string());
    std::fs::create_dir(&path).map_err(|source| BenchError::File {
        doing: "make the folder",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Bytes in the slots of a sidecar with these flags, and in a read batch.
fn bound(flags: &[String], read_batch: usize, stage: &Stage) -> Option<usize> {
    let reading = cli::read(flags.iter().map(Into::into), |_| None).ok()?;
    let config = Config::try_from(reading.cli.serve).ok()?;
    let OrAuto::Exactly(batch_size) = config.model.batch_size else {
        return None;
    };
    Some(config.slots() * batch_size * stage.row_bytes()? + read_batch * stage.frame_bytes())
}

/// Name and flags of each sidecar.
fn sidecars(plan: &Plan<'_>, stage: &Stage) -> Vec<(String, Vec<String>)> {
    let mut sidecars = Vec::new();
    for mode in plan.modes {
        let depths: &[usize] = match mode {
            Mode::Pipelined | Mode::Streaming => plan.depths,
            Mode::Sequential | Mode::Concurrent => &[1],
        };
        for depth in depths {
            for batch_size in plan.batch_sizes {
                let name = match mode {
                    Mode::Pipelined | Mode::Streaming => {
                        format!("{mode} {depth} × {batch_size}")
                    }
                    _ => format!("{mode} × {batch_size}"),
                };
                let flags = [
                    ("--mode", mode.to_string()),
                    ("--pipeline-depth", depth.to_string()),
                    ("--bsz-size", batch_size.to_string()),
                    ("--model-path", stage.model().to_owned()),
                    (
                        "--batch-timeout",
                        humantime::format_duration(Duration::from_secs(1)).to_string(),
                    ),
                ];
                let flags = flags
                    .into_iter()
                    .flat_map(|(flag, value)| [flag.to_owned(), value]);
                sidecars.push((name, flags.chain(stage.flags()).collect()));
            }
        }
    }
    sidecars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_used_is_read_from_its_stat() {
        let numbers = (3..30).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let used = Used::read(&format!("1 (a ) b) {numbers}")).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(used.cpu, 29.0 / ticks);
        assert_eq!(used.resident, 24 * rustix::param::page_size() as u64);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(Used::read(&own).unwrap().resident > 0);
        assert!(Used::read("1 (a) R 1").is_none());
    }
}
