//! Checks the tensors of a model: whether frames can be run through it.
//!
//! Every error is a reason as text. It names the tensor and says what the tensor must be.

use crate::{BatchDimension, TensorSpec};
use beamflow_frame::values::Element;
use rten::Dimension;

/// An input as the model declares it.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) element: Found,
    /// `None` if the model does not declare it.
    pub(crate) shape: Option<Vec<Dimension>>,
}

/// The type of a tensor.
pub(crate) enum Found {
    Float32,
    /// Another type, by its name.
    Other(String),
    /// A type that the engine does not know.
    Unknown,
}

/// An output of a trial run.
pub(crate) struct Observed {
    pub(crate) element: Found,
    pub(crate) shape: Vec<usize>,
}

/// The input of a model that can take frames.
pub(crate) struct Input {
    /// The tensor, as N×1×H×W or N×H×W.
    pub(crate) tensor: TensorSpec,
    /// The shape of a frame as the model declares it: the tensor's, or H×W×1.
    pub(crate) frame: Vec<usize>,
    pub(crate) batch: BatchDimension,
}

impl Input {
    /// Whether the channel is the last axis. One channel makes no difference to the bytes of a frame.
    pub(crate) fn is_channel_last(&self) -> bool {
        self.frame != self.tensor.shape
    }
}

/// An output of a model: the tensor, and the shape of a row in the model's own order of axes.
pub(crate) struct Output {
    pub(crate) tensor: TensorSpec,
    pub(crate) frame: Vec<usize>,
}

/// The model's only input, or why it cannot take frames.
pub(crate) fn input(inputs: Vec<Declared>) -> Result<Input, String> {
    let declared = <[Declared; 1]>::try_from(inputs).map_err(|inputs| {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        format!(
            "it has {} inputs ({}), but must have exactly one",
            names.len(),
            names.join(", ")
        )
    });
    let [
        Declared {
            name,
            element,
            shape,
        },
    ] = declared?;
    match element {
        Found::Float32 => {}
        Found::Other(other) => {
            return Err(format!("its input {name} is {other}, but must be float32"));
        }
        Found::Unknown => {
            return Err(format!(
                "its input {name} has a type that the engine does not know, but must be float32"
            ));
        }
    }
    let Some(shape) = shape else {
        return Err(format!(
            "its input {name} has no declared shape, but must have {SHAPES}"
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
        _ => return Err(unfit(&format!("must be {SHAPES}"))),
    };
    let frame = frame
        .iter()
        .map(|n| match n {
            Dimension::Fixed(n) if *n > 0 => Some(*n),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| unfit("every dimension except the first must be a fixed number above 0"))?;
    let one_channel = match *frame.as_slice() {
        [height, width] => vec![height, width],
        [1, height, width] | [height, width, 1] => vec![1, height, width],
        _ => {
            return Err(unfit(
                "a frame has one channel, so it must be N×1×H×W or N×H×W×1",
            ));
        }
    };
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
    Ok(Input {
        tensor: TensorSpec {
            name,
            shape: one_channel,
            element: Element::F32,
        },
        frame,
        batch,
    })
}

/// The shapes of an input that takes frames.
const SHAPES: &str = "N×H×W, N×1×H×W or N×H×W×1";

/// The spec of an output from what `rows` frames of zeros gave, or why the output cannot be a result per frame. If the
/// model's channel is the last axis, that of an image with one channel is moved to the front, as for the input.
pub(crate) fn output(
    name: &str,
    observed: Observed,
    rows: usize,
    is_channel_last: bool,
) -> Result<Output, String> {
    match observed.element {
        Found::Float32 => {}
        Found::Other(other) => {
            return Err(format!("its output {name} is {other}, but must be float32"));
        }
        Found::Unknown => {
            return Err(format!(
                "its output {name} has a type that the engine does not know, but must be float32"
            ));
        }
    }
    match observed.shape.as_slice() {
        [first, frame @ ..] if *first == rows && !frame.contains(&0) => {
            let tensor = TensorSpec {
                name: name.to_owned(),
                shape: frame.to_vec(),
                element: Element::F32,
            };
            Ok(Output {
                tensor: if is_channel_last {
                    tensor.with_channel_first()
                } else {
                    tensor
                },
                frame: frame.to_vec(),
            })
        }
        [] => Err(format!(
            "its output {name} is one number for {rows} frames; its first dimension must be the batch"
        )),
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
