//! `beamflow pva-sink` and its messages: what is a result, what comes again, what is missing, and in which order and how often
//! results are posted.

use crate::black_box::results::{
    Scan, Viewer, balanced, bytes, connect, image, notes, npy, pva_sink, says, stats, until,
    values, write,
};
use crate::black_box::served::get;
use beamflow::frame::headers;
use beamflow::vertex::client::Datum;

const PHASE: &str = "beamflow:phase:image";

#[tokio::test]
async fn a_result_that_comes_again_is_posted_once() {
    let sink = pva_sink(&[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let batch = [1, 2, 3].map(|number| scan.result(number, "phase"));
    write(&mut numa, &batch).await;
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    // Numa delivers again what it did not see acked, with other ids.
    let again = batch.clone().map(|datum| Datum {
        id: format!("again-{}", datum.id),
        ..datum
    });
    write(&mut numa, &again).await;
    write(&mut numa, &[again[1].clone(), scan.result(4, "phase")]).await;
    assert_eq!(viewer.numbers(1).await, [4]);
    let stats = stats(&sink).await;
    assert_eq!(
        (&stats["duplicates"], &stats["frames"]),
        (&4.into(), &4.into())
    );
    assert_eq!(stats["outputs"][0]["posted"], 4);
    // The same number in the next scan is another frame.
    let next = Scan {
        start: scan.start + 1_000_000_000,
        ..Scan::new()
    };
    write(&mut numa, &[next.result(4, "phase")]).await;
    assert_eq!(viewer.numbers(1).await, [4]);
    until(&sink, "/series", 2).await;
    balanced(&sink).await;
    sink.stop().await;
}

#[tokio::test]
async fn what_is_no_result_is_counted_by_reason_and_written() {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let result = || scan.result(1, "phase");
    let raw_frame = Datum {
        metadata: None,
        ..result()
    };
    let dead_letter = Datum {
        metadata: Some(notes(&[("reason", "the payload has 3 bytes")])),
        ..result()
    };
    let payload = |value: &[u8]| Datum {
        value: value.to_vec(),
        ..result()
    };
    let mut unnumbered = result();
    unnumbered.headers.remove(headers::TXN_ID);
    let mut named = result();
    let name = "scan7/42".to_owned();
    named.headers.insert(headers::TXN_ID.to_owned(), name);
    let mut batch = vec![
        raw_frame,
        dead_letter,
        unnumbered,
        named,
        payload(b"raw pixels"),
        payload(&npy(&values(1))[..150]),
        result(),
        scan.result(1, "amplitude"),
    ];
    for (k, datum) in batch.iter_mut().enumerate() {
        datum.id = k.to_string();
    }
    write(&mut numa, &batch).await;
    let stats = stats(&sink).await;
    for (reason, count) in [
        ("no_metadata", 1),
        ("dead_letter", 1),
        ("no_number", 2),
        ("not_npy", 1),
        ("bad_npy", 1),
        ("no_image", 0),
        ("wrong_size", 0),
    ] {
        assert_eq!(stats["no_results"][reason], count, "{reason}");
    }
    assert_eq!(
        (&stats["results"], &stats["unserved"]),
        (&2.into(), &1.into())
    );
    let metrics = get(&sink.http_address().await, "/metrics").await;
    let line = r#"beamflow_sink_no_results_total{reason="no_number"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
    says(&sink, "a MonoVertex that lost its map sends frames here").await;
    says(&sink, "An output has no PV: it is not among --outputs.").await;
    balanced(&sink).await;
    sink.stop().await;
}

#[tokio::test]
async fn raw_results_are_read_when_their_type_is_named() {
    let flags = ["--output-dtype", "int16", "--output-shape", "2x3"];
    let sink = pva_sink(&flags).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let raw = |number: u64, bytes: &[u8]| Datum {
        value: bytes.to_vec(),
        ..scan.result(number, "phase")
    };
    let counts: Vec<u8> = (1i16..=6).flat_map(i16::to_le_bytes).collect();
    write(&mut numa, &[raw(1, &counts), raw(2, &counts[1..])]).await;
    let (_viewer, update) = Viewer::of(&sink, PHASE).await;
    let floats = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(image(&update).pixels[..], bytes(&floats));
    assert_eq!(stats(&sink).await["no_results"]["wrong_size"], 1);
    sink.stop().await;
}

#[tokio::test]
async fn values_that_are_no_numbers_become_zero_unless_they_are_to_be_kept() {
    for (flags, expected) in [
        (&[][..], [0.0, 1.0, 0.0, 3.0, 0.0, 5.0]),
        (
            &["--nan", "keep"],
            [f32::NAN, 1.0, f32::INFINITY, 3.0, f32::NEG_INFINITY, 5.0],
        ),
    ] {
        let sink = pva_sink(flags).await;
        let mut numa = connect(&sink).await;
        let odd = [f32::NAN, 1.0, f32::INFINITY, 3.0, f32::NEG_INFINITY, 5.0];
        let result = Datum {
            value: npy(&odd),
            ..Scan::new().result(1, "phase")
        };
        write(&mut numa, &[result]).await;
        let (_viewer, update) = Viewer::of(&sink, PHASE).await;
        assert_eq!(image(&update).pixels[..], bytes(&expected), "{flags:?}");
        assert_eq!(stats(&sink).await["outputs"][0]["nonfinite"], 1);
        sink.stop().await;
    }
}

#[tokio::test]
async fn with_a_rate_the_newest_result_wins_and_the_last_one_comes() {
    // Once in 50 s: what is held comes at the end.
    let sink = pva_sink(&["--max-rate", "0.02", "--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    let scan = Scan::new();
    for number in 1..=5 {
        write(&mut numa, &[scan.result(number, "phase")]).await;
    }
    assert_eq!(viewer.numbers(1).await, [1]);
    let of_phase = stats(&sink).await["outputs"][0].clone();
    assert_eq!(
        (&of_phase["superseded"], &of_phase["held"]),
        (&3.into(), &1.into())
    );
    balanced(&sink).await;
    let (log, last) = tokio::join!(sink.stop(), viewer.numbers(1));
    assert_eq!(last, [5]);
    assert!(log.contains("posted=2 superseded=3 late=0 held=0"), "{log}");

    let sink = pva_sink(&["--max-rate", "1000", "--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    let batch: Vec<Datum> = (1..=50).map(|n| scan.result(n, "phase")).collect();
    write(&mut numa, &batch).await;
    while viewer.numbers(1).await != [50] {}
    sink.stop().await;
}

#[tokio::test]
async fn results_are_put_in_order_within_their_time() {
    let sink = pva_sink(&["--reorder", "1h", "--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    let scan = Scan::new();
    let write_all = async |numa: &mut _, numbers: &[u64]| {
        let batch: Vec<Datum> = numbers.iter().map(|n| scan.result(*n, "phase")).collect();
        write(numa, &batch).await;
    };
    write_all(&mut numa, &[3, 1, 5, 2, 4]).await;
    until(&sink, "/outputs/0/held", 5).await;
    let (_, numbers) = tokio::join!(sink.stop(), viewer.numbers(5));
    assert_eq!(numbers, [1, 2, 3, 4, 5]);

    let sink = pva_sink(&["--reorder", "1ms", "--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let (mut viewer, _) = Viewer::of(&sink, PHASE).await;
    write_all(&mut numa, &[1]).await;
    assert_eq!(viewer.numbers(1).await, [1]);
    write_all(&mut numa, &[2, 6, 4]).await;
    assert_eq!(viewer.numbers(3).await, [2, 4, 6]);
    write_all(&mut numa, &[5, 7]).await;
    assert_eq!(viewer.numbers(1).await, [7]);
    until(&sink, "/outputs/0/late", 1).await;
    says(&sink, "A result came after later ones were posted").await;
    balanced(&sink).await;
    sink.stop().await;
}

#[tokio::test]
async fn missing_frames_are_counted_and_scans_told_apart() {
    let sink = pva_sink(&[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let result = |number| {
        [
            scan.result(number, "phase"),
            scan.result(number, "amplitude"),
        ]
    };
    // Out of order; 5 and 6 are missing.
    let batch = [1, 3, 2, 4, 8, 7].map(result).concat();
    write(&mut numa, &batch).await;
    let next = Scan {
        start: scan.start + 1_000_000_000,
        ..Scan::new()
    };
    let batch: Vec<Datum> = (1..=3).map(|n| next.result(n, "phase")).collect();
    write(&mut numa, &batch).await;
    until(&sink, "/series", 2).await;
    // Certain when nothing more has come for a while.
    until(&sink, "/missing", 2).await;
    let stats = stats(&sink).await;
    assert_eq!(
        (&stats["frames"], &stats["results"]),
        (&9.into(), &15.into())
    );
    let log = sink.stop().await;
    let begun = log.lines().filter(|line| line.contains("A series begins."));
    assert_eq!(begun.count(), 2, "{log}");
}

#[tokio::test]
async fn positions_by_file_without_an_offset_are_warned_of_and_a_late_first_frame_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("positions.csv");
    std::fs::write(&csv, "0,0\n0,1e-8\n0,2e-8\n").unwrap();
    let file = ["--positions", csv.to_str().unwrap()];
    let mosaic = ["--mosaic", "--pixel-size", "1e-8"];
    let scan = Scan::new();
    let batch = [3, 2, 4].map(|number| scan.result(number, "phase"));
    let words = [
        "set --position-offset to the number",
        "A frame came with a smaller number than those before it",
    ];
    let sink = pva_sink(&[&mosaic[..], &file].concat()).await;
    let mut numa = connect(&sink).await;
    write(&mut numa, &batch).await;
    for words in words {
        says(&sink, words).await;
    }
    drop(numa);
    sink.stop().await;
    // With the number of the first frame the order means nothing.
    let sink = pva_sink(&[&mosaic[..], &file, &["--position-offset", "1"]].concat()).await;
    let mut numa = connect(&sink).await;
    write(&mut numa, &batch).await;
    drop(numa);
    let log = sink.stop().await;
    assert!(!words.iter().any(|words| log.contains(words)), "{log}");
}

#[tokio::test]
async fn a_first_position_far_from_all_others_does_not_keep_them_out_of_the_mosaic() {
    let mosaic = ["--mosaic", "--pixel-size", "1e-8"];
    let sink = pva_sink(&[&mosaic[..], &["--amplitude-output", "off"]].concat()).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let mut batch: Vec<Datum> = (1..=6).map(|number| scan.result(number, "phase")).collect();
    batch[0]
        .headers
        .insert(headers::POSITION_X.to_owned(), "0.01".to_owned());
    write(&mut numa, &batch).await;
    let told = stats(&sink).await["mosaic"].clone();
    let counts = ["patches", "placed", "outside", "astray"];
    let counts = counts.map(|name| told[name].as_u64().unwrap());
    // The first is taken out again, and the second came before that was decided.
    assert_eq!(counts, [6, 5, 1, 1], "{told}");
    says(
        &sink,
        "The first frames of the series lie far from the others",
    )
    .await;
    drop(numa);
    sink.stop().await;
}

#[tokio::test]
async fn the_readme_lists_every_metric_of_the_sink_and_no_other() {
    let sink = pva_sink(&[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let batch: Vec<Datum> = [1, 2, 4].map(|n| scan.result(n, "phase")).into();
    write(&mut numa, &batch).await;
    until(&sink, "/missing", 1).await;
    let text = get(&sink.http_address().await, "/metrics").await;
    for line in [
        "beamflow_sink_frames_total 3",
        "beamflow_sink_gap_frames_total 1",
        r#"beamflow_sink_posted_total{output="phase"} 3"#,
        "beamflow_sink_latency_seconds_count 3",
        "beamflow_sink_clients 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
    let names = |text: &str, prefix: &str, end: char| {
        let lines = text.lines();
        let names = lines.filter_map(|line| line.strip_prefix(prefix)?.split_once(end));
        let bare = |(name, _): (&str, _)| name.split('{').next().unwrap().to_owned();
        let mut names: Vec<String> = names.map(bare).collect();
        names.sort();
        names
    };
    let told = names(&text, "# TYPE beamflow_sink_", ' ');
    let readme = include_str!("../../README.md");
    assert_eq!(told, names(readme, "| `beamflow_sink_", '`'));
    sink.stop().await;
}
