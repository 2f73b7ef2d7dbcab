//! `beamflow file-sink`: what is in its files.

use crate::black_box::result_files::{
    balanced, column, file_sink, found, images, named, only, results,
};
use crate::black_box::results::{SHAPE, Scan, connect, notes, says, stats, write};
use crate::black_box::served::get;
use beamflow_needs::needs;
use serde_json::{Value, json};

#[needs(pva_peers)]
#[tokio::test]
async fn a_scan_is_one_file_that_h5py_reads() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let order = [3, 1, 2, 5];
    write(&mut numa, &results(&scan, &order)).await;
    balanced(&sink).await;
    drop(numa);
    sink.stop().await;
    let path = only(folder.path());
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with("13SIM1-Pva1-Image_20") && name.ends_with("Z_scan-7.h5"),
        "{name}"
    );
    let found = found(&path, &[]);
    let entry = &found["entry"];
    for (attribute, value) in [
        ("NX_class", "NXentry"),
        ("pv", "13SIM1:Pva1:Image"),
        ("scan", "scan 7"),
        ("model", "ptycho"),
        ("model_version", "abc123"),
        ("engine", "ONNX in fp16"),
        ("program_name", "beamflow"),
        ("series_start_ns", &scan.start.to_string()),
    ] {
        assert_eq!(entry[attribute], value, "{attribute}");
    }
    assert_eq!(found["data"]["NX_class"], "NXdata");
    assert_eq!(found["data"]["signal"], "phase");
    for output in ["phase", "amplitude"] {
        let dataset = &found["groups"]["data"][output];
        assert_eq!(dataset["shape"], json!([4, SHAPE.height, SHAPE.width]));
        assert_eq!(dataset["dtype"], "float32");
        assert_eq!(column(&found, output), images(&order), "{output}");
    }
    assert_eq!(column(&found, "frame_id"), order.map(|n| json!(n)));
    let times = order.map(|number| json!(scan.time(number)));
    assert_eq!(column(&found, "frame_time_ns"), times);
    let seconds = column(&found, "frame_time")[0].as_f64().unwrap();
    assert!((seconds - scan.time(3) as f64 / 1e9).abs() < 1e-6);
    assert_eq!(column(&found, "probe_position_x_m"), vec![json!(2e-6); 4]);
    assert_eq!(column(&found, "probe_position_y_m"), vec![json!(-1e-6); 4]);
    assert_eq!(
        found["groups"]["data"]["probe_position_x_m"]["attributes"]["units"],
        "m"
    );
}

#[needs(pva_peers)]
#[tokio::test]
async fn the_outputs_of_a_frame_may_come_in_different_batches_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    write(&mut numa, &[scan.result(1, "phase")]).await;
    write(
        &mut numa,
        &[scan.result(2, "phase"), scan.result(1, "amplitude")],
    )
    .await;
    write(
        &mut numa,
        &[scan.result(3, "amplitude"), scan.result(2, "amplitude")],
    )
    .await;
    drop(numa);
    sink.stop().await;
    let found = found(&only(folder.path()), &[]);
    assert_eq!(column(&found, "frame_id"), [1, 2, 3].map(|n| json!(n)));
    assert_eq!(column(&found, "amplitude"), images(&[1, 2, 3]));
    let phase = column(&found, "phase");
    assert_eq!(phase[..12], images(&[1, 2]));
    assert_eq!(
        phase[12..],
        vec![Value::Null; 6],
        "NaN where no result has come"
    );
}

