//! Faults that stop a beamtime and that no schema finds. Each check is a function over the documents of one folder, rendered. It
//! finds nothing in what is shipped, and its fault in a small broken example.

use crate::manifests::containers::{bytes, containers, vertices};
use crate::manifests::documents::{self, Document, KUSTOMIZATIONS, parse, rendered};
use beamflow_needs::needs;
use serde_json::Value;
use std::collections::BTreeSet;

/// Bytes that one read may be. NATS ends the connection of a client that has 64 MiB waiting for it.
const READ: u64 = 32 << 20;
/// The largest frame, as it is sent, for which the read batches are made.
const FRAME: u64 = 256 << 10;
/// The time that numa takes to end, in seconds.
const NUMA_ENDS: f64 = 20.0;

/// What is wrong, in words.
pub type Check = fn(&[Document]) -> Vec<String>;

fn of_kind<'a>(documents: &'a [Document], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    documents
        .iter()
        .filter(move |document| document.kind() == kind)
        .map(|document| &document.value)
}

/// Each vertex of each pipeline, with the pipeline's spec.
fn each_vertex(documents: &[Document]) -> impl Iterator<Item = (&Value, &Value)> {
    let pipelines = documents.iter().filter(|d| d.kind() == "Pipeline");
    pipelines.flat_map(|document| {
        let spec = &document.value["spec"];
        vertices(document)
            .into_iter()
            .map(move |vertex| (spec, vertex))
    })
}

/// A vertex without a scale has 0 to 50 replicas: a sink sleeps between scans, and each replica of a source sends every frame.
fn unscaled(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (_, vertex) in each_vertex(documents) {
        let (name, scale) = (&vertex["name"], &vertex["scale"]);
        let most = scale["max"].as_u64();
        if scale["min"].as_u64().is_none_or(|least| least == 0) || most.is_none() {
            wrong.push(format!("{name} has no scale from 1 on"));
        }
        if vertex["source"]["udsource"].is_object() && most != Some(1) {
            wrong.push(format!("{name} is a source with more than one replica"));
        }
    }
    wrong
}

/// A setting of a vertex, or else that of its pipeline.
fn limit<'a>(spec: &'a Value, vertex: &'a Value, name: &str) -> &'a Value {
    match &vertex["limits"][name] {
        Value::Null => &spec["limits"][name],
        own => own,
    }
}

/// Numaflow's defaults, 500 messages and 1 s, are a second of latency at each vertex and a gigabyte in a read.
fn read_by_default(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (spec, vertex) in each_vertex(documents) {
        for name in ["readBatchSize", "readTimeout"] {
            if limit(spec, vertex, name).is_null() {
                wrong.push(format!("{} has no {name}", vertex["name"]));
            }
        }
    }
    wrong
}

/// A read of JetStream has no bound in bytes.
fn reads_too_large(documents: &[Document]) -> Vec<String> {
    let behind_a_buffer = each_vertex(documents).filter(|(_, vertex)| vertex["source"].is_null());
    let too_large = behind_a_buffer.filter_map(|(spec, vertex)| {
        let frames = limit(spec, vertex, "readBatchSize").as_u64()?;
        let read = frames * FRAME;
        (read > READ).then(|| format!("{} reads {read} bytes at once", vertex["name"]))
    });
    too_large.collect()
}

/// Dead letters must never stop the results: their buffer is short, and what does not fit is lost.
fn dead_letters_that_stop(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (spec, vertex) in each_vertex(documents) {
        let name = &vertex["name"];
        if name != "rejected" {
            continue;
        }
        if vertex["limits"]["bufferMaxLength"].as_u64() > Some(500)
            || vertex["limits"]["bufferMaxLength"].is_null()
        {
            wrong.push(format!("{name} has a long buffer"));
        }
        let edges = spec["edges"].as_array().unwrap().iter();
        for edge in edges.filter(|edge| edge["to"] == *name) {
            if edge["onFull"] != "discardLatest" {
                wrong.push(format!("the edge to {name} waits when it is full"));
            }
        }
    }
    wrong
}

