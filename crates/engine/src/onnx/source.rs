//! An `.onnx` file, as the engine loads it: read, checked, and completed where necessary.

use super::defaults;
use super::external::Outside;
use super::ranks::Ranks;
use super::wire::{Function, Opset};
use super::{Prepared, framing};
use crate::fp16::proto::{Attribute, Graph, Model, Tensor};
use crate::{Cause, content};
use prost::Message;
use rten::{LoadError, ModelOptions};
use std::collections::BTreeSet;
use std::path::Path;

/// The version of the format for a file that does not say its own.
pub(crate) const OLD: i64 = 3;

/// A model that is ready for rten.
pub(crate) struct Source {
    /// The completed model; `None` if the file is complete as it is.
    completed: Option<Vec<u8>>,
    /// The data of weights in other files.
    outside: Vec<Vec<u8>>,
    operators: Operators,
}

/// What the operators of a model are, to explain why one is unknown.
#[derive(Default)]
struct Operators {
    /// Each operator's domain and name; the domain of ONNX's own is empty.
    used: BTreeSet<(String, String)>,
    /// Those that the model itself defines.
    functions: BTreeSet<(String, String)>,
}

/// Reads the file at `path`. The error says what is wrong with it, as text to follow its name.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Cause> {
    if path.is_dir() {
        return Err(content::of_folder(path).into());
    }
    let file = std::fs::read(path).map_err(Cause::of)?;
    judge(&file)?;
    Ok(file)
}

/// Checks the framing of a file. The error says what the file is instead of a model.
pub(crate) fn judge(file: &[u8]) -> Result<(), Cause> {
    let wrong = match framing::check(file) {
        Ok(()) if framing::has_graph(file) => return Ok(()),
        Ok(()) => {
            "it contains no graph: it is not an ONNX model, or it is cut short; copy or download it again"
                .to_owned()
        }
        Err(wrong) => wrong,
    };
    Err(content::of(file).unwrap_or(wrong).into())
}

impl Source {
    /// Completes the model in `file`, which is at `path`.
    ///
    /// # Errors
    /// What is wrong, and the remedy, as text to follow the file's name.
    pub(crate) fn new(file: &[u8], path: &Path) -> Result<Self, Cause> {
        // A model that prost cannot read is left to rten, which says what is wrong with it.
        let Ok(mut model) = Model::decode(file) else {
            return Ok(Self {
                completed: None,
                outside: Vec::new(),
                operators: Operators::default(),
            });
        };
        let mut work = Work {
            opset: opset(&model),
            outside: Outside::of(path),
            operators: Operators::default(),
        };
        for function in &model.functions {
            if let Ok(function) = Function::decode(function.as_slice()) {
                let names = (function.domain().to_owned(), function.name().to_owned());
                work.operators.functions.insert(names);
            }
        }
        let changed = match &mut model.graph {
            Some(graph) => work.graph(graph, None)?,
            None => false,
        };
        // rten knows a model without a file name by this field.
        model.ir_version.get_or_insert(OLD);
        Ok(Self {
            completed: changed.then(|| model.encode_to_vec()),
            outside: work.outside.data,
            operators: work.operators,
        })
    }

    /// Loads `file`, and not the file at the path, if nothing in it was completed.
    pub(crate) fn or(mut self, file: Vec<u8>) -> Self {
        self.completed.get_or_insert(file);
        self
    }

    /// Loads the model with rten.
    pub(crate) fn load(self, path: &Path) -> Result<rten::Model, Cause> {
        let mut options = ModelOptions::with_all_ops();
        for (index, data) in self.outside.into_iter().enumerate() {
            options.external_data(&Outside::name(index), data);
        }
        let loaded = match self.completed {
            Some(model) => options.load(model),
            None => options.load_file(path),
        };
        loaded.map_err(|error| self.operators.explain(error))
    }

