//! The settings of docs/migration.md give what the Python sidecars gave.

use crate::black_box::common::{Host, values};
use beamflow::vertex::client::Datum;
use futures::stream;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The variables that the page gives for the old output.
fn variables() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(root().join("docs/migration.md")).unwrap();
    let (_, section) = page.split_once("\n## The old output\n").unwrap();
    let (_, yaml) = section.split_once("```yaml\n").unwrap();
    let (yaml, _) = yaml.split_once("```").unwrap();
    let lines = yaml.lines().filter(|line| line.contains("{name: "));
    let pair = |line: &str| {
        let (_, rest) = line.split_once("{name: ")?;
        let (name, rest) = rest.split_once(", value: ")?;
        Some((name.to_owned(), rest.split_once('}')?.0.to_owned()))
    };
    lines.map(|line| pair(line).unwrap()).collect()
}

/// The messages for the frames of the project's stack, and their tags.
async fn messages(flags: &[&str]) -> Vec<(Vec<u8>, Vec<String>)> {
    let stack =
        beamflow::lab::stack::FrameStack::read(&root().join("tests/data/ptychonn_64_frames.npy"))
            .unwrap();
    let model = root().join("models/ptychonn_64.onnx");
    let mut all = vec!["--model-path", model.to_str().unwrap()];
    all.extend(flags);
    let host = Host::start(&all).await;
    let mut driver = host.driver().await;
    let datums: Vec<Datum> = (0..stack.frames())
        .map(|k| beamflow::commands::drive::datum(&stack, k))
        .collect();
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    host.stop().await;
    (0..stack.frames())
        .map(|k| {
            let messages = answer.get(&k.to_string()).unwrap();
            assert_eq!(messages.len(), 1, "one message for a frame");
            (messages[0].value.clone(), messages[0].tags.clone())
        })
        .collect()
}

#[tokio::test]
async fn the_old_outputs_settings_give_the_old_bytes() {
    let variables = variables();
    let flag = |name: &str| variables[name].as_str();
    let flags = [
        "--output-format",
        flag("OUTPUT_FORMAT"),
        "--output-dtype",
        flag("OUTPUT_DTYPE"),
        "--output",
        flag("OUTPUT_NAMES"),
        "--on-failure",
        flag("ON_FAILURE"),
    ];
    let output = ["--output", flag("OUTPUT_NAMES"), "--output-size", "full"];
    let whole = messages(&output).await;
    const SIDE: usize = 64;
    for (size, width, height) in [("64x64", 64, 64), ("33x31", 33, 31), ("20x7", 20, 7)] {
        let given = messages(&[&flags[..], &["--output-size", size]].concat()).await;
        let mut other_than_zero = 0;
        for ((message, tags), (whole, _)) in given.iter().zip(&whole) {
            let whole = values(whole);
            // startx = mx//2-(ox//2), starty = my//2-(oy//2), astype(np.int16).tobytes()
            let (startx, starty) = (SIDE / 2 - width / 2, SIDE / 2 - height / 2);
            let image: Vec<u8> = (0..width * height)
                .map(|n| whole[(starty + n / width) * SIDE + startx + n % width].trunc())
                .inspect(|value| other_than_zero += usize::from(*value != 0.0))
                .flat_map(|value| (value as i16).to_le_bytes())
                .collect();
            assert!(*message == image, "{size}");
            assert!(tags.is_empty(), "{tags:?}");
        }
        assert!(other_than_zero > 10, "{size}: {other_than_zero}");
    }
}

#[test]
fn a_pod_spec_of_the_python_sidecars_is_understood() {
    // The variables of charon's three scripts and of its pod specs.
    let scripts = [
        ("MODEL_PATH", "/opt/app/model_512_fp16.trt"),
        ("BATCH_SIZE", "8"),
        ("OUTPUT_SIZE", "64x64"),
        ("PVA_QUEUE_SIZE", "1000"),
        ("PIPELINE_DEPTH", "3"),
        ("MAX_CONCURRENT_BATCHES", "4"),
        ("DEBUG", "true"),
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .env_clear()
        .envs(scripts)
        .envs(variables())
        .args(["--bsz_size", "8", "--queue-size", "1000", "--print-config"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for (name, value) in scripts.map(|(name, value)| (name.to_owned(), value.to_owned())) {
        // A flag is stronger than its variable.
        let origin = match name.as_str() {
            "BATCH_SIZE" | "PVA_QUEUE_SIZE" => "flag",
            name => name,
        };
        let line = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            matches!(words[..], [_, v, o] if v == value && o == origin)
        };
        assert!(text.lines().any(line), "{name}: {text}");
    }
}
