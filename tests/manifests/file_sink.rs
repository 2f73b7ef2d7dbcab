//! The sink for files. The feature `hdf5` is not needed.

use crate::manifests::containers::{Container, bytes, containers};
use crate::manifests::documents::{Document, read, rendered};
use crate::manifests::pipelines::edges;
use crate::manifests::pva::{admits, named, policies, runs};
use beamflow_needs::needs;
use serde_json::{Value, json};

/// Memory of the program, in bytes.
const PROGRAM: usize = 256 << 20;
/// Memory of a frame in a file, in bytes, as the help text of `--frames-per-file` says.
const PER_FRAME: usize = 100;
/// Files of a detector that are open: while a series begins, the file of the last one takes late results.
const OPEN: usize = 2;
/// The largest result that the memory limit is for: 512 × 512 float32.
const RESULT: usize = 1 << 20;

/// The folders with the component, and the kind of what it belongs to.
const PIPELINE: (&str, &str) = ("k8s/overlays/pva-files", "Pipeline");
const MONO_VERTEX: (&str, &str) = ("k8s/monovertex/pva-files", "MonoVertex");

/// A folder's documents, the one with the sink, and the sink.
fn of((folder, kind): (&str, &str), check: impl FnOnce(&[Document], &Document, &Container<'_>)) {
    let documents = rendered(folder);
    let document = documents.iter().find(|d| d.kind() == kind).unwrap();
    check(&documents, document, &runs(document, "file-sink").unwrap());
}

/// Both forms.
fn each_form(mut check: impl FnMut(&[Document], &Document, &Container<'_>)) {
    of(PIPELINE, &mut check);
    of(MONO_VERTEX, &mut check);
}

#[needs(kubectl)]
#[test]
fn files_are_written_to_the_volume() {
    each_form(|documents, _, sink| {
        assert_eq!(sink.variable("FILE_FOLDER"), Some("/data"));
        let mount = json!([{"name": "files", "mountPath": "/data"}]);
        assert_eq!(sink.spec["volumeMounts"], mount);
        let claim = json!({"claimName": "beamflow-files"});
        let volume = json!({"name": "files", "persistentVolumeClaim": claim});
        let volumes = sink.vertex["volumes"].as_array().unwrap();
        assert!(volumes.contains(&volume), "{}", sink.place);
        let claim = &named(documents, "PersistentVolumeClaim", "beamflow-files")["spec"];
        // The class is the cluster's, until the user names one.
        assert!(claim["storageClassName"].is_null());
    });
}

#[needs(kubectl)]
#[test]
fn one_file_sink_writes_to_the_folder_and_a_failed_write_waits() {
    each_form(|_, document, sink| {
        assert_eq!(sink.vertex["scale"], json!({"min": 1, "max": 1}));
        let backoff = &sink.vertex["sink"]["retryStrategy"]["backoff"];
        assert_eq!(backoff["interval"], "1s");
        // Results are never given up: Numaflow's default is to retry.
        assert!(sink.vertex["sink"]["retryStrategy"]["onFailure"].is_null());
        let sinks = containers(document).into_iter();
        let sinks = sinks.filter(|one| one.command() == Some("file-sink"));
        assert_eq!(sinks.count(), 1);
    });
}

#[needs(kubectl)]
#[test]
fn the_file_sink_gets_what_the_viewers_get() {
    of(PIPELINE, |_, pipeline, sink| {
        assert_eq!(sink.vertex["name"], "files");
        let into = |name: &Value| -> Vec<_> {
            let all = edges(pipeline).iter().filter(|edge| edge["to"] == *name);
            all.map(|edge| (&edge["from"], &edge["conditions"]))
                .collect()
        };
        let edges = into(&sink.vertex["name"]);
        assert_eq!(edges.len(), 1);
        assert_eq!(edges, into(&json!("results")));
        // The guide names the edge by its place, to select one output.
        let spec = &pipeline.value["spec"];
        let place = "/edges/3/conditions/tags";
        assert_eq!(
            spec.pointer(place),
            spec.pointer("/edges/1/conditions/tags")
        );
        assert_eq!(spec["edges"][3]["to"], sink.vertex["name"]);
        assert!(read("docs/operations.md").contains(&format!("path: /spec{place}, value: ")));
    });
}

/// Numa gives it what `pva-sink` answers so, and connects where the program listens by itself. In a pipeline there is no such
/// sink, and numa would end.
#[needs(kubectl)]
#[test]
fn in_a_mono_vertex_the_file_sink_gets_what_the_viewers_got() {
    each_form(|_, document, sink| {
        let is_mono_vertex = document.kind() == "MonoVertex";
        let viewers = runs(document, "pva-sink").unwrap();
        let passes_on = viewers.variable("PVA_ON_SUCCESS");
        assert_eq!(passes_on, is_mono_vertex.then_some("true"));
        let on_success = &sink.vertex["sink"]["onSuccess"];
        assert_eq!(on_success.is_object(), is_mono_vertex);
        if is_mono_vertex {
            assert_eq!(&on_success["udsink"]["container"], sink.spec);
            assert_eq!(&sink.vertex["sink"]["udsink"]["container"], viewers.spec);
        }
        for name in ["FILE_SOCK_PATH", "FILE_SERVER_INFO_PATH"] {
            assert_eq!(sink.variable(name), None);
        }
    });
}

/// The overlay has everything of the one without files, unchanged.
#[needs(kubectl)]
#[test]
fn the_component_adds_a_vertex_an_edge_a_volume_and_a_policy() {
    let (mut with, without) = (rendered(PIPELINE.0), rendered("k8s/overlays/pva"));
    let is_added = |kind: &str, name: &Value| {
        let added = [
            ("PersistentVolumeClaim", "beamflow-files"),
            ("NetworkPolicy", "file-sink"),
        ];
        added.iter().any(|(k, n)| *k == kind && name == n)
    };
    let before = with.len();
    with.retain(|document| !is_added(document.kind(), &document.value["metadata"]["name"]));
    assert_eq!(before - with.len(), 2);
    for document in with.iter_mut().filter(|d| d.kind() == "Pipeline") {
        for (list, key) in [("vertices", "name"), ("edges", "to")] {
            let items = document.value["spec"][list].as_array_mut().unwrap();
            let before = items.len();
            items.retain(|item| item[key] != "files");
            assert_eq!(before - items.len(), 1, "{list}");
        }
    }
    assert_eq!(with.len(), without.len());
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with.value, without.value, "{}", without.title());
    }
}