/// The log sink prints whole payloads.
fn frames_in_logs(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for document in documents {
        for vertex in vertices(document) {
            let sink = &vertex["sink"];
            let places = [sink, &sink["fallback"], &sink["onSuccess"]];
            if places.iter().any(|place| !place["log"].is_null()) {
                wrong.push(format!("{} prints messages", document.title()));
            }
        }
    }
    wrong
}

/// Containers of Numaflow that have no requests and limits of memory: the first to be ended on a node that is short of it.
fn without_resources(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |place: String, template: &Value| {
        for kind in ["requests", "limits"] {
            if !template["resources"][kind]["memory"].is_string() {
                wrong.push(format!("{place} has no {kind} of memory"));
            }
        }
    };
    for (spec, vertex) in each_vertex(documents) {
        let template = match &vertex["containerTemplate"]["resources"] {
            Value::Null => &spec["templates"]["vertex"]["containerTemplate"],
            _ => &vertex["containerTemplate"],
        };
        check(format!("numa of {}", vertex["name"]), template);
    }
    for mono in of_kind(documents, "MonoVertex") {
        check("numa".to_owned(), &mono["spec"]["containerTemplate"]);
    }
    for service in of_kind(documents, "InterStepBufferService") {
        for name in ["container", "reloaderContainer", "metricsContainer"] {
            let template = &service["spec"]["jetstream"][format!("{name}Template")];
            check(format!("{name} of JetStream"), template);
        }
    }
    wrong
}

/// `default` is the buffer of the quick start and of other pipelines; a version that is not pinned changes with Numaflow.
fn buffer_of_others(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    let services: BTreeSet<_> = of_kind(documents, "InterStepBufferService")
        .map(|service| service["metadata"]["name"].as_str().unwrap())
        .collect();
    for service in of_kind(documents, "InterStepBufferService") {
        let version = service["spec"]["jetstream"]["version"].as_str();
        if version.is_none_or(|version| !version.starts_with(|c: char| c.is_ascii_digit())) {
            wrong.push(format!("the version of NATS is {version:?}"));
        }
    }
    for pipeline in of_kind(documents, "Pipeline") {
        let name = pipeline["spec"]["interStepBufferServiceName"].as_str();
        match name {
            Some("default") | None => wrong.push("the buffer is `default`".to_owned()),
            Some(name) if !services.contains(name) => {
                wrong.push(format!("there is no buffer {name}"));
            }
            Some(_) => {}
        }
    }
    wrong
}

/// A batch that hangs is run twice, in which time numa must be able to end.
fn hangs_longer_than_numa_waits(documents: &[Document]) -> Vec<String> {
    let sidecars = documents.iter().flat_map(containers);
    let sidecars = sidecars.filter(|container| container.command().is_none());
    let too_long = sidecars.filter_map(|sidecar| {
        let given = sidecar.variable("INFERENCE_TIMEOUT");
        // The program's default.
        let seconds = given.unwrap_or("30s").strip_suffix('s').unwrap();
        let seconds: f64 = seconds.parse().unwrap();
        let fits = 2.0 * seconds < NUMA_ENDS;
        (!fits).then(|| format!("{}: a hang lasts 2 × {seconds} s", sidecar.place))
    });
    too_long.collect()
}

/// A MonoVertex whose numa reads ahead.
fn reads_ahead(document: &Document) -> bool {
    let env = &document.value["spec"]["containerTemplate"]["env"];
    let mut variables = env.as_array().into_iter().flatten();
    variables
        .any(|variable| variable["name"] == "NUMAFLOW_READ_AHEAD" && variable["value"] == "true")
}

