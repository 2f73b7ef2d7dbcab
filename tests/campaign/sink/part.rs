//! One process: source, map or sink.

use super::NEVER;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// See the module documentation.
pub struct Part {
    /// The subcommand; empty for the map.
    name: &'static str,
    flags: Vec<String>,
    child: Child,
    http: String,
    folder: tempfile::TempDir,
}

fn spawn(name: &str, flags: &[String], folder: &tempfile::TempDir) -> Child {
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(Some(name).filter(|name| !name.is_empty()))
        .args(flags)
        .args(["--http-address", "127.0.0.1:0", "--sock-path"])
        .arg(folder.path().join("sock"))
        .arg("--server-info-path")
        .arg(folder.path().join("info"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

impl Part {
    pub async fn start(name: &'static str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut part = Self {
            child: spawn(name, &flags, &folder),
            name,
            flags,
            http: String::new(),
            folder,
        };
        part.http = part.address().await;
        part
    }

    pub fn sock(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub fn info(&self) -> PathBuf {
        self.folder.path().join("info")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn address(&self) -> String {
        let told = || {
            let log = self.log();
            let (_, rest) = log.split_once("served over HTTP. address=")?;
            let (address, _) = rest.split_once(char::is_whitespace)?;
            Some(address.to_owned())
        };
        let waiting = async {
            loop {
                if let Some(address) = told() {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(NEVER, waiting).await;
        waited.unwrap_or_else(|_| panic!("{}: no address: {}", self.name, self.log()))
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
        // It would be taken for that of the next process.
        let _ = std::fs::remove_file(self.info());
    }

    /// The same command again, on the same socket.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.name, &self.flags, &self.folder);
        self.http = self.address().await;
    }

    pub async fn stop(mut self) {
        let pid = Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = tokio::time::timeout(NEVER, self.child.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0), "{}", self.log());
    }

    pub async fn stats(&self) -> Value {
        serde_json::from_str(&self.get("/stats").await).unwrap()
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    /// Waits until the stats are as wanted.
    pub async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let stats = self.stats().await;
            if wanted(&stats) {
                return stats;
            }
            assert!(
                begun.elapsed() < NEVER,
                "{}: it does not come: {stats}\n{}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }
}
