//! The map vertex: engine → lanes → handler → host, from start to drained stop.
//!
//! The model is loaded and warmed up before the socket exists, so every client that can connect is served. The socket is
//! removed before the engine is dropped.

pub use super::error::AppError;
pub use super::sidecar::Sidecar;
use super::sidecar::new_status;
use super::signals;
use crate::cli::ServeArgs;
use crate::config::{Config, MAX_MESSAGE_SIZE};
use crate::inference::handler::FrameHandler;
use crate::inference::lane::Health;
use crate::inference::model::Model;
use crate::inference::policy::{OnFailure, Response};
use crate::inference::schedule::Mode;
use crate::status::Status;
use crate::status::http;
use crate::telemetry::setting::Setting;
use crate::vertex::map::{Answers, MapMode, Mapped, Mapper, Server, ServerConfig, Why};
use futures::future::join_all;
use numaflow::batchmap::Datum;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The least time that open calls get after the last lane is lost.
const LOST_DRAIN: Duration = Duration::from_secs(10);

impl Sidecar {
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
        let healths: Vec<_> = self
            .models
            .iter()
            .map(|model| model.lanes.health())
            .collect();
        let drain_when_lost = async {
            join_all(healths.iter().map(|health| health.lost().cancelled())).await;
            tracing::error!(
                "The last lane is lost; calls in hand are answered, then the process ends."
            );
            drain.cancel();
            // The kubelet does not bound this drain: a stalled client must not keep a dead sidecar alive.
            let patience = self
                .models
                .iter()
                .map(|model| model.limits.inference_timeout)
                .max();
            tokio::time::sleep(patience.unwrap_or_default().max(LOST_DRAIN)).await;
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
            devices_lost = healths.iter().map(Health::devices_lost).sum::<u64>(),
            rejections = ?totals.rejections,
            "The sidecar stops; these are its totals."
        );
        served?;
        if healths.iter().all(|health| health.lost().is_cancelled()) {
            return Err(AppError::DeviceLost);
        }
        Ok(())
    }
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
    let models = sidecar.models.clone();
    let outcome = sidecar.serve(&config, shutdown).await;
    models.iter().for_each(|model| model.lanes.close());
    // An abort does not wait for the lanes.
    let aborted = matches!(outcome, Err(AppError::Aborted));
    let is_clean = !aborted && ended(&models).await;
    if !is_clean {
        // A hung GPU may still use the memory of the slots; freeing it would hang as well.
        std::mem::forget(models);
    }
    Stopped { outcome, is_clean }
}

/// Whether the lanes of all models have ended.
async fn ended(models: &[Arc<Model>]) -> bool {
    let healths: Vec<_> = models.iter().map(|model| model.lanes.health()).collect();
    let ended = join_all(healths.iter().map(Health::ended)).await;
    ended.into_iter().all(|ended| ended)
}

/// Loads the models; `None` if a signal came first.
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