#[needs(kubectl)]
#[test]
fn the_file_sinks_memory_fits_the_rows_of_its_files_and_a_read_batch() {
    each_form(|_, _, sink| {
        let frames: usize = sink
            .variable("FILE_FRAMES_PER_FILE")
            .unwrap()
            .parse()
            .unwrap();
        let batch = sink.vertex["limits"]["readBatchSize"].as_u64().unwrap();
        let batch = usize::try_from(batch).unwrap();
        let needed = PROGRAM + OPEN * PER_FRAME * frames + 2 * batch * RESULT;
        let given = sink.spec["resources"]["limits"]["memory"].as_str().unwrap();
        assert!(bytes(given) >= needed, "{needed}");
    });
    let help = read("src/cli/file_sink.rs").replace("\n    /// ", " ");
    assert!(help.contains(&format!(
        "About {PER_FRAME} bytes of memory are used for each"
    )));
    let formula = format!(
        "{} MiB + `FILE_FRAMES_PER_FILE` × {} bytes + 2 × `readBatchSize` × the size of a result",
        PROGRAM >> 20,
        OPEN * PER_FRAME
    );
    let guide = read("docs/operations.md");
    assert!(guide.contains(&formula), "{formula}");
}

#[needs(kubectl)]
#[test]
fn the_file_sink_serves_http_on_the_scraped_port() {
    each_form(|_, document, sink| {
        // A name of its own: in a MonoVertex both sinks are in one pod.
        let ports = json!([{"name": "beamflow-files", "containerPort": 9103}]);
        assert_eq!(sink.spec["ports"], ports);
        assert_eq!(sink.variable("FILE_HTTP_ADDRESS"), Some("[::]:9103"));
        assert_eq!(sink.variable("LOG_FORMAT"), Some("json"));
        let viewers = runs(document, "pva-sink").unwrap();
        assert_eq!(sink.spec["livenessProbe"], viewers.spec["livenessProbe"]);
        assert!(sink.spec["readinessProbe"].is_null());
    });
}

#[needs(kubectl)]
#[test]
fn prometheus_reaches_the_file_sink_and_nobody_else() {
    each_form(|documents, _, sink| {
        assert_eq!(sink.vertex["metadata"]["labels"]["beamflow-files"], "hdf5");
        let of_sink = policies(documents, "beamflow-files", "hdf5");
        assert_eq!(of_sink.len(), 1);
        assert_eq!(of_sink[0]["policyTypes"], json!(["Ingress", "Egress"]));
        let labelled = |name: &'static str, value: &'static str| {
            move |peer: &Value| peer["podSelector"]["matchLabels"][name] == value
        };
        let component = |value| labelled("app.kubernetes.io/component", value);
        let daemon = |name: &'static str| {
            move |peer: &Value| {
                let rules = &peer["podSelector"]["matchExpressions"][0];
                let values = rules["values"].as_array().into_iter().flatten();
                rules["operator"] == "In" && values.into_iter().any(|value| value == name)
            }
        };
        let prometheus = || labelled("app.kubernetes.io/name", "prometheus");
        for port in [9103, 2469] {
            assert!(admits(&of_sink, "ingress", "TCP", port, prometheus()));
        }
        for port in [2469, 2470] {
            for name in ["daemon", "mono-vertex-daemon"] {
                assert!(admits(&of_sink, "ingress", "TCP", port, daemon(name)));
            }
        }
        assert!(admits(&of_sink, "egress", "TCP", 4222, component("isbsvc")));
        assert!(admits(&of_sink, "egress", "UDP", 53, |_| false));
        // And nothing else.
        let any = |peer: &Value| peer["ipBlock"].is_object() || peer == &json!({"podSelector": {}});
        for port in [9103, 2469, 5075] {
            assert!(!admits(&of_sink, "ingress", "TCP", port, any));
        }
        assert!(!admits(&of_sink, "ingress", "TCP", 9103, daemon("daemon")));
        assert!(!admits(&of_sink, "egress", "TCP", 443, |_| true));
    });
}
