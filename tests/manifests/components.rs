//! Each component by itself, on an overlay that it is for, and what some of them promise.

use crate::manifests::containers::{containers, vertices};
use crate::manifests::documents::{Document, files, parse, read, rendered};
use crate::manifests::faults::CHECKS;
use crate::manifests::kustomize::site;
use crate::manifests::pva::{named, runs};
use crate::manifests::schemas::mistakes_of;
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The component, what it is for, and the components before it.
const USES: [(&str, &str, &[&str]); 45] = [
    ("compression", "overlays/cpu", &[]),
    ("config-map", "overlays/cpu", &[]),
    ("config-map", "monovertex", &[]),
    ("dead-letter", "overlays/cpu", &[]),
    ("dead-letter", "monovertex/base", &["pva-sink"]),
    ("engine-cache-emptydir", "overlays/gpu", &[]),
    ("engine-cache-emptydir", "monovertex", &[]),
    ("engine-cache-rwx", "overlays/gpu", &[]),
    ("engine-cache-rwx", "monovertex", &[]),
    ("file-sink", "overlays/cpu", &[]),
    ("file-sink", "monovertex/base", &["pva-sink"]),
    ("gpu-dra", "overlays/gpu", &[]),
    ("gpu-dra", "monovertex", &[]),
    ("gpu-placement", "overlays/gpu", &[]),
    ("gpu-placement", "monovertex", &[]),
    ("gpu-shared", "overlays/gpu", &[]),
    ("gpu-shared", "monovertex", &[]),
    ("http-source-auth", "overlays/cpu", &[]),
    ("kustomize", "overlays/cpu", &[]),
    ("model-oci", "overlays/gpu", &[]),
    ("model-oci", "monovertex", &[]),
    ("model-pvc", "overlays/gpu", &[]),
    ("model-pvc", "monovertex", &[]),
    ("model-s3", "overlays/gpu", &[]),
    ("model-s3", "monovertex", &[]),
    ("models", "overlays/gpu", &[]),
    ("models", "monovertex", &[]),
    ("models", "overlays/gpu", &["model-pvc"]),
    ("network-policy", "overlays/cpu", &[]),
    ("pdb", "overlays/cpu", &[]),
    ("pva-gateway", "overlays/cpu", &["pva-sink"]),
    ("pva-gateway", "monovertex/base", &["pva-sink"]),
    ("pva-multus", "overlays/cpu", &["pva-source"]),
    ("pva-multus", "monovertex/base", &["pva-source"]),
    ("pva-sink", "overlays/cpu", &[]),
    ("pva-sink", "monovertex/base", &[]),
    ("pva-source", "overlays/cpu", &[]),
    ("pva-source", "monovertex/base", &[]),
    ("restricted", "overlays/cpu", &[]),
    ("restricted", "monovertex", &[]),
    ("simulated-ioc", "overlays/cpu", &["pva-source", "pva-sink"]),
    ("simulated-source", "overlays/cpu", &[]),
    ("streaming", "overlays/cpu", &[]),
    ("streaming", "overlays/gpu", &[]),
    ("streaming", "monovertex/base", &[]),
];

/// What a component makes of a folder.
fn with(component: &str, folder: &str, before: &[&str]) -> Vec<Document> {
    let components = before.iter().chain([&component]);
    let components: Vec<_> = components
        .map(|name| format!("../../components/{name}"))
        .collect();
    site(&format!(
        "kind: Kustomization\nresources: [../../{folder}]\ncomponents: [{}]\n",
        components.join(", ")
    ))
}

#[test]
fn every_component_is_used_here() {
    let used: BTreeSet<_> = USES.iter().map(|(component, ..)| *component).collect();
    let files = files();
    let there = files.iter().filter_map(|file| {
        let name = file.strip_prefix("k8s/components/")?;
        name.strip_suffix("/kustomization.yaml")
    });
    assert_eq!(there.collect::<BTreeSet<_>>(), used);
}

#[needs(kubectl)]
#[test]
fn every_component_gives_valid_manifests_without_faults() {
    for (component, folder, before) in USES {
        let documents = with(component, folder, before);
        for document in &documents {
            let wrong = mistakes_of(document);
            assert!(wrong.is_empty(), "{component}: {}", wrong.join("\n"));
            for container in containers(document) {
                container.check();
            }
        }
        for (check, ..) in CHECKS {
            let wrong = check(&documents);
            assert!(
                wrong.is_empty(),
                "{component} on {folder}: {}",
                wrong.join("\n")
            );
        }
    }
}

