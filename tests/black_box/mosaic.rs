//! The live mosaic of `beamflow pva-sink`, from a detector's PV to the picture: source, sidecar with a real model, sink; numa's
//! part is played by the pipeline driver.

use crate::black_box::common::{Host, NEVER};
use crate::black_box::ioc::Ioc;
use crate::black_box::page::{Browser, browse};
use crate::black_box::results::{
    Scan, Viewer, balanced, connect, image, pva_sink, says, stats, write,
};
use crate::black_box::served::get;
use crate::black_box::source::Source;
use beamflow::lab::{Raster, SimulatedScan, experiment};
use beamflow::pva::{Attribute, Update};
use beamflow::vertex::client::Datum;
use beamflow::vertex::client::pipeline::{Address, Intake, Outlet, Pipeline, Settings, Until};
use beamflow_needs::needs;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Scan points along each side.
const POINTS: usize = 8;
const FRAMES: u64 = (POINTS * POINTS) as u64;

fn scan() -> SimulatedScan {
    let raster = Raster {
        rows: POINTS,
        columns: POINTS,
        ..experiment::RASTER
    };
    experiment::scan(raster).unwrap()
}

/// A `.npy` file with |P|² of the scan's probe.
fn weights(scan: &SimulatedScan, folder: &Path) -> String {
    let weights = scan.probe().intensity();
    let header = format!(
        "{{'descr': '<f8', 'fortran_order': False, 'shape': ({}, {}), }}",
        weights.nrows(),
        weights.ncols()
    );
    let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
    file.extend(format!("{header:<117}\n").bytes());
    file.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
    let path = folder.join("weights.npy");
    std::fs::write(&path, file).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A detector, its source, the sidecar and the sink with a mosaic.
struct Line {
    ioc: Ioc,
    source: Source,
    host: Host,
    sink: Source,
}

impl Line {
    async fn start(fps: &str, weights: &str) -> Self {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/ptychonn_64.onnx");
        let host = Host::start(&["--model-path", model.to_str().unwrap()]).await;
        let (points, frames) = (POINTS.to_string(), FRAMES.to_string());
        let flags = ["--points", &points, "--frames", &frames, "--fps", fps];
        let ioc =
            Ioc::start(&[&flags[..], &["--frame-size", "64x64", "--wait-for-client"]].concat())
                .await;
        let server = format!("tcp://127.0.0.1:{}", ioc.port("tcp_port"));
        let sink = pva_sink(&[
            "--mosaic",
            "--pixel-size",
            &experiment::pixel_size(64).to_string(),
            "--weights",
            weights,
            "--mosaic-rate",
            "20",
            "--mosaic-idle",
            "2s",
            "--outputs",
            "phase,amplitude",
        ])
        .await;
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
                // What a killed numa had read and not acked comes again soon.
                "--ack-timeout",
                "1s",
            ],
        )
        .await;
        Self {
            ioc,
            source,
            host,
            sink,
        }
    }

    /// Numa, with this source, map and sink.
    fn numa(&self) -> Pipeline {
        let settings = Settings {
            read_batch: 8,
            read_timeout: Duration::from_millis(50),
            until: Until::Acked(FRAMES),
            ..Settings::default()
        };
        let intake = Intake::Source(Address::new(&self.source.sock, &self.source.info));
        let map = Address::new(&self.host.sock, &self.host.server_info);
        let outlet = Outlet::Sink(Address::new(&self.sink.sock, &self.sink.info));
        Pipeline::new(settings, intake, outlet).with_map(map)
    }

    /// Carries every frame to the sink.
    async fn run(&self) {
        let mut pipeline = self.numa();
        let stop = CancellationToken::new();
        let report = tokio::time::timeout(NEVER, pipeline.run(&stop)).await;
        let report = report.expect("all frames come").unwrap();
        assert!(report.is_balanced(), "{report:?}");
    }

    async fn stop(self) {
        self.source.stop().await;
        self.ioc.stop().await;
        self.sink.stop().await;
        self.host.stop().await;
    }
}

