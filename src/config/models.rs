//! The models file: several models in one sidecar, and the headers that choose between them.
//!
//! ```yaml
//! default: low
//! models:
//!   - name: low
//!     path: /models/low.onnx
//!     batch: 16
//!   - name: high
//!     path: /models/high.engine
//!     priority: high
//! routes:
//!   - header: x-energy-kev
//!     values: { "8": low, "12": high }
//! ```
//!
//! `document` reads the YAML, `fields` the fields of a model with the readers of the flags: both allow the same values. A field
//! that is not given has the value of its flag. The file is strict: an unknown field, a name twice or a route to no model is a
//! `Mistake` with line and column. In an accepted file every index is one of `models`.

/// YAML as a tree with places.
mod document;
/// The fields of a model.
pub(crate) mod fields;

pub use document::Mistake;

use super::ConfigError;
use super::parse::either;
use crate::frame::{BadValue, headers};
use crate::inference::model::ModelSettings;
use crate::inference::routes::Route;
use crate::telemetry::text::escaped;
use document::{Node, Place, cut};
use fields::{Given, cleaned};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The most models in one sidecar: each has slots, lanes and metrics of its own.
const MOST_MODELS: usize = 64;

/// The largest file, in bytes.
const LARGEST: u64 = 1 << 20;

/// What a models file says, in settings of models.
#[derive(Clone, Debug)]
pub struct ModelsFile {
    /// Where it was read; empty if it is no file.
    pub(crate) path: PathBuf,
    /// The models, in the order of the file.
    pub models: Vec<ModelSettings>,
    /// The model without a route, by its index among the models.
    pub default: usize,
    /// The headers that choose the model, in the order of the file.
    pub routes: Vec<Route>,
    /// The fields that are given of each model.
    pub(crate) given: Vec<Given>,
}

/// A models file that cannot be used. Its text is one line.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused to read it.
    #[error("--models: cannot read '{}': {source}; use a file that this process may read", shown(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no file written by hand.
    #[error("--models: '{}' is larger than 1 MiB; use a YAML file that describes the models", shown(.path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There is a mistake in it.
    #[error("{}:{mistake}", shown(.path))]
    Mistake {
        /// The file.
        path: PathBuf,
        /// The mistake and its place.
        #[source]
        mistake: Mistake,
    },
}

impl ModelsFile {
    /// A setting of the model at `index` that is not allowed, with its place; `None`: the file does not give it.
    pub(super) fn mistake(&self, index: usize, setting: &ConfigError) -> Option<FileError> {
        let field = fields::of_flag(setting.flag.strip_prefix("--")?)?;
        let (place, _) = self.given.get(index)?.get(field.name)?;
        let by_field = ConfigError {
            flag: field.name,
            ..setting.clone()
        };
        Some(FileError::Mistake {
            path: self.path.clone(),
            mistake: place.mistake(by_field.to_string()),
        })
    }
}

/// A path in a message of one line.
fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

/// Reads the models file at `path`. `flags` has the values of the fields that are not given.
///
/// # Errors
/// [`FileError`].
pub(crate) fn read(path: &Path, flags: &ModelSettings) -> Result<ModelsFile, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let mut limited = file.take(LARGEST + 1);
    limited.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
        });
    }
    let path = path.to_owned();
    match parse(&bytes, flags) {
        Ok(file) => Ok(ModelsFile { path, ..file }),
        Err(mistake) => Err(FileError::Mistake { path, mistake }),
    }
}

/// Reads the content of a models file.
///
/// # Errors
/// The first [`Mistake`].
pub fn parse(bytes: &[u8], flags: &ModelSettings) -> Result<ModelsFile, Mistake> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let (valid, _) = bytes.split_at(error.valid_up_to());
        Place::after(&String::from_utf8_lossy(valid))
            .mistake("this is not UTF-8 text; save the file as UTF-8")
    })?;
    let document = document::read(text)?;
    let document = document.ok_or_else(|| {
        Place::START.mistake("the file is empty; write models with at least one model")
    })?;
    let top = document.map("the file")?;
    let [default, models, routes] = fields::of(top, ["default", "models", "routes"])?;
    let missing = || {
        document
            .place
            .mistake("models is missing; write a list of the models")
    };
    let (models, given, names) = read_models(models.ok_or_else(missing)?, flags)?;
    let default = match default {
        Some(node) => names.find("default", node)?,
        None if models.len() == 1 => 0,
        None => {
            let what = format!("default is missing; {}", names.remedy());
            return Err(document.place.mistake(what));
        }
    };
    let routes = match routes {
        Some(node) => read_routes(node, &names)?,
        None => Vec::new(),
    };
    Ok(ModelsFile {
        path: PathBuf::new(),
        models,
        default,
        routes,
        given,
    })
}

