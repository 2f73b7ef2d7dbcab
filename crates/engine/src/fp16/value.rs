//! The values that a model's names stand for.

use super::error::HalfError;
use super::proto::{FLOAT, FLOAT16, Graph, Tensor, ValueInfo};
use super::weight::Weight;
use std::collections::HashSet;

/// The two precisions of a value that was float32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// float32.
    Single,
    /// float16.
    Half,
}

impl Form {
    /// The form's number in onnx.proto.
    pub(crate) fn element(self) -> i32 {
        match self {
            Self::Single => FLOAT,
            Self::Half => FLOAT16,
        }
    }
}

/// The value that a name stands for.
pub(crate) enum Value {
    /// Not float32: does not change.
    Other,
    /// A float32 input, or the result of a node.
    Computed(Computed),
    /// A float32 tensor of the model.
    Weight(Box<Weight>),
}

/// A float32 value that is known only when the model runs.
pub(crate) struct Computed {
    /// The form in which it is computed.
    pub form: Form,
    /// Its name in that form.
    pub name: String,
    /// Its name in the other form, once a reader has needed that.
    pub converted: Option<String>,
}

impl Value {
    /// A float32 value that is known only when the model runs.
    pub(crate) fn computed(form: Form, name: String) -> Self {
        Self::Computed(Computed {
            form,
            name,
            converted: None,
        })
    }

    /// A float32 tensor of the model.
    pub(crate) fn weight(tensor: Tensor) -> Result<Self, HalfError> {
        Ok(Self::Weight(Box::new(Weight::new(tensor)?)))
    }

    /// Whether the rewritten model has the value in half.
    pub(crate) fn is_halved(&self) -> bool {
        match self {
            Self::Other => false,
            Self::Computed(value) => value.form == Form::Half || value.converted.is_some(),
            Self::Weight(weight) => weight.half.is_some(),
        }
    }
}

/// All names in use, so that new names differ from them.
pub(crate) struct Names(HashSet<String>);

impl Names {
    /// The names in a graph.
    pub(crate) fn of(graph: &Graph) -> Self {
        let nodes = graph.node.iter();
        let values = nodes.flat_map(|node| node.input.iter().chain(&node.output));
        let declared = graph.input.iter().chain(&graph.output);
        let names = declared.chain(&graph.value_info).map(ValueInfo::name);
        let weights = graph.initializer.iter().map(Tensor::name);
        let names = names.chain(weights).chain(values.map(String::as_str));
        Self(names.map(str::to_owned).collect())
    }

    /// A new name for another form of a value.
    pub(crate) fn fresh(&mut self, name: &str, form: Form) -> String {
        let suffix = match form {
            Form::Single => "float32",
            Form::Half => "float16",
        };
        let first = format!("{name}_{suffix}");
        let mut fresh = first.clone();
        let mut attempt = 1_u64;
        while !self.0.insert(fresh.clone()) {
            attempt += 1;
            fresh = format!("{first}_{attempt}");
        }
        fresh
    }
}
