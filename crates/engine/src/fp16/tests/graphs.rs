//! How small graphs are rewritten.

use super::*;

#[test]
fn inputs_become_half_and_outputs_stay_single() {
    let (graph, summary) = halved(graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &[0.5, 2.0])],
    ));
    assert_eq!(
        lines(&graph),
        ["Conv x,w_float16 > y_float16", "Cast y_float16 > y"]
    );
    assert_eq!(graph.input, [info("x", FLOAT16)]);
    assert_eq!(graph.output, [info("y", FLOAT)]);
    assert_eq!(graph.initializer.len(), 1);
    let half = &graph.initializer[0];
    assert_eq!(
        (half.data_type(), half.dims.as_slice()),
        (FLOAT16, &[2][..])
    );
    assert_eq!(half.raw_data(), [0x00, 0x38, 0x00, 0x40]);
    assert_eq!((summary.weights, summary.values, summary.casts), (1, 2, 1));
    assert!(summary.kept_single.is_empty());
}

#[test]
fn a_value_with_several_readers_is_converted_once() {
    let (graph, summary) = halved(graph(
        vec![
            node("Exp", &["x"], &["a"]),
            node("Softmax", &["x"], &["b"]),
            node("MatMul", &["a", "b"], &["c"]),
            node("MatMul", &["b", "a"], &["d"]),
            node("Add", &["c", "d"], &["y"]),
        ],
        vec![],
    ));
    assert_eq!(
        lines(&graph),
        [
            "Cast x > x_float32",
            "Exp x_float32 > a",
            "Softmax x_float32 > b",
            "Cast a > a_float16",
            "Cast b > b_float16",
            "MatMul a_float16,b_float16 > c",
            "MatMul b_float16,a_float16 > d",
            "Add c,d > y_float16",
            "Cast y_float16 > y",
        ]
    );
    assert_eq!(summary.casts, 4);
    assert_eq!(summary.kept_single["Exp"], 1);
}

#[test]
fn single_results_are_not_rounded_before_a_convolution() {
    let (graph, summary) = halved(graph(
        vec![
            node("ReduceMean", &["x"], &["a"]),
            node("Slice", &["a", "i", "i"], &["b"]),
            node("Mul", &["x", "b"], &["c"]),
            node("Conv", &["c", "w"], &["y"]),
        ],
        vec![
            weight("w", &[1.0]),
            Tensor {
                name: Some("i".to_owned()),
                data_type: Some(INT64),
                dims: vec![1],
                int64_data: vec![1],
                ..Tensor::default()
            },
        ],
    ));
    assert_eq!(
        lines(&graph)[1..],
        [
            "ReduceMean x_float32 > a",
            "Slice a,i,i > b",
            "Mul x_float32,b > c",
            "Cast c > c_float16",
            "Conv c_float16,w_float16 > y_float16",
            "Cast y_float16 > y",
        ]
    );
    assert_eq!(
        summary.to_string(),
        "1 weight tensors (1 values) are now float16: 0 values were too small and became 0, 0 values are so small \
         that they lost digits. Still in float32: 1 Mul, 1 ReduceMean, 1 Slice; 3 conversions were inserted."
    );
}

#[test]
fn a_weight_read_in_single_and_in_half_is_kept_in_both() {
    let third = 1.0_f32 / 3.0;
    let (graph, _) = halved(graph(
        vec![
            node("Pow", &["x", "w"], &["a"]),
            node("Identity", &["w"], &["shared"]),
            node("Conv", &["a", "shared"], &["y"]),
        ],
        vec![weight("w", &[third])],
    ));
    assert_eq!(
        lines(&graph)[1..4],
        [
            "Pow x_float32,w > a",
            "Cast a > a_float16",
            "Conv a_float16,w_float16 > y_float16"
        ]
    );
    let single = graph.initializer.iter().find(|t| t.name() == "w").unwrap();
    assert_eq!(single, &weight("w", &[third]));
    assert_eq!(graph.initializer.len(), 2);
}

