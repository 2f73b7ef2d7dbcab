//! `beamflow pva-sink` and its clients: the real program between numa's end of the sink protocol and a real PVA client.
//!
//! The client is this project's own; `pva_sink_peers` has others.

use crate::black_box::common::NEVER;
use crate::black_box::results::{
    SHAPE, Scan, Viewer, balanced, bytes, connect, image, port, pva_sink, says, stats, until,
    values, write,
};
use crate::black_box::source;
use beamflow::frame::{Dtype, headers};
use beamflow::pva::{Attribute, Content, Event};
use beamflow::vertex::client::Datum;
use std::process::Stdio;
use tokio::process::Command;

const PHASE: &str = "beamflow:phase:image";

#[tokio::test]
async fn a_result_is_an_image_with_everything_that_is_known_of_its_frame() {
    let sink = pva_sink(&["--outputs", "phase,amplitude"]).await;
    let mut numa = connect(&sink).await;
    let (mut viewer, idle) = Viewer::of(&sink, PHASE).await;
    assert_eq!(idle.content, Content::Idle);
    let scan = Scan::new();
    let mut before = 0;
    for number in [7, 8] {
        let both = [
            scan.result(number, "phase"),
            scan.result(number, "amplitude"),
        ];
        write(&mut numa, &both).await;
        let update = viewer.update().await;
        let image = image(&update);
        assert_eq!((image.shape, image.dtype), (SHAPE, Dtype::F32));
        assert_eq!(image.codec, None);
        assert_eq!(image.pixels[..], bytes(&values(number)));
        assert_eq!(update.unique_id, Some(number as i64));
        assert_eq!(update.data_time_stamp, scan.time(number));
        assert!(update.time_stamp > before, "strictly increasing");
        before = update.time_stamp;
        let attribute = |name: &str| {
            let mut all = update.attributes.iter();
            all.find(|(other, _)| other == name).map(|(_, value)| value)
        };
        let text = |text: &str| Attribute::Text(text.to_owned());
        for (name, value) in [
            ("ColorMode", Attribute::Integer(0)),
            ("SourcePV", text("13SIM1:Pva1:Image")),
            ("SeriesStart", Attribute::Integer(scan.start)),
            ("Scan", text("scan 7")),
            ("PositionX", Attribute::Number(2e-6)),
            ("PositionY", Attribute::Number(-1e-6)),
            ("Model", text("ptycho")),
            ("ModelVersion", text("abc123")),
        ] {
            assert_eq!(attribute(name), Some(&value), "{name}");
        }
        let latency = attribute("LatencyMs").and_then(Attribute::number).unwrap();
        assert!((9_000.0..120_000.0).contains(&latency), "{latency} ms");
    }
    balanced(&sink).await;
    sink.stop().await;
}

