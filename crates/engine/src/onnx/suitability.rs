//! Whether frames can be run through a model: its tensors read and judged.
//!
//! Every error is a reason in words, with the tensor and what it would have to be.

use crate::{BatchDimension, TensorSpec};
use beamflow_frame::values::Element;
use rten::{DataType, Dimension, Model, NodeId, Value, ValueType};
use rten_tensor::Layout;

/// The name of one of the model's tensors.
pub(crate) fn name(model: &Model, id: NodeId) -> String {
    let info = model.node_info(id);
    info.and_then(|info| info.name().map(str::to_owned))
        .unwrap_or_default()
}

/// The model's one input, or why frames do not fit in.
pub(crate) fn input(model: &Model) -> Result<(NodeId, TensorSpec, BatchDimension), String> {
    let [id] = model.input_ids() else {
        let names: Vec<_> = model
            .input_ids()
            .iter()
            .map(|id| name(model, *id))
            .collect();
        return Err(format!(
            "it has {} inputs ({}); one is needed, for the frames",
            names.len(),
            names.join(", ")
        ));
    };
    let info = model.node_info(*id);
    let name = name(model, *id);
    match info.as_ref().and_then(|info| info.dtype()) {
        Some(ValueType::Tensor(DataType::Float)) => {}
        Some(other) => return Err(format!("its input {name} is {other}; float32 is needed")),
        None => {
            return Err(format!(
                "its input {name} is of a type that rten does not know; float32 is needed"
            ));
        }
    }
    let Some(shape) = info.and_then(|info| info.shape()) else {
        return Err(format!(
            "its input {name} has no declared shape; N×H×W or N×1×H×W is needed"
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
        _ => return Err(unfit("N×H×W or N×1×H×W is needed")),
    };
    let frame = frame
        .iter()
        .map(|n| match n {
            Dimension::Fixed(n) if *n > 0 => Some(*n),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unfit("every dimension but the first must be a fixed number above 0"))?;
    if let [channels, _, _] = frame.as_slice()
        && *channels != 1
    {
        return Err(unfit("a frame has one channel, so N×1×H×W is needed"));
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

/// An output as `rows` frames of zeros left it, or why it cannot be a result per frame.
pub(crate) fn output(name: String, value: &Value, rows: usize) -> Result<TensorSpec, String> {
    let Value::FloatTensor(tensor) = value else {
        return Err(format!(
            "its output {name} is {}; float32 is needed",
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
                "its output {name} came out as [{}] for {rows} frames; its first dimension must be the batch, \
                 and none may be 0",
                shape.join("×")
            ))
        }
    }
}
