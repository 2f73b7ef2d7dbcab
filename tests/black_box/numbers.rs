//! Pixels that are no measurements, and results that are no numbers: never computed or answered silently.

use crate::black_box::common::{Host, SIM, result, values};
use beamflow::vertex::client::{Answer, Datum};
use futures::stream;
use numaflow::proto::metadata::Metadata;

/// A frame of 16 values.
fn frame<T: Copy, const N: usize>(
    id: &str,
    dtype: &str,
    values: [T; 16],
    le: fn(T) -> [u8; N],
) -> Datum {
    let payload = values.iter().flat_map(|value| le(*value)).collect();
    Datum::new(id, payload).with_header("x-frame-dtype", dtype)
}

/// Frame 3 of the simulated device, with `mark` in place of its pixel 5.
fn marked(id: &str, mark: u16) -> Datum {
    let mut pixels = std::array::from_fn(|position| (3 * 16 + position) as u16);
    pixels[5] = mark;
    frame(id, "uint16", pixels, u16::to_le_bytes)
}

fn told(metadata: &Option<Metadata>, key: &str) -> Option<String> {
    let group = metadata.as_ref()?.user_metadata.get("beamflow")?;
    Some(String::from_utf8(group.key_value.get(key)?.clone()).unwrap())
}

async fn answered(flags: &[&str], datums: Vec<Datum>) -> (Answer, Host) {
    served_by(SIM, flags, datums).await
}

async fn served_by(model: &str, flags: &[&str], datums: Vec<Datum>) -> (Answer, Host) {
    let host = Host::start(&[&["--model-path", model], flags].concat()).await;
    let mut driver = host.driver().await;
    let answer = driver.call(stream::iter(datums)).await.unwrap();
    (answer, host)
}

#[tokio::test]
async fn a_marked_pixel_is_replaced_and_counted_not_computed() {
    let datums = vec![marked("marked", u16::MAX), marked("count", 48 + 5)];
    let (answer, host) = answered(&["--bad-pixel-fill", "median"], datums).await;
    // The median of its neighbours, 48 + {0 1 2 4 6 8 9 10}, is its own value.
    for id in ["marked", "count"] {
        assert_eq!(
            values(&answer.get(id).unwrap()[0].value),
            result(0, 3),
            "{id}"
        );
    }
    let totals = host.counts.totals();
    assert_eq!((totals.frames_with_bad_pixels, totals.bad_pixels), (1, 1));
    assert_eq!(totals.done, 2);
    host.stop().await;
}

#[tokio::test]
async fn a_frame_of_bad_pixels_is_rejected_with_the_reason() {
    let datums = || {
        vec![
            frame("dark", "uint16", [u16::MAX; 16], u16::to_le_bytes),
            frame("nan", "float32", [f32::NAN; 16], f32::to_le_bytes),
            frame("huge", "float64", [1e300; 16], f64::to_le_bytes),
        ]
    };
    let (answer, host) = answered(&["--on-invalid", "tag:rejected"], datums()).await;
    for id in ["dark", "nan", "huge"] {
        let message = &answer.get(id).unwrap()[0];
        assert_eq!(message.tags, ["rejected"], "{id}");
        let reason = told(&message.metadata, "reason").unwrap();
        assert!(reason.starts_with("16 of 16 pixels"), "{reason}");
    }
    assert_eq!(host.counts.totals().rejections["bad_pixels"], 3);
    host.stop().await;

    let (answer, host) = answered(&["--bad-pixels", "off"], datums()).await;
    assert!(answer.is_dropped("nan") && answer.is_dropped("huge"));
    assert!(
        !answer.is_dropped("dark"),
        "65535 is a count where it is told to be"
    );
    assert_eq!(host.counts.totals().rejections["not_finite"], 2);
    host.stop().await;
}

/// A model that takes logarithms: of 0 there is none.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/log.onnx");

fn zero_and_one() -> Vec<Datum> {
    let of = |id, counts| frame(id, "int16", [counts; 16], i16::to_le_bytes);
    vec![of("zero", 0), of("one", 1)]
}