#[test]
fn an_epsilon_too_small_for_half_keeps_its_operator_single() {
    let small = |value| {
        let (graph, summary) = halved(graph(
            vec![
                node("Abs", &["x"], &["a"]),
                node("Add", &["a", "epsilon"], &["y"]),
            ],
            vec![weight("epsilon", &[value])],
        ));
        (lines(&graph), summary)
    };
    let (nodes, summary) = small(1e-8);
    assert_eq!(nodes[2], "Add a_float32,epsilon > y");
    assert_eq!(summary.kept_single["Add"], 1);
    let (nodes, summary) = small(1e-7);
    assert_eq!(nodes[1], "Add a,epsilon_float16 > y_float16");
    assert_eq!((summary.underflowed, summary.subnormal), (0, 1));
    // A mask of -1e9 does not make the model refused.
    let (nodes, summary) = small(-1e9);
    assert_eq!(nodes[2], "Add a_float32,epsilon > y");
    assert_eq!(summary.kept_single["Add"], 1);
}

#[test]
fn weights_that_lose_digits_or_vanish_are_counted() {
    let values = [
        1e-8,
        -1e-8,
        0.0,
        -0.0,
        6e-8,
        6.0e-5,
        6.2e-5,
        65504.0,
        f32::INFINITY,
    ];
    let (graph, summary) = halved(graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &values)],
    ));
    assert_eq!(
        (summary.underflowed, summary.subnormal, summary.values),
        (2, 2, 9)
    );
    let raw = graph.initializer[0].raw_data();
    assert_eq!(raw[14..], [0xff, 0x7b, 0x00, 0x7c]);
}

#[test]
fn halves_are_rounded_to_the_nearest_even() {
    let (graph, _) = halved(graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &[2049.0, 2051.0])],
    ));
    // 2048 and 2052: the step of half is 2 here.
    assert_eq!(graph.initializer[0].raw_data(), [0x00, 0x68, 0x02, 0x68]);
}

#[test]
fn resize_keeps_its_region_and_scales_single() {
    let (graph, _) = halved(graph(
        vec![
            node("Constant", &[], &["roi"]),
            node("Resize", &["x", "roi", "scales"], &["y"]),
        ]
        .into_iter()
        .map(|n| match n.op_type() {
            "Constant" => with(
                n,
                "value",
                Attribute {
                    t: Some(weight("", &[])),
                    ..Attribute::default()
                },
            ),
            _ => n,
        })
        .collect(),
        vec![weight("scales", &[1.0, 1.0, 2.0, 2.0])],
    ));
    assert_eq!(lines(&graph)[0], "Resize x,roi,scales > y_float16");
    let types = assert_types_fit(&graph);
    assert_eq!((types["roi"], types["scales"]), (FLOAT, FLOAT));
}

#[test]
fn constants_are_weights_in_every_notation() {
    let constant = |name: &str, value: Attribute| with(node("Constant", &[], &["c"]), name, value);
    let nodes = |c| {
        let (graph, _) = halved(graph(vec![c, node("Mul", &["x", "c"], &["y"])], vec![]));
        assert_eq!(lines(&graph)[0], "Mul x,c_float16 > y_float16");
        let tensor = &graph.initializer[0];
        (tensor.dims.clone(), tensor.raw_data().to_vec())
    };
    let tensor = Attribute {
        t: Some(Tensor {
            data_type: Some(FLOAT),
            raw_data: Some(1.5_f32.to_le_bytes().to_vec()),
            ..Tensor::default()
        }),
        ..Attribute::default()
    };
    assert_eq!(nodes(constant("value", tensor)), (vec![], vec![0x00, 0x3e]));
    let one = Attribute {
        f: Some(1.5),
        ..Attribute::default()
    };
    assert_eq!(
        nodes(constant("value_float", one)),
        (vec![], vec![0x00, 0x3e])
    );
    let list = Attribute {
        floats: vec![1.5],
        ..Attribute::default()
    };
    assert_eq!(
        nodes(constant("value_floats", list)),
        (vec![1], vec![0x00, 0x3e])
    );
}

