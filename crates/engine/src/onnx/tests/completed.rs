//! What a model leaves to the defaults of ONNX.

use super::proto::{F32, bytes, int, ints, message, node, number, tensor, weights};
use super::*;

/// The messages of nodes and weights.
type Nodes = Vec<Vec<u8>>;

const IMAGE: [&str; 4] = ["N", "1", "6", "5"];

fn text(name: &str, value: &str) -> Vec<u8> {
    let name = bytes(1, name.as_bytes());
    message(5, &[name, bytes(4, value.as_bytes()), int(20, 3)])
}

/// A model for a version of ONNX's own operators, from images `x` to `y`.
fn versioned(opset: u64, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut graph = nodes.to_vec();
    graph.extend([tensor(11, "x", F32, &IMAGE), tensor(12, "y", F32, &["?"])]);
    let graph = message(7, &graph);
    [int(1, 8), message(8, &[int(2, opset)]), graph].concat()
}

fn results(bytes: &[u8]) -> Vec<u32> {
    let engine = load(bytes).unwrap_or_else(|error| panic!("{error}"));
    bits(&run(&engine, 3, &counts(3 * H * W)).unwrap()[0])
}

/// The completed bytes; none if the file is complete.
fn completed(file: &[u8]) -> Option<Vec<u8>> {
    prepare(file, Path::new("m.onnx")).unwrap().completed
}

/// Weights of a convolution, and of one that enlarges.
fn kernels() -> [Vec<u8>; 2] {
    let small: Vec<f32> = KERNEL.iter().map(|v| v / 4.0).collect();
    [
        weights("w", &[1, 1, 3, 3], &KERNEL),
        weights("v", &[1, 1, 3, 3], &small),
    ]
}

#[test]
fn attributes_left_to_their_defaults_are_those_of_the_specification() {
    let plain = |pad| {
        [
            ints("pads", &[pad; 4]),
            ints("strides", &[1; 2]),
            ints("dilations", &[1; 2]),
        ]
    };
    let kernel = || ints("kernel_shape", &[3, 2]);
    let ones = || ints("strides", &[1, 1]);
    let [w, v] = kernels();
    let conv = |op: &str, weight: &str, given: &[Vec<u8>]| {
        vec![
            w.clone(),
            v.clone(),
            node(op, &["x", weight], &["y"], given),
        ]
    };
    let pool = |op: &str, given: &[Vec<u8>]| vec![node(op, &["x"], &["y"], given)];
    let of_input = |given: &[Vec<u8>]| {
        // The weight's shape is known only from the node that makes it.
        let constant = message(5, &[bytes(1, b"value"), tensor_attribute(), int(20, 4)]);
        vec![
            node("Constant", &[], &["k"], &[constant]),
            node("Identity", &["k"], &["i"], &[]),
            node("Conv", &["x", "i"], &["y"], given),
        ]
    };
    let cases: Vec<(&str, u64, Nodes, Nodes)> = vec![
        (
            "Conv",
            17,
            conv("Conv", "w", &[]),
            conv("Conv", "w", &plain(0)),
        ),
        (
            "Conv, pads",
            11,
            conv("Conv", "w", &plain(1)[..1]),
            conv("Conv", "w", &plain(1)),
        ),
        (
            "Conv, empty lists",
            17,
            conv(
                "Conv",
                "w",
                &[ints("strides", &[]), ints("kernel_shape", &[3, 3])],
            ),
            conv("Conv", "w", &plain(0)),
        ),
        (
            "Conv, SAME_UPPER",
            17,
            conv("Conv", "w", &[text("auto_pad", "SAME_UPPER")]),
            conv("Conv", "w", &plain(1)),
        ),
        (
            "Conv, weights of a node",
            17,
            of_input(&[]),
            of_input(&plain(0)),
        ),
        (
            "ConvTranspose",
            17,
            conv("ConvTranspose", "v", &[]),
            conv("ConvTranspose", "v", &plain(0)),
        ),
        (
            "MaxPool",
            12,
            pool("MaxPool", &[kernel()]),
            pool("MaxPool", &[kernel(), ones()]),
        ),
        (
            "AveragePool",
            17,
            pool("AveragePool", &[kernel()]),
            pool("AveragePool", &[kernel(), ones()]),
        ),
        (
            "Split",
            11,
            vec![node("Split", &["x"], &["y", "z"], &[number("axis", 2)])],
            vec![node(
                "Split",
                &["x"],
                &["y", "z"],
                &[number("axis", 2), ints("split", &[3, 3])],
            )],
        ),
        (
            "Concat",
            3,
            vec![node("Concat", &["x", "x"], &["y"], &[])],
            vec![node("Concat", &["x", "x"], &["y"], &[number("axis", 1)])],
        ),
        (
            "Dropout",
            13,
            vec![node("Dropout", &["x"], &["y"], &[])],
            vec![node("Identity", &["x"], &["y"], &[])],
        ),
        (
            "Dropout, ratio",
            10,
            vec![node("Dropout", &["x"], &["y", ""], &[])],
            vec![node("Identity", &["x"], &["y"], &[])],
        ),
        (
            "SAME_LOWER",
            17,
            pool(
                "MaxPool",
                &[
                    ints("kernel_shape", &[2, 2]),
                    text("auto_pad", "SAME_LOWER"),
                ],
            ),
            pool(
                "MaxPool",
                &[
                    ints("kernel_shape", &[2, 2]),
                    ones(),
                    ints("pads", &[1, 1, 0, 0]),
                ],
            ),
        ),
    ];
    for (name, opset, left_out, given) in cases {
        let (left_out, given) = (versioned(opset, &left_out), versioned(opset, &given));
        assert!(completed(&left_out).is_some(), "{name}");
        assert!(completed(&given).is_none(), "{name}");
        assert_eq!(results(&left_out), results(&given), "{name}");
    }
}

