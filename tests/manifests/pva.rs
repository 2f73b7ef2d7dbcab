//! The source of a detector's PVs, and the simulated IOC. The feature `pva` is not needed.

use crate::manifests::containers::{Container, bytes, containers};
use crate::manifests::documents::{self, Document, read, rendered};
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The folders that have source and sink for PVs, and the kind of what they belong to.
const FORMS: [(&str, &str); 4] = [
    ("k8s/overlays/pva", "Pipeline"),
    ("k8s/overlays/pva-cpu", "Pipeline"),
    ("k8s/monovertex/pva", "MonoVertex"),
    ("k8s/monovertex/pva-files", "MonoVertex"),
];

/// What the source takes beside the frames that it keeps, as its help text says.
const BESIDE: usize = 200 << 20;

/// The container of `document` that runs `command`.
pub fn runs<'a>(document: &'a Document, command: &str) -> Option<Container<'a>> {
    let mut all = containers(document).into_iter();
    all.find(|container| container.command() == Some(command))
}

/// Each form, rendered, with the document that has the container for `command`.
pub fn each_form(command: &str, mut check: impl FnMut(&[Document], &Document, &Container<'_>)) {
    for (folder, kind) in FORMS {
        let documents = rendered(folder);
        let document = documents.iter().find(|d| d.kind() == kind).unwrap();
        let container = runs(document, command).unwrap_or_else(|| panic!("{folder}"));
        check(&documents, document, &container);
    }
}

/// The value of `--name=value` among the arguments.
pub fn flag<'a>(container: &Container<'a>, name: &str) -> &'a str {
    let args = container.spec["args"].as_array().unwrap().iter();
    let mut values = args.filter_map(|arg| arg.as_str()?.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap()
}

/// The document of this kind and name.
pub fn named<'a>(documents: &'a [Document], kind: &str, name: &str) -> &'a Value {
    let mut all = documents.iter().filter(|d| d.kind() == kind);
    let found = all.find(|d| d.value["metadata"]["name"] == name);
    &found.unwrap_or_else(|| panic!("{kind} {name}")).value
}

/// The policies for pods with this label.
pub fn policies<'a>(documents: &'a [Document], pod: &str, value: &str) -> Vec<&'a Value> {
    let all = documents.iter().filter(|d| d.kind() == "NetworkPolicy");
    all.map(|document| &document.value["spec"])
        .filter(|spec| spec["podSelector"]["matchLabels"] == json!({pod: value}))
        .collect()
}

/// Whether one of the rules admits `protocol` on `port` at a peer for which `peer` holds.
pub fn admits(
    policies: &[&Value],
    direction: &str,
    protocol: &str,
    port: u64,
    peer: impl Fn(&Value) -> bool,
) -> bool {
    let side = if direction == "ingress" { "from" } else { "to" };
    let rules = policies
        .iter()
        .flat_map(|spec| spec[direction].as_array().into_iter().flatten());
    let mut fitting = rules.filter(|rule| {
        let mut peers = rule[side].as_array().into_iter().flatten();
        rule[side].is_null() || peers.any(&peer)
    });
    fitting.any(|rule| {
        let mut ports = rule["ports"].as_array().unwrap().iter();
        ports.any(|given| {
            let first = given["port"].as_u64().unwrap();
            let last = given["endPort"].as_u64().unwrap_or(first);
            given["protocol"].as_str().unwrap_or("TCP") == protocol
                && (first..=last).contains(&port)
        })
    })
}