/// The map of a rendered folder.
fn map(documents: &[Document]) -> &Value {
    let kinds = ["Pipeline", "MonoVertex"];
    let document = documents.iter().find(|d| kinds.contains(&d.kind()));
    let mut all = vertices(document.unwrap()).into_iter();
    all.find(|vertex| vertex["udf"].is_object()).unwrap()
}

/// What the level "restricted" of Pod Security forbids, and is found in these documents.
fn not_restricted(documents: &[Document]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |place: String, container: &Value| {
        let context = &container["securityContext"];
        let is_restricted = context["runAsNonRoot"] == true
            && context["allowPrivilegeEscalation"] == false
            && context["capabilities"]["drop"] == json!(["ALL"])
            && context["seccompProfile"]["type"] == "RuntimeDefault";
        if !is_restricted {
            wrong.push(format!("{place} is not restricted"));
        }
        let ports = container["ports"].as_array().into_iter().flatten();
        for port in ports.filter(|port| !port["hostPort"].is_null()) {
            wrong.push(format!(
                "{place} has the port {} of its node",
                port["hostPort"]
            ));
        }
    };
    for document in documents {
        for container in containers(document) {
            check(container.place.clone(), container.spec);
        }
        let spec = &document.value["spec"];
        let places: &[&str] = match document.kind() {
            "Pipeline" => &[
                "/templates/vertex/containerTemplate",
                "/templates/vertex/initContainerTemplate",
                "/templates/daemon/containerTemplate",
                "/templates/daemon/initContainerTemplate",
                "/templates/job/containerTemplate",
            ],
            "MonoVertex" => &[
                "/containerTemplate",
                "/daemonTemplate/containerTemplate",
                "/daemonTemplate/initContainerTemplate",
            ],
            "InterStepBufferService" => &[
                "/jetstream/containerTemplate",
                "/jetstream/reloaderContainerTemplate",
                "/jetstream/metricsContainerTemplate",
            ],
            _ => &[],
        };
        for place in places {
            let template = spec.pointer(place).unwrap_or(&Value::Null);
            check(format!("{} {place}", document.kind()), template);
        }
    }
    wrong
}

#[needs(kubectl)]
#[test]
fn the_overlay_restricted_satisfies_pod_security() {
    let none: [String; 0] = [];
    assert_eq!(not_restricted(&rendered("k8s/overlays/restricted")), none);
    assert_eq!(not_restricted(&with("restricted", "monovertex", &[])), none);
    let wrong = not_restricted(&rendered("k8s/overlays/pva")).join("\n");
    for words in [
        "the port 5075 of its node",
        "/jetstream/containerTemplate is not",
        "/templates/daemon/containerTemplate is not",
        "/templates/job/containerTemplate is not",
    ] {
        assert!(wrong.contains(words), "{words}: {wrong}");
    }
    let root =
        "{kind: Deployment, spec: {template: {spec: {containers: [{image: 'beamflow:1'}]}}}}";
    let wrong = not_restricted(&parse("an example", root)).join("\n");
    assert!(wrong.contains("is not restricted"), "{wrong}");
}

/// The model is the same for the sidecar and for the init container that builds its engine.
#[needs(kubectl)]
#[test]
fn a_model_from_elsewhere_is_the_one_that_is_built_and_served() {
    for component in ["model-oci", "model-pvc", "model-s3"] {
        for folder in ["overlays/gpu", "monovertex"] {
            let documents = with(component, folder, &[]);
            let map = map(&documents);
            let served = &map["udf"]["container"];
            let inits = map["initContainers"].as_array().unwrap();
            let builds = inits.last().unwrap();
            assert_eq!(served["env"][0]["value"], "/models/model.onnx");
            assert_eq!(builds["args"][1], "/models/model.onnx");
            let mount = json!({"name": "model", "mountPath": "/models", "readOnly": true});
            for container in [served, builds] {
                let mounts = container["volumeMounts"].as_array().unwrap();
                assert!(mounts.contains(&mount), "{component}");
            }
            let volumes = map["volumes"].as_array().unwrap();
            assert!(volumes.iter().any(|volume| volume["name"] == "model"));
            // The copy is there before the engine is built.
            assert_eq!(inits.len(), 1 + usize::from(component == "model-s3"));
        }
    }
}

