//! `beamflow pva-source` as numa sees it: the real program between a real PVA server and the source protocol.
//!
//! The server is this project's own; `pva_peers` has others.

use crate::black_box::common::eventually;
use crate::black_box::detector::{Detector, LONG, PV, balanced, header, source, stats, until};
use crate::black_box::served::get;
use crate::black_box::source::{connect, ids, offsets, pending, read, until_pending};
use beamflow::frame::{Codec, headers};
use beamflow::lab::encoder::Encoder;
use beamflow::vertex::client::Nack;
use std::time::Duration;
use tokio::process::Command;

const SHORT: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_frame_comes_as_it_was_posted_with_its_headers() {
    let mut detector = Detector::start();
    let flags = [
        "--attributes",
        "Sample",
        "--position-x",
        "PosX*1e-6",
        "--linger",
        "off",
    ];
    let source = source(&detector, &flags).await;
    let mut reader = connect(&source).await;
    assert!(reader.is_ready().await.unwrap());
    assert_eq!(reader.partitions().await.unwrap(), [0]);
    for id in 1..=5 {
        detector.post(id);
    }
    // A compressed one goes on as it is.
    let mut compressed = detector.frame(6);
    compressed.image.codec = Some(Codec::Bslz4);
    compressed.image.pixels = vec![1, 2, 3].into();
    detector.pv.post(&compressed).unwrap();
    let messages = read(&mut reader, 6, LONG).await;
    assert_eq!(ids(&messages), [1, 2, 3, 4, 5, 6]);
    for (k, message) in (1..=5).zip(&messages) {
        assert_eq!(message.datum.value, detector.frame(k).image.pixels);
        assert_eq!(header(message, headers::CODEC), "");
    }
    let first = &messages[0];
    for (name, value) in [
        (headers::DTYPE, "uint16"),
        (headers::SHAPE, "3x4"),
        (headers::PV, PV),
        (headers::POSITION_X, "0.000002"),
        (headers::DELIVERY, ""),
        ("x-attr-Sample", "A 7"),
    ] {
        assert_eq!(header(first, name), value, "{name}");
    }
    let taken = header(first, headers::FRAME_TIME).to_owned();
    assert_eq!(header(first, headers::SERIES_START), taken);
    assert_eq!(header(&messages[4], headers::SERIES_START), taken);
    let time = first.datum.event_time.unwrap();
    assert_eq!(format!("{}{:09}", time.seconds, time.nanos), taken);
    let last = &messages[5];
    assert_eq!(
        (header(last, headers::CODEC), &last.datum.value[..]),
        ("bslz4", &[1, 2, 3][..])
    );
    // The identity: 28 bytes, of which the first four are the PV.
    let offsets = offsets(&messages);
    assert!(
        offsets
            .iter()
            .all(|offset| offset.offset.len() == 28 && offset.offset.starts_with(&[0; 4]))
    );
    assert_eq!(pending(&reader).await, 6);
    reader.ack(offsets).await.unwrap();
    assert_eq!(pending(&reader).await, 0);
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn repeats_are_skipped_gaps_counted_and_scans_told_apart() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in [1, 2, 5, 6] {
        detector.post(id);
    }
    // Posted again by a plugin: the same times of the detector.
    detector.pv.post(&detector.frame(6)).unwrap();
    for id in [1, 2, 3] {
        detector.post(id);
    }
    let messages = read(&mut reader, 7, LONG).await;
    assert_eq!(ids(&messages), [1, 2, 5, 6, 1, 2, 3]);
    let start = |k: usize| header(&messages[k], headers::SERIES_START);
    assert_eq!(start(0), start(3));
    assert_ne!(start(3), start(4));
    until(&source, "/gap_frames/upstream", 2).await;
    let (pv, _) = stats(&source).await;
    assert_eq!(
        (pv["series"].as_u64(), pv["skipped"]["duplicate"].as_u64()),
        (Some(2), Some(1))
    );
    // The first update of the idle PV is none.
    assert_eq!(pv["skipped"]["idle"].as_u64(), Some(1));
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn the_oldest_unread_frame_goes_and_no_unacked_one() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--queue-size", "4", "--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in 1..=3 {
        detector.post(id);
    }
    let held = read(&mut reader, 3, LONG).await;
    for id in 4..=20 {
        detector.post(id);
        until(&source, "/frames", id as u64).await;
    }
    until(&source, "/dropped", 13).await;
    let newest = read(&mut reader, 4, LONG).await;
    assert_eq!(ids(&newest), [17, 18, 19, 20]);
    reader.ack(offsets(&newest)).await.unwrap();
    let nacks = offsets(&held).into_iter().map(|offset| Nack {
        offset,
        delay: None,
    });
    reader.nack(nacks.collect()).await.unwrap();
    let again = read(&mut reader, 3, LONG).await;
    assert_eq!(ids(&again), [1, 2, 3]);
    assert!(
        again
            .iter()
            .all(|message| header(message, headers::DELIVERY) == "2")
    );
    assert_eq!(again[0].datum.value, held[0].datum.value);
    reader.ack(offsets(&again)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn what_a_killed_reader_had_comes_again() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    for id in 1..=2 {
        detector.post(id);
    }
    until_pending(&reader, 2).await;
    // It reads, and goes in the middle: two of three frames have come.
    let reading = tokio::time::timeout(Duration::from_millis(200), reader.read(3, LONG));
    assert!(reading.await.is_err());
    drop(reader);
    eventually("the loss of the reader", || {
        source.said("The reader has gone in mid-read")
    })
    .await;
    let mut reader = connect(&source).await;
    let again = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&again), [1, 2]);
    reader.ack(offsets(&again)).await.unwrap();
    assert!(read(&mut reader, 1, SHORT).await.is_empty());
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn a_detector_that_comes_back_goes_on_and_its_gap_is_told() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--linger", "off"]).await;
    let mut reader = connect(&source).await;
    detector.post(1);
    detector.post(2);
    let before = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&before), [1, 2]);
    reader.ack(offsets(&before)).await.unwrap();
    let (port, time) = (detector.server.tcp_port(), detector.time);
    drop(detector);
    eventually("the loss of the connection", || {
        source.said("The connection is lost")
    })
    .await;
    let mut detector = Detector::start_at(port);
    detector.time = time;
    until(&source, "/connections", 2).await;
    detector.post(5);
    detector.post(6);
    let after = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&after), [5, 6]);
    reader.ack(offsets(&after)).await.unwrap();
    until(&source, "/gap_frames/connection", 2).await;
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_in_words() {
    let mut detector = Detector::start();
    let flags = ["--max-frame-bytes", "23", "--queue-bytes", "10000"];
    let source = source(&detector, &flags).await;
    detector.post(1);
    until(&source, "/skipped/too_large", 1).await;
    eventually("the reason", || {
        source.said("exceeds the limit of 23 bytes: raise --max-frame-bytes")
    })
    .await;
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn compressed_frames_can_be_decoded_in_the_source() {
    let mut detector = Detector::start();
    let source = source(&detector, &["--decompress", "source", "--linger", "off"]).await;
    let mut reader = connect(&source).await;
    let mut compressed = detector.frame(1);
    let raw = compressed.image.pixels.clone();
    compressed.image.codec = Some(Codec::Bslz4);
    compressed.image.pixels = Encoder::Bslz4.encode(&raw, 2).into();
    detector.pv.post(&compressed).unwrap();
    // A damaged one is refused; its number is no gap.
    let mut damaged = detector.frame(2);
    damaged.image.codec = Some(Codec::Bslz4);
    detector.time += 1;
    damaged.data_time_stamp = detector.time;
    detector.pv.post(&damaged).unwrap();
    detector.post(3);
    let messages = read(&mut reader, 2, LONG).await;
    assert_eq!(ids(&messages), [1, 3]);
    assert_eq!(header(&messages[0], headers::CODEC), "");
    assert_eq!(messages[0].datum.value, raw);
    until(&source, "/skipped/codec", 1).await;
    eventually("the reason", || {
        source.said(
            "A frame is refused: the payload of 24 bytes is no 3x4 uint16 frame compressed with bslz4",
        )
    })
    .await;
    assert_eq!(
        stats(&source).await.0["gap_frames"]["upstream"].as_u64(),
        Some(0)
    );
    reader.ack(offsets(&messages)).await.unwrap();
    balanced(&source).await;
    source.stop().await;
}

#[tokio::test]
async fn flags_that_disagree_are_refused_in_one_line() {
    for (flags, words) in [
        (
            &["--input-channel", "a,b,a"][..],
            "--input-channel: 'a' is not allowed: the PV is in the list twice",
        ),
        (
            &["--input-channel", "a,b,c", "--server", "x,y"],
            "--server: ",
        ),
        (&["--max-frame-bytes", "2GiB"], "--max-frame-bytes: "),
        (&["--position-x", "PosX*um"], "--position-x"),
        (&["--initial", "sometimes"], "--initial"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
            .arg("pva-source")
            .args(flags)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{flags:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(words) && told.lines().count() == 1, "{told}");
    }
}

#[tokio::test]
async fn the_metrics_are_those_that_the_readme_lists() {
    let mut detector = Detector::start();
    let source = source(&detector, &[]).await;
    detector.post(1);
    until(&source, "/frames", 1).await;
    let text = get(&source.http_address().await, "/metrics").await;
    let names = |text: &str, prefix: &str, end: char| {
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.split_once(end));
        let mut names: Vec<_> = lines.map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    };
    let told = names(&text, "# TYPE beamflow_source_", ' ');
    let readme = include_str!("../../README.md");
    let listed = names(readme, "| `beamflow_source_", '`');
    let listed: Vec<_> = listed
        .iter()
        .map(|name| name.split('{').next().unwrap())
        .collect();
    assert_eq!(told, listed);
    for name in [
        "frames_total",
        "connected",
        "skipped_total",
        "gap_frames_total",
    ] {
        assert!(
            text.contains(&format!("beamflow_source_{name}{{pv=\"{PV}\"")),
            "{name}"
        );
    }
    source.stop().await;
}
