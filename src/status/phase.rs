//! Where a sidecar is in its life.

use serde::Serialize;

/// Where a sidecar is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// The model is being loaded and warmed up.
    Loading,
    /// Calls are answered.
    Ready,
    /// Open calls are answered, then the process ends.
    Draining,
    /// Some of several models have no lane any more; the others answer.
    Degraded,
    /// No model has a lane any more.
    Lost,
}
