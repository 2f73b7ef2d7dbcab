//! The whole path: a detector's PV, the source, the sidecar with a real model, and numa's part played by the pipeline driver.

use crate::black_box::common::{Host, NEVER};
use crate::black_box::ioc::Ioc;
use crate::black_box::results::{Viewer, balanced, image, pva_sink, stats};
use crate::black_box::source::Source;
use beamflow::frame::headers;
use beamflow::lab::stack::FrameStack;
use beamflow::lab::{Raster, experiment};
use beamflow::vertex::client::pipeline::{Address, Intake, Outlet, Pipeline, Settings, Until};
use beamflow::vertex::client::{Datum, Verdict};
use futures::stream;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Frames in the scan, and frames that are taken: two scans.
const SCAN: usize = 9;
const FRAMES: u64 = 18;

/// The results of each frame, by number and output.
type Results = BTreeMap<(u64, String), Vec<u8>>;

/// What the sidecar makes of the frames, sent by hand.
async fn by_hand(host: &Host) -> Results {
    let raster = Raster {
        rows: 3,
        columns: 3,
        ..experiment::RASTER
    };
    let stack = FrameStack::simulate(&experiment::scan(raster).unwrap(), || ()).unwrap();
    let datum = |number: u64| {
        let frame = stack.frame((number as usize - 1) % SCAN);
        Datum::new(number.to_string(), frame.to_vec())
    };
    let mut driver = host.driver().await;
    let datums = (1..=FRAMES).map(datum);
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    let mut results = Results::new();
    for number in 1..=FRAMES {
        for message in answer.get(&number.to_string()).unwrap() {
            results.insert((number, message.tags.concat()), message.value.clone());
        }
    }
    results
}

#[tokio::test]
async fn frames_of_a_pv_give_the_results_of_the_same_frames_sent() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
    let flags = ["--model-path", model.to_str().unwrap(), "--bsz-size", "1"];
    let host = Host::start(&flags).await;
    let expected = by_hand(&host).await;
    assert_eq!(expected.len(), 2 * FRAMES as usize);
    for codec in ["none", "bslz4"] {
        let taken = FRAMES.to_string();
        let ioc = Ioc::start(&[
            "--frame-size",
            "64x64",
            "--frames",
            &taken,
            "--codec",
            codec,
            "--wait-for-client",
        ])
        .await;
        let server = format!("tcp://127.0.0.1:{}", ioc.port("tcp_port"));
        // No queue is too short, however slow the machine is.
        let source = Source::start_as(
            "pva-source",
            &[
                "--server",
                &server,
                "--server-queue-size",
                "100",
                "--http-address",
                "off",
                "--position-x",
                "PositionX",
                "--position-y",
                "PositionY",
            ],
        )
        .await;
        let results = Arc::new(Mutex::new(Results::new()));
        let written = Arc::clone(&results);
        let write = move |datum: &Datum| {
            let header = |name: &str| datum.headers.get(name).cloned().unwrap_or_default();
            assert_eq!(header(headers::PV), "pva:image");
            let position: f64 = header(headers::POSITION_X).parse().unwrap();
            assert!(position.abs() < 1e-6, "{position}");
            let metadata = &datum.metadata.as_ref().unwrap().user_metadata["beamflow"];
            let output = String::from_utf8(metadata.key_value["output"].clone()).unwrap();
            let number = header(headers::TXN_ID).parse().unwrap();
            let before = written
                .lock()
                .unwrap()
                .insert((number, output), datum.value.clone());
            assert_eq!(before, None, "frame {number} comes once");
            Verdict::Written
        };
        let settings = Settings {
            read_batch: 5,
            read_timeout: Duration::from_millis(50),
            until: Until::Acked(FRAMES),
            ..Settings::default()
        };
        let intake = Intake::Source(Address::new(&source.sock, &source.info));
        let map = Address::new(&host.sock, &host.server_info);
        let mut pipeline = Pipeline::new(settings, intake, Outlet::memory(write)).with_map(map);
        let stop = CancellationToken::new();
        let report = tokio::time::timeout(NEVER, pipeline.run(&stop)).await;
        let report = report.expect("all frames come").unwrap();
        assert!(report.is_balanced(), "{report:?}");
        assert!(*results.lock().unwrap() == expected, "{codec}");
        drop(pipeline);
        source.stop().await;
        ioc.stop().await;
    }
    host.stop().await;
}

#[tokio::test]
async fn results_of_a_detectors_frames_are_pvs_of_their_outputs() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
    let flags = ["--model-path", model.to_str().unwrap(), "--bsz-size", "1"];
    let host = Host::start(&flags).await;
    let expected = by_hand(&host).await;
    let frames = FRAMES.to_string();
    let flags = ["--frame-size", "64x64", "--wait-for-client"];
    let ioc = Ioc::start(&[&flags[..], &["--frames", &frames]].concat()).await;
    let server = format!("tcp://127.0.0.1:{}", ioc.port("tcp_port"));
    let flags = ["--server-queue-size", "100", "--http-address", "off"];
    let flags = [
        &flags[..],
        &["--server", &server, "--position-x", "PositionX"],
    ]
    .concat();
    let source = Source::start_as("pva-source", &flags).await;
    // One replica of the map, whose batches may overtake each other: a time that none takes.
    let sink = pva_sink(&["--outputs", "amplitude,phase", "--reorder", "60s"]).await;
    let mut viewers = Vec::new();
    for output in ["amplitude", "phase"] {
        let pv = format!("beamflow:{output}:image");
        viewers.push((output, Viewer::of(&sink, &pv).await.0));
    }
    let settings = Settings {
        read_batch: 5,
        read_timeout: Duration::from_millis(50),
        until: Until::Acked(FRAMES),
        ..Settings::default()
    };
    let intake = Intake::Source(Address::new(&source.sock, &source.info));
    let map = Address::new(&host.sock, &host.server_info);
    let outlet = Outlet::Sink(Address::new(&sink.sock, &sink.info));
    let mut pipeline = Pipeline::new(settings, intake, outlet).with_map(map);
    let stop = CancellationToken::new();
    let report = tokio::time::timeout(NEVER, pipeline.run(&stop)).await;
    let report = report.expect("all frames come").unwrap();
    assert!(report.is_balanced(), "{report:?}");
    drop(pipeline);
    let told = stats(&sink).await;
    assert_eq!(
        (&told["frames"], &told["missing"]),
        (&FRAMES.into(), &0.into())
    );
    assert_eq!(
        (&told["series"], &told["results"]),
        (&1.into(), &(2 * FRAMES).into())
    );
    balanced(&sink).await;
    source.stop().await;
    ioc.stop().await;
    // What waits for frames before the first is posted at the end.
    let stopping = tokio::spawn(sink.stop());
    for (output, viewer) in &mut viewers {
        for number in 1..=FRAMES {
            let update = viewer.update().await;
            assert_eq!(update.unique_id, Some(number as i64), "{output}");
            let result = &expected[&(number, (*output).to_owned())];
            let pixels = &image(&update).pixels[..];
            assert!(
                result.ends_with(pixels) && !pixels.is_empty(),
                "{output} {number}"
            );
        }
    }
    stopping.await.unwrap();
    host.stop().await;
}