#[test]
fn conversions_of_the_given_model_are_kept() {
    let mut counts = graph(
        vec![
            with(node("Cast", &["n"], &["a"]), "to", number(1)),
            node("Conv", &["a", "w"], &["b"]),
            with(node("Cast", &["b"], &["c"]), "to", number(1)),
            with(node("Cast", &["c"], &["d"]), "to", number(7)),
            with(node("Cast", &["d"], &["y"]), "to", number(1)),
        ],
        vec![weight("w", &[1.0])],
    );
    counts.input = vec![info("n", INT64)];
    let (graph, _) = halved(counts);
    assert_eq!(
        lines(&graph),
        [
            "Cast n > a",
            "Cast a > a_float16",
            "Conv a_float16,w_float16 > b",
            "Cast b > c",
            "Cast c > d",
            "Cast d > y",
        ]
    );
    assert_eq!(graph.input, [info("n", INT64)]);
}

#[test]
fn integers_shapes_and_filled_tensors_do_not_change() {
    let (graph, summary) = halved(graph(
        vec![
            node("Shape", &["x"], &["shape"]),
            node("Gather", &["shape", "shape"], &["n"]),
            node("Add", &["n", "n"], &["nn"]),
            node("ConstantOfShape", &["nn"], &["zeros"]),
            node("Add", &["x", "zeros"], &["y"]),
        ],
        vec![],
    ));
    assert_eq!(
        lines(&graph),
        [
            "Shape x > shape",
            "Gather shape,shape > n",
            "Add n,n > nn",
            "ConstantOfShape nn > zeros",
            "Cast x > x_float32",
            "Add x_float32,zeros > y",
        ]
    );
    assert_eq!(summary.kept_single.len(), 1);
}

#[test]
fn declared_types_follow_their_values() {
    let mut declared = graph(
        vec![
            node("Conv", &["x", "w"], &["a"]),
            node("Exp", &["a"], &["b"]),
            node("Identity", &["w"], &["v"]),
            node("Conv", &["b", "v"], &["y"]),
        ],
        vec![weight("w", &[1.0])],
    );
    declared.value_info = ["a", "b", "v", "w", "y"]
        .map(|name| info(name, FLOAT))
        .to_vec();
    // `halved` checks the types. This checks that they are still declared.
    let (graph, _) = halved(declared);
    assert_eq!(
        graph.value_info,
        [info("a", FLOAT16), info("b", FLOAT), info("y", FLOAT)]
    );
}

#[test]
fn new_names_differ_from_names_in_use() {
    let (graph, _) = halved(graph(
        vec![
            node("Relu", &["x"], &["x_float32"]),
            node("Exp", &["x"], &["e"]),
            node("Conv", &["e", "w"], &["w_float16"]),
            node("Add", &["x_float32", "w_float16"], &["y"]),
        ],
        vec![weight("w", &[1.0])],
    ));
    assert_eq!(lines(&graph)[1], "Cast x > x_float32_2");
    assert_eq!(lines(&graph)[4], "Conv e_float16,w_float16_2 > w_float16");
}

#[test]
fn weights_listed_as_inputs_are_fixed() {
    let mut old = graph(
        vec![node("Conv", &["x", "w"], &["y"])],
        vec![weight("w", &[1.0])],
    );
    old.input.push(info("w", FLOAT));
    let model = Model {
        ir_version: Some(3),
        graph: Some(old),
        ..Model::default()
    };
    let converted = to_half(&model.encode_to_vec()).unwrap();
    let model = Model::decode(converted.model.as_slice()).unwrap();
    assert_eq!(model.ir_version, Some(4));
    assert_eq!(model.graph.unwrap().input, [info("x", FLOAT16)]);
}

#[test]
fn unknown_operators_compute_in_single() {
    let mut plugin = node("Unwrap", &["a"], &["b"]);
    plugin.domain = Some("com.example".to_owned());
    let mut given = graph(
        vec![
            node("Relu", &["x"], &["a"]),
            plugin,
            node("Conv", &["b", "w"], &["y"]),
        ],
        vec![weight("w", &[1.0])],
    );
    let error = refused(given.clone()).to_string();
    assert!(
        error.starts_with("the type of b, an output of the Unwrap node that writes b, is unknown;")
            && error.contains("onnx.shape_inference"),
        "{error}"
    );
    given.value_info.push(info("b", FLOAT));
    let (graph, summary) = halved(given);
    assert_eq!(
        lines(&graph)[2..4],
        ["Unwrap a_float32 > b", "Cast b > b_float16"]
    );
    assert_eq!(summary.kept_single["Unwrap"], 1);
}
