//! What the names of a model stand for.

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

/// What a name stands for.
pub(crate) enum Value {
    /// Anything but float32: it passes untouched.
    Other,
    /// A float32 input, or the result of a node.
    Computed(Computed),
    /// A float32 tensor of the model.
    Weight(Box<Weight>),
}

/// A value that is known only when the model runs.
pub(crate) struct Computed {
    /// In which form it comes about.
    pub form: Form,
    /// Its name in that form.
    pub name: String,
    /// Its name in the other form, once that was needed.
    pub converted: Option<String>,
}

impl Value {
    /// A value that is known only when the model runs.
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

    /// Whether it is half anywhere in the rewritten model.
    pub(crate) fn is_halved(&self) -> bool {
        match self {
            Self::Other => false,
            Self::Computed(value) => value.form == Form::Half || value.converted.is_some(),
            Self::Weight(weight) => weight.half.is_some(),
        }
    }
}

/// All names in use, for new ones to differ.
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
