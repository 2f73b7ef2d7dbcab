//! Flags of the log: of the sidecar and of the simulated source.

use crate::telemetry::logs::LogFormat;
use clap::Args;

/// How the log looks.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct LogArgs {
    /// The format of log lines.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,

    /// Logs more; RUST_LOG, if set, takes precedence (for example RUST_LOG=beamflow=debug).
    #[arg(long, env = "DEBUG")]
    pub(crate) debug: bool,
}
