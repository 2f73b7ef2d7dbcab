//! The sink for viewers, and the live mosaic. The feature `pva` is not needed.

use crate::manifests::containers::{Container, bytes, containers};
use crate::manifests::documents::{self, Document, read, root};
use crate::manifests::pipelines::{edges, takes};
use crate::manifests::pva::{admits, each_form, flag, named, policies, runs};
use beamflow::engine::{self, EngineOptions};
use beamflow::inference::policy::OnInvalid;
use beamflow::lab::experiment;
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Memory of the program, its clients, and halves that wait, in bytes.
const PROGRAM: usize = 256 << 20;
/// Patches that are kept, twice while a final picture is made, and once more in it.
const KEPT: usize = 3 * (384 << 20);
/// Bytes for a pixel of the mosaic: the canvas (24), pictures on their way (52), the solver (32), and pictures that slow viewers
/// have not taken yet (128).
const PER_PIXEL: usize = 24 + 52 + 32 + 128;

/// Every container with a sink for viewers, in all manifests.
fn each_sink(mut check: impl FnMut(&Container<'_>)) {
    let mut checked = 0;
    for document in documents::all() {
        if let Some(sink) = runs(document, "pva-sink") {
            check(&sink);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

fn sidecar(document: &Document) -> Container<'_> {
    let mut all = containers(document).into_iter();
    all.find(|container| container.command().is_none()).unwrap()
}

#[test]
fn the_sinks_ports_on_the_node_are_those_that_it_tells_clients() {
    each_sink(|sink| {
        let ports = json!([
            {"name": "pva", "containerPort": 5075, "hostPort": 5075},
            {"name": "pva-search", "containerPort": 5076, "hostPort": 5076, "protocol": "UDP"},
            {"name": "beamflow-sink", "containerPort": 9102},
        ]);
        assert_eq!(sink.spec["ports"], ports, "{}", sink.place);
        // The program's own defaults.
        for name in ["PVA_TCP_PORT", "PVA_UDP_PORT", "PVA_BIND"] {
            assert_eq!(sink.variable(name), None, "{}", sink.place);
        }
        let address = sink.variable("PVA_HTTP_ADDRESS");
        assert_eq!(address, Some("[::]:9102"), "{}", sink.place);
        assert_eq!(sink.variable("LOG_FORMAT"), Some("json"), "{}", sink.place);
    });
}

#[test]
fn the_sinks_memory_fits_the_largest_mosaic() {
    each_sink(|sink| {
        let canvas: usize = sink.variable("PVA_CANVAS").unwrap().parse().unwrap();
        let needed = PROGRAM + KEPT + PER_PIXEL * canvas * canvas;
        let given = sink.spec["resources"]["limits"]["memory"].as_str().unwrap();
        assert!(bytes(given) >= needed, "{}: {needed}", sink.place);
    });
    let guide = read("docs/operations.md");
    let formula = format!(
        "{} MiB + `PVA_CANVAS`² × {PER_PIXEL} bytes",
        (PROGRAM + KEPT) >> 20
    );
    assert!(guide.contains(&formula), "{formula}");
}

#[needs(kubectl)]
#[test]
fn one_sink_serves_the_pvs_and_a_failed_write_waits() {
    each_form("pva-sink", |_, document, sink| {
        let place = document.title();
        let scale = &sink.vertex["scale"];
        assert_eq!(scale, &json!({"min": 1, "max": 1}), "{place}");
        let backoff = &sink.vertex["sink"]["retryStrategy"]["backoff"];
        assert_eq!(backoff["interval"], "1s", "{place}");
        let timeout = sink.vertex["limits"]["readTimeout"].as_str().unwrap();
        let timeout: u64 = timeout.strip_suffix("ms").unwrap().parse().unwrap();
        // Numaflow's default is 1 s, which a viewer sees.
        assert!(timeout <= 50, "{place}");
        let sinks = containers(document).into_iter();
        let sinks = sinks.filter(|one| one.command() == Some("pva-sink"));
        assert_eq!(sinks.count(), 1, "{place}");
    });
}

#[needs(kubectl)]
#[test]
fn results_reach_the_sink_and_dead_letters_do_not() {
    each_form("pva-sink", |_, document, sink| {
        let OnInvalid::Tag(dead) = sidecar(document).config().on_invalid else {
            panic!("{}: there are no dead letters", document.title());
        };
        if document.kind() == "MonoVertex" {
            let past = &document.value["spec"]["bypass"]["fallback"]["tags"]["values"];
            assert_eq!(past, &json!([dead]));
            return;
        }
        let to_sink = |edge: &&Value| edge["to"] == sink.vertex["name"];
        let into: Vec<_> = edges(document).iter().filter(to_sink).collect();
        assert!(!into.is_empty());
        for edge in into {
            assert!(!takes(edge, Some(&dead)), "{}", document.title());
            assert_eq!(edge["from"], sidecar(document).vertex["name"]);
            for output in outputs(document) {
                assert!(takes(edge, Some(&output)), "{output}");
            }
        }
    });
}

/// The outputs of the map's model.
fn outputs(document: &Document) -> Vec<String> {
    let path = sidecar(document).config().model.path;
    let file = path.rsplit_once('/').unwrap().1;
    let model = root().join("models").join(file);
    let engine = engine::load(model.to_str().unwrap(), &EngineOptions::default()).unwrap();
    let outputs = engine.model().outputs.iter();
    outputs.map(|output| output.name.clone()).collect()
}

#[needs(kubectl)]
#[test]
fn the_pvs_are_those_of_the_models_outputs() {
    each_form("pva-sink", |_, document, sink| {
        let mut named: Vec<_> = sink.variable("PVA_OUTPUTS").unwrap().split(',').collect();
        named.sort_unstable();
        let mut outputs = outputs(document);
        outputs.sort();
        assert_eq!(named, outputs, "{}", document.title());
        // The mosaic takes the flags' defaults.
        assert!(named.contains(&"phase") && named.contains(&"amplitude"));
        for name in ["PVA_PHASE_OUTPUT", "PVA_AMPLITUDE_OUTPUT"] {
            assert_eq!(sink.variable(name), None, "{}", document.title());
        }
    });
}

#[needs(kubectl)]
#[test]
fn the_mosaic_has_the_positions_and_the_pixels_of_the_simulated_detector() {
    each_form("pva-sink", |documents, document, sink| {
        let place = document.title();
        assert_eq!(sink.variable("PVA_MOSAIC"), Some("true"), "{place}");
        let pixel: f64 = sink.variable("PVA_PIXEL_SIZE").unwrap().parse().unwrap();
        let side = 64;
        let exact = experiment::pixel_size(side);
        assert!((pixel - exact).abs() < 1e-6 * exact, "{place}: {pixel}");
        let edge: usize = sink.variable("PVA_EDGE").unwrap().parse().unwrap();
        assert!(2 * edge < side, "{place}");
        // Positions come in the headers, which the source fills from attributes that the IOC posts.
        assert_eq!(sink.variable("PVA_POSITIONS"), None, "{place}");
        let source = runs(document, "pva-source").unwrap();
        let readme = read("README.md");
        let (_, section) = readme
            .split_once("\n## A PVA detector without a beamline\n")
            .unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        for name in ["PVA_POSITION_X", "PVA_POSITION_Y", "PVA_SCAN_ATTRIBUTE"] {
            let attribute = source.variable(name).unwrap();
            assert!(section.contains(&format!("'{attribute}': ")), "{attribute}");
        }
        // A scan has all its points, and fits on the canvas.
        let ioc = documents.iter().find_map(|d| runs(d, "simulate-ioc"));
        let ioc = ioc.unwrap();
        let points: usize = flag(&ioc, "--points").parse().unwrap();
        let frames: usize = flag(&ioc, "--reset-every").parse().unwrap();
        assert_eq!(frames, points * points, "{place}");
        let raster = experiment::RASTER;
        let canvas: usize = sink.variable("PVA_CANVAS").unwrap().parse().unwrap();
        assert!(
            points * (raster.step + raster.jitter) + side < canvas,
            "{place}"
        );
    });
}

/// A pipeline without positions must not leave out every frame: only the simulated detector switches the mosaic on.
#[test]
fn the_component_itself_has_no_mosaic() {
    let file = "k8s/components/pva-sink/container.yaml";
    let documents = documents::parse(file, &read(file));
    let sink = runs(&documents[0], "pva-sink").unwrap();
    assert_eq!(sink.variable("PVA_MOSAIC"), None);
}

/// In a MonoVertex the same answer of numa decides over all containers; the map needs long to load.
#[needs(kubectl)]
#[test]
fn the_sink_has_the_maps_probe_times_and_ports_of_its_own() {
    each_form("pva-sink", |_, document, sink| {
        let times = &sink.spec["livenessProbe"];
        assert!(times.is_object() && times["httpGet"].is_null());
        let map = sidecar(document);
        assert_eq!(times, &map.spec["livenessProbe"], "{}", sink.place);
        assert!(sink.spec["readinessProbe"].is_null(), "{}", sink.place);
        let all = containers(document);
        let ports = all.iter().flat_map(|container| {
            let ports = container.spec["ports"].as_array().into_iter().flatten();
            ports.map(|port| port["containerPort"].as_u64().unwrap())
        });
        let ports: Vec<_> = ports.collect();
        let distinct: BTreeSet<_> = ports.iter().copied().collect();
        assert_eq!(ports.len(), distinct.len(), "{ports:?}");
        for port in [9100, 9101, 9102] {
            assert!(distinct.contains(&port), "{ports:?}");
        }
    });
}

#[needs(kubectl)]
#[test]
fn viewers_and_prometheus_reach_the_sink_and_nobody_else_its_metrics() {
    each_form("pva-sink", |documents, document, sink| {
        let place = document.title();
        let labels = &sink.vertex["metadata"]["labels"];
        assert_eq!(labels["beamflow-sink"], "pva", "{place}");
        let of_sink = policies(documents, "beamflow-sink", "pva");
        let at_address = |peer: &Value| peer["ipBlock"].is_object();
        let in_namespace = |peer: &Value| peer == &json!({"podSelector": {}});
        let labelled = |name: &'static str, value: &'static str| {
            move |peer: &Value| peer["podSelector"]["matchLabels"][name] == value
        };
        for (protocol, port) in [("TCP", 5075), ("UDP", 5076)] {
            assert!(admits(&of_sink, "ingress", protocol, port, at_address));
            assert!(admits(&of_sink, "ingress", protocol, port, in_namespace));
        }
        // The answer to a search goes to the port that the search names.
        assert!(admits(&of_sink, "egress", "UDP", 40_000, at_address));
        for port in [9102, 2469] {
            let prometheus = labelled("app.kubernetes.io/name", "prometheus");
            assert!(admits(&of_sink, "ingress", "TCP", port, prometheus));
            assert!(!admits(&of_sink, "ingress", "TCP", port, at_address));
        }
        let buffer = labelled("app.kubernetes.io/component", "isbsvc");
        assert!(admits(&of_sink, "egress", "TCP", 4222, buffer), "{place}");
        assert!(!admits(&of_sink, "egress", "TCP", 443, at_address));
        // The address inside the cluster.
        let service = &named(documents, "Service", "pva-sink")["spec"];
        assert_eq!(service["selector"], json!({"beamflow-sink": "pva"}));
        let port = &service["ports"][0];
        assert_eq!(
            (&port["port"], &port["targetPort"]),
            (&json!(5075), &json!("pva"))
        );
    });
}

#[test]
fn the_alert_on_frames_left_out_has_every_reason_but_two() {
    let reasons = regex::Regex::new(r#"\("([a-z_]+)", (?:tally|view)\."#).unwrap();
    let source = read("src/sink/pva/metrics.rs");
    let (_, body) = source.split_once("names::SINK_MOSAIC_LEFT_OUT").unwrap();
    let mut reasons: BTreeSet<_> = reasons
        .captures_iter(body)
        .map(|r| r[1].to_owned())
        .collect();
    // One has an alert of its own, the other is normal at the end of a series.
    assert!(reasons.remove("unpositioned") && reasons.remove("earlier"));
    let alerts = read("k8s/monitoring/alerts.yaml");
    let listed = regex::Regex::new(r#"left_out_total\{reason=~"([a-z_|]+)"\}"#).unwrap();
    let listed = listed.captures(&alerts).unwrap();
    let listed: BTreeSet<_> = listed[1].split('|').map(str::to_owned).collect();
    assert_eq!(listed, reasons);
}
