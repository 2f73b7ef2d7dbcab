//! Why a valid frame has no result.

use crate::engine::EngineError;
use crate::frame::LengthMismatch;
use std::time::Duration;

/// Why a valid frame has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The engine returned an error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The session panicked.
    #[error("the engine panicked: {0}")]
    Panicked(String),
    /// The batch took longer than `--inference-timeout`.
    #[error("the batch took longer than the inference time-out of {}", humantime::format_duration(*.0))]
    TimedOut(Duration),
    /// There is no lane left to run on.
    #[error("no lane is left to run on")]
    NoLane,
    /// The engine's result does not fit the output that the model declares.
    #[error("the output {output} cannot be encoded: {source}")]
    Output {
        /// The output's name.
        output: String,
        /// What does not fit.
        source: LengthMismatch,
    },
    /// The call ended without an outcome for this frame: a defect. The frame is answered nevertheless.
    #[error("the frame was never settled")]
    Unsettled,
}

impl Failure {
    /// Every label that [`Failure::kind`] can give.
    pub(crate) const KINDS: [&'static str; 9] = [
        "engine",
        "out_of_memory",
        "session_lost",
        "device_lost",
        "panic",
        "timeout",
        "no_lane",
        "output",
        "unsettled",
    ];

    /// A short, bounded name for logs and counts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Engine(EngineError::SessionLost(_)) => "session_lost",
            Self::Engine(EngineError::DeviceLost(_)) => "device_lost",
            Self::Engine(EngineError::Memory { .. }) => "out_of_memory",
            Self::Engine(_) => "engine",
            Self::Panicked(_) => "panic",
            Self::TimedOut(_) => "timeout",
            Self::NoLane => "no_lane",
            Self::Output { .. } => "output",
            Self::Unsettled => "unsettled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Cause;

    #[test]
    fn every_kind_is_a_label_of_the_metric() {
        let reason = || Cause::from("");
        let failures = [
            Failure::Engine(EngineError::Run(reason())),
            Failure::Engine(EngineError::SessionLost(reason())),
            Failure::Engine(EngineError::DeviceLost(reason())),
            Failure::Engine(EngineError::Memory {
                bytes: 1,
                reason: reason(),
            }),
            Failure::Panicked(String::new()),
            Failure::TimedOut(Duration::ZERO),
            Failure::NoLane,
            Failure::Output {
                output: "phase".to_owned(),
                source: LengthMismatch {
                    row: 1,
                    expected: 2,
                },
            },
            Failure::Unsettled,
        ];
        let mut kinds = failures.each_ref().map(Failure::kind);
        let mut labels = Failure::KINDS;
        kinds.sort_unstable();
        labels.sort_unstable();
        assert_eq!(kinds, labels);
    }
}
