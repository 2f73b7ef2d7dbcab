//! Why a map vertex stops.

use crate::config::fitting::FitError;
use crate::config::models::FileError;
use crate::config::{ConfigError, SettingsError};
use crate::vertex::ServerError;
use std::net::SocketAddr;

/// Why the sidecar stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting does not fit the model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The models file cannot be used.
    #[error(transparent)]
    Models(#[from] FileError),
    /// The model cannot be served.
    #[error(transparent)]
    Fit(FitError),
    /// The socket could not be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The last lane was lost.
    #[error("the last lane is lost and cannot be replaced; a restart of the container is needed")]
    DeviceLost,
    /// `--on-failure abort`.
    #[error("frames failed and --on-failure is abort")]
    Aborted,
    /// The HTTP server cannot listen.
    #[error(
        "cannot serve metrics on {address}: {source}; choose another address with --http-address, or off"
    )]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The operating system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A task ended unexpectedly: a defect.
    #[error("loading the model broke off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

impl From<FitError> for AppError {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Config(error) => Self::Config(error),
            FitError::Models(error) => Self::Models(error),
            other => Self::Fit(other),
        }
    }
}

impl From<SettingsError> for AppError {
    fn from(error: SettingsError) -> Self {
        match error {
            SettingsError::Flag(error) => Self::Config(error),
            SettingsError::Models(error) => Self::Models(error),
        }
    }
}

impl AppError {
    /// Whether a flag or the models file is wrong. The exit code is then 64.
    #[must_use]
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::Models(_) => true,
            Self::Fit(error) => error.is_usage(),
            _ => false,
        }
    }
}
