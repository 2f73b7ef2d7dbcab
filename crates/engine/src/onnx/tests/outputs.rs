//! Which outputs must be fit, and in how many rows a model is tried.

use super::proto::{F32, I32, int, ints, message, model, node, number, tensor, weights};
use super::*;

const IMAGE: [&str; 4] = ["N", "1", "6", "5"];

/// `y` is fit. `loss` is one number, `peak` is int64, `spots` has a shape that depends on the pixels, and `sum` is over
/// the batch.
fn training_model() -> Vec<u8> {
    let scalar = [number("keepdims", 0)];
    let last = [number("axis", 3), number("keepdims", 0)];
    model(&[
        node("Relu", &["x"], &["y"], &[]),
        node("ReduceMean", &["y"], &["loss"], &scalar),
        node("ArgMax", &["y"], &["peak"], &last),
        node("NonZero", &["y"], &["places"], &[]),
        node("Cast", &["places"], &["spots"], &[number("to", F32)]),
        node("ReduceMax", &["y"], &["sum"], &[ints("axes", &[0])]),
        tensor(11, "x", F32, &IMAGE),
        tensor(12, "loss", F32, &[]),
        tensor(12, "peak", 7, &["N", "1", "6"]),
        tensor(12, "y", F32, &IMAGE),
        tensor(12, "spots", F32, &["4", "n"]),
        tensor(12, "sum", F32, &["?"]),
    ])
}

fn wanting(names: &[&str]) -> EngineOptions {
    EngineOptions {
        outputs: names.iter().map(|&name| name.to_owned()).collect(),
        ..EngineOptions::default()
    }
}

fn names(engine: &OnnxEngine) -> Vec<&str> {
    let outputs = engine.model().outputs.iter();
    outputs.map(|output| output.name.as_str()).collect()
}

#[test]
fn an_output_that_nobody_wants_may_be_anything() {
    let engine = load_with(&training_model(), &wanting(&["y"])).unwrap();
    assert_eq!(names(&engine), ["y"]);
    let input = counts(3 * H * W);
    assert_eq!(run(&engine, 3, &input).unwrap(), [input]);
}

#[test]
fn a_wanted_output_that_is_unfit_is_named_with_the_fit_ones() {
    for (wanted, unfit) in [
        (&["loss"][..], "its output loss is one number for 2 frames"),
        (
            &["y", "peak"],
            "its output peak is int32, int64 or bool, but must be float32",
        ),
        (&["spots"], "its output spots is [4×0] for 2 frames"),
        (&["sum"], "its output sum is [1×1×6×5] for 2 frames"),
        (&[], "its output loss is one number"),
    ] {
        let refused = load_with(&training_model(), &wanting(wanted));
        let said = refused.err().unwrap().to_string();
        assert!(said.contains(unfit), "{wanted:?}: {said}");
        let remedy = "; choose the outputs to send with --output: y";
        assert!(said.ends_with(remedy), "{wanted:?}: {said}");
    }
}

#[test]
fn an_output_that_cannot_be_computed_refuses_only_those_who_want_it() {
    // Seven numbers cannot be added to images of five columns.
    let bytes = model(&[
        node("Relu", &["x"], &["y"], &[]),
        node("Add", &["x", "w"], &["z"], &[]),
        weights("w", &[7], &[0.0; 7]),
        tensor(11, "x", F32, &IMAGE),
        tensor(12, "y", F32, &["?"]),
        tensor(12, "z", F32, &["?"]),
    ]);
    assert_eq!(names(&load_with(&bytes, &wanting(&["y"])).unwrap()), ["y"]);
    let said = load(&bytes).err().unwrap().to_string();
    assert!(
        said.contains("a trial run of 2 frames of zeros failed: "),
        "{said}"
    );
    assert!(said.ends_with("with --output: y"), "{said}");
}

#[test]
fn an_unknown_operator_of_an_unwanted_output_does_no_harm() {
    let bytes = |second: Vec<u8>| {
        model(&[
            node("Relu", &["x"], &["y"], &[]),
            second,
            node("Cast", &["u"], &["z"], &[number("to", F32)]),
            tensor(11, "x", F32, &IMAGE),
            tensor(12, "y", F32, &["?"]),
            tensor(12, "z", F32, &["?"]),
        ])
    };
    let unknown = bytes(node("Unique", &["y"], &["u"], &[]));
    let engine = load_with(&unknown, &wanting(&["y"])).unwrap();
    assert_eq!(names(&engine), ["y"]);
    assert_eq!(run(&engine, 1, &counts(H * W)).unwrap(), [counts(H * W)]);
    for wanted in [&["z"][..], &[]] {
        let said = load_with(&unknown, &wanting(wanted)).err().unwrap();
        assert!(said.to_string().contains("no operator Unique"), "{said}");
    }
    let known = bytes(node("Sqrt", &["y"], &["u"], &[]));
    assert_eq!(names(&load_with(&known, &wanting(&["z"])).unwrap()), ["z"]);
}

