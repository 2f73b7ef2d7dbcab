//! One life of the sidecar, from start to end.

use crate::account::Account;
use crate::one_cpu::OneCpu;
use crate::plan::{Incident, Plan};
use beamflow::commands::child::ChildSidecar;
use beamflow::vertex::client::{Datum, Driver, DriverError};
use futures::{StreamExt, stream};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any step takes; no fault lasts as long.
const NEVER: Duration = Duration::from_secs(120);

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By SIGTERM.
    Terminated,
    /// By SIGKILL.
    Killed,
    /// By itself, after its last device was lost.
    LastDeviceLost,
}

/// See the module documentation.
pub struct Life {
    sidecar: Option<ChildSidecar>,
    driver: Option<Driver>,
    http: String,
    faults: BTreeMap<String, u64>,
    received: u64,
    completed: BTreeMap<String, u64>,
    exit_code: Option<i32>,
    calls: usize,
    _folder: tempfile::TempDir,
}

impl Life {
    /// Starts a sidecar; with `cpu`, all its threads run on that CPU.
    pub async fn start(plan: &mut Plan, cpu: Option<&OneCpu>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut flags = plan.flags(folder.path());
        flags.extend(["--http-address".to_owned(), "127.0.0.1:0".to_owned()]);
        let program = Path::new(env!("CARGO_BIN_EXE_beamflow"));
        let command = cpu.map_or_else(|| Command::new(program), |cpu| cpu.command(program));
        let mut sidecar = ChildSidecar::start_as(command.into(), folder.path(), &flags).unwrap();
        let driver = sidecar.connect().await.unwrap();
        let http = address(&sidecar).await;
        if let Some(cpu) = cpu {
            cpu.check(sidecar.pid().unwrap());
        }
        Self {
            sidecar: Some(sidecar),
            driver: Some(driver),
            http,
            faults: BTreeMap::new(),
            received: 0,
            completed: BTreeMap::new(),
            exit_code: None,
            calls: 0,
            _folder: folder,
        }
    }

    /// Runs one call with its incident; returns `Some` if it was the last call of this life.
    pub async fn call(
        &mut self,
        incident: Incident,
        batch: Vec<usize>,
        account: &mut Account,
        plan: &mut Plan,
    ) -> Option<Ending> {
        account.incident(incident);
        self.calls += 1;
        if self.calls.is_multiple_of(20) || matches!(incident, Incident::Kill | Incident::Terminate)
        {
            self.look().await;
        }
        let frames = account.frames();
        let datums: Vec<_> = batch.iter().map(|n| frames.datum(*n)).collect();
        let half = datums.len() / 2;
        match incident {
            Incident::None | Incident::Burst | Incident::Stall => {
                let pause = match incident {
                    Incident::Stall => Duration::from_millis(plan.stall()),
                    _ => Duration::ZERO,
                };
                let datums = stream::iter(datums.into_iter().enumerate()).then(
                    move |(n, datum)| async move {
                        if n == half && !pause.is_zero() {
                            tokio::time::sleep(pause).await;
                        }
                        datum
                    },
                );
                let driver = self.driver.as_mut().unwrap();
                let answered = tokio::time::timeout(NEVER, driver.call(datums)).await;
                match answered.expect("the call is answered") {
                    Ok(answer) => {
                        account.complete(&batch, &answer);
                        None
                    }
                    Err(error) => self.over(error, batch, account).await,
                }
            }
            Incident::Disconnect => {
                // Datums sent and not sent: numa would read all of them again.
                let sent = self.send(datums.into_iter().take(half)).await;
                self.driver = None;
                account.aborted(batch);
                if sent.is_err() {
                    return Some(self.ended().await);
                }
                match self.sidecar.as_mut().unwrap().connect().await {
                    Ok(driver) => {
                        self.driver = Some(driver);
                        None
                    }
                    Err(_) => Some(self.ended().await),
                }
            }
            Incident::Kill => {
                // Whether the server was still there to receive them does not matter.
                let _ = self.send(datums.into_iter().take(half)).await;
                self.driver = None;
                self.sidecar = None; // Dropping it kills the process.
                account.aborted(batch);
                Some(Ending::Killed)
            }
            Incident::Terminate => {
                let mut datums = datums.into_iter();
                let begun = self.send(datums.by_ref().take(half)).await;
                self.sidecar.as_ref().unwrap().terminate().unwrap();
                let answer = match begun {
                    Ok(()) => self.finish(datums).await,
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(answer) => account.complete(&batch, &answer),
                    // If no datum was sent, there was no call to finish.
                    Err(error) if half == 0 => {
                        check_gone(&error);
                        account.aborted(batch);
                    }
                    Err(error) => return self.over(error, batch, account).await,
                }
                self.driver = None;
                Some(self.ended().await)
            }
        }
    }

