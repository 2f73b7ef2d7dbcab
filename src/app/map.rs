//! The map vertex: engine → lanes → handler → host, from start to drained stop.
//!
//! The model is loaded and warmed up before the socket exists, so every client that can connect is served. The socket is
//! removed before the engine is dropped.

pub use crate::app::error::AppError;
use crate::app::signals;
use crate::cli::ServeArgs;
use crate::config::fitting::FitError;
use crate::config::{Config, MAX_MESSAGE_SIZE};
use crate::engine;
use crate::inference::handler::FrameHandler;
use crate::inference::lane::Health;
use crate::inference::metrics::counts::Counts;
use crate::inference::metrics::running::Running;
use crate::inference::model::{Model, SelectedOutput};
use crate::inference::policy::{AnswerPolicy, AnsweredOutput, OnFailure, Response};
use crate::inference::read_batch::ReadBatchWatch;
use crate::inference::schedule::{
    BatchWait, Concurrent, Depth, Mode, Pipelined, Schedule, Sequential, Streaming,
};
use crate::status::Status;
use crate::status::http;
use crate::telemetry::newest::Newest;
use crate::telemetry::setting::Setting;
use crate::vertex::map::{Answers, MapMode, Mapped, Mapper, Server, ServerConfig, Why};
use numaflow::batchmap::Datum;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The least time that open calls get after the last lane is lost.
const LOST_DRAIN: Duration = Duration::from_secs(10);

/// A sidecar with its model loaded and warmed up, not yet listening.
pub struct Sidecar {
    /// The SDK's `BatchMapper`, to be hosted by the SDK's server.
    pub handler: Arc<FrameHandler>,
    /// Totals of this process.
    pub counts: Arc<Counts>,
    /// Frames per batch.
    pub batch_size: usize,
    /// The state of the lanes and their devices.
    pub health: Health,
    /// Batches in flight in pipelined mode.
    pub depth: Arc<Depth>,
    model: Arc<Model>,
    /// Cancelled when `--on-failure abort` applies.
    pub(crate) abort: CancellationToken,
}

impl Sidecar {
    /// Loads the model, starts its lanes and warms them up. Blocks while it does.
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
        let begun = Instant::now();
        let engine = config.load_engine()?;
        let plan = config.plan(Arc::clone(&engine))?;
        let loading = begun.elapsed();
        let version = engine::version(&config.model.path).map_err(FitError::from)?;
        let (batch_size, lanes) = (plan.batch_size, plan.lanes);
        let model =
            Arc::new(Model::start(plan, status.counts(), status.newest()).map_err(FitError::from)?);
        let health = model.lanes.health();
        let (devices, input) = (engine.devices(), &engine.model().input);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            mode = %config.mode,
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
        let counts = Arc::clone(status.counts());
        let abort = CancellationToken::new();
        let depth = Arc::new(config.depth());
        status.loaded(Running {
            name: config.model.name.clone(),
            engine: engine.description(),
            model: config.model.path.clone(),
            mode: config.mode.to_string(),
            devices,
            batch_size,
            read_batch_needed: config.useful_read_batch(batch_size),
            ring: model.ring.watch(),
            lanes: model.lanes.watch(),
            depth: Arc::clone(&depth),
            health: health.clone(),
            load_times: [
                ("load", loading),
                ("open", begun.elapsed().saturating_sub(loading)),
            ],
        });
        let handler = Arc::new(FrameHandler::new(
            config.mode,
            schedule(config, Arc::clone(&model), Arc::clone(&depth)),
            policy,
            Arc::clone(&model.deliveries),
            Arc::clone(&counts),
            ReadBatchWatch::new(config.useful_read_batch(batch_size)),
            abort.clone(),
        ));
        Ok(Self {
            handler,
            counts,
            batch_size,
            health,
            depth,
            model,
            abort,
        })
    }

    /// The handler for a host.
    #[must_use]
    pub fn mapper(&self) -> Arc<Hosted> {
        Arc::new(Hosted(Arc::clone(&self.handler)))
    }

    /// Listens and answers until `shutdown` is cancelled or the last device is lost, then finishes the open calls.
    /// The drain has no limit of its own; Kubernetes ends it after the grace period.
    ///
    /// # Errors
    /// [`AppError::Server`], [`AppError::DeviceLost`] or [`AppError::Aborted`].
    pub async fn serve(self, config: &Config, shutdown: CancellationToken) -> Result<(), AppError> {
        let server_config = ServerConfig {
            map_mode: match config.mode {
                Mode::Streaming => MapMode::Unary,
                Mode::Sequential | Mode::Concurrent | Mode::Pipelined => MapMode::Batch,
            },
            sock_path: config.sock_path.clone(),
            server_info_path: config.server_info_path.clone(),
            // One batch waits for the collector while it converts another.
            read_ahead: self.batch_size,
            max_message_size: MAX_MESSAGE_SIZE,
        };
        let mapper = self.mapper();
        let (handler, on_failure) = (Arc::clone(&self.handler), config.on_failure);
        let (abort, counts) = (self.abort.clone(), Arc::clone(&self.counts));
        let server = Server::new(mapper, server_config, move |id, why| {
            counts.replaced(why == Why::TooLarge);
            if on_failure == OnFailure::Abort {
                abort.cancel();
            }
            handler.unanswered(id)
        });
        let drain = shutdown.child_token();
        let lost = self.health.lost().clone();
        let drain_when_lost = async {
            lost.cancelled().await;
            tracing::error!(
                "The last lane is lost; calls in hand are answered, then the process ends."
            );
            drain.cancel();
            // The kubelet does not bound this drain: a stalled client must not keep a dead sidecar alive.
            tokio::time::sleep(config.model.limits.inference_timeout.max(LOST_DRAIN)).await;
        };
        let served = tokio::select! {
            served = server.serve(drain.clone()) => served.map_err(AppError::from),
            () = drain_when_lost => Ok(()),
            () = self.abort.cancelled() => Err(AppError::Aborted),
        };
        let totals = self.counts.totals();
        tracing::info!(
            calls = totals.calls,
            frames = totals.frames,
            done = totals.done,
            not_finite = totals.not_finite,
            rejected = totals.rejected,
            failed = totals.failed,
            exhausted = totals.exhausted,
            batches = totals.batches,
            retries = totals.retries,
            lanes_replaced = totals.lanes_replaced,
            devices_lost = self.health.devices_lost(),
            rejections = ?totals.rejections,
            "The sidecar stops; these are its totals."
        );
        served?;
        if self.health.lost().is_cancelled() {
            return Err(AppError::DeviceLost);
        }
        Ok(())
    }
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

