//! Shared by the black-box tests: a sidecar on a temporary socket, frames, and their expected results.

use beamflow::app::map::{AppError, Sidecar};
use beamflow::cli;
use beamflow::config::Config;
use beamflow::engine::simulated::expected;
use beamflow::inference::lane::Health;
use beamflow::inference::metrics::counts::Counts;
use beamflow::inference::schedule::Depth;
use beamflow::vertex::client::{Answer, Datum, Driver};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The modes of the sidecar.
pub const MODES: [&str; 4] = ["sequential", "concurrent", "pipelined", "streaming"];

/// Side of the frames of [`SIM`], in pixels.
pub const SIDE: usize = 4;

/// A simulated device with small frames that costs nothing.
pub const SIM: &str = "sim:size=4x4";

/// Longer than any expected event takes; no test waits until it has passed.
pub const NEVER: Duration = Duration::from_secs(60);

/// A sidecar in this process, on a temporary socket.
pub struct Host {
    pub sock: PathBuf,
    pub server_info: PathBuf,
    pub counts: Arc<Counts>,
    pub health: Health,
    pub depth: Arc<Depth>,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), AppError>>,
    _folder: tempfile::TempDir,
}

/// The configuration that `flags` make.
pub fn config(flags: &[&str]) -> Config {
    let reading = cli::read(flags.iter().map(Into::into), |_| None).expect("the flags are right");
    Config::try_from(reading.cli.serve).unwrap()
}

impl Host {
    /// Starts a sidecar with `flags`. By default results are sent whole, and batches close only when full or at
    /// the end, so that no test depends on the speed of the machine.
    pub async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(flags);
        if !flags.contains(&"--output-size") {
            config.model.output_size = beamflow::frame::OutputSize::Full;
        }
        if !flags.contains(&"--batch-timeout") {
            config.model.limits.batch_timeout = None;
        }
        config.sock_path = folder.path().join("batchmap.sock");
        config.server_info_path = folder.path().join("mapper-server-info");
        let sidecar = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Sidecar::load(&config))
                .await
                .unwrap()
                .unwrap()
        };
        let counts = Arc::clone(&sidecar.counts);
        let (health, depth) = (sidecar.health.clone(), Arc::clone(&sidecar.depth));
        let shutdown = CancellationToken::new();
        let host = Self {
            sock: config.sock_path.clone(),
            server_info: config.server_info_path.clone(),
            counts,
            health,
            depth,
            shutdown: shutdown.clone(),
            serving: tokio::spawn(async move { sidecar.serve(&config, shutdown).await }),
            _folder: folder,
        };
        drop(host.driver().await);
        host
    }

    /// A connected driver.
    pub async fn driver(&self) -> Driver {
        Driver::wait_ready(&self.server_info, &self.sock, NEVER)
            .await
            .unwrap()
    }

    /// Stops the sidecar; `serve` must return without an error.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// Frame `k` of [`SIM`]: int16 pixels that differ from every other frame.
pub fn pixels(k: usize) -> Vec<i16> {
    (0..SIDE * SIDE)
        .map(|position| ((k * 16 + position) % 30_000) as i16)
        .collect()
}

/// Frame `k` as a datum with raw pixels.
pub fn good(k: usize) -> Datum {
    let value = pixels(k).iter().flat_map(|p| p.to_le_bytes()).collect();
    let mut datum = Datum::new(k.to_string(), value);
    datum.keys = vec![format!("key-{k}")];
    datum
}

/// A datum that is not a valid frame.
pub fn bad(k: usize) -> Datum {
    Datum::new(k.to_string(), b"no frame".to_vec())
}

/// The result of the simulated device for frame `k` in output `output`.
pub fn result(output: usize, k: usize) -> Vec<f32> {
    pixels(k)
        .iter()
        .enumerate()
        .map(|(position, pixel)| expected(output, position, f32::from(*pixel)))
        .collect()
}

/// The values of a `.npy` payload.
pub fn values(payload: &[u8]) -> Vec<f32> {
    npyz::NpyFile::new(payload).unwrap().into_vec().unwrap()
}

/// Asserts that frame `k` was answered with its own result and its own keys.
pub fn assert_result(answer: &Answer, k: usize) {
    let messages = answer.get(&k.to_string()).expect("the frame is answered");
    assert_eq!(messages.len(), 1, "frame {k}: one message per output");
    assert_eq!(values(&messages[0].value), result(0, k), "frame {k}");
    assert_eq!(messages[0].keys, [format!("key-{k}")], "frame {k}");
}

/// Frames `0..n`, all valid, as one read batch.
pub async fn call(driver: &mut Driver, n: usize) -> Answer {
    let call = driver.call(futures::stream::iter((0..n).map(good)));
    tokio::time::timeout(NEVER, call)
        .await
        .expect("the call is answered")
        .unwrap()
}

/// Runs a command to its end; fails if it does not end in time.
pub async fn ended(command: std::process::Command) -> std::process::Output {
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(NEVER, output).await;
    output.expect("the command ends").unwrap()
}

/// Waits until `happened`; the test fails instead of hanging.
pub async fn eventually(what: &str, happened: impl Fn() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(NEVER, waiting).await;
    assert!(waited.is_ok(), "timeout: {what}");
}
