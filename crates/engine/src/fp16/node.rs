//! Rewrites nodes, one after another in the order of computation.

use super::error::HalfError;
use super::graph::Rewriting;
use super::operator::{Precision, Results, Rule};
use super::proto::{FLOAT, Node, Tensor};
use super::value::{Form, Value};

impl Rewriting {
    /// Rewrites a node, and adds the conversions that it needs before it.
    pub(crate) fn node(&mut self, mut node: Node) -> Result<(), HalfError> {
        for input in &mut node.input {
            if let Some(weight) = self.aliases.get(input) {
                weight.clone_into(input);
            }
        }
        let rule = if node.is_standard() {
            match node.op_type() {
                "Constant" => return self.constant(node),
                "ConstantOfShape" => return self.filled(node),
                "Cast" => return self.cast(node),
                "Identity" => match (node.input.as_slice(), node.output.as_slice()) {
                    ([weight], [output]) if self.is_weight(weight) => {
                        return self.second_name(weight, output, &node);
                    }
                    _ => Rule::of("Identity"),
                },
                operator => Rule::of(operator),
            }
        } else {
            Rule::UNKNOWN
        };
        self.apply(node, rule)
    }

    /// Rewrites a node according to its operator's rule.
    fn apply(&mut self, mut node: Node, rule: Rule) -> Result<(), HalfError> {
        let mut inputs = node.input.iter().enumerate();
        let is_float = inputs.any(|(i, name)| rule.is_data(i) && self.is_float(name));
        let form = match rule.precision {
            Precision::Half => Form::Half,
            Precision::Following => self.followed(&node, rule),
            Precision::Single | Precision::Any => Form::Single,
        };
        if is_float && form == Form::Single && rule.precision != Precision::Any {
            let operator = node.op_type().to_owned();
            *self.summary.kept_single.entry(operator).or_default() += 1;
        }

        let mut inputs = Vec::with_capacity(node.input.len());
        for (i, name) in node.input.iter().enumerate() {
            let form = match rule.precision {
                Precision::Any => self.on_hand(name),
                _ if rule.is_data(i) => form,
                _ => Form::Single,
            };
            inputs.push(if name.is_empty() {
                String::new()
            } else {
                self.read(name, form, || node.label())?
            });
        }
        let mut outputs = Vec::with_capacity(node.output.len());
        for (i, name) in node.output.iter().enumerate() {
            let is_float = match rule.results {
                Results::All => is_float,
                Results::First => is_float && i == 0,
                Results::None => false,
                Results::Declared if name.is_empty() => false,
                Results::Declared => match self.declared.get(name) {
                    Some(element) => *element == FLOAT,
                    None => {
                        return Err(HalfError::UnknownType {
                            node: node.label(),
                            value: name.clone(),
                        });
                    }
                },
            };
            outputs.push(if name.is_empty() {
                String::new()
            } else if is_float {
                self.compute(name, form)?
            } else {
                self.write(name.clone(), Value::Other)?;
                name.clone()
            });
        }
        node.input = inputs;
        node.output = outputs;
        self.nodes.push(node);
        Ok(())
    }

    /// The form of an operator that follows its data: half if all data was computed in half. Weights do not count,
    /// because they are available in both forms; but a weight that half cannot hold makes the operator single.
    fn followed(&self, node: &Node, rule: Rule) -> Form {
        let mut form = Form::Single;
        for (i, name) in node.input.iter().enumerate() {
            match self.values.get(name) {
                _ if !rule.is_data(i) => {}
                None | Some(Value::Other) => {}
                Some(Value::Weight(weight)) if weight.is_unfit_for_half() => return Form::Single,
                Some(Value::Weight(_)) => {}
                Some(Value::Computed(value)) if value.form == Form::Half => form = Form::Half,
                Some(Value::Computed(_)) => return Form::Single,
            }
        }
        form
    }

