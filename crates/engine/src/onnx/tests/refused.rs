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
            "its input x is int32, int64 or bool, but must be float32",
        ),
        (
            pass(tensor(11, "x", STRING, &image), y.clone()),
            "its input x has a type that the engine does not know",
        ),
        (with(&["?"]), "its input x has no declared shape"),
        (
            with(&["N", "4096"]),
            "its input x is N×4096: must be N×H×W, N×1×H×W or N×H×W×1",
        ),
        (
            with(&["N", "3", "6", "5"]),
            "its input x is N×3×6×5: a frame has one channel",
        ),
        (
            with(&["N", "6", "5", "3"]),
            "its input x is N×6×5×3: a frame has one channel",
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
            "its output y is int32, int64 or bool, but must be float32",
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
    let options = EngineOptions::default();
    let missing = load_file(Path::new("/nowhere/x.onnx"), &options);
    let missing = missing.err().unwrap();
    let said = missing.to_string();
    assert!(
        said.starts_with("cannot load the model /nowhere/x.onnx: "),
        "{said}"
    );
    assert!(matches!(missing, EngineError::Load { .. }));
    assert!(load_error(b"").contains("it is empty"));
    load_error(b"This is a text, not a model.");
    load_error(&[0xff; 4096]);
}

#[test]
fn a_model_cut_short_anywhere_is_an_error() {
    let whole = small_model("N");
    for length in 0..whole.len() {
        let said = load_error(&whole[..length]);
        let is_named = said.contains("it is cut short: it has") || said.contains("it is empty");
        let is_named = is_named || said.contains("or it is cut short");
        assert!(
            said.starts_with("cannot load the model ") && is_named,
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
    let error = load_file(Path::new("/none/m.onnx"), &EngineOptions::default());
    let error = error.err().unwrap();
    let mut below = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let kind = below.find_map(|e| Some(e.downcast_ref::<std::io::Error>()?.kind()));
    assert_eq!(kind, Some(std::io::ErrorKind::NotFound));
}

#[test]
fn what_a_file_is_instead_of_a_model_is_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert!(load_error(pointer).contains("run 'git lfs pull'"));
    assert!(load_error(b"<!DOCTYPE html><html>").contains("it is a web page"));
    assert!(load_error(b"\x1f\x8b\x08\x00").contains("it is compressed with gzip"));
    assert!(load_error(b"../blobs/1111").contains("a symbolic link that was copied as text"));
    let folder = tempfile::Builder::new().suffix(".onnx").tempdir().unwrap();
    let said = |path: &Path| {
        let refused = load_file(path, &EngineOptions::default());
        refused.err().unwrap().to_string()
    };
    assert!(said(folder.path()).ends_with("it is a folder: name the file in it"));
    std::fs::write(folder.path().join("saved_model.pb"), b"").unwrap();
    assert!(said(folder.path()).contains("a TensorFlow SavedModel"));
}

/// Nodes in the order in which their messages are written: `domain` is field 7 of a node.
fn foreign(domain: &str, op: &str) -> Vec<u8> {
    node(
        op,
        &["x"],
        &["y"],
        &[super::proto::bytes(7, domain.as_bytes())],
    )
}

#[test]
fn an_unknown_operator_is_named_with_what_else_can_be_tried() {
    let image = ["N", "1", "6", "5"];
    let of = |node: Vec<u8>| {
        [
            node,
            tensor(11, "x", F32, &image),
            tensor(12, "y", F32, &image),
        ]
    };
    for (node, words) in [
        (
            foreign("com.microsoft", "FusedConv"),
            "no operator com.microsoft.FusedConv, which",
        ),
        (foreign("my.lab", "Relu"), "no operator my.lab.Relu, which"),
        (
            node("Unique", &["x"], &["y"], &[]),
            "no operator Unique: use --device onnxruntime",
        ),
    ] {
        let said = load_error(&model(&of(node)));
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains("--device onnxruntime or --device cuda"),
            "{said}"
        );
    }
    // The same operator, as a function of the model (field 25: name, domain).
    let function = [
        super::proto::bytes(1, b"Twice"),
        super::proto::bytes(10, b"my.lab"),
    ];
    let mut bytes = model(&of(foreign("my.lab", "Twice")));
    bytes.extend(super::proto::message(25, &function));
    let said = load_error(&bytes);
    assert!(
        said.contains("my.lab.Twice is a function that the model defines"),
        "{said}"
    );
    assert!(said.contains("inline_local_functions"), "{said}");
}
