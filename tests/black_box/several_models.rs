//! Several models in one sidecar: each frame is answered by its own, and nothing of one delays another.

use crate::black_box::common::{Host, MODES, NEVER, config, ended, eventually, values};
use crate::black_box::page::browse;
use crate::black_box::served::Served;
use beamflow::app::map::Sidecar;
use beamflow::engine::simulated::expected;
use beamflow::vertex::client::{Datum, Driver};
use beamflow_needs::needs;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A models file in a folder of its own.
struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.yaml");
        std::fs::write(&path, text).unwrap();
        Self {
            path,
            _folder: folder,
        }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Three models of different shapes; the second has two outputs.
const THREE: &str = "
default: low
models:
  - { name: low, path: 'sim:size=4x4', batch: 3 }
  - { name: high, path: 'sim:size=3x5,outputs=2', batch: 8 }
  - { name: wide, path: 'sim:size=2x9', batch: 1, frame-dtype: uint16, priority: high }
routes:
  - { header: x-energy-kev, values: { '8': low, '12': high } }
";

/// Height, width and outputs of each of them.
const SHAPES: [(&str, usize, usize); 3] = [("low", 16, 1), ("high", 15, 2), ("wide", 18, 1)];

async fn host(mode: &str, file: &File) -> Host {
    let whole = ["--output-size", "full", "--batch-timeout", "off"];
    let flags = ["--mode", mode, "--models", file.path()];
    Host::start(&[&whole[..], &flags].concat()).await
}

fn pixel(k: usize, position: usize) -> i16 {
    ((k * 19 + position) % 30_000) as i16
}

/// Frame `k` for one of the models.
fn frame(k: usize, model: usize) -> Datum {
    let (name, pixels, _) = SHAPES[model];
    let pixels = (0..pixels).flat_map(|position| pixel(k, position).to_le_bytes());
    Datum::new(k.to_string(), pixels.collect()).with_header("x-model", name)
}

/// Asserts that frame `k` was answered with the results of that model.
fn assert_answered(
    messages: &[numaflow::proto::map::map_response::Result],
    k: usize,
    model: usize,
) {
    let (name, pixels, outputs) = SHAPES[model];
    assert_eq!(messages.len(), outputs, "frame {k}");
    for (output, message) in messages.iter().enumerate() {
        let result: Vec<_> = (0..pixels)
            .map(|position| expected(output, position, f32::from(pixel(k, position))))
            .collect();
        assert_eq!(values(&message.value), result, "frame {k}");
        let metadata = message.metadata.as_ref().unwrap();
        let group = &metadata.user_metadata["beamflow"].key_value;
        assert_eq!(group["model"], name.as_bytes(), "frame {k}");
    }
}

async fn call(driver: &mut Driver, frames: Vec<Datum>) -> beamflow::vertex::client::Answer {
    let call = driver.call(futures::stream::iter(frames));
    let answered = tokio::time::timeout(NEVER, call).await;
    answered.expect("the call is answered").unwrap()
}

