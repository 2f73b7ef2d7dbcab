//! A sidecar with its models loaded and warmed up: engines → lanes → schedules → handler.

use super::error::AppError;
use crate::config::Config;
use crate::config::fitting::{FitError, Fitted};
use crate::engine;
use crate::engine::room::lanes_on;
use crate::inference::common::Common;
use crate::inference::deliveries::Deliveries;
use crate::inference::handler::FrameHandler;
use crate::inference::lane::{Gate, Health, Member};
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::running::Running;
use crate::inference::model::{Model, SelectedOutput};
use crate::inference::models::{Models, Served};
use crate::inference::policy::{AnswerPolicy, AnsweredOutput, OnFailure, OnInvalid};
use crate::inference::read_batch::ReadBatchWatch;
use crate::inference::schedule::{
    BatchWait, Concurrent, Depth, Mode, Pipelined, Schedule, Sequential, Streaming,
};
use crate::status::Status;
use crate::telemetry::newest::Newest;
use crate::telemetry::setting::Setting;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A sidecar with its models loaded and warmed up, not yet listening.
pub struct Sidecar {
    /// The SDK's `BatchMapper`, to be hosted by the SDK's server.
    pub handler: Arc<FrameHandler>,
    /// Totals of this process.
    pub counts: Arc<Counts>,
    /// Frames per batch, of the model with the largest.
    pub batch_size: usize,
    /// The state of the lanes and their devices, of the default model.
    pub health: Health,
    /// Batches in flight in pipelined mode, of the default model.
    pub depth: Arc<Depth>,
    pub(crate) models: Vec<Arc<Model>>,
    /// Cancelled when `--on-failure abort` applies.
    pub(crate) abort: CancellationToken,
}

/// A model that is started.
struct Started {
    model: Arc<Model>,
    depth: Arc<Depth>,
    batch_size: usize,
    /// Datums that a read batch must hold for every slot to be used.
    useful: usize,
    served: Served,
    running: Running,
}

impl Sidecar {
    /// Loads the models, starts their lanes and warms them up. Blocks while it does.
    ///
    /// # Errors
    /// [`AppError::Fit`] or [`AppError::Config`].
    pub fn load(config: &Config) -> Result<Self, AppError> {
        Self::load_for(config, &new_status(config, Vec::new()))
    }

    /// As [`Sidecar::load`], with the counts and the status page of `status`.
    ///
    /// # Errors
    /// [`AppError::Fit`] or [`AppError::Config`].
    pub fn load_for(config: &Config, status: &Status) -> Result<Self, AppError> {
        let fitted = config.fit()?;
        let routes = config.routes();
        let default = routes.default_model();
        let nacks = config.on_failure == OnFailure::Nack;
        let common = Arc::new(Common {
            counts: Arc::clone(status.counts()),
            deliveries: Deliveries::new(config.max_deliveries.filter(|_| nacks)),
            routes,
            dead_letters: config.on_invalid != OnInvalid::Drop,
            newest: Arc::clone(status.newest()),
        });
        let gates = gates(&fitted);
        let mut all = Vec::new();
        for fitted in fitted {
            let priority = fitted.config.model.priority;
            let devices = fitted.plan.engine.devices();
            let gate = |device: &String| Some(gates.get(device)?.join(priority));
            let gates = devices.iter().map(gate).collect();
            let started = start(fitted, all.len() == default, &common, gates);
            let started = started.map_err(|error| config.of_model(all.len(), error));
            let started = started.inspect_err(|_| {
                all.iter()
                    .for_each(|started: &Started| started.model.lanes.end());
            });
            all.push(started?);
        }
        let useful = all.iter().map(|started| started.useful).sum();
        let batch_size = all.iter().map(|started| started.batch_size).max();
        let models: Vec<_> = all
            .iter()
            .map(|started| Arc::clone(&started.model))
            .collect();
        let of_default = all.get(default).map(|started| {
            let health = started.model.lanes.health();
            (health, Arc::clone(&started.depth))
        });
        let (health, depth) =
            of_default.unwrap_or_else(|| (Health::default(), Arc::new(config.depth())));
        let (served, running) = all
            .into_iter()
            .map(|started| (started.served, started.running))
            .unzip();
        status.loaded(running);
        let abort = CancellationToken::new();
        let handler = Arc::new(FrameHandler::new(
            config.mode,
            config.on_failure,
            Models::new(served),
            Arc::clone(&common),
            ReadBatchWatch::new(useful),
            abort.clone(),
        ));
        Ok(Self {
            handler,
            counts: Arc::clone(&common.counts),
            batch_size: batch_size.unwrap_or(1),
            health,
            depth,
            models,
            abort,
        })
    }
}