#[needs(pva_peers)]
#[tokio::test]
async fn the_file_has_the_mosaic_of_its_results() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--mosaic", "--pixel-size", "1e-6"];
    let sink = file_sink(folder.path(), &flags).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let mut batch = results(&scan, &[1, 2, 3, 4]);
    // One pixel to the right from frame to frame; the last one has no position.
    for datum in &mut batch {
        let number: f64 = datum.headers["x-txn-id"].parse().unwrap();
        let x = number * 1e-6;
        datum.headers.insert("x-position-x".into(), x.to_string());
        if number > 3.0 {
            datum.headers.remove("x-position-x");
        }
    }
    write(&mut numa, &batch).await;
    drop(numa);
    sink.stop().await;
    let found = found(&only(folder.path()), &[]);
    let mosaic = &found["groups"]["mosaic"];
    let shape = json!([SHAPE.height, SHAPE.width + 2]);
    for part in ["phase", "amplitude"] {
        assert_eq!(mosaic[part]["shape"], shape, "{part}");
        assert_eq!(mosaic[part]["dtype"], "float32");
    }
    let attributes = &found["attributes"]["mosaic"];
    assert_eq!(attributes["pixel_size_m"], 1e-6);
    assert_eq!(
        (&attributes["placed"], &attributes["unpositioned"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(column(&found, "frame_id").len(), 4);
}

#[needs(pva_peers)]
#[tokio::test]
async fn results_of_two_models_are_in_two_files() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let mut other = scan.result(1, "phase");
    other.id += "-other";
    other.metadata = Some(notes(&[
        ("output", "phase"),
        ("model", "ptycho"),
        ("version", "def456"),
    ]));
    write(
        &mut numa,
        &[scan.result(1, "phase"), other, scan.result(2, "phase")],
    )
    .await;
    balanced(&sink).await;
    drop(numa);
    sink.stop().await;
    let files = named(folder.path(), ".h5");
    let files = files.iter().map(|path| {
        let found = found(path, &[]);
        let ids = column(&found, "frame_id").len();
        (found["entry"]["model_version"].clone(), ids)
    });
    assert_eq!(
        files.collect::<Vec<_>>(),
        [(json!("abc123"), 2), (json!("def456"), 1)]
    );
}

#[tokio::test]
async fn what_comes_again_is_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let batch = results(&scan, &[1, 2, 3]);
    write(&mut numa, &batch).await;
    write(&mut numa, &batch).await;
    // Twice in one batch.
    let mut again = scan.result(4, "phase");
    again.id += "-again";
    write(&mut numa, &[scan.result(4, "phase"), again]).await;
    let stats = stats(&sink).await;
    assert_eq!(
        (&stats["written"], &stats["duplicates"]),
        (&json!(7), &json!(7))
    );
    assert_eq!(stats["open"][0]["rows"], 4);
    balanced(&sink).await;
    drop(numa);
    sink.stop().await;
}

#[tokio::test]
async fn what_is_no_result_and_what_does_not_fit_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    let mut raw = scan.result(1, "phase");
    raw.metadata = None;
    let mut broken = scan.result(2, "phase");
    broken.value = vec![1, 2, 3];
    write(
        &mut numa,
        &[
            raw,
            broken,
            scan.result(3, "amplitude"),
            scan.result(4, "phase"),
        ],
    )
    .await;
    let mut larger = scan.result(5, "phase");
    larger.value = two_by_two();
    write(&mut numa, &[larger]).await;
    says(
        &sink,
        "A message is no result: it has no metadata of beamflow",
    )
    .await;
    says(&sink, "A result is not written: its shape is").await;
    let stats = stats(&sink).await;
    assert_eq!(stats["no_results"]["no_metadata"], 1);
    assert_eq!(stats["no_results"]["not_npy"], 1);
    let counts = ["written", "other_outputs", "unfit"].map(|name| &stats[name]);
    assert_eq!(counts, [&json!(1), &json!(1), &json!(1)]);
    balanced(&sink).await;
    drop(numa);
    sink.stop().await;
}

/// An image of another shape.
fn two_by_two() -> Vec<u8> {
    let dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
    file.extend(dict.as_bytes());
    file.resize(127, b' ');
    file.push(b'\n');
    file.extend([0; 16]);
    file
}

#[tokio::test]
async fn the_readme_lists_every_metric_of_the_file_sink() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let metrics = get(&sink.http_address().await, "/metrics").await;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.unwrap();
    let names = metrics.lines().filter_map(|line| {
        let name = line.strip_prefix("# TYPE beamflow_file_")?;
        let (name, _) = name.split_once(' ')?;
        Some(format!("`beamflow_file_{name}"))
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 10, "{metrics}");
    for name in names {
        assert!(readme.contains(&name), "{name}");
    }
    sink.stop().await;
}