/// Numaflow starts new pods when their definition changes, which the name of a config map is part of.
#[needs(kubectl)]
#[test]
fn other_settings_have_another_name() {
    for folder in ["overlays/cpu", "monovertex"] {
        let documents = with("config-map", folder, &[]);
        let name = &map(&documents)["udf"]["container"]["envFrom"][0]["configMapRef"]["name"];
        let name = name.as_str().unwrap();
        assert!(name.starts_with("beamflow-settings-"), "{name}");
        named(&documents, "ConfigMap", name);
    }
}

#[needs(kubectl)]
#[test]
fn both_containers_have_the_gpu_that_is_shared_or_claimed() {
    for (component, folder) in [
        ("gpu-shared", "overlays/gpu"),
        ("gpu-shared", "monovertex"),
        ("gpu-dra", "overlays/gpu"),
        ("gpu-dra", "monovertex"),
    ] {
        let documents = with(component, folder, &[]);
        let map = map(&documents);
        for container in [&map["udf"]["container"], &map["initContainers"][0]] {
            let resources = &container["resources"];
            assert!(resources["limits"]["nvidia.com/gpu"].is_null());
            if component == "gpu-dra" {
                assert_eq!(resources["claims"], json!([{"name": "gpu"}]));
                assert_eq!(map["resourceClaims"][0]["name"], "gpu");
            } else {
                assert_eq!(resources["limits"]["nvidia.com/gpu.shared"], 1);
            }
        }
    }
}

/// One pod of a node can have a port.
#[needs(kubectl)]
#[test]
fn the_gateway_has_the_ports_of_the_node_and_the_sink_has_none() {
    for folder in ["overlays/cpu", "monovertex/base"] {
        let documents = with("pva-gateway", folder, &["pva-sink"]);
        let sink = documents.iter().find_map(|d| runs(d, "pva-sink")).unwrap();
        let mut ports = sink.spec["ports"].as_array().unwrap().iter();
        assert!(ports.all(|port| port["hostPort"].is_null()), "{folder}");
        let pod = &named(&documents, "Deployment", "pva-gateway")["spec"]["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true);
        // The release that the tests run it with.
        let image = pod["containers"][0]["image"].as_str().unwrap();
        let release = image.strip_prefix("p4p-gateway:").unwrap();
        assert!(read("scripts/pva-peers.sh").contains(&format!("p4p=={release} ")));
        let config = pod["volumes"][0]["configMap"]["name"].as_str().unwrap();
        let config = &named(&documents, "ConfigMap", config)["data"]["gateway.conf"];
        let config: Value = serde_json::from_str(config.as_str().unwrap()).unwrap();
        // The sink's Service.
        let service = named(&documents, "Service", "pva-sink");
        let server = format!("pva-sink:{}", service["spec"]["ports"][0]["port"]);
        assert_eq!(config["clients"][0]["EPICS_PVA_NAME_SERVERS"], server);
    }
}

/// The name of an engine in the cache has the settings in it.
#[needs(kubectl)]
#[test]
fn the_jobs_make_the_engine_of_the_pipeline() {
    let documents = rendered("k8s/overlays/gpu");
    let builds = &map(&documents)["initContainers"][0];
    let mut without_gpu = builds["resources"].clone();
    let limits = without_gpu["limits"].as_object_mut().unwrap();
    assert!(limits.remove("nvidia.com/gpu").is_some());
    for (name, command, resources) in [
        ("prebuild-engine", "build-engine", &builds["resources"]),
        ("prebuild-engine-without-gpu", "build-engine", &without_gpu),
        ("bench-engine", "bench-engine", &builds["resources"]),
    ] {
        let documents = rendered(&format!("k8s/jobs/{name}"));
        let job = runs(&documents[0], command).unwrap();
        for same in ["image", "volumeMounts"] {
            assert_eq!(job.spec[same], builds[same], "{name}: {same}");
        }
        assert_eq!(&job.spec["resources"], resources, "{name}");
        let args = job.spec["args"].as_array().unwrap();
        for arg in builds["args"].as_array().unwrap().iter().skip(1) {
            assert!(args.contains(arg), "{name}: {arg}");
        }
        // Without a GPU it must be named, and NVIDIA's runtime may be missing on the node.
        let has_gpu = resources["limits"]["nvidia.com/gpu"].is_number();
        let named = |arg: &Value| arg.as_str().unwrap().starts_with("--compute-capability=");
        assert_eq!(args.iter().any(named), !has_gpu, "{name}");
        let runtime = &documents[0].value["spec"]["template"]["spec"]["runtimeClassName"];
        assert_eq!(runtime.is_string(), has_gpu, "{name}");
    }
}
