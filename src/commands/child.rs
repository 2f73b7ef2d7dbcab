//! A part of a pipeline in a process of its own: this program, started again, as a sidecar or as another vertex.

use crate::cli;
use crate::telemetry::logs;
use crate::vertex::client::pipeline::Address;
use crate::vertex::client::{Driver, DriverError};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Long enough for a model to be loaded and warmed up on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Kubernetes' default grace period.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// Why a sidecar of our own did not start, answer or end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The process cannot be started.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not come up.
    #[error("the sidecar did not become ready: {source}\n{log}")]
    NotReady {
        /// What the driver met.
        source: Box<DriverError>,
        /// The end of its log.
        log: String,
    },
    /// It did not stop cleanly.
    #[error("the sidecar ended with {status} after SIGTERM\n{log}")]
    Unclean {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
}

/// A running sidecar process; killed when dropped.
#[derive(Debug)]
pub struct ChildSidecar {
    process: Child,
    log: PathBuf,
    sock: PathBuf,
    server_info: PathBuf,
}

impl ChildSidecar {
    /// Starts `program` with `flags` in `folder`, which must exist: socket, server info and log go there.
    ///
    /// # Errors
    /// [`ChildError::System`].
    pub fn start(program: &Path, folder: &Path, flags: &[String]) -> Result<Self, ChildError> {
        Self::start_as(Command::new(program), folder, flags)
    }

    /// Starts `command`, which may have an environment of its own, as [`ChildSidecar::start`] does.
    ///
    /// # Errors
    /// [`ChildError::System`].
    pub fn start_as(
        mut command: Command,
        folder: &Path,
        flags: &[String],
    ) -> Result<Self, ChildError> {
        // The child must not take the settings of this process's environment.
        for name in cli::serving_variables() {
            command.env_remove(name);
        }
        // It would stop the child, and may be meant for other programs.
        if logs::directives().is_err() {
            command.env_remove("RUST_LOG");
        }
        // Several children cannot share one port.
        if !flags.iter().any(|flag| flag == "--http-address") {
            command.args(["--http-address", "off"]);
        }
        command.args(flags);
        Self::start_peer(command, folder)
    }

    /// Starts `command`, any program that serves a batch map where `--sock-path` and `--server-info-path` say.
    ///
    /// # Errors
    /// [`ChildError::System`].
    pub(crate) fn start_peer(command: Command, folder: &Path) -> Result<Self, ChildError> {
        Self::spawn(command, folder, true)
    }

    fn spawn(mut command: Command, folder: &Path, has_socket: bool) -> Result<Self, ChildError> {
        let log = folder.join("sidecar.log");
        let sock = folder.join("batchmap.sock");
        let server_info = folder.join("mapper-server-info");
        let system = |doing| move |source| ChildError::System { doing, source };
        let log_file = std::fs::File::create(&log).map_err(system("write the sidecar's log"))?;
        if has_socket {
            command
                .arg("--sock-path")
                .arg(&sock)
                .arg("--server-info-path")
                .arg(&server_info);
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .map_err(system("start the sidecar"))?;
        Ok(Self {
            process,
            log,
            sock,
            server_info,
        })
    }

    /// Starts a command of `program` that is a source or a sink, with `flags`; without `has_socket`, one that numa does not
    /// connect to.
    ///
    /// # Errors
    /// [`ChildError::System`].
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    pub(crate) fn start_part(
        program: &Path,
        name: &str,
        folder: &Path,
        flags: &[String],
        has_socket: bool,
    ) -> Result<Self, ChildError> {
        let mut command = Command::new(program);
        // The child must not take the settings of this process's environment.
        for name in cli::variables_of(name) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").arg(name).args(flags);
        Self::spawn(command, folder, has_socket)
    }

    /// Waits until its log has `words`, and returns what follows them up to the next space.
    ///
    /// # Errors
    /// [`ChildError::NotReady`] if it ends instead, or takes too long.
    #[cfg(all(feature = "pva", feature = "hdf5"))]
    pub(crate) async fn told(&mut self, words: &str) -> Result<String, ChildError> {
        let told = async {
            loop {
                let log = self.log();
                if let Some((_, rest)) = log.split_once(words)
                    && let Some((value, _)) = rest.split_once(char::is_whitespace)
                {
                    return value.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let outcome = tokio::time::timeout(READY_WITHIN, told).await;
        outcome.map_err(|_| ChildError::NotReady {
            source: Box::new(DriverError::Closed),
            log: self.log_tail(),
        })
    }

    /// Waits until the sidecar is ready, as numa does, and connects. A sidecar that ends instead is
    /// noticed at once.
    ///
    /// # Errors
    /// [`ChildError::NotReady`] with the end of its log.
    pub async fn connect(&mut self) -> Result<Driver, ChildError> {
        let ready = Driver::wait_ready(&self.server_info, &self.sock, READY_WITHIN);
        let outcome = tokio::select! {
            ready = ready => ready,
            _ = self.process.wait() => Err(DriverError::Closed),
        };
        outcome.map_err(|source| ChildError::NotReady {
            source: Box::new(source),
            log: self.log_tail(),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        Address::new(&self.sock, &self.server_info)
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.process.id().and_then(|id| i32::try_from(id).ok())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// [`ChildError::System`], also when it runs on for longer than a sidecar takes to stop.
    pub async fn ended(&mut self) -> Result<ExitStatus, ChildError> {
        tokio::time::timeout(STOPPED_WITHIN, self.process.wait())
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(|source| ChildError::System {
                doing: "wait for the sidecar to stop",
                source,
            })
    }

    /// Asks it to stop as Kubernetes does.
    ///
    /// # Errors
    /// [`ChildError::System`].
    pub fn terminate(&self) -> Result<(), ChildError> {
        let pid = self.pid().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(|error| ChildError::System {
                doing: "signal the sidecar",
                source: error.into(),
            })?;
        }
        Ok(())
    }

    /// Asks it to stop as Kubernetes does, and waits until it has.
    ///
    /// # Errors
    /// [`ChildError::Unclean`] unless it exits with code 0.
    pub async fn stop(mut self) -> Result<(), ChildError> {
        self.terminate()?;
        let status = self.ended().await?;
        if status.success() {
            return Ok(());
        }
        Err(ChildError::Unclean {
            status,
            log: self.log_tail(),
        })
    }

    /// All of its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines
            .get(lines.len().saturating_sub(10)..)
            .unwrap_or_default()
            .join("\n")
    }
}