    async fn send(&mut self, datums: impl Iterator<Item = Datum>) -> Result<(), DriverError> {
        let driver = self.driver.as_mut().unwrap();
        for datum in datums {
            driver.send_datum(datum).await?;
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        datums: impl Iterator<Item = Datum>,
    ) -> Result<beamflow::vertex::client::Answer, DriverError> {
        self.send(datums).await?;
        let driver = self.driver.as_mut().unwrap();
        driver.end_of_transmission().await?;
        let answered = tokio::time::timeout(NEVER, driver.answer()).await;
        answered.expect("the call is answered")
    }

    /// The call cannot be completed: this is allowed only if the sidecar ended by itself.
    async fn over(
        &mut self,
        error: DriverError,
        batch: Vec<usize>,
        account: &mut Account,
    ) -> Option<Ending> {
        check_gone(&error);
        account.aborted(batch);
        self.driver = None;
        Some(self.ended().await)
    }

    /// Waits until the process is gone.
    async fn ended(&mut self) -> Ending {
        let sidecar = self.sidecar.as_mut().unwrap();
        let status = sidecar.ended().await.unwrap();
        self.exit_code = status.code();
        match self.exit_code {
            Some(0) => Ending::Terminated,
            _ if sidecar.log_tail().contains("last lane is lost") => Ending::LastDeviceLost,
            code => panic!("the sidecar ended with {code:?}:\n{}", sidecar.log_tail()),
        }
    }

    /// Ends it with SIGTERM, as Kubernetes does.
    pub async fn stop(&mut self) -> Ending {
        self.look().await;
        // With no call in progress, received equals completed.
        let completed = self.completed.values().sum::<u64>();
        assert_eq!(self.received, completed, "{:?}", self.completed);
        self.driver = None;
        self.sidecar.as_ref().unwrap().terminate().unwrap();
        self.ended().await
    }

    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// The engine's faults in this life, as the sidecar counted them at the last query.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        self.faults.clone()
    }

    /// Reads the sidecar's counts. The process may be gone.
    async fn look(&mut self) {
        let Ok(mut stream) = TcpStream::connect(&self.http).await else {
            return;
        };
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let mut text = String::new();
        if stream.write_all(request).await.is_err()
            || stream.read_to_string(&mut text).await.is_err()
        {
            return;
        }
        for line in text.lines() {
            let frames = line
                .strip_prefix("beamflow_frames_")
                .and_then(|l| l.rsplit_once(' '));
            match frames {
                Some(("received_total", count)) => self.received = count.parse().unwrap(),
                Some((outcome, count)) if outcome.starts_with("completed_total") => {
                    self.completed
                        .insert(outcome.to_owned(), count.parse().unwrap());
                }
                _ => {}
            }
            if let Some((fault, count @ 1..)) = fault(line) {
                self.faults.insert(fault, count);
            }
        }
    }
}

/// A line of the metrics that counts faults of a model, as the model and the kind of fault, and how many.
fn fault(line: &str) -> Option<(String, u64)> {
    let (metric, rest) = line.strip_prefix("beamflow_")?.split_once("{model=\"")?;
    let (model, rest) = rest.split_once('"')?;
    let (labels, count) = rest.rsplit_once(' ')?;
    let kind = match metric {
        "engine_errors_total" => labels
            .trim_start_matches(",kind=\"")
            .trim_end_matches("\"}"),
        "lanes_replaced_total" => "lanes replaced",
        "devices_lost" => "devices lost",
        _ => return None,
    };
    Some((format!("{model} {kind}"), count.parse().ok()?))
}

/// The address of the metrics, from the sidecar's log.
async fn address(sidecar: &ChildSidecar) -> String {
    let told = async {
        loop {
            let log = sidecar.log();
            if let Some((_, rest)) = log.split_once("served over HTTP. address=") {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(NEVER, told).await.unwrap()
}

/// Only the end of the process excuses an unanswered call.
fn check_gone(error: &DriverError) {
    let excused = matches!(
        error,
        DriverError::Closed | DriverError::Status { .. } | DriverError::Ended { .. }
    );
    assert!(excused, "a promise was broken: {error}");
}
