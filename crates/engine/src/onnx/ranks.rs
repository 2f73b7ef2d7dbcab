//! Numbers of dimensions, as far as a graph's text shows them.
//!
//! ONNX derives defaults from the number of dimensions of an operator's inputs. This module does not compute shapes: it
//! reads what the file declares, and follows operators that keep the number of dimensions of their first input.

use super::wire::Shape;
use crate::fp16::proto::{Graph, Node, Tensor, ValueInfo};
use prost::Message;
use std::collections::HashMap;

/// What is known about the values of a graph, and of the graphs around it.
pub(crate) struct Ranks<'a> {
    around: Option<&'a Ranks<'a>>,
    ranks: HashMap<String, usize>,
    /// The shapes of constants.
    constants: HashMap<String, Vec<i64>>,
}

impl<'a> Ranks<'a> {
    /// What `graph` shows about its values.
    pub(crate) fn of(graph: &Graph, around: Option<&'a Ranks<'a>>) -> Self {
        let mut this = Self {
            around,
            ranks: HashMap::new(),
            constants: HashMap::new(),
        };
        for tensor in &graph.initializer {
            this.constant(tensor.name(), tensor);
        }
        let declared = graph.input.iter().chain(&graph.output);
        for info in declared.chain(&graph.value_info) {
            if let Some(rank) = rank(info) {
                this.ranks.insert(info.name().to_owned(), rank);
            }
        }
        for node in &graph.node {
            this.pass(node);
        }
        this
    }

    /// The number of dimensions of a value.
    pub(crate) fn rank(&self, name: &str) -> Option<usize> {
        let known = self.ranks.get(name).copied();
        known.or_else(|| self.around?.rank(name))
    }

    /// The shape of a constant.
    pub(crate) fn constant_shape(&self, name: &str) -> Option<&[i64]> {
        let known = self.constants.get(name).map(Vec::as_slice);
        known.or_else(|| self.around?.constant_shape(name))
    }

    fn constant(&mut self, name: &str, tensor: &Tensor) {
        self.ranks.insert(name.to_owned(), tensor.dims.len());
        self.constants.insert(name.to_owned(), tensor.dims.clone());
    }

    /// Notes what a node shows about its first output.
    fn pass(&mut self, node: &Node) {
        let Some(output) = node.output.first().filter(|name| !name.is_empty()) else {
            return;
        };
        if node.op_type() == "Constant" {
            if let Some(tensor) = node.attribute("value").and_then(|value| value.t.as_ref()) {
                self.constant(output, tensor);
            }
            return;
        }
        let rank = match node.op_type() {
            "Gemm" | "Flatten" => Some(2),
            operator if KEEPING.contains(&operator) => {
                node.input.first().and_then(|input| self.rank(input))
            }
            _ => None,
        };
        if let Some(rank) = rank {
            self.ranks.entry(output.clone()).or_insert(rank);
        }
    }
}

/// Operators whose first output has as many dimensions as their first input.
const KEEPING: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DepthToSpace",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LeakyRelu",
    "LogSoftmax",
    "MaxPool",
    "PRelu",
    "Pad",
    "QuantizeLinear",
    "Relu",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Tanh",
    "Transpose",
    "Upsample",
];

/// The number of dimensions that a declaration shows.
fn rank(info: &ValueInfo) -> Option<usize> {
    let tensor = info.r#type.as_ref()?.tensor_type.as_ref()?;
    let shape = Shape::decode(tensor.shape.as_ref()?.as_slice()).ok()?;
    Some(shape.dim.len())
}
