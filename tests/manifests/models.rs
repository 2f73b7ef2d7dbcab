//! The models of the sidecars: they are in the image, have an engine, and fit; several of them, by the component `models`.

use crate::manifests::containers::{Container, bytes, containers, each_sidecar};
use crate::manifests::documents::{Document, read, rendered, root};
use crate::manifests::kustomize::site;
use beamflow::config::{Config, memory};
use beamflow::engine::{self, EngineOptions};
use beamflow_needs::needs;
use clap::ArgMatches;
use serde_json::Value;
use std::ffi::OsString;

/// The model's path in the image, and in the repository.
const MODELS: [(&str, &str); 1] = [(
    "/opt/app/models/ptychonn_64.onnx",
    "models/ptychonn_64.onnx",
)];

/// The volume of the models file.
const FILE: &str = "models-file";

/// The content of the file that a variable of `container` names, from the config map that is mounted there. None without the
/// variable.
pub fn mounted(container: &Container<'_>, variable: &str) -> Option<String> {
    let path = container.variable(variable)?;
    let (folder, name) = path.rsplit_once('/').unwrap();
    let find = |list: &Value, key: &str, wanted: &Value| {
        let mut items = list.as_array().into_iter().flatten();
        items.find(|item| item[key] == *wanted).cloned()
    };
    let place = &container.place;
    let mount = find(&container.spec["volumeMounts"], "mountPath", &folder.into());
    let mount = mount.unwrap_or_else(|| panic!("{place}: nothing is mounted at {folder}"));
    let volume = find(&container.vertex["volumes"], "name", &mount["name"]).unwrap();
    let mut maps = container.document.config_maps.iter();
    let map = maps.find(|map| map["metadata"]["name"] == volume["configMap"]["name"]);
    let map = map.unwrap_or_else(|| panic!("{place}: there is no config map for {volume}"));
    Some(map["data"][name].as_str().unwrap().to_owned())
}

#[test]
fn every_sidecars_model_is_in_the_image_and_suits_its_settings() {
    each_sidecar(|_, container| {
        for config in container.configs() {
            let known = MODELS.iter().find(|(path, _)| *path == config.model.path);
            let (path, source) = known.unwrap_or_else(|| panic!("{}", container.place));
            let folder = path.rsplit_once('/').unwrap().0;
            let copied = format!("COPY {source} {folder}/");
            assert!(
                read("Dockerfile").contains(&copied),
                "the Dockerfile has no {copied}"
            );
            let model = root().join(source);
            let engine = engine::load(model.to_str().unwrap(), &EngineOptions::default()).unwrap();
            let suited = config.suit(engine.model());
            assert!(
                suited.is_ok(),
                "{}: {}",
                container.place,
                suited.unwrap_err()
            );
        }
    });
}

/// The raw values of an argument.
fn raw(matches: &ArgMatches, id: &str) -> Option<Vec<OsString>> {
    Some(matches.get_raw(id)?.map(ToOwned::to_owned).collect())
}

/// Asserts that an init container of `document` builds the engine that `sidecar` opens for the model of `config`.
fn check_is_built(document: &Document, sidecar: &Container<'_>, config: &Config) {
    let asked = sidecar.reading().matches;
    let text = |text: String| Some(vec![OsString::from(text)]);
    let path = text(config.model.path.clone());
    let built = |init: &Container<'_>| {
        let matches = init.reading().matches;
        let (_, built) = matches.subcommand().unwrap();
        built.clone()
    };
    let init = containers(document)
        .into_iter()
        .filter(|container| container.command() == Some("build-engine"))
        .find(|init| raw(&built(init), "model") == path)
        .unwrap_or_else(|| panic!("{} has no engine for {path:?}", sidecar.place));
    let matches = built(&init);
    let batch = text(sidecar.batch_size(config).to_string());
    assert_eq!(raw(&matches, "bsz_size"), batch, "{}", init.place);
    for id in ["devices", "precision", "engine_cache", "tensorrt_path"] {
        let place = &init.place;
        assert_eq!(raw(&matches, id), raw(&asked, id), "{place}: {id}");
    }
    let mounts = sidecar.spec["volumeMounts"].as_array().unwrap().iter();
    let mounts: Vec<_> = mounts.filter(|mount| mount["name"] != FILE).collect();
    let init_mounts = init.spec["volumeMounts"].as_array().unwrap().iter();
    assert_eq!(init_mounts.collect::<Vec<_>>(), mounts, "{}", init.place);
    for same in ["image", "resources"] {
        let place = &init.place;
        assert_eq!(init.spec[same], sidecar.spec[same], "{place}: {same}");
    }
}