#[tokio::test]
async fn results_that_are_no_numbers_are_counted_and_told() {
    for (policy, tags) in [
        ("send", vec![]),
        ("drop", vec!["drop"]),
        ("tag:odd", vec!["odd"]),
    ] {
        let flags = ["--on-nonfinite", policy];
        let (answer, host) = served_by(LOG, &flags, zero_and_one()).await;
        let message = &answer.get("zero").unwrap()[0];
        if tags == ["drop"] {
            assert!(answer.is_dropped("zero"));
        } else {
            assert_eq!(message.tags, tags);
            assert_eq!(values(&message.value), [f32::NEG_INFINITY; 16]);
        }
        let one = &answer.get("one").unwrap()[0];
        assert!(one.tags.is_empty() && values(&one.value) == [0.0; 16]);
        let totals = host.counts.totals();
        assert_eq!((totals.done, totals.not_finite), (1, 1), "{policy}");
        host.stop().await;
    }
}

#[tokio::test]
async fn no_int16_is_made_of_what_is_no_number() {
    let (answer, host) = served_by(LOG, &["--output-dtype", "int16"], zero_and_one()).await;
    assert!(answer.is_dropped("zero") && !answer.is_dropped("one"));
    assert_eq!(host.counts.totals().not_finite, 1);
    host.stop().await;
}

#[tokio::test]
async fn results_say_what_made_them() {
    let (answer, host) = served_by("sim:size=4x4,outputs=2", &[], vec![marked("fine", 1)]).await;
    let messages = answer.get("fine").unwrap();
    assert_eq!(messages.len(), 2);
    for message in messages {
        let output = told(&message.metadata, "output").unwrap();
        assert_eq!(message.tags, [output]);
        assert_eq!(told(&message.metadata, "model").as_deref(), Some("default"));
        assert_eq!(told(&message.metadata, "version").as_deref(), Some("sim"));
        let engine = told(&message.metadata, "engine").unwrap();
        assert!(engine.starts_with("SIMULATED"), "{engine}");
    }
    host.stop().await;
}

/// The program with a model of tests/data/models, started to its end: its words.
async fn refused(model: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_beamflow"));
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models");
    command
        .args([
            "--http-address",
            "off",
            "--output-size",
            "full",
            "--model-path",
        ])
        .arg(format!("{models}/{model}"))
        .args(flags)
        .arg("--sock-path")
        .arg(folder.path().join("sock"))
        .arg("--server-info-path")
        .arg(folder.path().join("info"));
    let output = crate::black_box::common::ended(command).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn a_model_that_mixes_frames_is_refused_at_the_start() {
    for model in ["batch_max.onnx", "batch_mean.onnx", "cumulative.onnx"] {
        let said = refused(model, &[]).await;
        for words in [
            "mixes the frames of a batch",
            " %",
            "--bsz-size 1",
            "--allow-mixed-rows",
        ] {
            assert!(said.contains(words), "no {words:?} in: {said}");
        }
    }
    let said = refused("pairs.onnx", &["--bsz-size", "5"]).await;
    assert!(
        said.contains("a trial run of 5 frames of zeros failed"),
        "{said}"
    );
}

#[tokio::test]
async fn short_batches_that_a_model_cannot_run_are_padded() {
    let pairs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/pairs.onnx");
    let one = |id: &str, counts: i16| frame(id, "int16", [counts; 16], i16::to_le_bytes);
    let datums = (1..=5).map(|k| one(&k.to_string(), k)).collect();
    let (answer, host) = served_by(pairs, &["--bsz-size", "4"], datums).await;
    for k in 1..=5_i16 {
        let message = &answer.get(&k.to_string()).unwrap()[0];
        assert_eq!(values(&message.value), [f32::from(k); 16]);
    }
    assert_eq!(host.counts.totals().padding, 3);
    host.stop().await;
}

#[test]
fn results_too_large_for_a_message_are_refused_at_the_start() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args([
            "--model-path",
            "sim:size=3000x3000,outputs=2",
            "--output-size",
            "full",
        ])
        .args(["--http-address", "off"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    for words in [
        "--output-size: 'full'",
        "68.7 MiB",
        "64.0 MiB",
        "--output-dtype int16",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
}