/// Up to 1.8.3 numa ends within seconds if it has more than one read batch of a batch map in hand. A stream needs more: with
/// less, numa waits at the end of each read batch, or lanes are idle.
fn messages_in_flight(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for document in documents {
        let spec = &document.value["spec"];
        let sidecars = containers(document).into_iter();
        for sidecar in sidecars.filter(|container| container.command().is_none()) {
            let place = &sidecar.place;
            let read = limit(spec, sidecar.vertex, "readBatchSize").as_u64();
            let read = read.unwrap_or(500);
            let concurrency = limit(spec, sidecar.vertex, "concurrency").as_u64();
            let concurrency = concurrency.unwrap_or(read);
            if sidecar.variable("MODE") != Some("streaming") {
                if concurrency > read || reads_ahead(document) {
                    wrong.push(format!("{place}: a batch map with read-ahead"));
                }
                continue;
            }
            let slots = sidecar.useful_read_batch() as u64;
            if concurrency < slots.max(2 * read) {
                wrong.push(format!("{place}: a stream with {concurrency} in flight"));
            }
            if document.kind() == "MonoVertex" && !reads_ahead(document) {
                wrong.push(format!("{place}: a stream without read-ahead"));
            }
        }
    }
    wrong
}

/// Every sink and every batch map waits for readTimeout, where there is no buffer too.
fn slow_to_read(documents: &[Document]) -> Vec<String> {
    let mono = of_kind(documents, "MonoVertex").map(|value| &value["spec"]["limits"]);
    let slow = mono.filter(|limits| limits["readTimeout"] != "20ms");
    slow.map(|limits| format!("a MonoVertex reads within {}", limits["readTimeout"]))
        .collect()
}

/// Memory of numa: a read batch of the largest frames, twice.
fn numa_too_small(documents: &[Document]) -> Vec<String> {
    let small = each_vertex(documents).filter_map(|(spec, vertex)| {
        let own = &vertex["containerTemplate"]["resources"]["limits"]["memory"];
        let common = &spec["templates"]["vertex"]["containerTemplate"]["resources"];
        let given = own.as_str().or(common["limits"]["memory"].as_str())?;
        let frames = limit(spec, vertex, "readBatchSize").as_u64()?;
        let needed = (128 << 20) + 2 * frames * FRAME;
        (bytes(given) < usize::try_from(needed).unwrap())
            .then(|| format!("numa of {} has {given}", vertex["name"]))
    });
    small.collect()
}

/// Two containers of a pod with one port, or two ports of a pod with one name.
fn ports_twice(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    for document in documents.iter().filter(|d| d.kind() == "MonoVertex") {
        let mut seen = BTreeSet::new();
        for container in containers(document) {
            for port in container.spec["ports"].as_array().into_iter().flatten() {
                for key in ["name", "containerPort"] {
                    if !seen.insert(port[key].to_string()) {
                        wrong.push(format!("{} is twice in {}", port[key], document.title()));
                    }
                }
            }
        }
    }
    wrong
}

