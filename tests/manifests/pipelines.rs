//! Vertices, edges, buffers.

use crate::manifests::containers::{each_sidecar, vertices};
use crate::manifests::documents::{self, Document, parse};
use beamflow::inference::policy::{OnFailure, OnInvalid};
use serde_json::{Value, json};

/// The largest frames that the manifests support: 1024 × 1024 int16.
const FRAME: u64 = 2 << 20;

fn pipelines() -> Vec<&'static Document> {
    let all = documents::all().iter();
    let all: Vec<_> = all.filter(|d| d.kind() == "Pipeline").collect();
    assert!(!all.is_empty());
    all
}

/// The edges of a pipeline.
pub fn edges(pipeline: &Document) -> &Vec<Value> {
    pipeline.value["spec"]["edges"].as_array().unwrap()
}

/// Whether the edge takes messages with exactly this tag, or with none.
pub fn takes(edge: &Value, tag: Option<&str>) -> bool {
    let tags = &edge["conditions"]["tags"];
    let listed = tags["values"].as_array().into_iter().flatten();
    let has = listed
        .filter_map(Value::as_str)
        .any(|listed| Some(listed) == tag);
    match tags["operator"].as_str() {
        None if tags.is_null() => true,
        Some("not") => !has,
        Some("or") => has,
        other => panic!("the operator {other:?} is not used here"),
    }
}

#[test]
fn every_edge_connects_two_vertices() {
    for pipeline in pipelines() {
        let names: Vec<_> = vertices(pipeline)
            .iter()
            .map(|v| v["name"].clone())
            .collect();
        for edge in edges(pipeline) {
            for end in ["from", "to"] {
                assert!(names.contains(&edge[end]), "{}: {edge}", pipeline.title());
            }
        }
        for vertex in vertices(pipeline) {
            let (is_source, is_sink) = (vertex["source"].is_object(), vertex["sink"].is_object());
            let at = |end| {
                edges(pipeline)
                    .iter()
                    .any(|edge| edge[end] == vertex["name"])
            };
            assert_eq!(
                at("to"),
                !is_source,
                "{}: {}",
                pipeline.title(),
                vertex["name"]
            );
            assert_eq!(
                at("from"),
                !is_sink,
                "{}: {}",
                pipeline.title(),
                vertex["name"]
            );
        }
    }
}

#[test]
fn rejected_frames_take_their_own_edge_and_results_the_other() {
    each_sidecar(|document, container| {
        let tag = match container.config().on_invalid {
            OnInvalid::Tag(name) => Some(name),
            OnInvalid::Drop => None,
        };
        if document.kind() == "MonoVertex" {
            // A tag goes to the fallback sink, past the sink for results, which must be a program.
            let spec = &document.value["spec"];
            let past = &spec["bypass"]["fallback"]["tags"];
            let place = &container.place;
            assert_eq!(past["values"].is_array(), tag.is_some(), "{place}");
            if let Some(tag) = tag {
                assert_eq!(past, &json!({"operator": "or", "values": [tag]}), "{place}");
                let sink = &spec["sink"];
                assert!(sink["fallback"].is_object() && sink["udsink"].is_object());
            }
            return;
        }
        let tag = tag.unwrap_or_else(|| panic!("{} has no dead-letter tag", container.place));
        let mine = |edge: &&Value| edge["from"] == container.vertex["name"];
        let to = |tag: Option<&str>| -> Vec<_> {
            let leaving = edges(document).iter().filter(mine);
            leaving
                .filter(|edge| takes(edge, tag))
                .map(|edge| edge["to"].clone())
                .collect()
        };
        assert_eq!(to(Some(&tag)), ["rejected"], "{}", container.place);
        // The sink of the pipeline, and, in an overlay that keeps results, the one for files.
        let sinks = vertices(document).into_iter();
        let sinks = sinks.filter(|v| v["sink"].is_object() && v["name"] != "rejected");
        let sinks: Vec<_> = sinks.map(|v| v["name"].clone()).collect();
        assert_eq!(sinks.first(), Some(&"results".into()));
        for result in [None, Some("phase"), Some("amplitude")] {
            assert_eq!(to(result), sinks, "{}: {result:?}", container.place);
        }
    });
}

#[test]
fn a_frame_that_failed_can_be_delivered_again() {
    each_sidecar(|document, container| {
        // A pipeline's buffer redelivers; of a MonoVertex's sources, only the user-defined ones do.
        if document.kind() == "MonoVertex" && container.config().on_failure == OnFailure::Nack {
            let source = &container.vertex["source"];
            assert!(
                source["udsource"].is_object(),
                "{}: {source}",
                container.place
            );
        }
    });
}

#[test]
fn the_buffer_has_room_for_all_that_may_queue() {
    let services = documents::all();
    let services = services
        .iter()
        .filter(|d| d.kind() == "InterStepBufferService");
    let mut checked = 0;
    for service in services {
        let jetstream = &service.value["spec"]["jetstream"];
        let read = |text: &Value| {
            parse(&service.origin, text.as_str().unwrap())
                .remove(0)
                .value
        };
        let (settings, buffers) = (
            read(&jetstream["settings"]),
            read(&jetstream["bufferConfig"]),
        );
        assert!(settings["max_payload"].as_u64().unwrap() > FRAME);
        // Messages are kept until they are acknowledged, not until the stream is full.
        assert_eq!(buffers["stream"]["retention"], 1);
        let volume = jetstream["persistence"]["volumeSize"].as_str().unwrap();
        let volume: u64 = volume.strip_suffix("Gi").unwrap().parse().unwrap();
        for pipeline in pipelines().iter().filter(|p| p.origin == service.origin) {
            let limits = &pipeline.value["spec"]["limits"];
            let length = limits["bufferMaxLength"].as_u64().unwrap();
            let messages = buffers["stream"]["maxMsgs"].as_u64().unwrap();
            assert!(messages >= 2 * length, "{}", pipeline.title());
            let queued = length * limits["bufferUsageLimit"].as_u64().unwrap() / 100;
            assert!(2 * queued * FRAME <= volume << 30, "{}", pipeline.title());
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn every_claim_of_a_volume_is_in_the_same_place_as_its_user() {
    let mut places = vec!["pipeline.yaml"];
    places.extend(documents::KUSTOMIZATIONS);
    // A job uses the volume of the pipeline.
    for document in documents::all().iter().filter(|d| d.kind() != "Job") {
        for vertex in vertices(document) {
            for volume in vertex["volumes"].as_array().into_iter().flatten() {
                let claim = &volume["persistentVolumeClaim"]["claimName"];
                // A file of an overlay is complete only after rendering.
                if claim.is_null() || !places.contains(&document.origin.as_str()) {
                    continue;
                }
                let has = documents::all().iter().any(|other| {
                    other.origin == document.origin
                        && other.kind() == "PersistentVolumeClaim"
                        && other.value["metadata"]["name"] == *claim
                });
                assert!(has, "{}: {claim}", document.title());
            }
        }
    }
}
