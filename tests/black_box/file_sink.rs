//! `beamflow file-sink`: results of the small numa into files, and h5py as their reader.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::results::{
    SHAPE, Scan, Sinking, connect, now, says, stats, until, values, write,
};
use crate::black_box::served::get;
use crate::black_box::source::Source;
use beamflow::vertex::client::{Datum, Sink, Verdict};
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Starts a file sink that writes to `folder`.
async fn file_sink(folder: &Path, flags: &[&str]) -> Sinking {
    let folder = folder.to_str().unwrap();
    let all = ["--folder", folder, "--http-address", "127.0.0.1:0"];
    Source::start_as("file-sink", &[&all, flags].concat()).await
}

/// The names in a folder with this ending.
fn named(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(folder).unwrap();
    let paths = names.map(|entry| entry.unwrap().path());
    let mut named: Vec<_> = paths
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    named.sort();
    named
}

/// The only file that is complete; none is growing.
fn only(folder: &Path) -> PathBuf {
    assert_eq!(named(folder, ".partial"), Vec::<PathBuf>::new());
    let [path] = <[PathBuf; 1]>::try_from(named(folder, ".h5")).unwrap();
    path
}

/// What h5py finds in a file.
fn found(path: &Path, how: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/files.py");
    let output = Command::new(std::env::var("BEAMFLOW_PYTHON").unwrap())
        .arg(script)
        .arg(path)
        .args(how)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The values of a dataset.
fn column(found: &Value, name: &str) -> Vec<Value> {
    let values = &found["groups"]["data"][name]["values"];
    values.as_array().unwrap().clone()
}

/// The values of the results of these frames, as h5py shows them.
fn images(numbers: &[u64]) -> Vec<Value> {
    let values = numbers.iter().flat_map(|number| values(*number));
    values.map(|value| json!(value)).collect()
}

/// Both outputs of these frames.
fn results(scan: &Scan, numbers: &[u64]) -> Vec<Datum> {
    let outputs = ["phase", "amplitude"];
    let both = numbers
        .iter()
        .flat_map(|n| outputs.map(|output| (*n, output)));
    both.map(|(number, output)| scan.result(number, output))
        .collect()
}

/// Every result is in one state.
async fn balanced(sink: &Sinking) {
    let stats = stats(sink).await;
    let of = |name: &str| stats[name].as_u64().unwrap();
    let states = ["written", "duplicates", "late", "unfit", "failed"];
    let all: u64 = states.map(of).iter().sum();
    assert_eq!(of("results"), all, "{stats}");
}

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
async fn what_was_acknowledged_survives_a_kill_and_every_frame_is_in_the_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let scan = Scan::new();
    let all: Vec<u64> = (1..=20).collect();
    let first = all[..12].to_vec();
    {
        let sink = file_sink(folder.path(), &[]).await;
        let mut numa = connect(&sink).await;
        for few in first.chunks(5) {
            write(&mut numa, &results(&scan, few)).await;
        }
        sink.kill().await;
    }
    let [partial] = <[PathBuf; 1]>::try_from(named(folder.path(), ".h5.partial")).unwrap();
    assert_eq!(named(folder.path(), ".h5"), Vec::<PathBuf>::new());
    let live = found(&partial, &["swmr"]);
    assert_eq!(column(&live, "phase"), images(&first));
    // Numa delivers again what was in hand, and goes on. A second kill.
    for (numbers, ends) in [(&all[8..16], "kill"), (&all[4..], "term")] {
        let sink = file_sink(folder.path(), &[]).await;
        let mut numa = connect(&sink).await;
        write(&mut numa, &results(&scan, numbers)).await;
        says(
            &sink,
            "The series goes on in the file of an earlier process.",
        )
        .await;
        if ends == "kill" {
            sink.kill().await;
        } else {
            balanced(&sink).await;
            sink.stop().await;
        }
    }
    let found = found(&only(folder.path()), &[]);
    let ids = column(&found, "frame_id");
    assert_eq!(ids, all.iter().map(|n| json!(n)).collect::<Vec<_>>());
    for output in ["phase", "amplitude"] {
        assert_eq!(column(&found, output), images(&all), "{output}");
    }
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

#[needs(pva_peers)]
#[tokio::test]
async fn a_file_ends_with_the_next_scan_after_a_pause_and_at_its_most_frames() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--frames-per-file", "3", "--idle-close", "1s"];
    let sink = file_sink(folder.path(), &flags).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    write(&mut numa, &results(&scan, &[1, 2, 3, 4])).await;
    eventually("the full file", || named(folder.path(), ".h5").len() == 1).await;
    // What comes again of the full file is in it already.
    write(&mut numa, &results(&scan, &[3])).await;
    eventually("the pause", || named(folder.path(), ".h5").len() == 2).await;
    let mut other = Scan::new();
    other.start = now() - 1_000_000_000;
    write(&mut numa, &results(&other, &[1, 2])).await;
    until(&sink, "/completed", 3).await;
    drop(numa);
    let log = sink.stop().await;
    let mut rows = Vec::new();
    for path in named(folder.path(), ".h5") {
        rows.push(column(&found(&path, &[]), "frame_id"));
    }
    rows.sort_by_key(Vec::len);
    let rows: Vec<Vec<u64>> = rows
        .iter()
        .map(|ids| ids.iter().map(|id| id.as_u64().unwrap()).collect())
        .collect();
    assert_eq!(rows, [vec![4], vec![1, 2], vec![1, 2, 3]], "{log}");
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
    says(&sink, "A result is not written: it is not among --outputs").await;
    let stats = stats(&sink).await;
    assert_eq!(stats["no_results"]["no_metadata"], 1);
    assert_eq!(stats["no_results"]["not_npy"], 1);
    assert_eq!((&stats["unfit"], &stats["written"]), (&json!(2), &json!(1)));
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
async fn a_second_sink_on_the_same_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sink = file_sink(folder.path(), &[]).await;
    let other = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(["file-sink", "--http-address", "off", "--folder"])
        .arg(folder.path())
        .arg("--sock-path")
        .arg(other.path().join("sock"))
        .arg("--server-info-path")
        .arg(other.path().join("info"))
        .output();
    let output = tokio::time::timeout(NEVER, output).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another file-sink writes to"), "{said}");
    sink.stop().await;
}

