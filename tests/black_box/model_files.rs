//! Model files as people have them: outputs that are not sent, attributes left out, weights in other files.

#![cfg_attr(
    not(feature = "onnxruntime"),
    allow(dead_code, unused_imports, reason = "without it, nothing is compared")
)]

use crate::black_box::common::{Host, values};
use beamflow::engine::options::DeviceKind;
use beamflow::engine::{Batch, EngineOptions, OutputRows, Place, load};
use beamflow::frame::values::{Values, ValuesMut};
use beamflow::vertex::client::Datum;
use beamflow_needs::needs;
use futures::stream;
use proto::{F32, bytes, int, ints, message, node, number, tensor, weights};
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/engine/src/onnx/tests/proto.rs"]
mod proto;

const SIDE: usize = 6;
const KERNEL: [f32; 9] = [0.5, -1.0, 0.25, 2.0, 1.5, -0.75, -2.0, 0.125, 1.0];

fn images(field: u64, name: &str) -> Vec<u8> {
    let side = SIDE.to_string();
    tensor(field, name, F32, &["N", "1", &side, &side])
}

/// A model for a version of ONNX's operators, from images `x` to `y`.
fn versioned(opset: u64, nodes: &[Vec<u8>]) -> Vec<u8> {
    let declared = [
        images(11, "x"),
        tensor(12, "y", F32, &["?"]),
        weights("w", &[1, 1, 3, 3], &KERNEL),
    ];
    let graph = message(7, &[nodes, &declared].concat());
    [int(1, 8), message(8, &[int(2, opset)]), graph].concat()
}

fn written(model: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, model).unwrap();
    (folder, path)
}

fn pixels(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 37 % 101) as f32 / 16.0).collect()
}

/// The first output for two frames.
fn computed(path: &Path, device: DeviceKind) -> Vec<f32> {
    let options = EngineOptions {
        device,
        outputs: vec!["y".to_owned()],
        ..EngineOptions::default()
    };
    let engine = load(path.to_str().unwrap(), &options).unwrap();
    let rows = 2;
    let place = Place {
        lane: 0,
        device: 0,
        rows,
        cuda_graphs: true,
    };
    let input = pixels(rows * engine.model().input.elements());
    let each = engine.model().outputs[0].elements();
    let mut output = vec![f32::NAN; rows * each];
    let mut session = engine.open_session(place).unwrap();
    let batch = Batch {
        rows,
        input: Values::F32(&input),
        outputs: vec![OutputRows::whole(ValuesMut::F32(&mut output), each)],
    };
    session.run(batch).unwrap();
    output
}

