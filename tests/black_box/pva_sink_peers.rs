//! `beamflow pva-sink` and the clients of others: PVXS (p4p) and pvAccessCPP (pvaPy), as Python programs that decode an image
//! as viewers do.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::results::{
    Scan, Sinking, connect, npy, port, pva_sink, until, values, write,
};
use beamflow::vertex::client::Datum;
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// A client that prints what viewers would show; killed when dropped.
struct Client {
    _process: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Client {
    async fn start(kind: &str, pv: &str, sink: &Sinking) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/viewers.py");
        let tcp = port(sink, "tcp_port").await.to_string();
        // PVXS listens for beacons on a port that must not be taken.
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut process = Command::new(std::env::var("BEAMFLOW_PYTHON").unwrap())
            .args(["-u", script, kind, pv, &tcp, &udp, "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            lines,
        }
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(NEVER, self.lines.next_line()).await;
        let line = line.expect("a line comes").unwrap();
        serde_json::from_str(&line.expect("the client goes on")).unwrap()
    }
}

/// What viewers show of a result.
fn shown(scan: &Scan, number: u64) -> Value {
    let rows: Vec<Vec<f32>> = values(number).chunks(3).map(<[f32]>::to_vec).collect();
    let time = scan.time(number);
    json!({
        "image": rows, "low": rows[0][0], "high": rows[1][2],
        "index": number, "position": [2e-6, -1e-6],
        "taken": [time / 1_000_000_000, time % 1_000_000_000],
    })
}

#[needs(pva_peers)]
#[tokio::test]
async fn viewers_show_every_result() {
    for kind in ["pvxs", "pvaccess"] {
        let sink = pva_sink(&["--outputs", "phase"]).await;
        let mut numa = connect(&sink).await;
        let mut client = Client::start(kind, "beamflow:phase:image", &sink).await;
        until(&sink, "/clients", 1).await;
        let scan = Scan::new();
        // The first result may come before the client's monitor; the PV keeps it.
        for number in 1..=5 {
            write(&mut numa, &[scan.result(number, "phase")]).await;
            let mut line = client.line().await;
            let latency = line.as_object_mut().unwrap().remove("latency");
            assert!(
                latency.is_some_and(|ms| ms.as_f64() > Some(0.0)),
                "{kind}: {line}"
            );
            assert_eq!(line, shown(&scan, number), "{kind}");
        }
        // Two at once, of one time and with values that are no numbers.
        let odd = |number| Datum {
            value: npy(&[f32::NAN, 1.0, 2.0, 3.0, 4.0, f32::INFINITY]),
            ..scan.result(number, "phase")
        };
        write(&mut numa, &[odd(6), odd(7)]).await;
        for number in [6, 7] {
            let line = client.line().await;
            assert_eq!(
                (&line["index"], &line["low"]),
                (&json!(number), &json!(0.0)),
                "{kind}: {line}"
            );
        }
        drop(client);
        until(&sink, "/clients", 0).await;
        sink.stop().await;
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn numbers_are_pvs() {
    let sink = pva_sink(&["--prefix", "vit:1"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let batch: Vec<Datum> = [1, 2, 4].map(|n| scan.result(n, "phase")).into();
    write(&mut numa, &batch).await;
    for (name, wanted) in [("frames", 3.0), ("gaps", 1.0), ("rate", 0.0)] {
        let mut client = Client::start("pvxs", &format!("vit:1:{name}"), &sink).await;
        while client.line().await["number"] != wanted {}
    }
    let mut client = Client::start("pvxs", "vit:1:latency", &sink).await;
    while client.line().await["number"].as_f64() < Some(9_000.0) {}
    sink.stop().await;
}

#[needs(pva_peers)]
#[tokio::test]
async fn clients_that_go_leave_room_for_others() {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    write(&mut numa, &[scan.result(1, "phase")]).await;
    for kind in ["pvxs", "pvaccess", "pvxs"] {
        let mut client = Client::start(kind, "beamflow:phase:image", &sink).await;
        // A late joiner gets the last result.
        assert_eq!(client.line().await["index"], 1, "{kind}");
        until(&sink, "/clients", 1).await;
        drop(client);
        until(&sink, "/clients", 0).await;
    }
    eventually("the first lines", || {
        sink.said("Results are served as PVs.")
    })
    .await;
    sink.stop().await;
}
