//! The settings of a PVA sink.

use crate::pva::ServerOptions;
use crate::sink::mosaic::Recipe;
use crate::sink::result::Raw;
use std::time::Duration;

/// The most outputs that get a PV.
pub(crate) const MOST_OUTPUTS: usize = 16;

/// See the module's essay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the names of all PVs begin with.
    pub(crate) prefix: String,
    /// The outputs that have a PV from the start on; if there are none, each output gets one with its first result.
    pub(crate) outputs: Vec<String>,
    /// The least time between two posts of a PV.
    pub(crate) interval: Option<Duration>,
    /// How long a result waits for those before it.
    pub(crate) reorder: Option<Duration>,
    /// Values that are no finite numbers are kept; otherwise they become 0.
    pub(crate) keep_nan: bool,
    /// What a payload is that is no npy array.
    pub(crate) raw: Raw,
    /// Results are for Numaflow's onSuccess sink, too.
    pub(crate) on_success: bool,
    pub(crate) server: ServerOptions,
    /// The live mosaic, if it is on.
    pub(crate) mosaic: Option<MosaicSettings>,
}

/// What the mosaic is made of, and when there are pictures.
#[derive(Clone, Debug)]
pub(crate) struct MosaicSettings {
    pub(crate) recipe: Recipe,
    /// Between two pictures.
    pub(crate) interval: Duration,
    /// After so long without a patch the final picture is made.
    pub(crate) idle: Duration,
}

impl Settings {
    /// The name of an output's PV. Characters that other programs have a use for become underscores.
    pub(crate) fn pv(&self, output: &str) -> String {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-+.[]<>;".contains(c);
        let name: String = output
            .chars()
            .take(100)
            .map(|c| if allowed(c) { c } else { '_' })
            .collect();
        format!("{}:{name}:image", self.prefix)
    }

    /// The name of the PV of a number.
    pub(crate) fn number(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}