#[cfg(feature = "onnxruntime")]
#[needs(onnxruntime)]
#[test]
fn what_a_model_leaves_out_is_what_onnxruntime_takes() {
    let text = |name: &str, value: &str| {
        let name = bytes(1, name.as_bytes());
        message(5, &[name, bytes(4, value.as_bytes()), int(20, 3)])
    };
    let one = |op: &str, inputs: &[&str], given: &[Vec<u8>]| vec![node(op, inputs, &["y"], given)];
    let kernel = || ints("kernel_shape", &[2, 2]);
    let scale = weights("s", &[1], &[0.5]);
    let quantized = |given: &[Vec<u8>]| {
        vec![
            scale.clone(),
            node("QuantizeLinear", &["x", "s"], &["q"], given),
            node("DequantizeLinear", &["q", "s"], &["y"], given),
        ]
    };
    // Six scales, for the axis after the first.
    let swap = ints("perm", &[0, 2, 1, 3]);
    let by_axis = vec![
        weights("r", &[6], &[0.5, 0.25, 0.125, 1.0, 2.0, 0.75]),
        node("Transpose", &["x"], &["t"], &[swap]),
        node("QuantizeLinear", &["t", "r"], &["q"], &[]),
        node("DequantizeLinear", &["q", "r"], &["y"], &[]),
    ];
    let cases = [
        ("Conv", 17, one("Conv", &["x", "w"], &[])),
        (
            "strides",
            11,
            one("Conv", &["x", "w"], &[ints("strides", &[2, 2])]),
        ),
        (
            "SAME_UPPER",
            17,
            one("Conv", &["x", "w"], &[text("auto_pad", "SAME_UPPER")]),
        ),
        (
            "SAME_LOWER",
            17,
            one(
                "MaxPool",
                &["x"],
                &[kernel(), text("auto_pad", "SAME_LOWER")],
            ),
        ),
        (
            "VALID",
            17,
            one("Conv", &["x", "w"], &[text("auto_pad", "VALID")]),
        ),
        ("ConvTranspose", 17, one("ConvTranspose", &["x", "w"], &[])),
        ("MaxPool", 17, one("MaxPool", &["x"], &[kernel()])),
        ("AveragePool", 17, one("AveragePool", &["x"], &[kernel()])),
        ("Softmax 12", 12, one("Softmax", &["x"], &[])),
        (
            "Softmax 12, 2",
            12,
            one("Softmax", &["x"], &[number("axis", 2)]),
        ),
        ("Softmax 13", 13, one("Softmax", &["x"], &[])),
        ("LogSoftmax 9", 9, one("LogSoftmax", &["x"], &[])),
        ("Flatten", 17, one("Flatten", &["x"], &[])),
        ("LeakyRelu", 17, one("LeakyRelu", &["x"], &[])),
        ("Elu", 17, one("Elu", &["x"], &[])),
        ("HardSigmoid", 17, one("HardSigmoid", &["x"], &[])),
        (
            "Transpose",
            17,
            vec![
                node("Transpose", &["x"], &["t"], &[]),
                node("Transpose", &["t"], &["y"], &[]),
            ],
        ),
        ("LpNormalization", 17, one("LpNormalization", &["x"], &[])),
        (
            "Split",
            11,
            vec![node("Split", &["x"], &["a", "y"], &[number("axis", 3)])],
        ),
        ("Dropout", 13, one("Dropout", &["x"], &[])),
        ("QuantizeLinear", 13, quantized(&[])),
        ("QuantizeLinear, axis", 13, by_axis),
    ];
    for (name, opset, nodes) in cases {
        let (_folder, path) = written(&versioned(opset, &nodes));
        let got = computed(&path, DeviceKind::Cpu);
        let reference = computed(&path, DeviceKind::Onnxruntime);
        assert_eq!(got.len(), reference.len(), "{name}");
        for (a, b) in got.iter().zip(&reference) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a}, {b}");
        }
    }
}

#[cfg(all(unix, feature = "onnxruntime"))]
#[needs(onnxruntime)]
#[test]
fn weights_beside_a_link_or_its_target_load_on_both_engines() {
    use std::os::unix::fs::symlink;
    let entry = message(13, &[bytes(1, b"location"), bytes(2, b"m.weights")]);
    let mut weight: Vec<_> = [1, 1, 3, 3].map(|n| int(1, n)).to_vec();
    weight.extend([int(2, F32), bytes(8, b"v"), entry, int(14, 1)]);
    let conv = node("Conv", &["x", "v"], &["y"], &[]);
    let model = versioned(17, &[conv, message(5, &weight)]);
    let kernel: Vec<u8> = KERNEL.iter().flat_map(|v| v.to_le_bytes()).collect();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["blobs", "snapshot", "store", "links"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("blobs/1"), &model).unwrap();
    std::fs::write(at("blobs/2"), &kernel).unwrap();
    std::fs::write(at("store/m.onnx"), &model).unwrap();
    std::fs::write(at("store/m.weights"), &kernel).unwrap();
    symlink("../blobs/1", at("snapshot/m.onnx")).unwrap();
    symlink("../blobs/2", at("snapshot/m.weights")).unwrap();
    symlink("../store/m.onnx", at("links/m.onnx")).unwrap();
    let (_whole, whole) = written(&versioned(17, &[node("Conv", &["x", "w"], &["y"], &[])]));
    let expected = computed(&whole, DeviceKind::Cpu);
    for name in ["store/m.onnx", "snapshot/m.onnx", "links/m.onnx"] {
        assert_eq!(computed(&at(name), DeviceKind::Cpu), expected, "{name}");
        let got = computed(&at(name), DeviceKind::Onnxruntime);
        for (a, b) in got.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-4, "{name}: {a}, {b}");
        }
    }
}

