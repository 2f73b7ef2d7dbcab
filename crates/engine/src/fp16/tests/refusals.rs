//! Models that are refused. The error names the cause and the remedy.

use super::*;

/// The error for the graph of one convolution after `change`.
fn changed(change: impl FnOnce(&mut Graph)) -> String {
    let mut graph = graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &[1.0])],
    );
    change(&mut graph);
    refused(graph).to_string()
}

/// Checks that an error names the cause and the remedy.
fn assert_says(error: &str, name: &str, remedy: &str) {
    assert!(error.contains(name) && error.contains(remedy), "{error}");
}

#[test]
fn a_weight_outside_the_range_of_half_is_named_with_its_value() {
    let error = changed(|g| g.initializer = vec![weight("w", &[1.0, -65505.0])]);
    assert_says(&error, "weight w has the value -65505,", "--precision fp32");
    let (_, summary) = halved(graph(
        vec![
            node("Exp", &["x"], &["a"]),
            node("Mul", &["a", "w"], &["y"]),
        ],
        vec![weight("w", &[1e9])],
    ));
    assert_eq!(summary.weights, 0, "needed in single only");
}

#[test]
fn control_flow_functions_and_training_are_refused() {
    let branch = Attribute {
        g: Some(vec![]),
        ..Attribute::default()
    };
    let error = changed(|g| g.node[0] = with(node("If", &["x"], &["y"]), "then_branch", branch));
    assert_says(&error, "the If node that writes y", "onnxsim");
    let model = Model {
        functions: vec![vec![], vec![]],
        ..Model::default()
    };
    let error = to_half(&model.encode_to_vec()).unwrap_err().to_string();
    assert_says(&error, "2 operators as functions", "onnx.inliner");
    let model = Model {
        training_info: vec![vec![]],
        ..Model::default()
    };
    let error = to_half(&model.encode_to_vec()).unwrap_err().to_string();
    assert_says(&error, "training", "inference");
}

#[test]
fn quantised_and_sparse_models_are_refused() {
    for operator in [
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "ConvInteger",
    ] {
        let error = changed(|g| g.node[0].op_type = Some(operator.to_owned()));
        assert_says(&error, &format!("the {operator} node"), "--precision fp32");
    }
    let error = changed(|g| g.quantization_annotation.push(vec![]));
    assert_says(&error, "quantization_annotation", "--precision fp32");
    let error = changed(|g| g.sparse_initializer.push(vec![]));
    assert_says(&error, "the graph has sparse", "dense");
    let sparse = Attribute {
        sparse_tensor: Some(vec![]),
        ..Attribute::default()
    };
    let error = changed(|g| {
        g.node[0] = with(node("Constant", &[], &["y"]), "sparse_value", sparse);
    });
    assert_says(&error, "the Constant node that writes y", "dense");
}

#[test]
fn weights_in_other_files_are_refused() {
    let error = changed(|g| g.initializer[0].data_location = Some(1));
    assert_says(&error, "tensor w", "save_as_external_data=False");
    let held = Attribute {
        t: Some(Tensor {
            name: Some("c".to_owned()),
            external_data: vec![vec![]],
            ..Tensor::default()
        }),
        ..Attribute::default()
    };
    let error = changed(|g| g.node[0] = with(node("Constant", &[], &["y"]), "value", held));
    assert_says(&error, "tensor c", "save_as_external_data=False");
}

#[test]
fn weights_in_separate_files_are_detected() {
    let model = |weight: Tensor| Model {
        graph: Some(Graph {
            initializer: vec![weight],
            ..Graph::default()
        }),
        ..Model::default()
    };
    let inside = weight("w", &[1.0]);
    let outside = Tensor {
        data_location: Some(1),
        ..inside.clone()
    };
    assert!(!super::super::has_side_files(
        &model(inside).encode_to_vec()
    ));
    assert!(super::super::has_side_files(
        &model(outside).encode_to_vec()
    ));
    assert!(!super::super::has_side_files(b"no model"));
}

#[test]
fn tensors_whose_length_does_not_match_their_shape_are_refused() {
    for dims in [vec![2], vec![-1], vec![i64::MAX, i64::MAX], vec![0]] {
        let error = changed(|g| g.initializer[0].dims = dims.clone());
        assert_says(&error, "tensor w holds 4 bytes", &format!("shape {dims:?}"));
    }
    let error = changed(|g| {
        g.initializer[0].float_data.clear();
        g.initializer[0].raw_data = Some(vec![0; 5]);
    });
    assert_says(&error, "holds 5 bytes", "shape [1]");
}

#[test]
fn damaged_graphs_are_refused() {
    let damaged = "damaged";
    let error = changed(|g| g.node[0].input[0] = "z".to_owned());
    assert_says(&error, "the Conv node that writes y needs z", damaged);
    let error = changed(|g| g.output[0] = info("z", FLOAT));
    assert_says(&error, "the graph needs z", damaged);
    let error = changed(|g| g.node[0].output[0] = "x".to_owned());
    assert_says(&error, "x is written twice", damaged);
    let error = changed(|g| g.node.insert(0, node("Identity", &["w"], &["x"])));
    assert_says(&error, "x is written twice", damaged);
    for (operator, lacks) in [("Cast", "type to convert to"), ("Constant", "value")] {
        let error = changed(|g| g.node[0] = node(operator, &["x"], &["y"]));
        assert_says(
            &error,
            &format!("the {operator} node that writes y has no {lacks}"),
            damaged,
        );
    }
    assert_says(&to_half(b"").unwrap_err().to_string(), "no graph", damaged);
}

#[test]
fn an_input_that_is_also_an_output_is_refused() {
    let error = changed(|g| g.output.push(info("x", FLOAT)));
    assert_says(&error, "its input x", "--precision fp32");
}

#[test]
fn a_model_with_nothing_to_rewrite_is_refused() {
    let (once, _) = halved(graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &[1.0])],
    ));
    assert_says(
        &refused(once).to_string(),
        "rewritten before",
        "--precision fp32",
    );
    let error = changed(|g| {
        g.input = vec![info("x", FLOAT16)];
        g.output = vec![info("y", FLOAT16)];
        g.initializer.clear();
        g.node = vec![node("Relu", &["x"], &["y"])];
    });
    assert_says(&error, "has no float32", "--precision fp32");
}

#[test]
fn lengths_beyond_the_file_are_refused_without_allocating() {
    // Field 7, the graph, and in a graph field 5, a tensor: each declares a length of a terabyte.
    for start in [&[0x3a][..], &[0x3a, 7, 0x2a]] {
        let file = [start, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x20]].concat();
        assert_says(
            &to_half(&file).unwrap_err().to_string(),
            "not an ONNX model",
            "damaged",
        );
    }
}
