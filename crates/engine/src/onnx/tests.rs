use super::*;
use crate::{BatchDimension, OutputRows};
use beamflow_frame::values::{Element, Values, ValuesMut};
use std::io::Write;

mod completed;
mod outputs;
mod outside;
mod proto;
mod refused;

use proto::{F32, ints, model, node, tensor, weights};

const KERNEL: [f32; 9] = [0.5, -1.0, 0.25, 2.0, 1.5, -0.75, -2.0, 0.125, 1.0];
const H: usize = 6;
const W: usize = 5;

/// N×1×6×5 → 3×3 convolution → `amplitude` (ReLU) and `phase` (tanh), each N×1×6×5.
fn small_model(batch: &str) -> Vec<u8> {
    let shape = [batch, "1", "6", "5"];
    model(&[
        node("Conv", &["x", "w"], &["c"], &conv(1)),
        node("Relu", &["c"], &["amplitude"], &[]),
        node("Tanh", &["c"], &["phase"], &[]),
        weights("w", &[1, 1, 3, 3], &KERNEL),
        tensor(11, "x", F32, &shape),
        tensor(12, "amplitude", F32, &shape),
        tensor(12, "phase", F32, &["?"]),
    ])
}

/// The attributes of a plain convolution, all of them, so that nothing is left to be filled in.
fn conv(pad: u64) -> [Vec<u8>; 3] {
    [
        ints("pads", &[pad; 4]),
        ints("strides", &[1; 2]),
        ints("dilations", &[1; 2]),
    ]
}

/// A model with one node, from its input `x` to its output `y`, and with the given tensors declared.
fn pass(input: Vec<u8>, output: Vec<u8>) -> Vec<u8> {
    model(&[node("Relu", &["x"], &["y"], &[]), input, output])
}

fn place(lane: usize) -> Place {
    Place {
        lane,
        device: 0,
        rows: 1,
        cuda_graphs: true,
    }
}

fn load(bytes: &[u8]) -> Result<OnnxEngine, EngineError> {
    load_with(bytes, &EngineOptions::default())
}

fn load_with(bytes: &[u8], options: &EngineOptions) -> Result<OnnxEngine, EngineError> {
    let mut file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    load_file(file.path(), options)
}

fn load_file(path: &Path, options: &EngineOptions) -> Result<OnnxEngine, EngineError> {
    OnnxEngine::load_with_threads(path, options, 2)
}

fn run(engine: &OnnxEngine, rows: usize, input: &[f32]) -> Result<Vec<Vec<f32>>, EngineError> {
    let room = |tensor: &TensorSpec| vec![f32::NAN; rows * tensor.elements()];
    let mut outputs: Vec<_> = engine.model().outputs.iter().map(room).collect();
    engine.open_session(place(0)).unwrap().run(Batch {
        rows,
        input: Values::F32(input),
        outputs: outputs
            .iter_mut()
            .zip(&engine.model().outputs)
            .map(|(values, output)| OutputRows::whole(ValuesMut::F32(values), output.elements()))
            .collect(),
    })?;
    Ok(outputs)
}

/// Whole numbers from 0 to 255, divided by 8: the same as in the script that made the reference values.
fn counts(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 2_654_435_761) >> 7 & 0xff) as f32 / 8.0)
        .collect()
}