#[needs(pva_peers, mounts)]
#[tokio::test]
async fn a_full_disk_fails_results_and_they_are_written_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |args: &[&str]| {
        let status = Command::new(args[0]).args(&args[1..]).status().unwrap();
        assert!(status.success(), "{args:?}");
    };
    let path = disk.to_str().unwrap();
    mount(&["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", path]);
    let sink = file_sink(&disk, &[]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    write(&mut numa, &results(&scan, &[1, 2, 3])).await;
    let rubbish = disk.join("rubbish");
    fill(&rubbish);
    let mut number = 4;
    let refused = loop {
        let batch = results(&scan, &[number]);
        if verdicts(&mut numa, &batch).await != [Verdict::Written, Verdict::Written] {
            break batch;
        }
        number += 1;
        assert!(number < 10_000, "the disk never fills");
    };
    says(&sink, "is full: ").await;
    let told = stats(&sink).await;
    assert!(told["trouble"].as_str().unwrap().contains("disk"), "{told}");
    std::fs::remove_file(&rubbish).unwrap();
    write(&mut numa, &refused).await;
    write(&mut numa, &results(&scan, &[number + 1])).await;
    assert_eq!(stats(&sink).await["trouble"], Value::Null);
    drop(numa);
    sink.stop().await;
    let found = found(&only(&disk), &[]);
    let all: Vec<u64> = (1..=number + 1).collect();
    let ids = column(&found, "frame_id");
    assert_eq!(ids, all.iter().map(|n| json!(n)).collect::<Vec<_>>());
    assert_eq!(column(&found, "phase"), images(&all));
    assert_eq!(column(&found, "amplitude"), images(&all));
    mount(&["umount", path]);
}

/// Fills the file system to the last byte.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    while file.write_all(&[7; 512]).is_ok() {}
}

async fn verdicts(numa: &mut Sink, batch: &[Datum]) -> Vec<Verdict> {
    let written = tokio::time::timeout(NEVER, numa.write(batch)).await;
    written.expect("the batch is answered").unwrap()
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
