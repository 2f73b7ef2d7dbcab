//! `beamflow pva-source` and a PVXS server (p4p): frames that are refused, and connections that are lost, in the program's
//! words.

use crate::black_box::common::eventually;
use crate::black_box::detector::{LONG, PV, balanced, stats, until};
use crate::black_box::pva_peers::Peer;
use crate::black_box::served::get;
use crate::black_box::source::{Source, connect, ids, offsets, read};
use beamflow_needs::needs;

/// Posts frames as areaDetector does: `mono N`, `rgb N` and `int64 N`; `close` and `open` end the PV and serve it again.
const SERVER: &str = r#"
import sys
import time
import numpy
from p4p import Type, Value
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

structure = NTNDArray.buildType()
conf = {"EPICS_PVAS_SERVER_PORT": sys.argv[1], "EPICS_PVAS_BROADCAST_PORT": "0", "EPICS_PVAS_INTF_ADDR_LIST": "127.0.0.1"}
pv = SharedPV(initial=Value(structure, {}))
server = Server(providers=[{"test:image": pv}], conf=conf)
print(server.conf()["EPICS_PVAS_SERVER_PORT"])
kinds = {
    "mono": ([4, 3], "ushortValue", "uint16", 0),
    "rgb": ([3, 4, 3], "ubyteValue", "uint8", 2),
    "int64": ([4, 3], "longValue", "int64", 0),
}
for line in sys.stdin:
    command, *number = line.split()
    if command == "close":
        pv.close(destroy=True)
    elif command == "open":
        pv.open(Value(structure, {}))
    else:
        sizes, member, dtype, mode = kinds[command]
        stamp = {"secondsPastEpoch": int(time.time()), "nanoseconds": int(number[0])}
        frame = Value(structure, {
            "uniqueId": int(number[0]),
            "dimension": [{"size": size} for size in sizes],
            "attribute": [{"name": "ColorMode", "value": mode}],
            "timeStamp": stamp,
            "dataTimeStamp": stamp,
        })
        frame["value"] = (member, numpy.full(numpy.prod(sizes), int(number[0]), dtype))
        pv.post(frame)
    print(line.strip())
"#;

/// A server on `port`, 0 for any free one, and its port.
async fn serve(port: &str) -> (Peer, String) {
    let mut peer = Peer::start(&["-c", SERVER, port]);
    let port = peer.line().await;
    (peer, port)
}

/// A source that follows the server and has seen that its PV is idle.
async fn follow(port: &str, flags: &[&str]) -> Source {
    let server = format!("tcp://127.0.0.1:{port}");
    let all = [
        "--input-channel",
        PV,
        "--server",
        &server,
        "--http-address",
        "127.0.0.1:0",
        "--linger",
        "off",
    ];
    let source = Source::start_as("pva-source", &[&all, flags].concat()).await;
    until(&source, "/skipped/idle", 1).await;
    source
}

#[tokio::test]
#[needs(pva_peers)]
async fn colour_and_64_bit_frames_are_refused_in_words_and_others_go_on() {
    let (mut peer, port) = serve("0").await;
    let source = follow(&port, &[]).await;
    let mut reader = connect(&source).await;
    for line in ["mono 1", "rgb 2", "int64 3", "mono 4"] {
        peer.tell(line).await;
    }
    let messages = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&messages), [1, 4]);
    for (reason, words) in [
        (
            "rgb",
            "A frame is refused: the frame has the ColorMode 2, which is not one channel: send ColorMode 0 (mono)",
        ),
        (
            "dtype",
            "A frame is refused: the pixels are int64: convert them to a type of 32 bits or fewer, or to float64",
        ),
    ] {
        until(&source, &format!("/skipped/{reason}"), 1).await;
        eventually(words, || source.said(words)).await;
        let metrics = get(&source.http_address().await, "/metrics").await;
        let counted =
            format!("beamflow_source_skipped_total{{pv=\"{PV}\",reason=\"{reason}\"}} 1\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    // They were there: none of them is missing.
    for (_, missing) in stats(&source).await.0["gap_frames"].as_object().unwrap() {
        assert_eq!(missing.as_u64(), Some(0));
    }
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

/// A PV that is closed, and a server that is killed and comes back. Returns the log.
async fn losses(flags: &[&str]) -> String {
    let (mut peer, port) = serve("0").await;
    let source = follow(&port, flags).await;
    peer.tell("close").await;
    peer.tell("open").await;
    until(&source, "/connections", 2).await;
    drop(peer);
    let lost = || source.log_text().matches("The connection is lost.").count() == 2;
    eventually("the loss of the server", lost).await;
    let (_peer, same) = serve(&port).await;
    assert_eq!(same, port);
    until(&source, "/connections", 3).await;
    source.stop().await
}

#[tokio::test]
#[needs(pva_peers)]
async fn a_lost_connection_is_logged_once_and_the_library_is_silent() {
    const LIBRARY: &str = "epics_pva_rs::";
    let with_debug = losses(&["--debug"]).await;
    // Their words, up to the first field.
    let words: Vec<_> = with_debug
        .lines()
        .filter_map(|line| line.split_once(LIBRARY)?.1.split_once(": "))
        .map(|(_, text)| text.split('=').next().unwrap())
        .filter_map(|text| text.rsplit_once(' '))
        .map(|(text, _field)| text)
        .collect();
    assert!(!words.is_empty(), "{with_debug}");
    let log = losses(&[]).await;
    for words in words {
        assert!(!log.contains(words), "{log}");
    }
    assert_eq!(log.matches("The connection is lost.").count(), 2, "{log}");
    assert_eq!(log.matches("The PV is connected.").count(), 3, "{log}");
}