fn number(update: &Update, name: &str) -> f64 {
    let found = update.attributes.iter().find(|(given, _)| given == name);
    match found.map(|(_, value)| value) {
        Some(Attribute::Integer(number)) => *number as f64,
        Some(Attribute::Number(number)) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

/// The first update whose picture is the final one of all frames: a machine that is slow makes others in its pauses.
async fn last(viewer: &mut Viewer) -> Update {
    loop {
        let update = viewer.update().await;
        let has_picture = update.attributes.iter().any(|(name, _)| name == "Final");
        if has_picture
            && [number(&update, "Final"), number(&update, "Placed")] == [1.0, FRAMES as f64]
        {
            return update;
        }
    }
}

/// The median of what the phase differs from the truth, up to its constant, in radians; of pixels that have one.
fn error(scan: &SimulatedScan, picture: &Update) -> f64 {
    let shape = image(picture).shape;
    let origin = |name| (number(picture, name) / experiment::pixel_size(64)).round() as isize;
    let truth = scan.object().phase();
    let (rows, columns) = scan.object().shape();
    // The stage's zero is the middle of the object.
    let top = (origin("OriginY") + rows as isize / 2) as usize;
    let left = (origin("OriginX") + columns as isize / 2) as usize;
    let (values, _) = image(picture).pixels.as_chunks();
    let mut differences = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let value = f64::from(f32::from_le_bytes(*value));
        if value != 0.0 {
            let at = (top + index / shape.width, left + index % shape.width);
            differences.push(value - truth[at]);
        }
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let constant = median(&mut differences);
    let mut errors = differences.iter().map(|d| (d - constant).abs()).collect();
    median(&mut errors)
}

#[tokio::test]
async fn a_scan_becomes_one_picture_that_is_the_truth() {
    let (scan, folder) = (scan(), tempfile::tempdir().unwrap());
    let line = Line::start("1000", &weights(&scan, folder.path())).await;
    let mut phase = Viewer::of(&line.sink, "beamflow:mosaic_phase:image")
        .await
        .0;
    let mut amplitude = Viewer::of(&line.sink, "beamflow:mosaic_amplitude:image")
        .await
        .0;
    line.run().await;
    let picture = last(&mut phase).await;
    for name in ["Missing", "Unpositioned", "Outside"] {
        assert_eq!(number(&picture, name), 0.0, "{name}");
    }
    assert_eq!(number(&picture, "PixelSize"), experiment::pixel_size(64));
    assert!(number(&picture, "SeriesStart") > 1e18);
    // The offline solver of the demo has 0.132 rad on this scan, without the pixels at its edge; a constant phase has 0.33.
    let error = error(&scan, &picture);
    assert!(error < 0.18, "{error}");
    let other = last(&mut amplitude).await;
    assert_eq!(image(&other).shape, image(&picture).shape);
    balanced(&line.sink).await;
    line.stop().await;
}

#[tokio::test]
async fn every_frame_is_posted_and_placed_once_however_often_numa_is_killed() {
    let (scan, folder) = (scan(), tempfile::tempdir().unwrap());
    let line = Line::start("200", &weights(&scan, folder.path())).await;
    let mut phase = Viewer::of(&line.sink, "beamflow:phase:image").await.0;
    let mut mosaic = Viewer::of(&line.sink, "beamflow:mosaic_phase:image")
        .await
        .0;
    let mut numa = line.numa();
    let stop = CancellationToken::new();
    for written in [4, 20, 40] {
        let some = async {
            while frames_of(&line).await < written {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            ended = numa.run(&stop) => panic!("{ended:?}"),
            () = some => {}
        }
    }
    // An ack whose answer a killed numa did not see is not in its counts: the sink says when all frames are there.
    numa.set_until(Until::Stopped);
    let all = async {
        while frames_of(&line).await < FRAMES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(numa.run(&stop), all).0 };
    let report = tokio::time::timeout(NEVER, both).await;
    assert!(report.expect("all frames come").unwrap().is_balanced());
    let mut numbers = phase.numbers(FRAMES as usize).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=FRAMES as i64).collect::<Vec<_>>());
    last(&mut mosaic).await;
    let told = stats(&line.sink).await;
    assert_eq!(told["mosaic"]["placed"], FRAMES, "{told}");
    balanced(&line.sink).await;
    drop(numa);
    line.stop().await;
}

/// Frames of which the sink has a result.
async fn frames_of(line: &Line) -> u64 {
    stats(&line.sink).await["frames"].as_u64().unwrap()
}

#[tokio::test]
async fn results_without_a_place_are_counted_and_not_placed() {
    let sink = pva_sink(&[
        "--mosaic",
        "--pixel-size",
        "1e-8",
        "--amplitude-output",
        "off",
    ])
    .await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    // The output of another model than the flags name: the mosaic stays empty, and the log says why.
    write(&mut numa, &[scan.result(6, "94")]).await;
    says(&sink, "name the outputs of the model with --phase-output").await;
    let mut batch: Vec<Datum> = (1..=4).map(|n| scan.result(n, "phase")).collect();
    for datum in &mut batch[2..] {
        datum.headers.remove("x-position-y");
    }
    // Another detector.
    let mut other = scan.result(5, "phase");
    other.headers.insert("x-pv".into(), "other:image".into());
    batch.push(other);
    write(&mut numa, &batch).await;
    let mosaic = stats(&sink).await["mosaic"].clone();
    let counts = ["patches", "placed", "unpositioned", "other_pvs"];
    let counts = counts.map(|name| mosaic[name].as_u64().unwrap());
    assert_eq!(counts, [4, 2, 2, 1], "{mosaic}");
    says(&sink, "is of another detector than the mosaic").await;
    drop(numa);
    sink.stop().await;
}

#[tokio::test]
async fn a_mistake_of_the_mosaic_is_one_line_and_exit_code_64() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("positions.csv");
    std::fs::write(&csv, "0,0\n1e-8,nothing\n").unwrap();
    for (flags, words) in [
        (&["--mosaic"][..], "--pixel-size"),
        (&["--pixel-size", "0"], "a length in metres"),
        (
            &[
                "--mosaic",
                "--pixel-size",
                "1e-8",
                "--positions",
                csv.to_str().unwrap(),
            ],
            "row 2",
        ),
        (
            &[
                "--mosaic",
                "--pixel-size",
                "1e-8",
                "--weights",
                "/nowhere.npy",
            ],
            "/nowhere.npy",
        ),
        (
            &[
                "--mosaic",
                "--pixel-size",
                "1e-8",
                "--outputs",
                "mosaic_phase",
            ],
            "two of them",
        ),
        (&["--orientation", "+x+x"], "the axes"),
    ] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_beamflow"))
            .arg("pva-sink")
            .args(flags)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(
            text.lines().count() == 1 && text.contains(words),
            "{flags:?}: {text}"
        );
    }
}

