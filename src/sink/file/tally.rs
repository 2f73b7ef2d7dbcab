//! What a file sink has done so far, for its page, its metrics and its log.

use crate::sink::series::Counted;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::time::Instant;

/// Complete files that are shown.
const SHOWN: usize = 16;

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileTally {
    /// Messages that are results.
    pub(crate) results: u64,
    /// Results that are in a file, flushed.
    pub(crate) written: u64,
    pub(crate) duplicates: u64,
    /// Results of series whose file was complete.
    pub(crate) late: u64,
    /// Results of outputs that `--outputs` does not name.
    pub(crate) other_outputs: u64,
    /// Results that the file cannot take: of one output too many, or of another shape.
    pub(crate) unfit: u64,
    /// Results that could not be written; Numaflow sends them again.
    pub(crate) failed: u64,
    /// Results whose values were rounded to float32.
    pub(crate) rounded: u64,
    /// Messages that are no results, by reason.
    pub(crate) no_results: BTreeMap<&'static str, u64>,
    /// Files that are complete.
    pub(crate) completed: u64,
    pub(crate) series: Counted,
    pub(crate) open: Vec<OpenFile>,
    /// The last files that were completed, the newest last.
    pub(crate) done: Vec<DoneFile>,
    /// What went wrong last, until a write succeeds.
    pub(crate) trouble: Option<String>,
}

/// A file that grows.
#[derive(Clone, Debug)]
pub(crate) struct OpenFile {
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
    pub(crate) last: Instant,
}

/// A file that is complete.
#[derive(Clone, Debug)]
pub(crate) struct DoneFile {
    pub(crate) path: PathBuf,
    pub(crate) rows: u64,
}

impl FileTally {
    /// A file is complete.
    pub(super) fn complete(&mut self, file: DoneFile) {
        self.completed += 1;
        self.done.push(file);
        if self.done.len() > SHOWN {
            self.done.remove(0);
        }
    }
}
