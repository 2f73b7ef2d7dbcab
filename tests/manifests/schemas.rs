//! Numaflow's CRD schemas, applied as strictly as the API server with `--validate=strict`: a field that is not
//! in the schema is an error.
//!
//! Structural schemas are a small part of OpenAPI, and all keywords in use are checked: an unknown keyword
//! fails the test.

use crate::manifests::documents::{self, Document, root};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

const KINDS: [(&str, &str); 3] = [
    ("Pipeline", "pipelines"),
    ("MonoVertex", "monovertices"),
    ("InterStepBufferService", "interstepbufferservices"),
];

/// Keywords without a constraint on the value, or that are checked together with another keyword.
const PASSED_OVER: [&str; 6] = [
    "default",
    "description",
    "anyOf",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
];

/// All errors of `value`, each with its place.
fn mistakes(schema: &Value, value: &Value, place: &str, is_root: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let keywords = schema.as_object().unwrap();
    let properties = &schema["properties"];
    for (keyword, told) in keywords {
        let fault = match keyword.as_str() {
            "type" => (!is_of_type(value, told.as_str().unwrap())).then(|| format!("is no {told}")),
            "x-kubernetes-int-or-string" => {
                (!value.is_string() && !value.is_i64()).then(|| "is no integer and no text".into())
            }
            "enum" => {
                (!told.as_array().unwrap().contains(value)).then(|| format!("is none of {told}"))
            }
            "pattern" => value
                .as_str()
                .is_some_and(|text| !Regex::new(told.as_str().unwrap()).unwrap().is_match(text))
                .then(|| format!("does not match {told}")),
            "minimum" => (value.as_f64() < told.as_f64()).then(|| format!("is less than {told}")),
            "maxLength" => {
                (value.as_str().map(str::len) > length(told)).then(|| "is too long".into())
            }
            "minLength" => {
                (value.as_str().map(str::len) < length(told)).then(|| "is too short".into())
            }
            "minItems" => {
                (value.as_array().map(Vec::len) < length(told)).then(|| "is too short".into())
            }
            "format" => (told == "int32"
                && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()))
            .then(|| "is no int32".into()),
            "required" => told
                .as_array()
                .unwrap()
                .iter()
                .find(|name| value.get(name.as_str().unwrap()).is_none())
                .map(|name| format!("has no {name}")),
            "properties" | "additionalProperties" | "items" => None,
            known if PASSED_OVER.contains(&known) => None,
            unknown => {
                panic!("{place}: this test does not support the schema keyword '{unknown}'")
            }
        };
        wrong.extend(fault.map(|fault| format!("{place} {fault}: {value}")));
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match (&properties[name.as_str()], &schema["additionalProperties"]) {
            // The API server knows the type of metadata; the schema does not give it.
            _ if is_root && name == "metadata" => {}
            (Value::Null, Value::Null) => wrong.push(format!("{place} is not known to Numaflow")),
            (Value::Null, any) => wrong.extend(mistakes(any, field, &place, false)),
            (known, _) => wrong.extend(mistakes(known, field, &place, false)),
        }
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        let place = format!("{place}[{n}]");
        wrong.extend(mistakes(&schema["items"], item, &place, false));
    }
    wrong
}

fn length(told: &Value) -> Option<usize> {
    told.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("this test does not support the schema type '{other}'"),
    }
}

/// All errors of a document, if it is one of Numaflow's.
pub fn mistakes_of(document: &Document) -> Vec<String> {
    let numaflows = document.value["apiVersion"] == "numaflow.numaproj.io/v1alpha1";
    let schema = schemas().get(document.kind());
    assert_eq!(numaflows, schema.is_some(), "{}", document.title());
    schema.map_or_else(Vec::new, |schema| {
        mistakes(schema, &document.value, "", true)
    })
}

/// Kind → schema; read once for all tests.
fn schemas() -> &'static BTreeMap<&'static str, Value> {
    static SCHEMAS: OnceLock<BTreeMap<&str, Value>> = OnceLock::new();
    let folder = root().join("tests/data/numaflow-crds");
    let schema = |(kind, plural): (&'static str, &str)| {
        let file = folder.join(format!("numaflow.numaproj.io_{plural}.yaml"));
        let text = std::fs::read_to_string(&file).unwrap();
        let crd: Value = yaml_serde::from_str(&text).unwrap();
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["name"], "v1alpha1");
        (kind, version["schema"]["openAPIV3Schema"].clone())
    };
    SCHEMAS.get_or_init(|| KINDS.into_iter().map(schema).collect())
}

#[test]
fn every_field_of_every_manifest_is_in_numaflows_schema() {
    let mut checked = 0;
    for document in documents::all() {
        let wrong = mistakes_of(document);
        let title = document.title();
        assert!(wrong.is_empty(), "{title}\n{}", wrong.join("\n"));
        checked += usize::from(KINDS.iter().any(|(kind, _)| *kind == document.kind()));
    }
    assert!(checked > 3, "only {checked} manifests were found");
}

#[test]
fn a_misspelt_or_mistyped_field_is_found() {
    let schemas = schemas();
    let pipeline = r#"{"metadata": {"name": "p"}, "spec": {"edges": [{"from": "a"}], "vertices": [
        {"name": "a", "limits": {"readBatchsize": 8, "readTimeout": 1}, "scale": {"min": 3000000000}},
        {"name": "b", "udf": {"container": {"image": 7, "resources": {"limits": {"cpu": "1 core"}}}}}]}}"#;
    let pipeline: Value = serde_json::from_str(pipeline).unwrap();
    let wrong = mistakes(&schemas["Pipeline"], &pipeline, "", true).join("\n");
    for told in [
        ".spec.edges[0] has no \"to\"",
        ".spec.vertices[0].limits.readBatchsize is not known",
        ".spec.vertices[0].limits.readTimeout is no \"string\"",
        ".spec.vertices[0].scale.min is no int32",
        ".spec.vertices[1].udf.container.image is no \"string\"",
        ".spec.vertices[1].udf.container.resources.limits.cpu does not match",
    ] {
        assert!(wrong.contains(told), "{told}\n{wrong}");
    }
}
