//! Checks the tensors of a model: whether frames can be run through it.
//!
//! Every error is a reason as text. It names the tensor and says what the tensor must be.

use crate::{BatchDimension, TensorSpec};
use beamflow_frame::values::Element;
use rten::{DataType, Dimension, Model, NodeId, Value, ValueType};
use rten_tensor::Layout;

/// The name of a tensor of the model, empty if it has none.
pub(crate) fn name(model: &Model, id: NodeId) -> String {
    let info = model.node_info(id);
    info.and_then(|info| info.name().map(str::to_owned))
        .unwrap_or_default()
}

/// The model's only input, or why it cannot take frames.
pub(crate) fn input(model: &Model) -> Result<(NodeId, TensorSpec, BatchDimension), String> {
    let [id] = model.input_ids() else {
        let names: Vec<_> = model
            .input_ids()
            .iter()
            .map(|id| name(model, *id))
            .collect();
        return Err(format!(
            "it has {} inputs ({}), but must have exactly one",
            names.len(),
            names.join(", ")
        ));
    };
    let info = model.node_info(*id);
    let name = name(model, *id);
    match info.as_ref().and_then(|info| info.dtype()) {
        Some(ValueType::Tensor(DataType::Float)) => {}
        Some(other) => return Err(format!("its input {name} is {other}, but must be float32")),
        None => {
            return Err(format!(
                "its input {name} has a type that rten does not know, but must be float32"
            ));
        }
    }
    let Some(shape) = info.and_then(|info| info.shape()) else {
        return Err(format!(
            "its input {name} has no declared shape, but must have N×H×W or N×1×H×W"
        ));
    };
    let unfit = |what: &str| {
        let given: Vec<_> = shape
            .iter()
            .map(|n| match n {
                Dimension::Fixed(n) => n.to_string(),
                Dimension::Symbolic(name) => name.clone(),
            })
            .collect();
        format!("its input {name} is {}: {what}", given.join("×"))
    };
    let (rows, frame) = match shape.as_slice() {
        [rows, frame @ ..] if frame.len() == 2 || frame.len() == 3 => (rows, frame),
        _ => return Err(unfit("must be N×H×W or N×1×H×W")),
    };
    let frame = frame
        .iter()
        .map(|n| match n {
            Dimension::Fixed(n) if *n > 0 => Some(*n),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unfit("every dimension except the first must be a fixed number above 0"))?;
    if let [channels, _, _] = frame.as_slice()
        && *channels != 1
    {
        return Err(unfit("a frame has one channel, so it must be N×1×H×W"));
    }
    let batch = match rows {
        Dimension::Fixed(0) => return Err(unfit("a batch needs at least one row")),
        Dimension::Fixed(rows) => BatchDimension::Static(*rows),
        Dimension::Symbolic(_) => BatchDimension::Dynamic,
    };
    let elements = frame
        .iter()
        .try_fold(batch.rows(2), |n, m| n.checked_mul(*m));
    if elements.is_none() {
        return Err(unfit("that is more than this machine can address"));
    }
    Ok((
        *id,
        TensorSpec {
            name,
            shape: frame,
            element: Element::F32,
        },
        batch,
    ))
}

/// The spec of an output from its `value` for `rows` frames of zeros, or why the output cannot be a result per frame.
pub(crate) fn output(name: String, value: &Value, rows: usize) -> Result<TensorSpec, String> {
    let Value::FloatTensor(tensor) = value else {
        return Err(format!(
            "its output {name} is {}, but must be float32",
            value.dtype()
        ));
    };
    match tensor.shape() {
        [first, frame @ ..] if *first == rows && !frame.contains(&0) => Ok(TensorSpec {
            name,
            shape: frame.to_vec(),
            element: Element::F32,
        }),
        shape => {
            let shape: Vec<_> = shape.iter().map(usize::to_string).collect();
            Err(format!(
                "its output {name} is [{}] for {rows} frames; its first dimension must be the batch, and no dimension \
                 may be 0",
                shape.join("×")
            ))
        }
    }
}