fn ptychonn() -> Option<OnnxEngine> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/ptychoNN_8.onnx");
    if path.exists() {
        return Some(OnnxEngine::load(&path, &EngineOptions::default()).unwrap());
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn tensors_are_found_with_and_without_declarations() {
    let tensor = |name: &str| TensorSpec {
        name: name.to_owned(),
        shape: vec![1, H, W],
        element: Element::F32,
    };
    for (batch, expected) in [
        ("N", BatchDimension::Dynamic),
        ("3", BatchDimension::Static(3)),
    ] {
        let engine = load(&small_model(batch)).unwrap();
        let spec = ModelSpec {
            input: tensor("x"),
            outputs: vec![tensor("amplitude"), tensor("phase")],
            batch: expected,
        };
        assert_eq!(*engine.model(), spec);
    }
    let flat = load(&pass(tensor3("x", 11), tensor3("y", 12))).unwrap();
    assert_eq!(flat.model().input.shape, [4, 7]);
    assert_eq!(flat.model().outputs[0].shape, [4, 7]);
}

fn tensor3(name: &str, field: u64) -> Vec<u8> {
    tensor(field, name, F32, &["N", "4", "7"])
}

#[test]
fn every_row_matches_a_reference_computation() {
    let rows = 5;
    let input = counts(rows * H * W);
    let outputs = run(&load(&small_model("N")).unwrap(), rows, &input).unwrap();
    for (i, _) in input.iter().enumerate() {
        let (row, y, x) = (i / (H * W), i / W % H, i % W);
        let mut sum = 0.0;
        for (k, weight) in KERNEL.iter().enumerate() {
            let (y, x) = ((y + k / 3).wrapping_sub(1), (x + k % 3).wrapping_sub(1));
            if y < H && x < W {
                sum += f64::from(*weight) * f64::from(input[row * H * W + y * W + x]);
            }
        }
        assert!(
            (f64::from(outputs[0][i]) - sum.max(0.0)).abs() < 1e-4,
            "amplitude {i}"
        );
        assert!(
            (f64::from(outputs[1][i]) - sum.tanh()).abs() < 1e-5,
            "phase {i}"
        );
    }
}

/// Runs the engine twice, and again with all rows but one replaced. The results of the row must be bit-identical.
fn assert_rows_stand_alone(engine: &OnnxEngine, rows: usize) {
    let frame = engine.model().input.elements();
    let input = counts(rows * frame);
    let first = run(engine, rows, &input).unwrap();
    let again = run(engine, rows, &input).unwrap();
    for (a, b) in first.iter().zip(&again) {
        assert_eq!(bits(a), bits(b), "two runs differ");
    }
    for kept in [0, rows / 2, rows - 1] {
        let mut other: Vec<f32> = input.iter().map(|x| 100.0 - 3.0 * x).collect();
        let frames = kept * frame..(kept + 1) * frame;
        other[frames.clone()].copy_from_slice(&input[frames]);
        let among_others = run(engine, rows, &other).unwrap();
        for (k, tensor) in engine.model().outputs.iter().enumerate() {
            let values = kept * tensor.elements()..(kept + 1) * tensor.elements();
            let (a, b) = (&first[k][values.clone()], &among_others[k][values]);
            assert_eq!(bits(a), bits(b), "row {kept} depends on other rows");
            assert_ne!(
                bits(&first[k]),
                bits(&among_others[k]),
                "the other rows did not change"
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_the_run_or_on_other_rows() {
    assert_rows_stand_alone(&load(&small_model("N")).unwrap(), 7);
}

#[test]
fn ptychonn_results_do_not_depend_on_the_run_or_on_other_rows() {
    if let Some(engine) = ptychonn() {
        assert_rows_stand_alone(&engine, 8);
    }
}

#[test]
fn ptychonn_results_agree_with_onnxruntime() {
    let Some(engine) = ptychonn() else { return };
    assert_eq!(engine.model().batch, BatchDimension::Static(8));
    assert_eq!(engine.model().outputs[0].shape, [1, 128, 128]);
    let outputs = run(&engine, 8, &counts(8 * 128 * 128)).unwrap();
    for (i, reference) in ONNXRUNTIME.iter().enumerate() {
        let value = outputs[0][i * 4093];
        assert!(
            (value - reference).abs() <= 1e-4 * reference.abs().max(1.0),
            "{i}: {value}, {reference}"
        );
    }
}

/// Every 4093rd value of the result of onnxruntime 1.31.1 for `counts` on ptychoNN_8.onnx.
const ONNXRUNTIME: [f32; 33] = [
    -0.680676, -0.011922, -0.210563, -0.470687, 0.356547, -0.865274, -1.107924, -1.173789,
    0.452874, -1.362232, -1.362553, -1.366619, 0.445299, -1.353293, -1.391304, -1.357832, 0.174482,
    -1.426538, -1.477169, -1.573688, -0.241017, -1.57668, -1.596322, -1.583408, 0.097149,
    -1.325427, -1.223326, -1.045809, 0.464222, -0.496357, -0.281878, 0.023445, 0.543093,
];

#[test]
fn a_batch_that_does_not_fit_the_model_is_an_error() {
    let engine = load(&small_model("3")).unwrap();
    let said = run(&engine, 2, &[0.0; 2 * H * W]).unwrap_err().to_string();
    assert_eq!(
        said,
        "the engine failed: a batch of 2 rows, but the model's batch dimension is fixed at 3"
    );
    assert!(run(&engine, 3, &[0.0; 2 * H * W]).is_err());
    assert!(run(&engine, 3, &[0.0; 3 * H * W]).is_ok());
}

#[test]
fn the_description_names_runtime_threads_and_file() {
    let said = load(&small_model("N")).unwrap().description();
    assert!(
        said.starts_with("ONNX on the CPU (rten 0.27, 2 threads), /"),
        "{said}"
    );
    assert!(said.ends_with(".onnx"), "{said}");
}
