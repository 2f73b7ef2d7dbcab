//! What all models of a sidecar share.

use super::deliveries::Deliveries;
use super::metrics::counts::Counts;
use super::routes::Routes;
use crate::telemetry::newest::Newest;
use std::sync::Arc;

/// See the module's essay.
pub(crate) struct Common {
    /// What the process counts.
    pub(crate) counts: Arc<Counts>,
    /// Which delivery of a frame is the last.
    pub(crate) deliveries: Deliveries,
    /// Which model a frame is for.
    pub(crate) routes: Routes,
    /// Whether there are dead letters, for which payloads are kept.
    pub(crate) dead_letters: bool,
    /// Keeps the newest frame for the status page.
    pub(crate) newest: Arc<Newest>,
}
