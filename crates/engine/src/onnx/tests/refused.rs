//! Refused files and their errors: unsuitable models, damaged files.

use super::proto::{F32, I32, STRING, ints, model, node, number, tensor, weights};
use super::*;

#[test]
fn an_unsuitable_model_is_refused_with_tensor_and_reason() {
    let image = ["N", "1", "6", "5"];
    let (x, y) = (tensor(11, "x", F32, &image), tensor(12, "y", F32, &["?"]));
    let with = |shape: &[&str]| pass(tensor(11, "x", F32, shape), y.clone());
    let cases = [
        (
            model(&[
                node("Add", &["x", "z"], &["y"], &[]),
                x.clone(),
                tensor(11, "z", F32, &image),
                y.clone(),
            ]),
            "it has 2 inputs (x, z), but must have exactly one",
        ),
        (
            model(&[node("Relu", &["x"], &["y"], &[]), x.clone()]),
            "it has no output",
        ),
        (
            pass(tensor(11, "x", I32, &image), y.clone()),
            "its input x is tensor(i32), but must be float32",
        ),
        (
            pass(tensor(11, "x", STRING, &image), y.clone()),
            "its input x has a type that rten does not know",
        ),
        (with(&["?"]), "its input x has no declared shape"),
        (
            with(&["N", "4096"]),
            "its input x is N×4096: must be N×H×W or N×1×H×W",
        ),
        (
            with(&["N", "3", "6", "5"]),
            "its input x is N×3×6×5: a frame has one channel",
        ),
        (
            with(&["N", "1", "H", "5"]),
            "its input x is N×1×H×5: every dimension except the first",
        ),
        (
            with(&["N", "1", "0", "5"]),
            "its input x is N×1×0×5: every dimension except the first",
        ),
        (
            with(&["0", "1", "6", "5"]),
            "its input x is 0×1×6×5: a batch needs at least one row",
        ),
        (
            with(&["N", "4611686018427387904", "4"]),
            "its input x is N×4611686018427387904×4: that is more than this machine",
        ),
        (
            with(&["N", "1099511627776", "1024"]),
            "2 frames of it do not fit into memory",
        ),
        (
            model(&[
                node("Cast", &["x"], &["y"], &[number("to", I32)]),
                x.clone(),
                y.clone(),
            ]),
            "its output y is tensor(i32), but must be float32",
        ),
        (
            // A maximum over the batch: declared as N×1×6×5, but its result is 1×1×6×5.
            model(&[
                node("ReduceMax", &["x"], &["y"], &[ints("axes", &[0])]),
                x.clone(),
                tensor(12, "y", F32, &image),
            ]),
            "its output y is [1×1×6×5] for 2 frames; its first dimension must be the batch",
        ),
        (
            model(&[
                node("Conv", &["x", "w"], &["y"], &conv(0)),
                weights("w", &[1, 2, 3, 3], &[0.0; 18]),
                x,
                y.clone(),
            ]),
            "a trial run of 2 frames of zeros failed: ",
        ),
    ];
    for (bytes, reason) in cases {
        match load(&bytes).map(|_| ()) {
            Err(EngineError::Unsuitable { reason: said, .. }) => {
                assert!(said.to_string().starts_with(reason), "{reason}\n{said}");
            }
            other => panic!("{reason}: {other:?}"),
        }
    }
}

fn load_error(bytes: &[u8]) -> String {
    match load(bytes).map(|_| ()) {
        Err(error @ EngineError::Load { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_not_a_model_is_an_error_that_names_it() {
    let missing = OnnxEngine::load(Path::new("/nowhere/x.onnx"))
        .err()
        .unwrap();
    let said = missing.to_string();
    assert!(
        said.starts_with("cannot load the model /nowhere/x.onnx: "),
        "{said}"
    );
    assert!(matches!(missing, EngineError::Load { .. }));
    assert!(load_error(b"").ends_with("it contains no graph"));
    load_error(b"This is a text, not a model.");
    load_error(&[0xff; 4096]);
}

#[test]
fn a_model_cut_short_anywhere_is_an_error() {
    let whole = small_model("N");
    for length in 0..whole.len() {
        let said = load_error(&whole[..length]);
        assert!(
            said.starts_with("cannot load the model "),
            "{length}: {said}"
        );
    }
    assert!(load(&whole).is_ok());
}

#[test]
fn a_model_with_any_bit_flipped_loads_or_is_an_error() {
    let whole = small_model("N");
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Many flips are harmless (a name, a weight). None may panic, hang or end the process.
        let _ = load(&damaged);
    }
}

#[test]
fn a_panic_in_rten_becomes_a_reason() {
    let said = contained(|| -> () { panic!("index {} out of bounds", 3) });
    assert_eq!(said.unwrap_err(), "rten panicked: index 3 out of bounds");
    assert_eq!(
        contained(|| -> () { panic!("plain") }).unwrap_err(),
        "rten panicked: plain"
    );
}

#[test]
fn the_system_error_is_a_source_of_the_engine_error() {
    let error = OnnxEngine::load(Path::new("/none/m.onnx")).err().unwrap();
    let mut below = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let kind = below.find_map(|e| Some(e.downcast_ref::<std::io::Error>()?.kind()));
    assert_eq!(kind, Some(std::io::ErrorKind::NotFound));
}