/// The names of the models, with their indices.
struct Names(BTreeMap<String, usize>);

impl Names {
    /// The model that the value of `field` names.
    fn find(&self, field: &str, node: &Node) -> Result<usize, Mistake> {
        let name = cleaned(field, node)?;
        self.0.get(name).copied().ok_or_else(|| {
            let what = format!(
                "{field}: there is no model '{}'; {}",
                cut(name),
                self.remedy()
            );
            node.place.mistake(what)
        })
    }

    /// Which names to use. Many would not fit into a line.
    fn remedy(&self) -> String {
        match self.0.len() {
            0..=8 => {
                let names: Vec<_> = self.0.keys().collect();
                format!("use {}", either(&names))
            }
            _ => "use a name of models".to_owned(),
        }
    }
}

type Models = (Vec<ModelSettings>, Vec<Given>, Names);

fn read_models(node: &Node, flags: &ModelSettings) -> Result<Models, Mistake> {
    let nodes = node.list("models")?;
    if nodes.is_empty() {
        return Err(node
            .place
            .mistake("models: the list is empty; write at least one model"));
    }
    if let Some(node) = nodes.get(MOST_MODELS) {
        let what = format!(
            "models: {} are given; use at most {MOST_MODELS} in one sidecar",
            nodes.len()
        );
        return Err(node.place.mistake(what));
    }
    let (mut models, mut given) = (Vec::new(), Vec::<Given>::new());
    let mut names = BTreeMap::new();
    for node in nodes {
        let (model, fields) = fields::read(node, flags)?;
        let place = fields.get("name").map_or(node.place, |(place, _)| *place);
        if names.insert(model.name.clone(), models.len()).is_some() {
            let what = format!(
                "name: another model is called '{}'; use each name once",
                model.name
            );
            return Err(place.mistake(what));
        }
        models.push(model);
        given.push(fields);
    }
    Ok((models, given, Names(names)))
}

fn read_routes(node: &Node, names: &Names) -> Result<Vec<Route>, Mistake> {
    let (mut routes, mut seen) = (Vec::new(), BTreeSet::new());
    for node in node.list("routes")? {
        let [header, values] = fields::of(node.map("a route")?, ["header", "values"])?;
        let (Some(header), Some(values)) = (header, values) else {
            return Err(node
                .place
                .mistake("a route has header and values; write both"));
        };
        let name = header_name(header)?;
        if name == headers::MODEL {
            let what = "header: x-model chooses the model by itself; use another header";
            return Err(header.place.mistake(what));
        }
        if !seen.insert(name.clone()) {
            let what =
                "header: there is a route for this header already; write all its values there";
            return Err(header.place.mistake(what));
        }
        routes.push(Route {
            header: name,
            values: read_values(values, names)?,
        });
    }
    Ok(routes)
}

/// The model for each value of a header.
fn read_values(node: &Node, names: &Names) -> Result<BTreeMap<String, usize>, Mistake> {
    let entries = node.map("values")?;
    if entries.is_empty() {
        let what = "values: no value is given; write each with its model, such as '\"8\": low'";
        return Err(node.place.mistake(what));
    }
    let mut values = BTreeMap::new();
    for (value, node) in entries {
        let wrong = |wrong: BadValue| value.place.mistake(format!("values: {wrong}"));
        let text = super::parse::clean(&value.text).map_err(wrong)?;
        let model = names.find("values", node)?;
        if text.is_empty() {
            return Err(value.place.mistake("values: a value is blank; write one"));
        }
        if values.insert(text.to_owned(), model).is_some() {
            let what = format!(
                "values: '{}' is given twice; write each value once",
                cut(text)
            );
            return Err(value.place.mistake(what));
        }
    }
    Ok(values)
}

/// The name of a header of a frame, in lower case. Its characters are those of a token (RFC 9110, section 5.6.2).
fn header_name(node: &Node) -> Result<String, Mistake> {
    let text = cleaned("header", node)?;
    let name = text.to_ascii_lowercase();
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let rest = name.strip_prefix("x-").unwrap_or_default();
    if rest.is_empty() || !rest.chars().all(is_token) {
        let wrong = BadValue::new(
            text,
            "the name of a header that begins with x-, such as x-energy-kev",
        );
        return Err(node.place.mistake(format!("header: {wrong}")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
