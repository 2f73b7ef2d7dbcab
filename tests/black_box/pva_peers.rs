//! `beamflow pva-source` and the PVA servers of others: PVXS (p4p) and pvAccessCPP (pvaPy), as Python programs.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::detector::{LONG, PV, balanced, header, until};
use crate::black_box::source::{Source, connect, ids, offsets, read};
use beamflow::frame::headers;
use beamflow_needs::needs;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdout, Command};

/// A Python program in the environment of the peers; killed when dropped. Its first line tells the TCP port.
pub struct Peer {
    process: tokio::process::Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// An interface in the environment is one more for p4p, on the default port: each program sets its own.
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(std::env::var("BEAMFLOW_PYTHON").unwrap())
            .arg("-u")
            .args(arguments)
            .env("EPICS_PVA_AUTO_ADDR_LIST", "NO")
            .env("EPICS_PVA_ADDR_LIST", "127.0.0.1")
            .env("EPICS_PVAS_AUTO_BEACON_ADDR_LIST", "NO")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    pub async fn line(&mut self) -> String {
        let line = tokio::time::timeout(NEVER, self.lines.next_line()).await;
        line.expect("a line comes")
            .unwrap()
            .expect("the peer goes on")
    }

    pub async fn tell(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(self.line().await, line);
    }
}

/// Posts `numpy` arrays as p4p wraps them: uniqueId and both times stay 0.
const WRAPPED: &str = r#"
import sys
import numpy
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

pv = SharedPV(nt=NTNDArray(), initial=numpy.full((3, 4), 7, "uint16"))
conf = {"EPICS_PVAS_SERVER_PORT": "0", "EPICS_PVAS_BROADCAST_PORT": "0", "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1"}
server = Server(providers=[{"test:image": pv}], conf=conf)
print(server.conf()["EPICS_PVAS_SERVER_PORT"])
for line in sys.stdin:
    pv.post(numpy.full((3, 4), int(line), "uint16"))
    print(line.strip())
"#;

#[tokio::test]
#[needs(pva_peers)]
async fn frames_that_p4p_wraps_are_numbered_by_the_source() {
    let mut peer = Peer::start(&["-c", WRAPPED]);
    let server = format!("tcp://127.0.0.1:{}", peer.line().await);
    let flags = [
        "--input-channel",
        PV,
        "--server",
        &server,
        "--server-queue-size",
        "100",
        "--http-address",
        "127.0.0.1:0",
        "--initial",
        "never",
        "--linger",
        "off",
    ];
    let source = Source::start_as("pva-source", &flags).await;
    until(&source, "/skipped/stale", 1).await;
    let mut reader = connect(&source).await;
    for value in 10..16 {
        peer.tell(&value.to_string()).await;
    }
    let messages = read(&mut reader, 6, LONG).await;
    let values = messages.iter().map(|message| message.datum.value[0]);
    assert!(values.eq(10..16));
    assert_eq!(ids(&messages), [1, 2, 3, 4, 5, 6]);
    eventually("the warning", || source.said("does not number its frames")).await;
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

/// Runs areaDetector's simulation of pvaPy on a port of its own, and says which.
const SIMULATION: &str = r#"
import os
import socket
import sys

with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
    tcp.bind(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    ports = tcp.getsockname()[1], udp.getsockname()[1]
os.environ["EPICS_PVAS_INTF_ADDR_LIST"] = "127.0.0.1"
os.environ["EPICS_PVAS_SERVER_PORT"], os.environ["EPICS_PVAS_BROADCAST_PORT"] = map(str, ports)
print(*ports)
program = os.path.join(os.path.dirname(sys.executable), "pvapy-ad-sim-server")
os.execv(sys.executable, [sys.executable, program, *sys.argv[1:]])
"#;

#[tokio::test]
#[needs(pva_peers)]
async fn frames_of_pvapys_simulated_detector_come_in_order() {
    let mut peer = Peer::start(&[
        "-c",
        SIMULATION,
        "-cn",
        "pvapy:image",
        "-nx",
        "16",
        "-ny",
        "8",
        "-dt",
        "int16",
        "-fps",
        "50",
        "-rt",
        "120",
        "-std",
        "1",
        "-shd",
        "1",
        "-dc",
    ]);
    let ports = peer.line().await;
    let (_, udp) = ports.split_once(' ').unwrap();
    // Found by a search, as in a pod that knows the host alone.
    let server = format!("udp://127.0.0.1:{udp}");
    let flags = [
        "--input-channel",
        "pvapy:image",
        "--server",
        &server,
        "--server-queue-size",
        "200",
        "--http-address",
        "127.0.0.1:0",
        "--initial",
        "never",
        "--linger",
        "off",
    ];
    let source = Source::start_as("pva-source", &flags).await;
    let mut reader = connect(&source).await;
    let messages = read(&mut reader, 40, LONG).await;
    let ids = ids(&messages);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    for message in &messages {
        assert_eq!(header(message, headers::SHAPE), "8x16");
        assert_eq!(header(message, headers::DTYPE), "int16");
        assert_eq!(message.datum.value.len(), 8 * 16 * 2);
    }
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    drop(peer);
    eventually("the loss of the connection", || {
        source.said("The connection is lost")
    })
    .await;
    drop(reader);
}
