//! `beamflow pva-sink` with `beamflow file-sink` as its onSuccess sink, as in a MonoVertex.

use crate::black_box::common::{NEVER, eventually};
use crate::black_box::result_files::{balanced, column, file_sink, found, images, only, results};
use crate::black_box::results::{Scan, Sinking, Viewer, bytes, image, pva_sink, stats, values};
use beamflow::vertex::client::pipeline::{
    Address, Datums, Intake, Outlet, Pipeline, Report, Settings, Until,
};
use beamflow::vertex::client::{Datum, Sink};
use beamflow_needs::needs;
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// The frames.
fn numbers() -> [u64; 40] {
    std::array::from_fn(|k| k as u64 + 1)
}

/// Where a sink listens.
fn at(sink: &Sinking) -> Outlet {
    Outlet::Sink(Address::new(&sink.sock, &sink.info))
}

/// Both outputs of every frame, some of them twice, and three messages that are no results.
fn messages(scan: &Scan) -> Vec<Datum> {
    let mut all = results(scan, &numbers());
    all.insert(3, Datum::new("raw frame", vec![0; 64]));
    all.insert(30, Datum::new("no value", Vec::new()));
    let mut again = results(scan, &numbers()[..5]);
    for datum in &mut again {
        datum.id += " again";
    }
    all.extend(again);
    let mut bad = scan.result(9, "phase");
    bad.id = "bad".to_owned();
    bad.value.truncate(140);
    all.push(bad);
    all
}

async fn run(viewers: &Sinking, files: Option<&Sinking>, scan: &Scan) -> Report {
    let settings = Settings {
        read_batch: 16,
        until: Until::Idle,
        ..Settings::default()
    };
    let source = Intake::Memory(Datums::of(messages(scan)));
    let mut pipeline = Pipeline::new(settings, source, at(viewers));
    if let Some(files) = files {
        pipeline = pipeline.with_on_success(at(files));
    }
    let stop = CancellationToken::new();
    let run = tokio::time::timeout(NEVER, pipeline.run(&stop)).await;
    run.expect("the pipeline ends").unwrap()
}

#[needs(pva_peers)]
#[tokio::test]
async fn each_result_that_is_posted_is_in_the_file_once_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let viewers = pva_sink(&["--outputs", "phase,amplitude", "--on-success"]).await;
    let files = file_sink(folder.path(), &[]).await;
    let scan = Scan::new();
    let report = run(&viewers, Some(&files), &scan).await;
    assert_eq!((report.read, report.acked), (93, 93));
    assert_eq!((report.written, report.passed_on), (93, 90));

    let posted = stats(&viewers).await;
    assert_eq!(
        (&posted["results"], &posted["duplicates"]),
        (&json!(90), &json!(10))
    );
    let written = stats(&files).await;
    for (count, expected) in [("results", 90), ("written", 80), ("duplicates", 10)] {
        assert_eq!(written[count], expected, "{count}: {written}");
    }
    let refused = written["no_results"].as_object().unwrap();
    assert!(refused.values().all(|count| count == 0), "{written}");
    balanced(&files).await;
    let (_, last) = Viewer::of(&viewers, "beamflow:phase:image").await;
    assert_eq!(image(&last).pixels[..], bytes(&values(40)));

    viewers.stop().await;
    files.stop().await;
    let found = found(&only(folder.path()), &[]);
    assert_eq!(column(&found, "frame_id"), numbers().map(|n| json!(n)));
    for output in ["phase", "amplitude"] {
        assert_eq!(column(&found, output), images(&numbers()), "{output}");
    }
}

/// A Pipeline has no onSuccess sink: numa would end.
#[tokio::test]
async fn without_the_flag_nothing_is_passed_on() {
    let viewers = pva_sink(&["--outputs", "phase,amplitude"]).await;
    let report = run(&viewers, None, &Scan::new()).await;
    assert_eq!((report.written, report.passed_on), (93, 0));
    viewers.stop().await;
}

/// Numa expects the container of each kind of sink elsewhere, and says in a variable which one it is.
#[needs(mounts)]
#[tokio::test]
async fn a_sink_listens_where_numa_expects_its_container() {
    for (container, prefix) in [("udsink", ""), ("fb-udsink", "fb-"), ("ons-udsink", "ons-")] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // /var/run is a link to /run. In a namespace of its own, the program has an empty one.
        let script = "mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"";
        let mut program = Command::new("unshare")
            .args(["--mount", "--user", "--map-root-user", "sh", "-c", script])
            .arg(env!("CARGO_BIN_EXE_beamflow"))
            .args(["file-sink", "--http-address", "off", "--folder"])
            .arg(folder.path().join("files"))
            .env("NUMAFLOW_UD_CONTAINER_TYPE", container)
            .env_remove("FILE_SOCK_PATH")
            .env_remove("FILE_SERVER_INFO_PATH")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually("the socket", || said().contains("has announced itself")).await;
        // The file system as the program sees it: proc(5).
        let process = Path::new("/proc").join(program.id().unwrap().to_string());
        let numaflow = process.join("root").join("run/numaflow");
        let info = numaflow.join(format!("{prefix}sinker-server-info"));
        let sock = numaflow.join(format!("{prefix}sink.sock"));
        Sink::wait_ready(&info, &sock, NEVER).await.unwrap();
        program.kill().await.unwrap();
    }
}
