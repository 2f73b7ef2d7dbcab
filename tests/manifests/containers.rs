//! The containers that run beamflow: flags, settings, security.

use crate::manifests::documents::{self, Document, read, root};
use beamflow::cli::{self, Reading};
use beamflow::config::Config;
use beamflow::config::memory;
use beamflow::engine::{self, EngineOptions};
use beamflow::inference::model::OrAuto;
use clap::ArgMatches;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The model's path in the image, and in the repository.
const MODELS: [(&str, &str); 1] = [(
    "/opt/app/models/ptychonn_64.onnx",
    "models/ptychonn_64.onnx",
)];

/// A container that runs beamflow, and the vertex (or MonoVertex) it belongs to.
pub struct Container<'a> {
    pub place: String,
    pub vertex: &'a Value,
    pub spec: &'a Value,
}

/// The vertices of a Pipeline; a MonoVertex counts as one, and so does what else has a container.
pub fn vertices(document: &Document) -> Vec<&Value> {
    match document.kind() {
        "Pipeline" => document.value["spec"]["vertices"]
            .as_array()
            .unwrap()
            .iter()
            .collect(),
        "MonoVertex" => vec![&document.value["spec"]],
        "Deployment" | "Job" => vec![&document.value["spec"]["template"]["spec"]],
        // kustomize copies it into a vertex.
        "SourceContainer" | "SinkContainer" => vec![&document.value],
        _ => Vec::new(),
    }
}

/// Whether an image is one of this project. The last part of its name is `beamflow`, or with the flavour.
fn is_ours(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap();
    name.starts_with("beamflow:") || name.starts_with("beamflow-")
}

/// The containers of `document` that run beamflow.
pub fn containers(document: &Document) -> Vec<Container<'_>> {
    fn search<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
        if value["image"].as_str().is_some_and(is_ours) {
            found.push(value);
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| search(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| search(field, found)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    for vertex in vertices(document) {
        let mut found = Vec::new();
        search(vertex, &mut found);
        all.extend(found.into_iter().map(|spec| Container {
            place: format!(
                "{}, {} {}",
                document.title(),
                vertex["name"],
                spec["args"][0]
            ),
            vertex,
            spec,
        }));
    }
    all
}

impl Container<'_> {
    fn args(&self) -> Vec<&str> {
        let args = self.spec["args"].as_array().into_iter().flatten();
        args.map(|arg| {
            arg.as_str()
                .unwrap_or_else(|| panic!("{}: {arg} is not a string", self.place))
        })
        .collect()
    }

    /// The subcommand; none if it serves.
    pub fn command(&self) -> Option<&str> {
        self.args()
            .first()
            .copied()
            .filter(|arg| !arg.starts_with('-'))
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.spec["env"].as_array().into_iter().flatten();
        let variable = variables.find(|variable| variable["name"] == name)?;
        variable["value"].as_str()
    }

    /// Whether this build of the program has the command.
    fn is_built(&self) -> bool {
        let needs_pva = ["pva-source", "pva-sink", "simulate-ioc"].map(Some);
        (cfg!(feature = "pva") || !needs_pva.contains(&self.command()))
            && (cfg!(feature = "hdf5") || self.command() != Some("file-sink"))
    }

    /// The program understands its arguments and variables.
    pub fn check(&self) {
        if self.is_built() {
            drop(self.reading());
        }
    }

    /// Reads the container's arguments and environment; every variable must be one that the program reads.
    fn reading(&self) -> Reading {
        let program = cli::command();
        let command = match self.command() {
            Some(name) => program
                .find_subcommand(name)
                .unwrap_or_else(|| panic!("{}", self.place)),
            None => &program,
        };
        let mut environment = HashMap::new();
        for variable in self.spec["env"].as_array().into_iter().flatten() {
            let (name, value) = (variable["name"].as_str().unwrap(), &variable["value"]);
            let mut args = command.get_arguments();
            let is_read = args.any(|arg| arg.get_env().is_some_and(|env| env == name));
            assert!(is_read, "{}: nothing reads {name}", self.place);
            // Kubernetes accepts strings only; a number without quotes is a mistake.
            let value = value
                .as_str()
                .unwrap_or_else(|| panic!("{}: {name} is not a string", self.place));
            environment.insert(name, value);
        }
        let arguments = self.args().into_iter().map(Into::into);
        cli::read(arguments, |name| environment.get(name).map(Into::into))
            .unwrap_or_else(|stop| panic!("{}: {stop:?}", self.place))
    }

    /// The configuration of a sidecar.
    pub fn config(&self) -> Config {
        Config::try_from(self.reading().cli.serve).unwrap()
    }

    /// Frames per batch.
    pub fn batch_size(&self) -> usize {
        match self.config().model.batch_size {
            OrAuto::Exactly(frames) => frames,
            OrAuto::Auto => panic!(
                "{}: readBatchSize cannot suit a batch that is auto",
                self.place
            ),
        }
    }
}