    /// Rewrites a constant. A float32 constant is treated like any other weight.
    fn constant(&mut self, node: Node) -> Result<(), HalfError> {
        let name = output(&node)?;
        let weight = if let Some(value) = node.attribute("value") {
            match &value.t {
                Some(tensor) if tensor.data_type() == FLOAT => Some(tensor.clone()),
                Some(_) => None,
                None => return Err(incomplete(&node, "tensor in its value")),
            }
        } else if let Some(value) = node.attribute("value_float") {
            Some(Tensor {
                float_data: vec![value.f()],
                ..Tensor::default()
            })
        } else if let Some(value) = node.attribute("value_floats") {
            let length = i64::try_from(value.floats.len())
                .map_err(|_| incomplete(&node, "list of a length that ONNX can express"))?;
            Some(Tensor {
                dims: vec![length],
                float_data: value.floats.clone(),
                ..Tensor::default()
            })
        } else if node.attribute.is_empty() {
            return Err(incomplete(&node, "value"));
        } else {
            None
        };
        match weight {
            Some(tensor) => {
                let tensor = Tensor {
                    name: Some(name.clone()),
                    data_type: Some(FLOAT),
                    ..tensor
                };
                self.write(name, Value::weight(tensor)?)
            }
            None => {
                self.write(name, Value::Other)?;
                self.nodes.push(node);
                Ok(())
            }
        }
    }

    /// Rewrites `ConstantOfShape`. Its result has the type of its attribute `value`, or float32 if it has none.
    fn filled(&mut self, node: Node) -> Result<(), HalfError> {
        let element = match node.attribute("value") {
            Some(value) => match &value.t {
                Some(tensor) => tensor.data_type(),
                None => return Err(incomplete(&node, "tensor in its value")),
            },
            None => FLOAT,
        };
        self.typed(node, element)
    }

    /// Keeps a conversion of the given model as it is. If it converts to float32, its result is single.
    fn cast(&mut self, node: Node) -> Result<(), HalfError> {
        let to = node
            .attribute("to")
            .and_then(|to| to.i)
            .and_then(|to| i32::try_from(to).ok())
            .ok_or_else(|| incomplete(&node, "type to convert to"))?;
        self.typed(node, to)
    }

    /// Rewrites a node that takes its input in any form and defines the type of its result.
    fn typed(&mut self, mut node: Node, element: i32) -> Result<(), HalfError> {
        let name = output(&node)?;
        let [input] = node.input.as_slice() else {
            return Err(incomplete(&node, "single input"));
        };
        node.input = vec![self.read(input, self.on_hand(input), || node.label())?];
        if element == FLOAT {
            self.compute(&name, Form::Single)?;
        } else {
            self.write(name, Value::Other)?;
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Records a second name of a weight. Exporters write `Identity` of a weight where two layers share it.
    fn second_name(&mut self, weight: &str, name: &str, node: &Node) -> Result<(), HalfError> {
        if self.outputs.contains(name) {
            return self.apply(node.clone(), Rule::of("Identity"));
        }
        if self.aliases.contains_key(name) || self.values.contains_key(name) {
            let value = name.to_owned();
            return Err(HalfError::WrittenTwice { value });
        }
        self.aliases.insert(name.to_owned(), weight.to_owned());
        Ok(())
    }

    /// The form in which a value is computed.
    fn on_hand(&self, name: &str) -> Form {
        match self.values.get(name) {
            Some(Value::Computed(value)) => value.form,
            _ => Form::Single,
        }
    }

    fn is_float(&self, name: &str) -> bool {
        matches!(
            self.values.get(name),
            Some(Value::Computed(_) | Value::Weight(_))
        )
    }

    fn is_weight(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Weight(_)))
    }
}

fn output(node: &Node) -> Result<String, HalfError> {
    match node.output.as_slice() {
        [output] if !output.is_empty() => Ok(output.clone()),
        _ => Err(incomplete(node, "single output")),
    }
}

fn incomplete(node: &Node, lacks: &'static str) -> HalfError {
    let node = node.label();
    HalfError::Incomplete { node, lacks }
}
