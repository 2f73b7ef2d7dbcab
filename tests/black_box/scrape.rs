//! What scrapers get: both families, the format that they ask for, and a port that is taken.

use crate::black_box::common::{SIM, assert_result, call};
use crate::black_box::served::Served;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use beamflow::commands::child::ChildSidecar;
use beamflow_needs::needs;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Media type and text of the metrics for a scraper that asks for `accept`.
async fn scrape(address: &str, accept: Option<&str>) -> (String, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().uri(format!("http://{address}/metrics"));
    if let Some(accept) = accept {
        request = request.header(header::ACCEPT, accept);
    }
    let answer = client.request(request.body(Body::empty()).unwrap()).await;
    let answer = answer.unwrap();
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap();
    let kind = kind.to_owned();
    let body = to_bytes(Body::new(answer.into_body()), usize::MAX).await;
    (kind, String::from_utf8(body.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_scraper_gets_the_format_it_asks_for() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    call(&mut driver, 9).await;
    for accept in [
        None,
        Some("*/*"),
        Some("text/plain"),
        Some("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.1"),
    ] {
        let (kind, text) = scrape(&served.address, accept).await;
        assert_eq!(
            kind, "text/plain; version=0.0.4; charset=utf-8",
            "{accept:?}"
        );
        assert!(
            !text.contains("# EOF") && !text.contains("# UNIT"),
            "{text}"
        );
        assert!(
            text.contains(
                "\n# TYPE beamflow_read_batches_total counter\nbeamflow_read_batches_total 1\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("# TYPE beamflow_build_info gauge\n") && !text.contains(" info\n"),
            "{text}"
        );
    }
    let accept =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (kind, text) = scrape(&served.address, Some(accept)).await;
    assert_eq!(
        kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(
        text.ends_with("# EOF\n") && text.contains("# TYPE beamflow_build info\n"),
        "{text}"
    );
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

#[needs(promtool)]
#[tokio::test]
async fn promtool_reads_the_classic_format() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    call(&mut driver, 9).await;
    let (_, text) = scrape(&served.address, Some("text/plain")).await;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut promtool = promtool
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    // 3: it can be read, and some names could be better.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{told}");
    assert!(!told.contains("error while linting"), "{told}");
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn metrics_are_served_in_both_families() {
    let mut served = Served::start(&["--model-path", SIM, "--http-address", "[::]:0"]).await;
    drop(served.sidecar.connect().await.unwrap());
    let (host, port) = served.address.rsplit_once(':').unwrap();
    scrape(&format!("127.0.0.1:{port}"), None).await;
    // A machine without IPv6 says so in its log: it listens on 0.0.0.0.
    if host.starts_with('[') {
        scrape(&format!("[::1]:{port}"), None).await;
    }
    served.sidecar.stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_stops_no_frame_and_is_told() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--model-path",
        SIM,
        "--output-size",
        "full",
        "--http-address",
        &address,
    ];
    let program = Path::new(env!("CARGO_BIN_EXE_beamflow"));
    let mut sidecar =
        ChildSidecar::start(program, folder.path(), &flags.map(str::to_owned)).unwrap();
    let mut driver = sidecar.connect().await.unwrap();
    assert_result(&call(&mut driver, 9).await, 8);
    let log = sidecar.log();
    let told = log
        .lines()
        .find(|line| line.contains("has the port of the metrics"));
    let told = told.unwrap_or_else(|| panic!("{log}"));
    for word in ["WARN", &address, "--http-address", "node_exporter"] {
        assert!(told.contains(word), "{told}");
    }
    drop(driver);
    sidecar.stop().await.unwrap();
}
