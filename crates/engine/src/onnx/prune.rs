//! Removes what only unwanted outputs need.
//!
//! rten refuses a whole model for one operator that it does not know, even if no wanted output needs it.

use super::source::OLD;
use crate::fp16::proto::{Attribute, Graph, Model, Node};
use prost::Message;
use std::collections::HashSet;

/// The model in `file` with the outputs `wanted` only, and the nodes that they need. `None` if the model lacks one of
/// them, or if every node is needed.
pub(crate) fn to_wanted(file: &[u8], wanted: &[String]) -> Option<Vec<u8>> {
    let mut model = Model::decode(file).ok()?;
    let graph = model.graph.as_mut()?;
    let is_output = |name: &String| graph.output.iter().any(|output| output.name() == name);
    if wanted.is_empty() || !wanted.iter().all(is_output) {
        return None;
    }
    graph
        .output
        .retain(|output| wanted.iter().any(|name| name == output.name()));
    let mut needed: HashSet<String> = wanted.iter().cloned().collect();
    let nodes = graph.node.len();
    // The nodes are in the order of their computation.
    let mut kept: Vec<Node> = Vec::new();
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|output| needed.contains(output)) {
            read_by(&node, &mut needed);
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    if graph.node.len() == nodes {
        return None;
    }
    // rten knows a model without a file name by this field.
    model.ir_version.get_or_insert(OLD);
    Some(model.encode_to_vec())
}

/// Adds the names that a node reads, and those that the nodes of its branches read.
fn read_by(node: &Node, names: &mut HashSet<String>) {
    names.extend(node.input.iter().cloned());
    let graphs = |attribute: &Attribute| [attribute.g.as_slice(), &attribute.graphs].concat();
    for bytes in node.attribute.iter().flat_map(graphs) {
        if let Ok(graph) = Graph::decode(bytes.as_slice()) {
            names.extend(graph.output.iter().map(|output| output.name().to_owned()));
            graph.node.iter().for_each(|node| read_by(node, names));
        }
    }
}