/// The tensor of a node Constant (field 5 of an attribute is field 5 of a graph, too).
fn tensor_attribute() -> Vec<u8> {
    weights("k", &[1, 1, 3, 3], &KERNEL)
}

/// The softmax of each row of `columns` numbers.
fn softmax(values: &[f32], columns: usize) -> Vec<f32> {
    let of = |row: &[f32]| {
        let most = row.iter().fold(f32::MIN, |most, v| most.max(*v));
        let powers: Vec<f64> = row.iter().map(|v| f64::from(v - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers
            .into_iter()
            .map(|v| (v / sum) as f32)
            .collect::<Vec<_>>()
    };
    values.chunks(columns).flat_map(of).collect()
}

#[test]
fn an_old_softmax_is_over_all_axes_from_its_axis_on() {
    let input = counts(2 * H * W);
    let of = |opset: u64, attributes: &[Vec<u8>]| {
        let bytes = versioned(opset, &[node("Softmax", &["x"], &["y"], attributes)]);
        run(&load(&bytes).unwrap(), 2, &input).unwrap().remove(0)
    };
    for (opset, axis, columns) in [
        (12, None, H * W),
        (7, Some(1), H * W),
        (11, Some(2), H * W),
        (11, Some(3), W),
        (13, None, W),
        (13, Some(3), W),
    ] {
        let axis: Vec<_> = axis.iter().map(|axis| number("axis", *axis)).collect();
        let got = of(opset, &axis);
        for (a, b) in got.iter().zip(softmax(&input, columns)) {
            assert!((a - b).abs() < 1e-6, "opset {opset}: {a}, {b}");
        }
    }
    let bytes = versioned(12, &[node("LogSoftmax", &["x"], &["y"], &[])]);
    let logs = run(&load(&bytes).unwrap(), 2, &input).unwrap().remove(0);
    for (a, b) in logs.iter().zip(softmax(&input, H * W)) {
        assert!((a.exp() - b).abs() < 1e-6, "{a}, {b}");
    }
}

#[test]
fn a_complete_model_reaches_rten_as_the_file_is() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/ptychonn_64.onnx");
    assert!(completed(&std::fs::read(own).unwrap()).is_none());
    assert!(completed(&small_model("N")).is_none());
    let last = [number("axis", 3)];
    let softmax = versioned(11, &[node("Softmax", &["x"], &["y"], &last)]);
    assert!(completed(&softmax).is_none());
}

#[test]
fn nodes_in_branches_are_completed_too() {
    let [w, _] = kernels();
    let branch = |name: &str, attributes: &[Vec<u8>]| {
        // Field 6 of an attribute is a graph; its output is the branch's result.
        let graph = message(
            6,
            &[
                node("Conv", &["x", "w"], &[name], attributes),
                tensor(12, name, F32, &["?"]),
            ],
        );
        let branch = format!("{name}_branch");
        message(5, &[bytes(1, branch.as_bytes()), graph, int(20, 5)])
    };
    let whole = |attributes: &[Vec<u8>]| {
        let truth = message(5, &[int(2, 9), bytes(8, b"c"), bytes(9, &[1])]);
        let branches = [branch("then", attributes), branch("else", attributes)];
        versioned(
            17,
            &[w.clone(), truth, node("If", &["c"], &["y"], &branches)],
        )
    };
    assert!(completed(&whole(&[])).is_some());
    assert!(completed(&whole(&conv(0))).is_none());
    assert_eq!(results(&whole(&[])), results(&whole(&conv(0))));
}

#[test]
fn what_would_be_computed_otherwise_than_it_says_is_refused() {
    let sizes = weights("s", &[4], &[1.0, 1.0, 2.0, 2.0]);
    let cubic = node("Resize", &["x", "", "s"], &["y"], &[text("mode", "cubic")]);
    let lower = [
        ints("kernel_shape", &[2, 2]),
        ints("strides", &[2, 2]),
        text("auto_pad", "SAME_LOWER"),
    ];
    for nodes in [
        vec![sizes, cubic],
        vec![node("AveragePool", &["x"], &["y"], &lower)],
    ] {
        let said = load(&versioned(17, &nodes)).err().unwrap().to_string();
        assert!(
            said.contains("which the CPU engine computes wrongly"),
            "{said}"
        );
        assert!(said.contains("--device onnxruntime"), "{said}");
    }
    // On both sides the same: the two say the same.
    let even = [
        ints("kernel_shape", &[3, 3]),
        ints("strides", &[1, 1]),
        text("auto_pad", "SAME_LOWER"),
    ];
    assert!(load(&versioned(17, &[node("MaxPool", &["x"], &["y"], &even)])).is_ok());
}