/// The gates of the devices that several models are on, by the device's name: with a place for each lane of the model
/// with the most.
fn gates(fitted: &[Fitted]) -> BTreeMap<String, Arc<Gate>> {
    let mut lanes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for Fitted { plan, .. } in fitted {
        let devices = plan.engine.devices();
        for (n, device) in devices.iter().enumerate() {
            let here = lanes_on(n, devices.len(), plan.lanes);
            lanes.entry(device.clone()).or_default().push(here);
        }
    }
    let shared = lanes.into_iter().filter(|(_, models)| models.len() > 1);
    let gate = |models: Vec<usize>| Gate::new(models.into_iter().max().unwrap_or(1));
    shared
        .map(|(device, models)| (device, gate(models)))
        .collect()
}

fn start(
    fitted: Fitted,
    is_default: bool,
    common: &Arc<Common>,
    gates: Vec<Option<Member>>,
) -> Result<Started, FitError> {
    let Fitted {
        config,
        plan,
        loading,
    } = fitted;
    let begun = Instant::now();
    let engine = Arc::clone(&plan.engine);
    let version = engine::version(&config.model.path)?;
    let (batch_size, lanes) = (plan.batch_size, plan.lanes);
    let model = Arc::new(Model::start(plan, common, gates)?);
    let (devices, input) = (engine.devices(), &engine.model().input);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mode = %config.mode,
        name = config.model.name,
        model = %config.model.path,
        engine = %engine.description(),
        devices = devices.join(","),
        lanes,
        depth = config.in_flight(),
        batch = batch_size,
        input = %input,
        input_type = %input.element,
        outputs = model.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(","),
        "The model is loaded and warm."
    );
    let policy = AnswerPolicy {
        on_invalid: config.on_invalid.clone(),
        on_nonfinite: config.on_nonfinite(),
        on_failure: config.on_failure,
        outputs: answered(
            &model.outputs,
            &config.model.name,
            &version,
            &engine.description(),
        ),
    };
    let depth = Arc::new(config.depth());
    let useful = config.useful_read_batch(batch_size);
    let running = Running {
        name: config.model.name.clone(),
        is_default,
        engine: engine.description(),
        model: config.model.path.clone(),
        mode: config.mode.to_string(),
        devices,
        batch_size,
        priority: config.model.priority,
        backlog: config.model.backlog,
        read_batch_needed: useful,
        ring: model.ring.watch(),
        lanes: model.lanes.watch(),
        depth: Arc::clone(&depth),
        health: model.lanes.health(),
        load_times: [("load", loading), ("open", begun.elapsed())],
    };
    let served = Served {
        name: config.model.name.clone(),
        schedule: schedule(&config, Arc::clone(&model), Arc::clone(&depth)),
        policy,
        metrics: Arc::clone(&model.metrics),
        backlog: config.model.backlog,
    };
    Ok(Started {
        model,
        depth,
        batch_size,
        useful,
        served,
        running,
    })
}

/// The outputs as their messages name them: with tags where there are several, and with what made them: the output, the model
/// and its version, and what ran it in which precision.
fn answered(
    outputs: &[SelectedOutput],
    model: &str,
    version: &str,
    engine: &str,
) -> Vec<AnsweredOutput> {
    let several = outputs.len() > 1;
    let answered = |output: &SelectedOutput| AnsweredOutput {
        tag: several.then(|| output.name.clone()),
        notes: Arc::new([
            ("output", output.name.clone()),
            ("model", model.to_owned()),
            ("version", version.to_owned()),
            ("engine", engine.to_owned()),
        ]),
    };
    outputs.iter().map(answered).collect()
}

fn schedule(config: &Config, model: Arc<Model>, depth: Arc<Depth>) -> Box<dyn Schedule> {
    match config.mode {
        Mode::Sequential => Box::new(Sequential { model }),
        Mode::Concurrent => Box::new(Concurrent {
            model,
            workers: config.max_concurrent_batches,
        }),
        Mode::Pipelined => Box::new(Pipelined { model, depth }),
        Mode::Streaming => {
            let suited = BatchWait::suited(model.batch_is_fixed);
            let wait = config.batch_wait.map_or(suited, BatchWait::Exactly);
            Box::new(Streaming { model, depth, wait })
        }
    }
}

/// The status of a sidecar that has no model yet.
pub(super) fn new_status(config: &Config, settings: Vec<Setting>) -> Status {
    let status = Status::new(config.mode, settings, Newest::new(config.no_pictures));
    // Its metrics are there before it is loaded, at zero.
    for of_model in config.each() {
        drop(status.counts().model(&of_model.model.name));
    }
    status
}
