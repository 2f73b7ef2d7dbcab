//! `beamflow check`.

use super::serve::ServeArgs;
use clap::Args;
use std::path::PathBuf;

/// Flags of `beamflow check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The models file, as for --models.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The flags for serving: the values of fields that the file does not give.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}