/// Every container that serves, in all manifests.
pub fn each_sidecar(mut check: impl FnMut(&Document, &Container<'_>)) {
    let mut checked = 0;
    for document in documents::all() {
        for container in containers(document) {
            if container.command().is_none() {
                check(document, &container);
                checked += 1;
            }
        }
    }
    assert!(checked >= 3, "only {checked} sidecars were found");
}

#[test]
fn the_program_understands_every_flag_and_variable() {
    for document in documents::all() {
        for container in containers(document) {
            assert!(container.spec["command"].is_null(), "{}", container.place);
            container.check();
        }
    }
}

#[test]
fn every_sidecars_model_is_in_the_image_and_suits_its_settings() {
    each_sidecar(|_, container| {
        let config = container.config();
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
    });
}

#[test]
fn the_init_container_builds_the_sidecars_engine() {
    let mut compared = 0;
    each_sidecar(|document, sidecar| {
        let asked = sidecar.reading().matches;
        if asked.get_raw("device").unwrap().next().unwrap() != "cuda" {
            return;
        }
        let init = containers(document)
            .into_iter()
            .find(|container| container.command() == Some("build-engine"))
            .unwrap_or_else(|| panic!("{} has no engine", sidecar.place));
        let matches = init.reading().matches;
        let (_, built) = matches.subcommand().unwrap();
        let raw = |matches: &ArgMatches, id: &str| -> Option<Vec<_>> {
            Some(matches.get_raw(id)?.map(ToOwned::to_owned).collect())
        };
        for (id, in_sidecar) in [
            ("model", "model_path"),
            ("devices", "devices"),
            ("precision", "precision"),
            ("engine_cache", "engine_cache"),
            ("tensorrt_path", "tensorrt_path"),
            ("bsz_size", "bsz_size"),
        ] {
            assert_eq!(
                raw(built, id),
                raw(&asked, in_sidecar),
                "{}: {id}",
                init.place
            );
        }
        for same in ["image", "resources", "volumeMounts"] {
            assert_eq!(
                init.spec[same], sidecar.spec[same],
                "{}: {same}",
                init.place
            );
        }
        compared += 1;
    });
    assert!(compared > 0);
}

#[test]
fn a_gpu_sidecar_has_a_gpu_and_a_folder_for_engines() {
    each_sidecar(|_, container| {
        let matches = container.reading().matches;
        let raw = |id| {
            matches
                .get_raw(id)
                .unwrap()
                .next()
                .unwrap()
                .to_str()
                .unwrap()
        };
        let on_gpu = raw("device") == "cuda";
        let limits = &container.spec["resources"]["limits"];
        assert_eq!(
            limits["nvidia.com/gpu"].is_null(),
            !on_gpu,
            "{}",
            container.place
        );
        let runtime = &container.vertex["runtimeClassName"];
        assert_eq!(runtime == "nvidia", on_gpu, "{}", container.place);
        let image = container.spec["image"].as_str().unwrap();
        assert_eq!(
            image.contains("-tensorrt"),
            on_gpu,
            "{}: {image}",
            container.place
        );
        let mounts = container.spec["volumeMounts"].as_array();
        let folder = |mount: &Value| mount["mountPath"] == raw("engine_cache");
        let has_folder = mounts.is_some_and(|mounts| mounts.iter().any(folder));
        assert_eq!(has_folder, on_gpu, "{}", container.place);
    });
}

#[test]
fn every_container_is_locked_down() {
    let expected = json!({
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    for document in documents::all() {
        for container in containers(document) {
            let place = &container.place;
            assert_eq!(container.spec["securityContext"], expected, "{place}");
            assert!(
                container.spec["resources"]["limits"]["memory"].is_string(),
                "{place}"
            );
            if document.kind() == "SinkContainer" {
                // The volumes are those of the vertex that it is copied into.
                continue;
            }
            let volumes = container.vertex["volumes"].as_array().into_iter().flatten();
            let volumes: Vec<_> = volumes.map(|volume| &volume["name"]).collect();
            for mount in container.spec["volumeMounts"]
                .as_array()
                .into_iter()
                .flatten()
            {
                assert!(volumes.contains(&&mount["name"]), "{place}: {mount}");
            }
            if !volumes.is_empty() {
                let group = &container.vertex["securityContext"]["fsGroup"];
                assert_eq!(group, &json!(65532), "{place} cannot write to its volume");
            }
        }
    }
}

#[test]
fn every_image_is_of_this_version() {
    for document in documents::all() {
        for container in containers(document) {
            let image = container.spec["image"].as_str().unwrap();
            // A site has a registry.
            let (name, tag) = image.rsplit('/').next().unwrap().split_once(':').unwrap();
            // The flavour is in the name: kustomize changes the tag of all images with the same name.
            let flavours = ["", "-onnxruntime", "-tensorrt-rtx", "-tensorrt"];
            let flavour = name.strip_prefix("beamflow").unwrap();
            assert!(flavours.contains(&flavour), "{}: {image}", container.place);
            assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{}", container.place);
        }
    }
}

#[test]
fn every_sidecar_serves_http_on_the_scraped_port() {
    each_sidecar(|_, container| {
        let address = container.config().http_address.unwrap();
        let port = json!([{"name": "beamflow", "containerPort": address.port()}]);
        assert_eq!(container.spec["ports"], port, "{}", container.place);
        assert!(
            address.ip().is_unspecified(),
            "{}: {address}",
            container.place
        );
    });
}

/// Bytes of `1Gi` or `512Mi`.
pub fn bytes(quantity: &str) -> usize {
    let (number, unit) = quantity.split_at(quantity.len() - 2);
    let unit = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => panic!("{quantity}"),
    };
    number.parse::<usize>().unwrap() * unit
}

#[test]
fn every_memory_limit_fits_megapixel_frames() {
    each_sidecar(|_, container| {
        let given = container.spec["resources"]["limits"]["memory"]
            .as_str()
            .unwrap();
        let (side, batch) = (1024, container.batch_size());
        // Input and two outputs are f32; frames are int16.
        let slots = container.config().slots() * batch * 3 * side * side * 4;
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
