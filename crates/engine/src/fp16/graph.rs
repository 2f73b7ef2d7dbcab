//! Rewrites the graph: its inputs, weights and outputs.

use super::error::HalfError;
use super::proto::{Attribute, FLOAT, FLOAT16, Graph, Node};
use super::summary::Summary;
use super::value::{Computed, Form, Names, Value};
use std::collections::{BTreeMap, HashMap, HashSet};

/// `AttributeProto.AttributeType.INT`.
const INT: i32 = 2;

/// The state of a rewriting between two nodes.
pub(crate) struct Rewriting {
    /// The values so far, by their names in the given model.
    pub values: BTreeMap<String, Value>,
    /// Second names of weights, each with the weight's first name.
    pub(crate) aliases: HashMap<String, String>,
    /// The names of the graph's outputs.
    pub outputs: HashSet<String>,
    /// The element types that the given model declares.
    pub(crate) declared: HashMap<String, i32>,
    /// The rewritten nodes so far.
    pub(crate) nodes: Vec<Node>,
    /// The counts so far.
    pub summary: Summary,
    names: Names,
}

impl Rewriting {
    /// Takes nodes and weights out of the graph, rewrites them, and makes the graph's inputs half.
    pub(crate) fn start(graph: &mut Graph) -> Result<Self, HalfError> {
        let mut this = Self {
            values: BTreeMap::new(),
            aliases: HashMap::new(),
            outputs: graph.output.iter().map(|o| o.name().to_owned()).collect(),
            declared: HashMap::new(),
            nodes: Vec::new(),
            summary: Summary::default(),
            names: Names::of(graph),
        };
        for info in graph.value_info.iter_mut().chain(&mut graph.output) {
            if let Some(element) = info.element().copied() {
                this.declared.insert(info.name().to_owned(), element);
            }
        }
        for input in &mut graph.input {
            let name = input.name().to_owned();
            let value = match input.element() {
                Some(element) if *element == FLOAT => {
                    if this.outputs.contains(&name) {
                        return Err(HalfError::InputIsOutput { value: name });
                    }
                    *element = FLOAT16;
                    Value::computed(Form::Half, name.clone())
                }
                _ => Value::Other,
            };
            this.write(name, value)?;
        }
        for tensor in std::mem::take(&mut graph.initializer) {
            let name = tensor.name().to_owned();
            if tensor.data_type() == FLOAT {
                this.write(name, Value::weight(tensor)?)?;
            } else {
                this.write(name, Value::Other)?;
                graph.initializer.push(tensor);
            }
        }
        for node in std::mem::take(&mut graph.node) {
            this.node(node)?;
        }
        Ok(this)
    }

    /// Puts the rewritten nodes and weights into the graph.
    pub(crate) fn finish(mut self, mut graph: Graph) -> Result<(Graph, Summary), HalfError> {
        for output in &graph.output {
            self.read(output.name(), Form::Single, || "the graph".to_owned())?;
        }
        if !self.values.values().any(Value::is_halved) {
            return Err(HalfError::NothingToHalve);
        }
        graph.value_info.retain_mut(|info| {
            let stays = match self.values.get(info.name()) {
                // The name of a weight is the name of its float32 tensor, which may have been removed.
                Some(Value::Weight(weight)) => weight.single,
                // If an output was computed in half, its name is the name of the converted value.
                Some(Value::Computed(value)) if value.form == Form::Half => {
                    if value.name == info.name()
                        && let Some(element) = info.element()
                    {
                        *element = FLOAT16;
                    }
                    true
                }
                _ => true,
            };
            stays && !self.aliases.contains_key(info.name())
        });
        for value in self.values.into_values() {
            if let Value::Weight(mut weight) = value {
                graph.initializer.extend(weight.half.take());
                if weight.single {
                    graph.initializer.push(weight.into_single());
                }
            }
        }
        graph.node = self.nodes;
        Ok((graph, self.summary))
    }

    /// Records the value that a name stands for.
    pub(crate) fn write(&mut self, name: String, value: Value) -> Result<(), HalfError> {
        if self.aliases.contains_key(&name) || self.values.contains_key(&name) {
            return Err(HalfError::WrittenTwice { value: name });
        }
        self.values.insert(name, value);
        Ok(())
    }

    /// The name of a value in the form that a reader needs; the value is converted if necessary. A value that was not
    /// float32 has only one form.
    pub(crate) fn read(
        &mut self,
        name: &str,
        needed: Form,
        reader: impl FnOnce() -> String,
    ) -> Result<String, HalfError> {
        match self.values.get_mut(name) {
            None => Err(HalfError::NotWritten {
                reader: reader(),
                value: name.to_owned(),
            }),
            Some(Value::Other) => Ok(name.to_owned()),
            Some(Value::Computed(value)) if value.form == needed => Ok(value.name.clone()),
            Some(Value::Computed(value)) => Ok(match &value.converted {
                Some(converted) => converted.clone(),
                None => {
                    let converted = if needed == Form::Single && self.outputs.contains(name) {
                        name.to_owned()
                    } else {
                        self.names.fresh(name, needed)
                    };
                    self.nodes.push(cast(value, converted.clone(), needed));
                    self.summary.casts += 1;
                    value.converted = Some(converted.clone());
                    converted
                }
            }),
            Some(Value::Weight(weight)) => match (needed, &weight.half) {
                (Form::Single, _) => {
                    weight.single = true;
                    Ok(name.to_owned())
                }
                (Form::Half, Some(half)) => Ok(half.name().to_owned()),
                (Form::Half, None) => {
                    let half = self.names.fresh(name, needed);
                    weight.halve(half.clone(), &mut self.summary)?;
                    Ok(half)
                }
            },
        }
    }

    /// Records that a node computes a value in `form`, and returns the name for the node's output.
    pub(crate) fn compute(&mut self, name: &str, form: Form) -> Result<String, HalfError> {
        let computed = if form == Form::Half && self.outputs.contains(name) {
            self.names.fresh(name, form)
        } else {
            name.to_owned()
        };
        self.write(name.to_owned(), Value::computed(form, computed.clone()))?;
        Ok(computed)
    }
}

/// The node that converts `value` to the form `to`, under the name `converted`.
fn cast(value: &Computed, converted: String, to: Form) -> Node {
    Node {
        input: vec![value.name.clone()],
        name: Some(format!("Cast_{converted}")),
        output: vec![converted],
        op_type: Some("Cast".to_owned()),
        attribute: vec![Attribute {
            name: Some("to".to_owned()),
            i: Some(to.element().into()),
            r#type: Some(INT),
            ..Attribute::default()
        }],
        ..Node::default()
    }
}
