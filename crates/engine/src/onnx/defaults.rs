//! Fills in what the ONNX specification lets a model leave out, and rten 0.27 does not.
//!
//! `onnx.checker` accepts a node without the attributes that have a default. rten reads most defaults as the
//! specification gives them; the others are here, found by reading its `op_registry/onnx_registry.rs`:
//!
//! | operator | left out | by the specification | rten 0.27 |
//! |---|---|---|---|
//! | Conv, ConvTranspose, ConvInteger | strides, dilations, pads, and kernel_shape | 1, 1, 0 along each axis | none, an error |
//! | MaxPool, AveragePool | strides | 1 along each axis | none, an error |
//! | Softmax, LogSoftmax before opset 13 | axis | 1; and all axes from it on are one | -1, that axis alone |
//! | Concat before opset 4 | axis | 1 | an error |
//! | Split before opset 18 | split | equal parts, one per output | an error |
//! | QuantizeLinear | axis; output_dtype and a zero point | 1; uint8 | -1; an error |
//! | GRU, LSTM | hidden_size | that of the weights | an error |
//! | Dropout | training_mode | false: the input is the output | an error in this build |
//!
//! Two attributes are read, but computed otherwise than they say: `auto_pad` SAME_LOWER as SAME_UPPER, and `mode` cubic
//! of Resize as linear. A model in which this makes a difference is refused, because its results would be wrong. The
//! exception is SAME_LOWER with strides of 1, which has explicit pads.
//!
//! A node that is complete is not changed.

use super::ranks::Ranks;
use crate::fp16::proto::{Attribute, Graph, Node};

/// `AttributeProto.AttributeType.INT` and `INTS`.
const INT: i32 = 2;
const INTS: i32 = 7;

/// `TensorProto.DataType.UINT8`.
const UINT8: i64 = 2;

/// Axes of a frame, for an operator whose weights do not show theirs.
const FRAME_AXES: usize = 2;
/// The most axes that lists are made for. A damaged file may declare any number, for any number of nodes.
const MOST_AXES: usize = 3;

/// Completes the nodes of a graph, but not of the graphs in its nodes. `opset` is the version of ONNX's own operators.
/// Returns whether anything was changed.
///
/// # Errors
/// The node that would be computed wrongly, and the remedy, as text to follow the model's name.
pub(crate) fn complete(graph: &mut Graph, known: &Ranks<'_>, opset: i64) -> Result<bool, String> {
    let mut changed = false;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        if !node.is_standard() {
            nodes.push(node);
            continue;
        }
        changed |= match node.op_type() {
            "Conv" | "ConvTranspose" | "ConvInteger" => convolution(&mut node, known)?,
            "MaxPool" | "AveragePool" => pooling(&mut node)?,
            "Concat" if opset < 4 => fill(&mut node, number("axis", 1)),
            "Split" => split(&mut node, opset),
            "QuantizeLinear" => quantize(&mut node, known),
            "GRU" | "LSTM" => recurrent(&mut node, known),
            "Dropout" => dropout(&mut node),
            "Resize" => resize(&node)?,
            "Softmax" | "LogSoftmax" if opset < 13 => {
                let before = nodes.len();
                softmax(&mut node, known, &mut nodes);
                if nodes.len() > before {
                    changed = true;
                    continue;
                }
                false
            }
            _ => false,
        };
        nodes.push(node);
    }
    graph.node = nodes;
    Ok(changed)
}

/// The numbers of an attribute; none if it is left out.
fn list<'a>(node: &'a Node, name: &str) -> &'a [i64] {
    node.attribute(name).map_or(&[], |found| &found.ints)
}

/// Adds an attribute, or replaces an empty list. Returns whether it was left out.
fn fill(node: &mut Node, attribute: Attribute) -> bool {
    let given = node.attribute.iter().position(|a| a.name == attribute.name);
    let given = given.and_then(|at| node.attribute.get_mut(at));
    match given {
        Some(given) if attribute.r#type == Some(INTS) && given.ints.is_empty() => {
            // Nothing is known that could be filled in.
            let filled = !attribute.ints.is_empty();
            *given = attribute;
            filled
        }
        Some(_) => false,
        None => {
            node.attribute.push(attribute);
            true
        }
    }
}