#[needs(chromedriver)]
#[tokio::test]
async fn the_page_shows_the_mosaic_while_it_grows() {
    browse(look).await;
}

async fn look(browser: &Browser) {
    let (scan, folder) = (scan(), tempfile::tempdir().unwrap());
    let line = Line::start("20", &weights(&scan, folder.path())).await;
    let address = line.sink.http_address().await;
    let page = format!("http://{address}/");
    browser.client.goto(&page).await.unwrap();
    browser
        .shows("mosaic-empty", |text| text.contains("No patch"))
        .await;
    let placed = |text: &str| text.parse::<u64>().unwrap_or(0);
    let looking = async {
        // Two pictures, without a reload, and the second has more frames.
        let first = placed(&browser.shows("placed", |text| placed(text) > 0).await);
        let second = placed(&browser.shows("placed", |text| placed(text) > first).await);
        assert!(second <= FRAMES);
        browser.screenshot("mosaic-growing.png").await;
        browser
            .shows("mosaic-state", |text| {
                text.contains("from frame 1, final picture")
            })
            .await;
    };
    tokio::join!(line.run(), looking);
    browser.shows("placed", |text| placed(text) == FRAMES).await;
    browser
        .shows("parts", |text| {
            text.contains("phase") && text.contains("amplitude")
        })
        .await;
    let look =
        "return [...document.querySelectorAll('.part img')].map((image) => image.naturalWidth)";
    let widths = browser.evaluate(look).await;
    assert!(
        widths[0].as_u64().unwrap() > 64 && widths[0] == widths[1],
        "{widths}"
    );
    // The scan points lie on the picture.
    let click = "document.getElementById('show-points').click(); const canvas = document.querySelector('.part canvas'); \
                 const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; \
                 return pixels.filter((value, n) => n % 4 == 3 && value > 0).length";
    let dots = browser.evaluate(click).await;
    assert!(dots.as_u64().unwrap() >= FRAMES / 2, "{dots}");
    assert!(browser.screenshot("mosaic-final.png").await > 100);
    // Saved as it is shown.
    let href = browser
        .evaluate("return document.querySelector('#mosaic-phase a').getAttribute('href')")
        .await;
    assert!(href.as_str().unwrap().ends_with("/phase.png"));
    let points = get(&address, "/mosaic/newest/points.json").await;
    let points: Vec<(i64, i64)> = serde_json::from_str(&points).unwrap();
    assert_eq!(points.len(), FRAMES as usize);
    line.stop().await;
    browser.shows("phase", |text| text == "unreachable").await;
}
