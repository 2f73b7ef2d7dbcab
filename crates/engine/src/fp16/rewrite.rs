//! Rewrites a whole model.

use super::error::HalfError;
use super::graph::Rewriting;
use super::operator::is_quantised;
use super::proto::{EXTERNAL, Graph, Model, Tensor};
use super::summary::Summary;
use prost::Message;
use std::collections::HashSet;

/// The first IR version in which weights need not be inputs.
const WEIGHTS_ARE_NO_INPUTS: i64 = 4;

/// A rewritten model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Converted {
    /// The bytes of the ONNX file.
    pub model: Vec<u8>,
    /// Counts of what was changed.
    pub summary: Summary,
}

/// Rewrites a model with single precision (the bytes of an ONNX file) to compute in half. Its float32 inputs become
/// float16; its outputs keep their types.
///
/// # Errors
/// A [`HalfError`] that says why the model cannot be rewritten, and names the remedy.
pub fn to_half(model: &[u8]) -> Result<Converted, HalfError> {
    let mut model = Model::decode(model)?;
    if !model.training_info.is_empty() {
        return Err(HalfError::Training);
    }
    if !model.functions.is_empty() {
        return Err(HalfError::Functions {
            count: model.functions.len(),
        });
    }
    let mut graph = model.graph.take().ok_or(HalfError::NoGraph)?;
    refuse(&graph)?;

    // A weight that is also an input is a default that a caller may replace. Here it becomes fixed.
    let fixed: HashSet<_> = graph.initializer.iter().map(Tensor::name).collect();
    let inputs = graph.input.len();
    graph.input.retain(|input| !fixed.contains(input.name()));
    if graph.input.len() < inputs {
        model.ir_version = model
            .ir_version
            .map(|version| version.max(WEIGHTS_ARE_NO_INPUTS));
    }

    let (graph, summary) = Rewriting::start(&mut graph)?.finish(graph)?;
    model.graph = Some(graph);
    Ok(Converted {
        model: model.encode_to_vec(),
        summary,
    })
}

/// Whether some of a model's weights are in separate files. False if the bytes are not a model.
#[must_use]
pub fn has_side_files(model: &[u8]) -> bool {
    let graph = Model::decode(model).ok().and_then(|model| model.graph);
    graph.is_some_and(|graph| {
        let of_nodes = graph.node.iter().flat_map(|node| &node.attribute);
        let tensors = of_nodes.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
        tensors.chain(&graph.initializer).any(is_outside)
    })
}

fn is_outside(tensor: &Tensor) -> bool {
    tensor.data_location() == EXTERNAL || !tensor.external_data.is_empty()
}

/// Refuses a graph for the reasons that the rewriting of single nodes does not detect.
fn refuse(graph: &Graph) -> Result<(), HalfError> {
    if !graph.sparse_initializer.is_empty() {
        let holder = "the graph".to_owned();
        return Err(HalfError::Sparse { holder });
    }
    if !graph.quantization_annotation.is_empty() {
        let by = "its quantization_annotation".to_owned();
        return Err(HalfError::Quantised { by });
    }
    let within = |tensor: &Tensor| {
        if is_outside(tensor) {
            let tensor = tensor.name().to_owned();
            return Err(HalfError::ExternalData { tensor });
        }
        Ok(())
    };
    graph.initializer.iter().try_for_each(within)?;
    for node in &graph.node {
        if is_quantised(node.op_type()) {
            return Err(HalfError::Quantised { by: node.label() });
        }
        for attribute in &node.attribute {
            if attribute.g.is_some() || !attribute.graphs.is_empty() {
                return Err(HalfError::Subgraph { node: node.label() });
            }
            if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
                let holder = node.label();
                return Err(HalfError::Sparse { holder });
            }
            attribute
                .t
                .iter()
                .chain(&attribute.tensors)
                .try_for_each(within)?;
        }
    }
    Ok(())
}
