//! The vertices of pipeline.yaml with their own settings, as programs on this machine: from the simulated detector's PV to the
//! mosaic. Numa's part is played by the pipeline driver; the model runs on the CPU.

use crate::black_box::common::{Host, NEVER};
use crate::black_box::ioc::Ioc;
use crate::black_box::results::{Viewer, pva_sink, stats};
use crate::black_box::source::Source;
use crate::manifests::containers::Container;
use crate::manifests::documents::{Document, parse, read};
use crate::manifests::pva::{flag, runs};
use beamflow::cli;
use beamflow::lab::experiment;
use beamflow::vertex::client::pipeline::{Address, Intake, Outlet, Pipeline, Settings, Until};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Points along each side of the scan.
const POINTS: usize = 3;
const FRAMES: u64 = (POINTS * POINTS) as u64;

/// The container's environment as flags, without those that name a place in the cluster.
fn flags(container: &Container<'_>, without: &[&str]) -> Vec<String> {
    let program = cli::command();
    let command = container.command().unwrap();
    let command = program.find_subcommand(command).unwrap();
    let mut flags = Vec::new();
    for variable in container.spec["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        if without.contains(&name) {
            continue;
        }
        let mut args = command.get_arguments();
        let arg = args.find(|arg| arg.get_env().is_some_and(|env| env == name));
        let arg = arg.unwrap_or_else(|| panic!("nothing reads {name}"));
        flags.push(format!("--{}", arg.get_long().unwrap()));
        if arg.get_action().takes_values() {
            flags.push(variable["value"].as_str().unwrap().to_owned());
        }
    }
    flags
}

fn texts<'a>(flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    flags
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

#[tokio::test]
async fn the_deployed_vertices_make_a_mosaic_of_the_simulated_scan() {
    let documents = parse("pipeline.yaml", &read("pipeline.yaml"));
    let of = |command: &str| {
        let mut all = documents.iter();
        all.find_map(|document: &Document| runs(document, command))
            .unwrap()
    };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
    let host = Host::start(&["--model-path", model.to_str().unwrap(), "--bsz-size", "1"]).await;
    let (simulated, frames) = (of("simulate-ioc"), FRAMES.to_string());
    let ioc = Ioc::start(&[
        "--pv",
        flag(&simulated, "--pv"),
        "--codec",
        flag(&simulated, "--codec"),
        "--frame-size",
        "64x64",
        "--frames",
        &frames,
        "--reset-every",
        &frames,
        "--wait-for-client",
    ])
    .await;
    let server = format!("tcp://127.0.0.1:{}", ioc.port("tcp_port"));
    let elsewhere = ["PVA_SERVER", "PVA_HTTP_ADDRESS", "LOG_FORMAT"];
    let source = flags(&of("pva-source"), &elsewhere);
    let here = [
        "--server",
        &server,
        "--server-queue-size",
        "100",
        "--http-address",
        "off",
    ];
    let source = Source::start_as("pva-source", &texts(&source, &here)).await;
    let sink = flags(&of("pva-sink"), &elsewhere);
    let sink = pva_sink(&texts(&sink, &[])).await;
    let mut viewer = Viewer::of(&sink, "beamflow:mosaic_phase:image").await.0;

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
    assert!(report.expect("all frames come").unwrap().is_balanced());
    drop(pipeline);

    let told = stats(&sink).await;
    let mosaic = &told["mosaic"];
    assert_eq!(mosaic["placed"], FRAMES, "{mosaic}");
    for left_out in [
        "unpositioned",
        "outside",
        "unusable",
        "without_phase",
        "mismatched",
        "earlier",
        "other_pvs",
        "unlevelled",
    ] {
        assert_eq!(mosaic[left_out], 0, "{left_out}: {mosaic}");
    }
    // The picture is as large as the scan, less what is cut: with another size of a pixel it would not be.
    source.stop().await;
    ioc.stop().await;
    let stopping = tokio::spawn(sink.stop());
    let raster = experiment::RASTER;
    let (step, jitter) = (raster.step, 2 * raster.jitter);
    let between = (POINTS - 1) * step;
    let patch = 64 - 2 * 16;
    loop {
        let update = viewer.update().await;
        let image = crate::black_box::results::image(&update);
        let (height, width) = (image.shape.height, image.shape.width);
        let is_all = [height, width]
            .iter()
            .all(|side| (patch + between - jitter..=patch + between + jitter).contains(side));
        if is_all {
            break;
        }
    }
    stopping.await.unwrap();
    host.stop().await;
}