/// Each check, an example that it must find a fault in, and words of what it says then.
pub const CHECKS: [(Check, &str, &str); 20] = [
    (
        messages_in_flight,
        "{kind: MonoVertex, spec: {limits: {readBatchSize: 8, concurrency: 16}, udf: {container: {image: 'beamflow:1'}}}}",
        "a batch map with read-ahead",
    ),
    (
        messages_in_flight,
        "{kind: MonoVertex, spec: {containerTemplate: {env: [{name: NUMAFLOW_READ_AHEAD, value: 'true'}]}, udf: {container:
          {image: 'beamflow:1'}}}}",
        "a batch map with read-ahead",
    ),
    (
        messages_in_flight,
        "{kind: MonoVertex, spec: {limits: {readBatchSize: 8, concurrency: 16}, udf: {container: {image: 'beamflow:1', env: [
          {name: MODE, value: streaming}]}}}}",
        "a stream with 16 in flight",
    ),
    (
        messages_in_flight,
        "{kind: MonoVertex, spec: {limits: {readBatchSize: 32, concurrency: 64}, udf: {container: {image: 'beamflow:1', env: [
          {name: MODE, value: streaming}]}}}}",
        "a stream without read-ahead",
    ),
    (
        slow_to_read,
        "{kind: MonoVertex, spec: {limits: {readTimeout: 1s}}}",
        "reads within \"1s\"",
    ),
    (
        unscaled,
        "{kind: Pipeline, spec: {vertices: [{name: results, sink: {}}]}}",
        "\"results\" has no scale",
    ),
    (
        unscaled,
        "{kind: Pipeline, spec: {vertices: [{name: s, scale: {min: 0, max: 1}, source: {udsource: {}}}]}}",
        "\"s\" has no scale",
    ),
    (
        unscaled,
        "{kind: Pipeline, spec: {vertices: [{name: s, scale: {min: 1, max: 2}, source: {udsource: {}}}]}}",
        "more than one replica",
    ),
    (
        read_by_default,
        "{kind: Pipeline, spec: {limits: {readBatchSize: 8}, vertices: [{name: v}]}}",
        "\"v\" has no readTimeout",
    ),
    (
        reads_too_large,
        "{kind: Pipeline, spec: {limits: {readBatchSize: 500}, vertices: [{name: v}]}}",
        "\"v\" reads 131072000 bytes",
    ),
    (
        dead_letters_that_stop,
        "{kind: Pipeline, spec: {vertices: [{name: rejected, limits: {bufferMaxLength: 200}}],
          edges: [{from: v, to: rejected}]}}",
        "waits when it is full",
    ),
    (
        dead_letters_that_stop,
        "{kind: Pipeline, spec: {vertices: [{name: rejected}], edges: []}}",
        "long buffer",
    ),
    (
        frames_in_logs,
        "{kind: Pipeline, spec: {vertices: [{name: rejected, sink: {log: {}}}]}}",
        "prints messages",
    ),
    (
        frames_in_logs,
        "{kind: MonoVertex, spec: {sink: {udsink: {}, fallback: {log: {}}}}}",
        "prints messages",
    ),
    (
        without_resources,
        "{kind: Pipeline, spec: {vertices: [{name: v, containerTemplate: {resources: {requests: {memory: 1Gi}}}}]}}",
        "numa of \"v\" has no limits",
    ),
    (
        without_resources,
        "{kind: InterStepBufferService, spec: {jetstream: {version: 2.10.29}}}",
        "container of JetStream has no requests",
    ),
    (
        buffer_of_others,
        "{kind: Pipeline, spec: {vertices: []}}\n---\n{kind: InterStepBufferService, metadata: {name: default}, spec: {jetstream: {version: latest}}}",
        "the buffer is `default`",
    ),
    (
        hangs_longer_than_numa_waits,
        "{kind: MonoVertex, spec: {udf: {container: {image: 'beamflow:1', env: [{name: INFERENCE_TIMEOUT, value: 10s}]}}}}",
        "2 × 10 s",
    ),
    (
        numa_too_small,
        "{kind: Pipeline, spec: {limits: {readBatchSize: 128}, vertices: [{name: v}], templates: {vertex: {containerTemplate:
          {resources: {limits: {memory: 128Mi}}}}}}}",
        "numa of \"v\" has 128Mi",
    ),
    (
        ports_twice,
        "{kind: MonoVertex, spec: {udf: {container: {image: 'beamflow:1', ports: [{name: a, containerPort: 1}]}},
          sink: {udsink: {container: {image: 'beamflow:1', ports: [{name: a, containerPort: 2}]}}}}}",
        "\"a\" is twice",
    ),
];

#[test]
fn each_fault_is_found_in_an_example_of_it() {
    for (check, example, words) in CHECKS {
        let wrong = check(&parse("an example", example)).join("\n");
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
}

#[needs(kubectl)]
#[test]
fn nothing_that_is_shipped_has_one_of_these_faults() {
    let pipeline = parse("pipeline.yaml", &documents::read("pipeline.yaml"));
    let folders = KUSTOMIZATIONS.iter().map(|folder| rendered(folder));
    for documents in folders.chain([pipeline]) {
        for (check, _, words) in CHECKS {
            let wrong = check(&documents);
            assert!(wrong.is_empty(), "{words}\n{}", wrong.join("\n"));
        }
    }
}