#[test]
fn a_name_that_no_output_has_leaves_the_fit_outputs_to_choose_from() {
    let engine = load_with(&training_model(), &wanting(&["phase"])).unwrap();
    assert_eq!(names(&engine), ["y"]);
}

/// A reshape to a fixed number of rows.
fn fixed_rows(rows: u64) -> Vec<u8> {
    let shape = [1, rows, 30].map(|n| n.to_string());
    let shape: Vec<i64> = shape.iter().skip(1).map(|n| n.parse().unwrap()).collect();
    let raw: Vec<u8> = shape.iter().flat_map(|n| n.to_le_bytes()).collect();
    let shape = message(
        5,
        &[
            int(1, 2),
            int(2, 7),
            super::proto::bytes(8, b"s"),
            super::proto::bytes(9, &raw),
        ],
    );
    model(&[
        node("Reshape", &["x", "s"], &["y"], &[]),
        shape,
        tensor(11, "x", F32, &IMAGE),
        tensor(12, "y", F32, &["?"]),
    ])
}

#[test]
fn a_model_is_tried_in_the_rows_it_will_run_with() {
    let asking = |rows| EngineOptions {
        rows: Some(rows),
        ..EngineOptions::default()
    };
    let one = load_with(&fixed_rows(1), &asking(1)).unwrap();
    assert_eq!(one.model().outputs[0].shape, [30]);
    // Without a given size, a model that takes one frame only is run with one.
    let one = load(&fixed_rows(1)).unwrap();
    assert_eq!(one.model().batch, BatchDimension::Static(1));
    let five = load_with(&fixed_rows(5), &asking(5)).unwrap();
    assert_eq!(run(&five, 5, &counts(150)).unwrap(), [counts(150)]);

    let said = load_with(&fixed_rows(1), &asking(8))
        .err()
        .unwrap()
        .to_string();
    assert!(
        said.contains("a trial run of 8 frames of zeros failed"),
        "{said}"
    );
    assert!(
        said.ends_with("it takes one frame at a time: use --bsz-size 1"),
        "{said}"
    );
    let said = load_with(&fixed_rows(5), &asking(8))
        .err()
        .unwrap()
        .to_string();
    assert!(!said.contains("--bsz-size"), "{said}");
}

#[test]
fn a_channel_as_the_last_axis_is_the_same_image() {
    let to_front = [ints("perm", &[0, 3, 1, 2])];
    let to_back = [ints("perm", &[0, 2, 3, 1])];
    let bytes = model(&[
        node("Transpose", &["x"], &["t"], &to_front),
        node("Conv", &["t", "w"], &["y"], &conv(1)),
        node("Transpose", &["y"], &["z"], &to_back),
        weights("w", &[1, 1, 3, 3], &KERNEL),
        tensor(11, "x", F32, &["N", "6", "5", "1"]),
        tensor(12, "y", F32, &["?"]),
        tensor(12, "z", F32, &["?"]),
    ]);
    let engine = load(&bytes).unwrap();
    assert_eq!(engine.model().input.shape, [1, H, W]);
    for output in &engine.model().outputs {
        assert_eq!(output.shape, [1, H, W], "{output}");
    }
    let usual = model(&[
        node("Conv", &["x", "w"], &["y"], &conv(1)),
        weights("w", &[1, 1, 3, 3], &KERNEL),
        tensor(11, "x", F32, &IMAGE),
        tensor(12, "y", F32, &["?"]),
    ]);
    let input = counts(3 * H * W);
    let expected = run(&load(&usual).unwrap(), 3, &input).unwrap();
    let results = run(&engine, 3, &input).unwrap();
    assert_eq!(bits(&results[0]), bits(&expected[0]));
    assert_eq!(bits(&results[1]), bits(&expected[0]));
    // An image of one row is not mistaken for another order of axes.
    let row = load(&pass(
        tensor(11, "x", F32, &["N", "1", "5", "1"]),
        tensor(12, "y", F32, &["?"]),
    ));
    assert_eq!(row.unwrap().model().input.shape, [1, 5, 1]);
    let typed = pass(
        tensor(11, "x", I32, &["N", "6", "5", "1"]),
        tensor(12, "y", I32, &["?"]),
    );
    assert!(load(&typed).is_err());
}