#[tokio::test]
async fn an_output_gets_its_pv_with_its_first_result_and_late_joiners_its_last() {
    let sink = pva_sink(&["--prefix", "vit:*"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    // No client is connected.
    write(
        &mut numa,
        &[scan.result(1, "phase"), scan.result(2, "phase")],
    )
    .await;
    let (mut first, update) = Viewer::of(&sink, "vit:2:phase:image").await;
    assert_eq!(update.unique_id, Some(2));
    let (mut second, update) = Viewer::of(&sink, "vit:2:phase:image").await;
    assert_eq!(update.unique_id, Some(2));
    write(&mut numa, &[scan.result(3, "phase")]).await;
    for viewer in [&mut first, &mut second] {
        assert_eq!(viewer.numbers(1).await, [3]);
    }
    until(&sink, "/clients", 2).await;
    drop(second);
    until(&sink, "/clients", 1).await;
    sink.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_delays_no_batch() {
    let sink = pva_sink(&[
        "--outputs",
        "phase",
        "--output-dtype",
        "float32",
        "--output-shape",
        "512x512",
    ])
    .await;
    let mut numa = connect(&sink).await;
    let (mut reading, _) = Viewer::of(&sink, PHASE).await;
    // It is connected, and from now on takes nothing: its task is on a runtime that stands still.
    let stalled = std::thread::spawn({
        let port = port(&sink, "tcp_port").await;
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let mut viewer = runtime.block_on(async { Viewer::start(port, PHASE) });
            runtime.block_on(viewer.update());
            (runtime, viewer)
        }
    });
    let stalled = stalled.join().unwrap();
    until(&sink, "/clients", 2).await;
    let scan = Scan::new();
    let large = vec![0; 512 * 512 * 4];
    for number in 1..=100 {
        let result = Datum {
            value: large.clone(),
            ..scan.result(number, "phase")
        };
        write(&mut numa, &[result]).await;
        assert_eq!(reading.numbers(1).await, [number as i64]);
    }
    drop(stalled.1);
    stalled.0.shutdown_background();
    sink.stop().await;
}

#[tokio::test]
async fn a_client_finds_the_pv_again_after_a_restart() {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let tcp_port = port(&sink, "tcp_port").await.to_string();
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    sink.stop().await;
    while !matches!(viewer.event().await, Event::Disconnected) {}
    let sink = pva_sink(&["--outputs", "phase", "--tcp-port", &tcp_port]).await;
    let mut numa = connect(&sink).await;
    write(&mut numa, &[Scan::new().result(1, "phase")]).await;
    while viewer.update().await.content == Content::Idle {}
    sink.stop().await;
}

#[tokio::test]
async fn more_outputs_than_may_have_pvs_are_counted() {
    let sink = pva_sink(&[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let batch: Vec<Datum> = (0..20)
        .map(|k| scan.result(1, &format!("out{k}")))
        .collect();
    write(&mut numa, &batch).await;
    let stats = stats(&sink).await;
    assert_eq!(stats["outputs"].as_array().unwrap().len(), 16);
    assert_eq!(
        (&stats["unserved"], &stats["frames"]),
        (&4.into(), &1.into())
    );
    balanced(&sink).await;
    sink.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_program() {
    let sink = pva_sink(&[]).await;
    let taken = port(&sink, "tcp_port").await.to_string();
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(["pva-sink", "--bind", "127.0.0.1", "--udp-port", "0"])
        .args(["--tcp-port", &taken, "--http-address", "off"])
        .arg("--sock-path")
        .arg(folder.path().join("sock"))
        .arg("--server-info-path")
        .arg(folder.path().join("info"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(NEVER, ended).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    let words = format!("cannot listen on TCP port {taken}");
    assert!(
        said.contains(&words) && said.contains("--tcp-port"),
        "{said}"
    );
    sink.stop().await;
}

#[tokio::test]
async fn the_first_lines_say_what_clients_need() {
    let sink = pva_sink(&[]).await;
    let (tcp, udp) = (port(&sink, "tcp_port").await, port(&sink, "udp_port").await);
    says(&sink, &format!("EPICS_PVA_NAME_SERVERS=127.0.0.1:{tcp}")).await;
    let search = format!("EPICS_PVA_ADDR_LIST=127.0.0.1 and EPICS_PVA_BROADCAST_PORT={udp}");
    says(&sink, &search).await;
    sink.stop().await;
}

#[tokio::test]
async fn results_can_be_read_as_frames_by_a_pva_source() {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let server = format!("tcp://127.0.0.1:{}", port(&sink, "tcp_port").await);
    let following = source::Source::start_as(
        "pva-source",
        &[
            "--input-channel",
            PHASE,
            "--server",
            &server,
            "--position-x",
            "PositionX",
            "--scan-attribute",
            "Scan",
            "--initial",
            "always",
            "--http-address",
            "off",
        ],
    )
    .await;
    says(&following, "The PV is connected").await;
    until(&sink, "/clients", 1).await;
    let scan = Scan::new();
    let batch: Vec<Datum> = (1..=5).map(|n| scan.result(n, "phase")).collect();
    write(&mut numa, &batch).await;
    let mut reader = source::connect(&following).await;
    let mut messages = Vec::new();
    while source::ids(&messages).last() != Some(&5) {
        messages.extend(source::read(&mut reader, 1, NEVER).await);
    }
    for (number, message) in source::ids(&messages).into_iter().zip(&messages) {
        assert_eq!(message.datum.value, bytes(&values(number)));
        let header = |name: &str| message.datum.headers[name].as_str();
        assert_eq!(header(headers::SHAPE), SHAPE.to_string());
        assert_eq!(header(headers::DTYPE), "float32");
        assert_eq!(header(headers::FRAME_TIME), scan.time(number).to_string());
        assert_eq!(header(headers::POSITION_X), "0.000002");
        assert_eq!(header(headers::SCAN), "scan 7");
    }
    reader.ack(source::offsets(&messages)).await.unwrap();
    following.stop().await;
    sink.stop().await;
}
