//! `beamflow file-sink` while it, or another part of the beamline, is killed with SIGKILL and started again: each frame has one
//! row, in one file.

use crate::black_box::pva_sink_kills::{FRAMES, Line, during, texts};
use crate::black_box::result_files::{column, file_sink, found, images, only};
use crate::black_box::results::{Scan, Sinking, connect, write};
use beamflow::vertex::client::Datum;
use beamflow::vertex::client::pipeline::{Address, Outlet};
use beamflow_needs::needs;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const OUTPUTS: [&str; 2] = ["phase", "amplitude"];
/// Results of the scan, two for each frame.
const RESULTS: usize = 240;
/// Kills of the sink.
const KILLS: u32 = 10;
/// A kill comes at most so long after a batch was sent, in microseconds.
const LATEST_KILL: u64 = 4_000;

/// The frame of each row.
fn numbers(found: &Value) -> Vec<u64> {
    let ids = column(found, "frame_id");
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}

/// A number below `end`.
fn below(random: &mut ChaCha8Rng, end: u64) -> u64 {
    random.next_u64() % end
}

/// The results of a scan, as (frame, output): each at most eight places from where it belongs. The first frame is the first.
fn shuffled(random: &mut ChaCha8Rng) -> Vec<(u64, &'static str)> {
    let all = (0..RESULTS).map(|k| (1 + k as u64 / 2, OUTPUTS[k % 2]));
    let mut all: Vec<_> = all
        .map(|of| (2 * of.0 + if of.0 == 1 { 0 } else { below(random, 8) }, of))
        .collect();
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, of)| of).collect()
}

/// Sends the results in batches, some for the second time, until all are acknowledged; the sink is killed while it writes
/// some of the batches.
async fn killed_at_random(seed: u64, folder: &Path) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let scan = Scan::new();
    let due = shuffled(&mut random);
    let (mut acked, mut kills) = (0, 0);
    let mut sink: Sinking = file_sink(folder, &[]).await;
    let mut numa = connect(&sink).await;
    while acked < due.len() || kills < KILLS {
        let end = due.len().min(acked + 1 + below(&mut random, 12) as usize);
        let again = (1 + below(&mut random, 4)).min(acked as u64);
        let again = (0..again).map(|_| due[below(&mut random, acked as u64) as usize]);
        let again: Vec<_> = again.collect();
        let batch = due[acked..end].iter().chain(&again).enumerate();
        let batch: Vec<Datum> = batch
            .map(|(place, (number, output))| {
                let mut result = scan.result(*number, output);
                result.id += &format!("-{place}");
                result
            })
            .collect();
        if kills < KILLS && below(&mut random, 3) == 0 {
            let wait = Duration::from_micros(below(&mut random, LATEST_KILL));
            tokio::select! {
                () = write(&mut numa, &batch) => acked = end,
                () = tokio::time::sleep(wait) => {}
            }
            sink.kill().await;
            kills += 1;
            sink = file_sink(folder, &[]).await;
            numa = connect(&sink).await;
        } else {
            write(&mut numa, &batch).await;
            acked = end;
        }
    }
    drop(numa);
    sink.stop().await;
}

#[needs(pva_peers)]
#[tokio::test]
async fn every_frame_has_one_row_however_often_the_sink_is_killed_and_results_come_again() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        killed_at_random(seed, folder.path()).await;
        let found = found(&only(folder.path()), &[]);
        let numbers = numbers(&found);
        for output in OUTPUTS {
            assert_eq!(column(&found, output), images(&numbers), "seed {seed}");
        }
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        let all: Vec<u64> = (1..=RESULTS as u64 / 2).collect();
        assert_eq!(sorted, all, "seed {seed}");
        assert_ne!(numbers, all, "rows are in the order in which frames came");
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn every_frame_from_a_pv_has_one_row_while_each_part_is_killed() {
    let line = Line::start("100").await;
    let folder = tempfile::tempdir().unwrap();
    let files = file_sink(folder.path(), &[]).await;
    let to_files = Outlet::Sink(Address::new(&files.sock, &files.info));
    let numa = line.numa().with_sink(to_files);
    let path = folder.path().to_str().unwrap().to_owned();
    let flags = ["--folder", &path, "--http-address", "127.0.0.1:0"];
    let story = async {
        let (mut line, mut files) = (line, files);
        let acked = |wanted: u64| move |told: &Value| told["acked"].as_u64() >= Some(wanted);
        line.until(&line.source, acked(10)).await;
        files = files.killed_and_started(&flags).await;
        line.until(&line.source, acked(25)).await;
        line.map = line.map.killed_and_started().await;
        line.until(&line.source, acked(40)).await;
        files = files.killed_and_started(&flags).await;
        line.until(&line.source, acked(50)).await;
        let source_flags = texts(&line.source_flags);
        line.source = line.source.killed_and_started(&source_flags).await;
        // The last frame is not lost: it stays in the PV.
        let is_last = |told: &Value| told["mosaic"]["newest"] == FRAMES;
        line.until(&line.sink, is_last).await;
        line.until(&line.source, |told| told["unacked"] == 0).await;
        (line, files)
    };
    let ((line, files), report) = during(numa, story).await;
    assert!(report.restarts >= 4, "{report:?}");
    line.stop().await;
    files.stop().await;
    let found = found(&only(folder.path()), &[]);
    let numbers = numbers(&found);
    let unique: BTreeSet<u64> = numbers.iter().copied().collect();
    assert_eq!(unique.len(), numbers.len(), "{numbers:?}");
    for output in ["output_0", "output_1"] {
        let values = column(&found, output);
        assert!(values.iter().all(|value| !value.is_null()), "{output}");
    }
    // Only what the killed source had not delivered is missing.
    assert!(
        unique.contains(&FRAMES) && unique.len() >= 50,
        "{numbers:?}"
    );
}
