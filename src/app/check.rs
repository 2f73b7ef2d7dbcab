//! `beamflow check`: the models of a file, loaded, tried and warmed up as for serving, without a socket.

use super::error::AppError;
use super::sidecar::{Sidecar, new_status};
use crate::cli::CheckArgs;
use crate::config::Config;

/// Loads the models, prints a line for each, and ends their lanes. Blocks while it does.
///
/// # Errors
/// As for serving: [`AppError`].
pub(crate) fn run(args: CheckArgs) -> Result<(), AppError> {
    let CheckArgs { file, mut serve } = args;
    serve.model.models = Some(file);
    let config = Config::try_from(serve)?;
    let status = new_status(&config, Vec::new());
    let sidecar = Sidecar::load_for(&config, &status)?;
    print!("{}", status.stats().table());
    sidecar.models.iter().for_each(|model| model.lanes.end());
    Ok(())
}