#[test]
fn the_init_container_builds_the_sidecars_engine() {
    let mut compared = 0;
    each_sidecar(|document, sidecar| {
        let device = raw(&sidecar.reading().matches, "device").unwrap();
        if device != ["cuda"] {
            return;
        }
        for config in sidecar.configs() {
            check_is_built(document, sidecar, &config);
            compared += 1;
        }
    });
    assert!(compared > 0);
}

#[test]
fn every_memory_limit_fits_megapixel_frames() {
    each_sidecar(|_, container| {
        let given = container.spec["resources"]["limits"]["memory"]
            .as_str()
            .unwrap();
        let side = 1024;
        // Input and two outputs are f32; frames are int16.
        let rows = |config: &Config| config.slots() * container.batch_size(config);
        let rows: usize = container.configs().iter().map(rows).sum();
        let slots = rows * 3 * side * side * 4;
        let read_batch = container.vertex["limits"]["readBatchSize"]
            .as_u64()
            .unwrap() as usize;
        let in_hand = memory::of_read_batch(read_batch, side * side * 2, 2 * 16_512);
        let needed = memory::PROGRAM + slots + in_hand;
        assert!(
            bytes(given) >= needed,
            "{}: {given} is less than {needed} bytes",
            container.place
        );
    });
}

/// Sizes of a sidecar's vertex that do not suit all its models: slots that no read batch fills, and a backlog that is smaller
/// than what Numaflow has in flight, so that all models wait for one.
fn unsuited(document: &Document, container: &Container<'_>) -> Vec<String> {
    let (own, common) = (
        &container.vertex["limits"],
        &document.value["spec"]["limits"],
    );
    let of = |name: &str| own[name].as_u64().or(common[name].as_u64());
    // Numaflow's defaults.
    let read = of("readBatchSize").unwrap_or(500);
    let in_flight = of("concurrency").unwrap_or(read).max(read);
    let mut wrong = Vec::new();
    let needed = container.useful_read_batch() as u64;
    if read < needed {
        wrong.push(format!("{}: {read} < {needed}", container.place));
    }
    for config in container.configs() {
        let backlog = config.model.backlog as u64;
        if backlog < in_flight {
            wrong.push(format!("{}: {backlog} < {in_flight}", container.place));
        }
    }
    wrong
}

const NONE: [String; 0] = [];

#[test]
fn read_batches_and_backlogs_suit_all_models_of_a_sidecar() {
    each_sidecar(|document, container| assert_eq!(unsuited(document, container), NONE));
}

#[needs(kubectl)]
#[test]
fn the_component_models_suits_a_pipeline_and_a_mono_vertex() {
    for folder in ["overlays/gpu", "monovertex"] {
        let documents = site(&format!(
            "kind: Kustomization\nresources: [../../{folder}]\ncomponents: [../../components/models]\n"
        ));
        let mut checked = 0;
        for document in &documents {
            let sidecars = containers(document).into_iter();
            for sidecar in sidecars.filter(|container| container.command().is_none()) {
                assert_eq!(sidecar.configs().len(), 2, "{folder}");
                assert_eq!(unsuited(document, &sidecar), NONE);
                checked += 1;
            }
        }
        assert_eq!(checked, 1, "{folder}");
    }
}

#[needs(kubectl)]
#[test]
fn the_overlay_two_models_serves_both_and_routes_to_each() {
    let documents = rendered("k8s/overlays/two-models");
    let sidecars = documents.iter().flat_map(containers);
    let mut sidecars = sidecars.filter(|container| container.command().is_none());
    let sidecar = sidecars.next().unwrap();
    let file = sidecar.config().models_file.unwrap();
    assert_eq!(file.models.len(), 2);
    let mut routed: Vec<_> = file.routes[0].values.values().copied().collect();
    routed.sort_unstable();
    assert_eq!(routed, [0, 1]);
    assert_eq!(sidecar.variable("MODEL_PATH"), None);
    assert_eq!(sidecar.variable("MODE"), Some("streaming"));
}
