//! Small graphs, and checks of rewritten graphs.

mod graphs;
mod models;
mod properties;
mod refusals;

use super::operator::{Precision, Results, Rule};
use super::proto::{
    Attribute, FLOAT, FLOAT16, Graph, Model, Node, Tensor, TensorType, Type, ValueInfo,
};
use super::{HalfError, Summary, to_half};
use prost::Message;
use std::collections::HashMap;

const INT64: i32 = 7;

fn info(name: &str, element: i32) -> ValueInfo {
    ValueInfo {
        name: Some(name.to_owned()),
        r#type: Some(Type {
            tensor_type: Some(TensorType {
                elem_type: Some(element),
                shape: None,
            }),
            ..Type::default()
        }),
        ..ValueInfo::default()
    }
}

fn weight(name: &str, values: &[f32]) -> Tensor {
    Tensor {
        name: Some(name.to_owned()),
        data_type: Some(FLOAT),
        dims: vec![values.len() as i64],
        float_data: values.to_vec(),
        ..Tensor::default()
    }
}

fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Node {
    Node {
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&s| s.to_owned()).collect(),
        output: outputs.iter().map(|&s| s.to_owned()).collect(),
        ..Node::default()
    }
}

fn with(mut node: Node, name: &str, attribute: Attribute) -> Node {
    node.attribute.push(Attribute {
        name: Some(name.to_owned()),
        ..attribute
    });
    node
}

fn number(i: i64) -> Attribute {
    Attribute {
        i: Some(i),
        ..Attribute::default()
    }
}

/// A graph from float32 `x` to float32 `y`.
fn graph(nodes: Vec<Node>, initializer: Vec<Tensor>) -> Graph {
    Graph {
        node: nodes,
        initializer,
        input: vec![info("x", FLOAT)],
        output: vec![info("y", FLOAT)],
        ..Graph::default()
    }
}

fn encoded(graph: Graph) -> Vec<u8> {
    Model {
        ir_version: Some(8),
        graph: Some(graph),
        ..Model::default()
    }
    .encode_to_vec()
}

fn halved(graph: Graph) -> (Graph, Summary) {
    let converted = to_half(&encoded(graph)).unwrap();
    let model = Model::decode(converted.model.as_slice()).unwrap();
    let graph = model.graph.unwrap();
    assert_types_fit(&graph);
    (graph, converted.summary)
}

fn refused(graph: Graph) -> HalfError {
    to_half(&encoded(graph)).unwrap_err()
}

/// The nodes, each as `Operator input,input > output,output`.
fn lines(graph: &Graph) -> Vec<String> {
    let line = |n: &Node| {
        format!(
            "{} {} > {}",
            n.op_type(),
            n.input.join(","),
            n.output.join(",")
        )
    };
    graph.node.iter().map(line).collect()
}

/// Checks the types in a rewritten graph, as a strongly typed engine does: each name is written once and before it is
/// read, all data of a node has one type, which is single if the operator requires it, and each output has its declared
/// type. Returns the type of each name.
fn assert_types_fit(graph: &Graph) -> HashMap<String, i32> {
    let mut types = HashMap::new();
    for input in graph.input.clone() {
        let element = *input.clone().element().unwrap();
        assert_ne!(element, FLOAT, "input {}", input.name());
        assert!(types.insert(input.name().to_owned(), element).is_none());
    }
    for tensor in &graph.initializer {
        let before = types.insert(tensor.name().to_owned(), tensor.data_type());
        assert!(before.is_none(), "{}", tensor.name());
    }
    for node in &graph.node {
        let rule = Rule::of(node.op_type());
        let given: Vec<_> = node
            .input
            .iter()
            .map(|name| if name.is_empty() { INT64 } else { types[name] })
            .collect();
        let is_float = |element: &i32| [FLOAT, FLOAT16].contains(element);
        let data = given.iter().enumerate();
        let mut data: Vec<_> = data
            .filter(|(i, _)| rule.is_data(*i))
            .map(|d| *d.1)
            .collect();
        data.retain(is_float);
        data.dedup();
        assert!(data.len() <= 1, "{node:?} is given {given:?}");
        match rule.precision {
            Precision::Half => assert_ne!(data, [FLOAT], "{node:?}"),
            Precision::Single if node.op_type() != "Cast" && rule != Rule::UNKNOWN => {
                assert_ne!(data, [FLOAT16], "{node:?}");
            }
            _ => {}
        }
        for (i, output) in node.output.iter().enumerate() {
            let element = match (node.op_type(), rule.results) {
                ("Cast", _) => node.attribute("to").unwrap().i() as i32,
                (_, Results::All) => *data.first().unwrap_or(&INT64),
                (_, Results::First) if i == 0 => *data.first().unwrap_or(&INT64),
                (_, Results::Declared) => FLOAT,
                _ => INT64,
            };
            assert!(types.insert(output.clone(), element).is_none(), "{output}");
        }
    }
    for declared in graph.output.iter().chain(&graph.value_info) {
        let element = *declared.clone().element().unwrap();
        assert_eq!(types[declared.name()], element, "{}", declared.name());
    }
    types
}