    /// What was prepared, without the means to load it.
    pub(crate) fn into_prepared(self) -> Prepared {
        Prepared {
            completed: self.completed,
            outside: self.outside.iter().map(Vec::len).sum(),
        }
    }
}

/// The version of ONNX's own operators.
fn opset(model: &Model) -> i64 {
    let imports = model.opset_import.iter();
    let mut imports = imports.filter_map(|import| Opset::decode(import.as_slice()).ok());
    let own = imports.find(|import| matches!(import.domain(), "" | "ai.onnx"));
    // A model that does not say is read as a new one, as rten does.
    own.and_then(|own| own.version).unwrap_or(i64::MAX)
}

/// The state of completing a model.
struct Work {
    opset: i64,
    outside: Outside,
    operators: Operators,
}

impl Work {
    /// Completes a graph and those in its nodes. Returns whether anything was changed.
    fn graph(&mut self, graph: &mut Graph, around: Option<&Ranks<'_>>) -> Result<bool, Cause> {
        for node in &graph.node {
            let domain = if node.is_standard() {
                ""
            } else {
                node.domain()
            };
            let names = (domain.to_owned(), node.op_type().to_owned());
            self.operators.used.insert(names);
        }
        let mut changed = self.tensors(&mut graph.initializer)?;
        let known = Ranks::of(graph, around);
        changed |= defaults::complete(graph, &known, self.opset)?;
        for node in &mut graph.node {
            for attribute in &mut node.attribute {
                changed |= self.attribute(attribute, &known)?;
            }
        }
        Ok(changed)
    }

    fn attribute(&mut self, attribute: &mut Attribute, known: &Ranks<'_>) -> Result<bool, Cause> {
        let mut changed = self.tensors(attribute.t.as_mut())?;
        changed |= self.tensors(&mut attribute.tensors)?;
        for bytes in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            let mut graph = Graph::decode(bytes.as_slice()).map_err(Cause::of)?;
            if self.graph(&mut graph, Some(known))? {
                *bytes = graph.encode_to_vec();
                changed = true;
            }
        }
        Ok(changed)
    }

    fn tensors<'a>(
        &mut self,
        tensors: impl IntoIterator<Item = &'a mut Tensor>,
    ) -> Result<bool, Cause> {
        let mut changed = false;
        for tensor in tensors {
            changed |= self.outside.take(tensor)?;
        }
        Ok(changed)
    }
}

impl Operators {
    /// Why rten could not load the model, with the remedy if it does not know one of the operators.
    fn explain(&self, error: LoadError) -> Cause {
        let said = error.to_string();
        let unknown = self.used.iter().find(|(domain, name)| {
            let known_as = match domain.as_str() {
                "" => format!("{name} operator not"),
                domain => format!("{domain}/{name} operator not"),
            };
            said.strip_suffix(" supported or not enabled")
                .or(said.split_once(" enabled because").map(|(said, _)| said))
                .is_some_and(|said| {
                    let before = said.strip_suffix(&known_as);
                    before.is_some_and(|before| before.is_empty() || before.ends_with(' '))
                })
        });
        let cause = Cause::of(error);
        let Some((domain, name)) = unknown else {
            return cause;
        };
        let words = if self.functions.contains(&(domain.clone(), name.clone())) {
            format!(
                "its operator {domain}.{name} is a function that the model defines, which the CPU engine cannot run: \
                 expand it in Python with onnx.inliner.inline_local_functions, or use --device onnxruntime or \
                 --device cuda"
            )
        } else if domain.is_empty() {
            format!(
                "the CPU engine has no operator {name}: use --device onnxruntime or --device cuda, or export the model \
                 without this operator"
            )
        } else {
            format!(
                "the CPU engine has no operator {domain}.{name}, which is not one of ONNX's own: use --device \
                 onnxruntime or --device cuda, or export the model with standard operators only"
            )
        };
        cause.in_words(words)
    }
}