fn number(name: &str, value: i64) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        i: Some(value),
        r#type: Some(INT),
        ..Attribute::default()
    }
}

fn numbers(name: &str, values: Vec<i64>) -> Attribute {
    Attribute {
        name: Some(name.to_owned()),
        ints: values,
        r#type: Some(INTS),
        ..Attribute::default()
    }
}

fn is_padded_by_itself(node: &Node) -> bool {
    let given = node.attribute("auto_pad").map(Attribute::s);
    given.is_some_and(|given| given.starts_with(b"SAME"))
}

/// The axes that a convolution slides along, from whatever shows them.
fn axes(node: &Node, known: &Ranks<'_>) -> usize {
    let by_lists = [
        ("kernel_shape", 1),
        ("strides", 1),
        ("dilations", 1),
        ("pads", 2),
    ];
    let by_lists = by_lists
        .iter()
        .map(|(name, each)| list(node, name).len() / each);
    let of_input = |index: usize| node.input.get(index).and_then(|name| known.rank(name));
    let by_ranks = [of_input(1), of_input(0)].into_iter().flatten();
    // The first two dimensions of input and weights are not slid along.
    let by_ranks = by_ranks.map(|rank| rank.saturating_sub(2));
    by_lists
        .chain(by_ranks)
        .find(|axes| (1..=MOST_AXES).contains(axes))
        .unwrap_or(FRAME_AXES)
}

fn convolution(node: &mut Node, known: &Ranks<'_>) -> Result<bool, String> {
    let axes = axes(node, known);
    let mut kernel = list(node, "kernel_shape").to_vec();
    if kernel.is_empty() {
        let weights = node
            .input
            .get(1)
            .and_then(|name| known.constant_shape(name));
        let window = weights.and_then(|shape| shape.get(2..)).unwrap_or_default();
        kernel = window.iter().copied().take(MOST_AXES).collect();
    }
    let mut changed = lower_padding(node, &kernel)?;
    // With kernel_shape, rten derives the other three from it, unless a list is given and empty.
    let is_left_out = |node: &Node, name: &str| match node.attribute(name) {
        Some(given) => given.ints.is_empty(),
        None => list(node, "kernel_shape").is_empty(),
    };
    let mut each = |node: &mut Node, name: &str, values: Vec<i64>| {
        if is_left_out(node, name) {
            changed |= fill(node, numbers(name, values));
        }
    };
    each(node, "strides", vec![1; axes]);
    each(node, "dilations", vec![1; axes]);
    if !is_padded_by_itself(node) {
        each(node, "pads", vec![0; axes.saturating_mul(2)]);
    }
    Ok(changed)
}

fn pooling(node: &mut Node) -> Result<bool, String> {
    let kernel = list(node, "kernel_shape").to_vec();
    let changed = lower_padding(node, &kernel)?;
    Ok(fill(node, numbers("strides", vec![1; kernel.len()])) || changed)
}

/// Writes `auto_pad` SAME_LOWER as pads where they do not depend on the input's size, which is where strides are 1.
fn lower_padding(node: &mut Node, kernel: &[i64]) -> Result<bool, String> {
    let is_lower = |a: &Attribute| a.name() == "auto_pad" && a.s() == b"SAME_LOWER";
    if !node.attribute.iter().any(is_lower) {
        return Ok(false);
    }
    let dilations = list(node, "dilations");
    let dilation = |axis: usize| dilations.get(axis).copied().unwrap_or(1);
    let reach = kernel.iter().enumerate();
    let total: Vec<i64> = reach
        .map(|(axis, n)| n.saturating_sub(1).saturating_mul(dilation(axis)).max(0))
        .collect();
    let is_slow = list(node, "strides").iter().all(|n| *n == 1);
    let is_known = !kernel.is_empty() && is_slow && node.op_type() != "ConvTranspose";
    if is_known && total.iter().all(|n| n % 2 == 0) {
        return Ok(false); // Both sides get the same.
    }
    if !is_known {
        return Err(wrong(node, "auto_pad SAME_LOWER"));
    }
    let before = total.iter().map(|n| n - n / 2);
    let pads = before.chain(total.iter().map(|n| n / 2)).collect();
    node.attribute
        .retain(|a| !matches!(a.name(), "auto_pad" | "pads"));
    node.attribute.push(numbers("pads", pads));
    Ok(true)
}