#[tokio::test]
async fn frames_at_random_are_each_answered_by_their_own_model_in_every_mode() {
    let file = File::new(THREE);
    let mut random = ChaCha8Rng::seed_from_u64(21);
    for mode in MODES {
        let host = host(mode, &file).await;
        let mut driver = host.driver().await;
        for frames in [1, 2, 40, 200] {
            let models: Vec<_> = (0..frames)
                .map(|_| random.next_u32() as usize % 3)
                .collect();
            let datums = models.iter().enumerate().map(|(k, model)| frame(k, *model));
            let answer = call(&mut driver, datums.collect()).await;
            for (k, model) in models.iter().enumerate() {
                assert_answered(answer.get(&k.to_string()).unwrap(), k, *model);
            }
        }
        let totals = host.counts.totals();
        assert_eq!((totals.frames, totals.done), (243, 243), "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn headers_choose_then_routes_then_the_default_and_an_unknown_name_is_rejected() {
    let file = File::new(THREE);
    for mode in MODES {
        let host = host(mode, &file).await;
        let mut driver = host.driver().await;
        let without = |k, model| {
            let mut datum = frame(k, model);
            datum.headers.clear();
            datum
        };
        let frames = vec![
            without(0, 0),
            without(1, 1).with_header("X-Energy-keV", "12"),
            // Its name goes before its energy.
            frame(2, 2).with_header("x-energy-kev", "8"),
            // No route lists the value: the default, and it is counted.
            without(3, 0).with_header("x-energy-kev", "10"),
            without(4, 0).with_header("x-model", "Low"),
        ];
        let answer = call(&mut driver, frames).await;
        for (k, model) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
            assert_answered(answer.get(&k.to_string()).unwrap(), k, model);
        }
        assert_eq!(answer.get("4").unwrap()[0].tags, ["U+005C__DROP__"]);
        let totals = host.counts.totals();
        assert_eq!((totals.done, totals.rejections["unknown_model"]), (4, 1));
        host.stop().await;
    }
}

/// A sidecar of flags alone has one model, whose name is `default`.
#[tokio::test]
async fn a_frame_for_another_model_is_not_computed_by_the_only_one() {
    let host = Host::start(&["--model-path", "sim:size=4x4"]).await;
    let mut driver = host.driver().await;
    let frames = vec![frame(0, 0), frame(1, 0).with_header("x-model", "default")];
    let answer = call(&mut driver, frames).await;
    assert_eq!(answer.get("0").unwrap()[0].tags, ["U+005C__DROP__"]);
    assert_eq!(answer.get("1").unwrap().len(), 1);
    assert_eq!(host.counts.totals().rejections["unknown_model"], 1);
    host.stop().await;
}

/// The lanes of `low` hang for an hour, and its frames came first. The others are answered all the same, in a stream and
/// before the end of a read batch.
#[tokio::test]
async fn a_model_that_hangs_delays_no_frame_of_another() {
    let file = File::new(
        "
default: low
models:
  - { name: low, path: 'sim:size=4x4,hang=1+2+3+4', batch: 1, inference-timeout: 1h }
  - { name: high, path: 'sim:size=3x5,outputs=2', batch: 4 }
  - { name: wide, path: 'sim:size=2x9', batch: 1 }
",
    );
    for mode in ["pipelined", "streaming"] {
        let host = host(mode, &file).await;
        let mut driver = host.driver().await;
        for k in 0..20 {
            driver.send_datum(frame(k, 0)).await.unwrap();
        }
        for k in 20..100 {
            driver.send_datum(frame(k, 1 + k % 2)).await.unwrap();
        }
        let mut others = 0;
        while others < 80 {
            let response = tokio::time::timeout(NEVER, driver.next_response()).await;
            let response = response.expect("it is answered").unwrap().unwrap();
            let k: usize = response.id.parse().unwrap();
            assert!(k >= 20, "frame {k} hangs");
            assert_answered(&response.results, k, 1 + k % 2);
            others += 1;
        }
        drop(driver);
        host.serving.abort();
    }
}

#[tokio::test]
async fn a_lost_model_fails_alone_and_readiness_and_stats_say_which() {
    let file = File::new(
        "
default: low
models:
  - { name: low, path: 'sim:size=4x4,device-lost=1', batch: 4 }
  - { name: high, path: 'sim:size=3x5,outputs=2', batch: 4, priority: high, backlog: 64 }
  - { name: wide, path: 'sim:size=2x9', batch: 1 }
",
    );
    let mut served = Served::start(&["--models", file.path(), "--on-failure", "drop"]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    served.until_answered("/readyz", "200", "ready").await;
    let frames = (0..30).map(|k| frame(k, k % 3)).collect();
    let answer = call(&mut driver, frames).await;
    for k in 0..30 {
        let messages = answer.get(&k.to_string()).unwrap();
        match k % 3 {
            0 => assert_eq!(messages[0].tags, ["U+005C__DROP__"]),
            model => assert_answered(messages, k, model),
        }
    }
    let told = "lost: low; answered: high, wide";
    served.until_answered("/readyz", "503", told).await;
    let stats = served.stats().await;
    assert_eq!(stats["phase"], "degraded");
    let models = stats["models"].as_array().unwrap();
    let of = |n: usize, key: &str| models[n][key].clone();
    assert_eq!(
        [of(0, "is_ready"), of(1, "is_ready")],
        [json!(false), json!(true)]
    );
    let given = |n| [of(n, "priority"), of(n, "backlog")];
    assert_eq!(given(0), [json!("normal"), json!(512)]);
    assert_eq!(given(1), [json!("high"), json!(64)]);
    assert_eq!(of(0, "frames")["failed"], 10);
    assert_eq!(of(1, "frames")["done"], 10);
    assert_eq!(of(1, "devices")[0]["device"], "sim-0");
    let metrics = served.metrics().await;
    let metric = |name: &str| metrics[&format!("beamflow_{name}")];
    assert_eq!(metric("model_ready{model=\"low\"}"), 0.0);
    assert_eq!(metric("model_ready{model=\"wide\"}"), 1.0);
    assert_eq!(
        metric("model_frames_total{model=\"wide\",outcome=\"done\"}"),
        10.0
    );
    assert_eq!(metric("batch_size{model=\"high\"}"), 4.0);
    drop(driver);
}

#[needs(chromedriver)]
#[tokio::test]
async fn the_page_has_a_row_for_each_model() {
    let file = File::new(THREE);
    let mut served = Served::start(&["--models", file.path()]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let frames = (0..30).map(|k| frame(k, k % 3)).collect();
    call(&mut driver, frames).await;
    let page = format!("http://{}/", served.address);
    browse(async |browser| {
        browser.client.goto(&page).await.unwrap();
        let text = browser.shows("models", |text| text.contains("wide")).await;
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(
            rows[1],
            "model state file batch depth slots answered rejected failed"
        );
        assert_eq!(
            rows[2],
            "low (default) ready sim:size=4x4 3 3 0 of 4 10 0 0"
        );
        assert_eq!(
            rows[3],
            "high ready sim:size=3x5,outputs=2 8 3 0 of 4 10 0 0"
        );
        let devices = browser.text("devices").await;
        assert!(devices.contains("sim-0, wide"), "{devices}");
        assert!(browser.text("what").await.contains("3 models"));
        browser.screenshot("models-page.png").await;
    })
    .await;
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

/// A backlog of one frame: the router waits, and says so, and no frame is lost.
#[tokio::test]
async fn a_full_backlog_is_counted_and_loses_no_frame() {
    let text = THREE.replace("name: low,", "name: low, backlog: 1,");
    let file = File::new(&text.replace("size=4x4", "size=4x4,compute=1ms"));
    let mut served = Served::start(&["--models", file.path()]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let answer = call(&mut driver, (0..200).map(|k| frame(k, k % 3)).collect()).await;
    for k in 0..200 {
        assert_answered(answer.get(&k.to_string()).unwrap(), k, k % 3);
    }
    let metrics = served.metrics().await;
    assert!(metrics["beamflow_backlog_full_total{model=\"low\"}"] > 0.0);
    assert_eq!(metrics["beamflow_backlog_full_total{model=\"high\"}"], 0.0);
    let sidecar = &served.sidecar;
    eventually("the line", || {
        sidecar.log().contains("The backlog of a model is full")
    })
    .await;
    drop(driver);
}

#[test]
fn models_that_do_not_fit_into_a_device_together_are_refused_with_a_table() {
    // A lane with a batch of eight frames of 512 × 512 takes 16 MiB, input and output together.
    let text = |batch: &str| {
        format!(
            "
default: a
models:
  - {{ name: a, path: 'sim:size=512,memory=90', batch: {batch} }}
  - {{ name: b, path: 'sim:size=512,memory=90', batch: {batch} }}
"
        )
    };
    let load = |batch| {
        let file = File::new(&text(batch));
        Sidecar::load(&config(&["--models", file.path()]))
    };
    let refused = load("8").err().unwrap().to_string();
    let lines: Vec<_> = refused.lines().map(str::trim).collect();
    assert!(
        lines[0].starts_with("the models do not fit together into sim-0"),
        "{refused}"
    );
    assert!(
        lines[0].contains("lower --pipeline-depth to 2, or the batch of"),
        "{refused}"
    );
    assert!(
        lines[2].starts_with("a ") && lines[2].ends_with("yes"),
        "{refused}"
    );
    assert!(
        lines[3].starts_with("b ") && lines[3].ends_with("no"),
        "{refused}"
    );
    // An automatic batch becomes smaller until all fit.
    assert_eq!(load("auto").unwrap().batch_size, 8);
}

/// Runs `beamflow check` on a file.
async fn check(text: &str) -> (Option<i32>, String) {
    let file = File::new(text);
    let mut command = std::process::Command::new(Path::new(env!("CARGO_BIN_EXE_beamflow")));
    let flags = ["--pipeline-depth", "2", "--output-size", "full"];
    command.args(["check", file.path()]).args(flags);
    let output = ended(command).await;
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn check_loads_the_models_and_lists_them_or_says_what_is_wrong() {
    let (code, text) = check(THREE).await;
    assert_eq!(code, Some(0), "{text}");
    let line = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .take(6)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("low")[..5], ["low", "(default)", "3", "2", "3"]);
    assert_eq!(line("wide"), ["wide", "1", "2", "3", "2", "sim:size=2x9"]);
    let (code, text) = check(&THREE.replace("default: low", "default: lo")).await;
    assert_eq!(code, Some(64), "{text}");
    let small = THREE.replace("batch: 1,", "batch: 1, output-size: 10x10,");
    let (code, text) = check(&small).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("models.yaml:6:64: output-size: '10x10' is not allowed: "),
        "{text}"
    );
    let (code, text) = check(&THREE.replace("sim:size=2x9", "/no/such.onnx")).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("model 'wide'") && text.contains("/no/such.onnx"),
        "{text}"
    );
}