/// The handler as the host's trait has it, with the metadata of its messages.
pub struct Hosted(Arc<FrameHandler>);

#[tonic::async_trait]
impl Mapper for Hosted {
    async fn map(&self, datums: mpsc::Receiver<Datum>, answers: Answers) {
        self.0.run(datums, answers).await;
    }
}

impl From<Response> for Mapped {
    fn from(response: Response) -> Self {
        let Response { messages, notes } = response;
        Self {
            response: messages,
            notes,
        }
    }
}

/// How a sidecar's run ended.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// The error that ended the run; `Ok` after a signal.
    pub(crate) outcome: Result<(), AppError>,
    /// Whether every resource was released. If not, a lane hangs in its engine, and the process must end without the exit
    /// handlers of that library.
    pub(crate) is_clean: bool,
}

/// Loads, serves until SIGTERM or SIGINT, drains, and waits for the lanes to end. The status page shows `settings`.
pub(crate) async fn run(args: ServeArgs, settings: Vec<Setting>) -> Stopped {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(mistake) => {
            return Stopped {
                outcome: Err(mistake.into()),
                is_clean: true,
            };
        }
    };
    let shutdown = CancellationToken::new();
    let status = Arc::new(new_status(&config, settings));
    let sidecar = match start(&config, &shutdown, &status).await {
        Ok(Some(sidecar)) => sidecar,
        Ok(None) => {
            // The model may still be loading inside a library of the engine.
            return Stopped {
                outcome: Ok(()),
                is_clean: false,
            };
        }
        Err(error) => {
            return Stopped {
                outcome: Err(error),
                is_clean: true,
            };
        }
    };
    let (model, health) = (Arc::clone(&sidecar.model), sidecar.health.clone());
    let outcome = sidecar.serve(&config, shutdown).await;
    model.lanes.close();
    // An abort does not wait for the lanes.
    let aborted = matches!(outcome, Err(AppError::Aborted));
    let is_clean = !aborted && health.ended().await;
    if !is_clean {
        // A hung GPU may still use the memory of the slots; freeing it would hang as well.
        std::mem::forget(model);
    }
    Stopped { outcome, is_clean }
}

/// Loads the model; `None` if a signal came first.
async fn start(
    config: &Config,
    shutdown: &CancellationToken,
    status: &Arc<Status>,
) -> Result<Option<Sidecar>, AppError> {
    signals::watch(shutdown.clone()).map_err(|source| AppError::System {
        doing: "listen for signals",
        source,
    })?;
    let telling = (shutdown.clone(), Arc::clone(status));
    tokio::spawn(async move {
        telling.0.cancelled().await;
        telling.1.draining();
    });
    if let Some(address) = config.http_address {
        let served = http::serve(address, Arc::clone(status)).await;
        served.map_err(|source| AppError::Http { address, source })?;
    }
    let watching = Arc::clone(status);
    tokio::spawn(async move { watching.watch().await });
    let loading = {
        let (config, status) = (config.clone(), Arc::clone(status));
        tokio::task::spawn_blocking(move || Sidecar::load_for(&config, &status))
    };
    tokio::select! {
        loaded = loading => loaded?.map(Some),
        () = shutdown.cancelled() => Ok(None),
    }
}

fn new_status(config: &Config, settings: Vec<Setting>) -> Status {
    let status = Status::new(config.mode, settings, Newest::new(config.no_pictures));
    // Its metrics are there before it is loaded, at zero.
    drop(status.counts().model(&config.model.name));
    status
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
