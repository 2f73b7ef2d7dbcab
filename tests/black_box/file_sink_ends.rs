//! When files of `beamflow file-sink` end, and what a kill and a full disk leave.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::result_files::{
    balanced, column, file_sink, found, images, named, only, results,
};
use crate::black_box::results::{Scan, connect, now, says, stats, until, write};
use beamflow::vertex::client::{Datum, Sink, Verdict};
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

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
