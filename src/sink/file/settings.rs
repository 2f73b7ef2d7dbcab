//! What the flags of the file sink say.

use crate::sink::mosaic::Recipe;
use crate::sink::result::Raw;
use std::path::PathBuf;
use std::time::Duration;

/// Outputs that a file may have.
pub(crate) const MOST_OUTPUTS: usize = 16;

/// See the module's essay.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The folder of the files.
    pub(crate) folder: PathBuf,
    /// The outputs that are written; empty: all of them.
    pub(crate) outputs: Vec<String>,
    /// Rows of a file, at most; the next frame begins another one.
    pub(crate) frames_per_file: u64,
    /// A file is complete when nothing has come for so long; `None`: only when its series ends.
    pub(crate) idle: Option<Duration>,
    /// The mosaic of a scan, if it is on.
    pub(crate) mosaic: Option<Recipe>,
    /// The type and shape of raw results.
    pub(crate) raw: Raw,
}

impl Settings {
    /// Whether results of this output are written.
    pub(super) fn wants(&self, output: &str) -> bool {
        self.outputs.is_empty() || self.outputs.iter().any(|name| name == output)
    }
}
