//! A sidecar with its HTTP server, and requests to it.

use crate::black_box::common::NEVER;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use beamflow::commands::child::ChildSidecar;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::path::Path;

/// A sidecar with its HTTP server on a free port.
pub struct Served {
    pub sidecar: ChildSidecar,
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Served {
    /// Starts a sidecar with `flags` on a free port.
    pub async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut common = vec!["--debug", "--output-size", "full", "--batch-timeout", "off"];
        if !flags.contains(&"--http-address") {
            common.extend(["--http-address", "127.0.0.1:0"]);
        }
        let flags: Vec<String> = common
            .iter()
            .chain(flags)
            .map(ToString::to_string)
            .collect();
        let program = Path::new(env!("CARGO_BIN_EXE_beamflow"));
        let sidecar = ChildSidecar::start(program, folder.path(), &flags).unwrap();
        let told = || {
            let log = sidecar.log();
            let (_, rest) = log.split_once("served over HTTP. address=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        };
        crate::black_box::common::eventually("the address", || told().is_some()).await;
        Self {
            address: told().unwrap(),
            sidecar,
            _folder: folder,
        }
    }

    /// Status and body of the answer for `path`.
    pub async fn ask(&self, method: &str, path: &str) -> (String, String) {
        ask(&self.address, method, path).await
    }

    /// The body for `path`, which must exist.
    pub async fn get(&self, path: &str) -> String {
        get(&self.address, path).await
    }

    /// Every sample of `/metrics`, by name and labels.
    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.get("/metrics").await;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// Waits until `path` answers with that status and those words.
    pub async fn until_answered(&self, path: &str, status: &str, words: &str) {
        let asking = async {
            loop {
                let (told, body) = self.ask("GET", path).await;
                if told.contains(status) && body.contains(words) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let told = tokio::time::timeout(NEVER, asking).await;
        assert!(told.is_ok(), "timeout: no answer with {status}, {words}");
    }
}

impl Served {
    /// The answer to `/stats`.
    pub async fn stats(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/stats").await).unwrap()
    }
}

/// Status and body of the answer of `address`.
pub async fn ask(address: &str, method: &str, path: &str) -> (String, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(Body::empty())
        .unwrap();
    let answer = client.request(request).await.unwrap();
    let status = answer.status().to_string();
    let body = to_bytes(Body::new(answer.into_body()), usize::MAX)
        .await
        .unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The body of an answer that must be found.
pub async fn get(address: &str, path: &str) -> String {
    let (status, body) = ask(address, "GET", path).await;
    assert_eq!(status, "200 OK", "{path}");
    body
}
