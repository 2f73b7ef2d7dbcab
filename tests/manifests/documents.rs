//! Manifests, as files and rendered.

use beamflow_needs::needs;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// The folders for `kubectl apply -k`.
pub const KUSTOMIZATIONS: [&str; 18] = [
    "k8s/jobs/bench-engine",
    "k8s/jobs/prebuild-engine",
    "k8s/jobs/prebuild-engine-without-gpu",
    "k8s/overlays/cpu",
    "k8s/overlays/gpu",
    "k8s/overlays/ha-buffer",
    "k8s/overlays/laptop",
    "k8s/overlays/pva",
    "k8s/overlays/pva-cpu",
    "k8s/overlays/pva-files",
    "k8s/overlays/restricted",
    "k8s/overlays/simulated-detector",
    "k8s/overlays/site-example",
    "k8s/overlays/two-models",
    "k8s/monovertex",
    "k8s/monovertex/pva",
    "k8s/monovertex/pva-files",
    "k8s/monitoring",
];

/// One YAML document.
#[derive(Debug)]
pub struct Document {
    /// Its origin: a file, or a folder that was rendered.
    pub origin: String,
    pub value: Value,
    /// The config maps beside it.
    pub config_maps: Arc<Vec<Value>>,
}

impl Document {
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or("a patch")
    }

    /// Kind and name, and the origin.
    pub fn title(&self) -> String {
        let name = &self.value["metadata"]["name"];
        format!("{}: {} {name}", self.origin, self.kind())
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every document in `text`.
pub fn parse(origin: &str, text: &str) -> Vec<Document> {
    let values = yaml_serde::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|e| panic!("{origin}: {e}")))
        .filter(|value| !value.is_null());
    let values: Vec<_> = values.collect();
    let config_maps = values.iter().filter(|value| value["kind"] == "ConfigMap");
    let config_maps = Arc::new(config_maps.cloned().collect());
    let document = |value| Document {
        origin: origin.to_owned(),
        value,
        config_maps: Arc::clone(&config_maps),
    };
    values.into_iter().map(document).collect()
}

/// `pipeline.yaml` and every YAML file under `k8s`.
pub fn files() -> Vec<String> {
    let mut found = vec!["pipeline.yaml".to_owned()];
    let mut folders = vec![PathBuf::from("k8s")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// All documents of the files.
pub fn written() -> Vec<Document> {
    files().iter().flat_map(|f| parse(f, &read(f))).collect()
}

/// The output of `kubectl kustomize` for `folder`; kubectl has kustomize 5 since 1.27.
pub fn rendered(folder: &str) -> Vec<Document> {
    let output = Command::new("kubectl")
        .args(["kustomize", folder])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{folder}: {errors}");
    parse(folder, &String::from_utf8(output.stdout).unwrap())
}

/// All documents, of files and, where there is a kubectl, rendered; read once for all tests.
pub fn all() -> &'static [Document] {
    static ALL: OnceLock<Vec<Document>> = OnceLock::new();
    ALL.get_or_init(|| {
        let kubectl = Command::new("kubectl")
            .arg("version")
            .arg("--client")
            .output();
        let folders: &[_] = if kubectl.is_ok() {
            &KUSTOMIZATIONS
        } else {
            &[]
        };
        let rendered = folders.iter().flat_map(|folder| rendered(folder));
        written().into_iter().chain(rendered).collect()
    })
}

/// Multi-line texts in a manifest are YAML themselves. They are parsed, so that their comments are ignored.
fn without_comments(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains('\n') => yaml_serde::from_str(text).unwrap(),
        Value::Array(items) => items.iter().map(without_comments).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| (name.clone(), without_comments(value));
            Value::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn every_yaml_file_can_be_read_and_says_what_it_is() {
    for file in files() {
        let text = read(&file);
        assert!(text.starts_with("# "), "{file} opens without a comment");
        let documents = parse(&file, &text);
        assert!(!documents.is_empty(), "{file} is empty");
        for document in documents {
            let is_patch = document.value.is_array();
            let has_no_kind = ["/fields.yaml", "/models.yaml"];
            let has_no_kind = has_no_kind.iter().any(|name| file.ends_with(name));
            let says_what = document.value["kind"].is_string();
            assert!(is_patch || has_no_kind || says_what, "{file}");
        }
    }
}

#[needs(kubectl)]
#[test]
fn pipeline_yaml_is_what_the_pva_overlay_renders() {
    let rendered = rendered("k8s/overlays/pva");
    let written = parse("pipeline.yaml", &read("pipeline.yaml"));
    let sorted = |documents: Vec<Document>| {
        let mut all: Vec<_> = documents
            .iter()
            .map(|document| {
                let name = &document.value["metadata"]["name"];
                let title = format!("{} {name}", document.kind());
                (title, without_comments(&document.value))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let (written, rendered) = (sorted(written), sorted(rendered));
    assert_eq!(written.len(), rendered.len(), "as many documents");
    for ((title, written), (other, rendered)) in written.iter().zip(&rendered) {
        assert_eq!(title, other);
        assert_eq!(written, rendered, "{title}");
    }
}

#[test]
fn every_kustomization_is_rendered() {
    let mut folders = files()
        .iter()
        .filter_map(|file| file.strip_suffix("/kustomization.yaml").map(str::to_owned))
        // These are parts of other overlays.
        .filter(|folder| !folder.ends_with("/base") && !folder.starts_with("k8s/components/"))
        .collect::<Vec<_>>();
    folders.sort();
    let mut known = KUSTOMIZATIONS.map(str::to_owned).to_vec();
    known.sort();
    assert_eq!(folders, known);
}
