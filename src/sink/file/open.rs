//! A file that grows, and one whose series is over.

use super::scan::{FileError, ScanFile};
use super::tally::{DoneFile, OpenFile};
use crate::sink::mosaic::Recipe;
use std::sync::Arc;
use tokio::time::Instant;

/// A file whose series is over.
pub(super) struct Over {
    pub(super) open: Open,
    pub(super) recipe: Option<Recipe>,
}

impl Over {
    /// Completes it. Takes as long as the solver of its mosaic.
    pub(super) fn complete(mut self) -> Result<DoneFile, Box<(Self, FileError)>> {
        match self.open.file.close(self.recipe.as_ref()) {
            Ok(path) => Ok(DoneFile {
                path,
                rows: self.open.file.rows(),
            }),
            Err(error) => Err(Box::new((self, error))),
        }
    }
}

/// A file that grows.
pub(super) struct Open {
    pub(super) pv: Arc<str>,
    pub(super) file: ScanFile,
    pub(super) last: Instant,
    /// When the next series of its PV began.
    pub(super) followed: Option<Instant>,
}

impl Open {
    pub(super) fn shown(&self) -> OpenFile {
        OpenFile {
            path: self.file.path().to_owned(),
            rows: self.file.rows(),
            last: self.last,
        }
    }
}
