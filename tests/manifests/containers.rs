//! The containers that run beamflow: flags, settings, security.

use crate::manifests::documents::{self, Document};
use crate::manifests::models::mounted;
use beamflow::cli::{self, Reading};
use beamflow::config::{Config, models};
use beamflow::inference::model::OrAuto;
use serde_json::{Value, json};
use std::collections::HashMap;

/// A container that runs beamflow, and the vertex (or MonoVertex) it belongs to.
pub struct Container<'a> {
    pub place: String,
    pub document: &'a Document,
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
            document,
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

    /// Reads the container's arguments and environment; every variable must be one that the program reads. A models file is
    /// not read here: it is not on this machine.
    pub fn reading(&self) -> Reading {
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
        let has_models = environment.remove("MODELS").is_some();
        let place = &self.place;
        assert!(
            !has_models || !environment.contains_key("MODEL_PATH"),
            "{place}"
        );
        let arguments = self.args().into_iter().map(Into::into);
        cli::read(arguments, |name| environment.get(name).map(Into::into))
            .unwrap_or_else(|stop| panic!("{}: {stop:?}", self.place))
    }

    /// The configuration of a sidecar, with its models file.
    pub fn config(&self) -> Config {
        let mut config = Config::try_from(self.reading().cli.serve).unwrap();
        config.models_file = mounted(self, "MODELS").map(|file| {
            models::parse(file.as_bytes(), &config.model)
                .unwrap_or_else(|mistake| panic!("{}: {mistake}", self.place))
        });
        config
    }

    /// For each model of a sidecar, the configuration as if it were the only one.
    pub fn configs(&self) -> Vec<Config> {
        let mut config = self.config();
        let Some(file) = config.models_file.take() else {
            return vec![config];
        };
        let alone = |model| {
            let mut config = config.clone();
            config.model = model;
            config
        };
        file.models.into_iter().map(alone).collect()
    }

    /// Frames that must be in hand for every slot of every model to be used.
    pub fn useful_read_batch(&self) -> usize {
        let configs = self.configs();
        let useful = configs
            .iter()
            .map(|config| config.useful_read_batch(self.batch_size(config)));
        useful.sum()
    }

    /// Frames per batch of the only model of `config`.
    pub fn batch_size(&self, config: &Config) -> usize {
        match config.model.batch_size {
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