fn split(node: &mut Node, opset: i64) -> bool {
    let by_input = node.input.get(1).is_some_and(|name| !name.is_empty());
    let by_list = node.attribute("split").is_some();
    if by_input || by_list || opset >= 18 {
        return false;
    }
    let parts = i64::try_from(node.output.len()).unwrap_or(i64::MAX);
    fill(node, number("num_outputs", parts))
}

/// Without a zero point the result is uint8. A scale for the whole tensor has no axis.
fn quantize(node: &mut Node, known: &Ranks<'_>) -> bool {
    let mut changed = false;
    let has_zero_point = node.input.get(2).is_some_and(|name| !name.is_empty());
    if !has_zero_point {
        let unsaid = |a: &Attribute| a.name() == "output_dtype" && a.i() == 0;
        node.attribute.retain(|attribute| !unsaid(attribute));
        changed |= fill(node, number("output_dtype", UINT8));
    }
    let scale = node.input.get(1);
    let scale = scale.and_then(|name| known.constant_shape(name));
    let is_one = scale.is_some_and(|shape| shape.iter().all(|n| *n == 1));
    changed |= !is_one && fill(node, number("axis", 1));
    changed
}

/// The recurrent weights are directions × gates·hidden × hidden.
fn recurrent(node: &mut Node, known: &Ranks<'_>) -> bool {
    let weights = node
        .input
        .get(2)
        .and_then(|name| known.constant_shape(name));
    let hidden = weights.and_then(|shape| shape.last()).copied();
    hidden.is_some_and(|hidden| fill(node, number("hidden_size", hidden)))
}

/// A Dropout returns its input if it is not in training mode and its mask is not used.
fn dropout(node: &mut Node) -> bool {
    let is_given = |names: &[String], at: usize| names.get(at).is_some_and(|name| !name.is_empty());
    if is_given(&node.input, 2) || is_given(&node.output, 1) || node.input.is_empty() {
        return false;
    }
    node.op_type = Some("Identity".to_owned());
    node.attribute.clear();
    node.input.truncate(1);
    node.output.truncate(1);
    true
}

fn resize(node: &Node) -> Result<bool, String> {
    match node.attribute("mode").map(Attribute::s) {
        Some(b"cubic") => Err(wrong(node, "mode cubic")),
        _ => Ok(false),
    }
}

fn wrong(node: &Node, what: &str) -> String {
    format!(
        "{} has {what}, which the CPU engine computes wrongly: use --device onnxruntime or --device cuda",
        node.label().escape_debug()
    )
}

/// A softmax before opset 13, over all axes from `axis` on as if they were one: flattens, computes along the last axis,
/// and restores the shape. If `axis` is the last one, only the axis is filled in.
fn softmax(node: &mut Node, known: &Ranks<'_>, nodes: &mut Vec<Node>) {
    let axis = node.attribute("axis").map_or(1, Attribute::i);
    let ([input], [output]) = (node.input.as_slice(), node.output.as_slice()) else {
        return;
    };
    let rank = known.rank(input).and_then(|rank| i64::try_from(rank).ok());
    let is_last = axis == -1 || rank.is_some_and(|rank| axis == rank - 1);
    if is_last && node.attribute("axis").is_some() {
        return;
    }
    let (input, output) = (input.clone(), output.clone());
    let name = |part: &str| format!("{output}/beamflow/{part}");
    let new = |operator: &str, inputs: &[&str], output: String, attributes: Vec<Attribute>| Node {
        op_type: Some(operator.to_owned()),
        name: Some(name(operator)),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output],
        attribute: attributes,
        ..Node::default()
    };
    let operator = node.op_type().to_owned();
    if is_last {
        let last = vec![number("axis", -1)];
        nodes.push(new(&operator, &[&input], output.clone(), last));
        return;
    }
    let (flat, shape, result) = (name("flat"), name("shape"), name("result"));
    nodes.extend([
        new("Shape", &[&input], shape.clone(), Vec::new()),
        new(
            "Flatten",
            &[&input],
            flat.clone(),
            vec![number("axis", axis)],
        ),
        new(
            &operator,
            &[&flat],
            result.clone(),
            vec![number("axis", -1)],
        ),
        new("Reshape", &[&result, &shape], output.clone(), Vec::new()),
    ]);
}