#[test]
fn the_sources_memory_is_its_queue_and_what_the_program_takes() {
    let mut checked = 0;
    for document in documents::all() {
        let Some(source) = runs(document, "pva-source") else {
            continue;
        };
        let queue = source.variable("PVA_QUEUE_BYTES").unwrap();
        let needed = bytes(queue.strip_suffix('B').unwrap()) + BESIDE;
        for kind in ["requests", "limits"] {
            let given = source.spec["resources"][kind]["memory"].as_str().unwrap();
            assert_eq!(bytes(given), needed, "{}: {kind}", source.place);
        }
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn the_source_serves_http_on_the_scraped_port() {
    let mut checked = 0;
    for document in documents::all() {
        let Some(source) = runs(document, "pva-source") else {
            continue;
        };
        let ports = json!([{"name": "beamflow-source", "containerPort": 9101}]);
        assert_eq!(source.spec["ports"], ports, "{}", source.place);
        let address = source.variable("PVA_HTTP_ADDRESS");
        assert_eq!(address, Some("[::]:9101"), "{}", source.place);
        let format = source.variable("LOG_FORMAT");
        assert_eq!(format, Some("json"), "{}", source.place);
        checked += 1;
    }
    assert!(checked > 0);
}

#[needs(kubectl)]
#[test]
fn one_source_follows_the_pvs_and_its_reads_are_bounded() {
    each_form("pva-source", |_, document, source| {
        let scale = &source.vertex["scale"];
        assert_eq!(scale, &json!({"min": 1, "max": 1}), "{}", document.title());
        let limits = &source.vertex["limits"];
        let frames = limits["readBatchSize"].as_u64().unwrap();
        // Numaflow's default is 500 frames, and 1 s.
        assert!(frames <= 64, "{}", document.title());
        assert!(limits["readTimeout"].is_string(), "{}", document.title());
    });
}

/// In a MonoVertex the same answer of numa decides over both containers; the map needs long to load.
#[needs(kubectl)]
#[test]
fn the_source_has_the_maps_probe_times_and_no_probe_of_its_own() {
    each_form("pva-source", |_, document, source| {
        let sidecar = containers(document);
        let sidecar = sidecar.iter().find(|c| c.command().is_none()).unwrap();
        let times = &source.spec["livenessProbe"];
        assert_eq!(times, &sidecar.spec["livenessProbe"], "{}", source.place);
        // A probe of a port of the source would be the way to make readiness depend on the IOC.
        assert!(times.is_object() && times["httpGet"].is_null());
        assert!(source.spec["readinessProbe"].is_null(), "{}", source.place);
    });
}

#[needs(kubectl)]
#[test]
fn the_source_finds_the_simulated_ioc_and_its_pv() {
    each_form("pva-source", |documents, _, source| {
        let ioc = documents.iter().find_map(|d| runs(d, "simulate-ioc"));
        let ioc = ioc.unwrap();
        let pv = flag(&ioc, "--pv");
        assert_eq!(source.variable("PVA_INPUT_CHANNEL"), Some(pv));
        let (name, port) = ("simulated-ioc", flag(&ioc, "--server-port"));
        let service = named(documents, "Service", name);
        let server = format!("tcp://{name}:{port}");
        assert_eq!(source.variable("PVA_SERVER"), Some(server.as_str()));
        let has = |ports: &Value, key: &str, number: u64| {
            let mut ports = ports.as_array().unwrap().iter();
            ports.any(|port| port[key] == number)
        };
        for number in [port, flag(&ioc, "--search-port")] {
            let number = number.parse().unwrap();
            assert!(has(&service["spec"]["ports"], "port", number));
            assert!(has(&ioc.spec["ports"], "containerPort", number));
        }
    });
}

#[needs(kubectl)]
#[test]
fn the_network_policies_admit_the_ioc_the_buffer_and_prometheus() {
    each_form("pva-source", |documents, document, source| {
        let labels = &source.vertex["metadata"]["labels"];
        assert_eq!(labels["beamflow-source"], "pva");
        let of_source = policies(documents, "beamflow-source", "pva");
        let of_ioc = policies(documents, "app", "simulated-ioc");
        let place = document.title();
        let at_address = |peer: &Value| peer["ipBlock"].is_object();
        let labelled = |name: &'static str, value: &'static str| {
            move |peer: &Value| peer["podSelector"]["matchLabels"][name] == value
        };
        // A real IOC: a search, its answer from any port, data at any port.
        assert!(
            admits(&of_source, "egress", "UDP", 5076, at_address),
            "{place}"
        );
        assert!(
            admits(&of_source, "ingress", "UDP", 40_000, at_address),
            "{place}"
        );
        for port in [5075, 40_000] {
            assert!(
                admits(&of_source, "egress", "TCP", port, at_address),
                "{place}"
            );
        }
        // The simulated one.
        let ioc = labelled("app", "simulated-ioc");
        assert!(admits(&of_source, "egress", "TCP", 5075, ioc), "{place}");
        assert!(admits(
            &of_ioc,
            "ingress",
            "TCP",
            5075,
            |peer| peer["podSelector"] == json!({})
        ));
        // Names, the buffer, metrics.
        assert!(
            admits(&of_source, "egress", "UDP", 53, |_| false),
            "{place}"
        );
        let buffer = labelled("app.kubernetes.io/component", "isbsvc");
        assert!(admits(&of_source, "egress", "TCP", 4222, buffer), "{place}");
        for port in [9100, 9101, 2469] {
            let prometheus = labelled("app.kubernetes.io/name", "prometheus");
            assert!(
                admits(&of_source, "ingress", "TCP", port, prometheus),
                "{place}: {port}"
            );
        }
        // And nothing else: the buffer's port only at the buffer, metrics only for Prometheus.
        assert!(
            !admits(&of_source, "ingress", "TCP", 9101, at_address),
            "{place}"
        );
        assert!(
            !admits(&of_source, "egress", "TCP", 443, at_address),
            "{place}"
        );
    });
}

/// The same frame of two pods, during a roll-out, has one offset: the buffer stores it once.
#[test]
fn the_buffer_recognises_frames_that_two_pods_send() {
    let services = documents::all();
    let mut services = services
        .iter()
        .filter(|d| d.kind() == "InterStepBufferService")
        .peekable();
    assert!(services.peek().is_some());
    for service in services {
        let buffers = service.value["spec"]["jetstream"]["bufferConfig"].as_str();
        let buffers: Value = yaml_serde::from_str(buffers.unwrap()).unwrap();
        let window = buffers["stream"]["duplicates"].as_str().unwrap();
        let window: u64 = window.strip_suffix('s').unwrap().parse().unwrap();
        // Two pods overlap for as long as the old one drains.
        assert!(window >= 60, "{}", service.title());
    }
}

#[test]
fn the_alert_on_refused_frames_has_every_reason_to_refuse() {
    let kinds = regex::Regex::new(r#"=> "([a-z_]+)""#).unwrap();
    let source = read("crates/pva/src/ntndarray/refusal.rs");
    let (_, body) = source.split_once("fn kind(").unwrap();
    let kinds: BTreeSet<_> = kinds.captures_iter(body).map(|k| k[1].to_owned()).collect();
    assert!(kinds.len() >= 6, "{kinds:?}");
    let skipped = regex::Regex::new(r#"beamflow_source_skipped_total\{reason=~"([a-z_|]+)"\}"#);
    let alerts = read("k8s/monitoring/alerts.yaml");
    let listed = skipped.unwrap();
    let listed = listed.captures(&alerts).unwrap();
    let listed: BTreeSet<_> = listed[1].split('|').map(str::to_owned).collect();
    assert_eq!(listed, kinds);
}

/// Panels and alerts are compared with the README's table; here that table is compared with the names in the source.
#[test]
fn the_readme_lists_every_metric_of_the_source() {
    let name = regex::Regex::new(r#""(source_[a-z_]+)""#).unwrap();
    let (names, readme) = (read("src/telemetry/names.rs"), read("README.md"));
    let names: BTreeSet<_> = name
        .captures_iter(&names)
        .map(|n| n[1].to_owned())
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let row = regex::Regex::new(r"(?m)^\| `beamflow_(source_[a-z_]+?)(?:_total)?[`{]").unwrap();
    let rows: BTreeSet<_> = row
        .captures_iter(&readme)
        .map(|r| r[1].to_owned())
        .collect();
    assert_eq!(names, rows);
}