/// `y`, and outputs that cannot be sent: one number, and integers.
fn with_other_outputs() -> Vec<u8> {
    let off = number("keepdims", 0);
    versioned(
        17,
        &[
            node("Relu", &["x"], &["y"], &[]),
            node("ReduceMean", &["y"], &["loss"], std::slice::from_ref(&off)),
            node("ArgMax", &["y"], &["peak"], &[number("axis", 3), off]),
            tensor(12, "loss", F32, &[]),
            tensor(12, "peak", 7, &["?"]),
        ],
    )
}

async fn check_that_only_y_is_sent(device: &str) {
    let (_folder, path) = written(&with_other_outputs());
    let flags = ["--model-path", path.to_str().unwrap(), "--device", device];
    let flags = [&flags[..], &["--output", "y", "--frame-dtype", "float32"]].concat();
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    let frame = pixels(SIDE * SIDE);
    let payload: Vec<u8> = frame.iter().flat_map(|v| v.to_le_bytes()).collect();
    let datum = Datum::new("0", payload);
    let answer = driver.call(stream::iter([datum])).await.unwrap();
    host.stop().await;
    assert_eq!(values(&answer.get("0").unwrap()[0].value), frame);
}

#[tokio::test]
async fn a_model_serves_with_outputs_that_cannot_be_sent() {
    check_that_only_y_is_sent("cpu").await;
}

#[cfg(feature = "onnxruntime")]
#[needs(onnxruntime)]
#[tokio::test]
async fn onnxruntime_serves_with_outputs_that_cannot_be_sent() {
    check_that_only_y_is_sent("onnxruntime").await;
}

fn inspected(path: &Path, device: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_beamflow"))
        .args(["inspect", path.to_str().unwrap(), "--device", device])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_wrong_file_is_named_whatever_its_ending() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for (name, content, words) in [
        ("m.onnx", pointer.as_bytes(), "git lfs pull"),
        ("m.onnx", b"<!DOCTYPE html><html>", "it is a web page"),
        ("m.onnx", b"\x1f\x8b\x08\0", "gunzip"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        ("m.pt", b"PK\x03\x04archive/data.pkl", "torch.onnx.export"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let (success, said) = inspected(&path, "cpu");
        assert!(!success && said.contains(words), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let (success, said) = inspected(folder.path(), "cpu");
    assert!(!success && said.contains("it is a folder"), "{said}");
}

#[needs(shared)]
#[test]
fn the_shared_cases_of_model_files_load_or_say_why() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    let mut tried = vec![
        ("cpu", "conv_no_strides.onnx", "y"),
        ("cpu", "ext_name/m.onnx", "y"),
        ("cpu", "nhwc_in.onnx", "N×1×16×16"),
        ("cpu", "names.onnx", "amp, real"),
        ("cpu", "reshape_1.onnx", "fixed at 1"),
        (
            "cpu",
            "extra_int.onnx",
            "its output peak is int32, int64 or bool",
        ),
        ("cpu", "extra_scalar.onnx", "with --output: y"),
        ("cpu", "contrib.onnx", "no operator com.microsoft.FusedConv"),
        ("cpu", "lfs_pointer.onnx", "git lfs pull"),
        ("cpu", "html_page.onnx", "it is a web page"),
    ];
    if cfg!(feature = "onnxruntime") && std::env::var_os("ORT_DYLIB_PATH").is_some() {
        tried.push(("onnxruntime", "contrib.onnx", "N×1×16×16"));
        tried.push(("onnxruntime", "extra_int.onnx", "its output peak is int64"));
        tried.push(("onnxruntime", "nhwc_in.onnx", "N×1×16×16"));
    }
    for (device, name, words) in tried {
        let (_, said) = inspected(&cases.join(name), device);
        assert!(said.contains(words), "{name} on {device}: {said}");
    }
}
