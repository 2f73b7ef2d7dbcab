//! The models of a sidecar, and how the datums of a call reach them.
//!
//! ```text
//!              ┌─▶ backlog ▶ schedule of low  ▶ answers
//!  datums ▶ router
//!              └─▶ backlog ▶ schedule of high ▶ answers
//! ```
//!
//! Each model has a schedule, slots, lanes and a policy of its own, and a `Call` of its own in each call. The router only looks
//! at headers. A frame that names no model goes to the default, whose collector rejects it. With one model there is no router.
//!
//! What always holds:
//! - every datum goes to one model, in the order in which it came;
//! - a model that hangs or is slow delays its own frames alone, as long as they fit into its backlog. If the backlog is full, the
//!   router waits: no frame is dropped, and the wait is counted and logged. A backlog as large as what Numaflow has in
//!   flight (`limits.readBatchSize`, in streaming mode `limits.concurrency`) is never full. Frames of the next read batch
//!   come when the last frame of this one is answered, whatever model it is for: that is Numaflow's rule for a batch map.

use super::metrics::model::ModelCounts;
use super::policy::AnswerPolicy;
use super::routes::{Choice, Routes};
use super::schedule::{Arrived, Datums, Schedule};
use futures::StreamExt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// A model, and what answers its frames.
pub(crate) struct Served {
    /// Its name in metrics.
    pub(crate) name: String,
    pub(crate) schedule: Box<dyn Schedule>,
    pub(crate) policy: AnswerPolicy,
    /// What is counted of it.
    pub(crate) metrics: Arc<ModelCounts>,
    /// Frames that wait for it while its slots are full, at most.
    pub(crate) backlog: usize,
}

/// All models, as one call sees them.
pub(crate) struct Models(Vec<Served>);

impl Models {
    /// `served` are in the order of the routes' names.
    pub(crate) fn new(served: Vec<Served>) -> Self {
        Self(served)
    }

    /// All, in the order of the models file.
    pub(crate) fn all(&self) -> &[Served] {
        &self.0
    }
}

/// Deals out the datums of a call, each to the backlog of its model.
pub(crate) async fn deal(
    routes: &Routes,
    mut datums: Datums<'_>,
    backlogs: Vec<(mpsc::Sender<Arrived>, Arc<ModelCounts>)>,
) {
    while let Some(arrived) = datums.next().await {
        let model = match routes.choose(&arrived.datum.headers) {
            Ok(Choice::Chosen(model) | Choice::Unlisted(model)) => model,
            Err(_) => routes.default_model(),
        };
        let Some((backlog, metrics)) = backlogs.get(model) else {
            continue; // Never: a choice is one of the models. The host answers for the datum.
        };
        if let Err(TrySendError::Full(arrived)) = backlog.try_send(arrived) {
            metrics.backlog_full();
            // The receiver lives until the end of this call.
            let _ = backlog.send(arrived).await;
        }
    }
}
