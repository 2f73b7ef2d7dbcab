//! What TensorRT says. Its calls fail without a reason; the reason is in its log.
//!
//! The latest warnings and errors are kept, to be attached to the error they explain: that error is logged where it is
//! known what it cost. TensorRT's own lines go to this program's log at DEBUG, all of them.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::OnceLock;
use trtx::{LogHandler, Logger, Severity};

/// Lines kept.
const KEPT: usize = 6;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

struct Listener;

impl LogHandler for Listener {
    fn log(&self, severity: Severity, message: &str) {
        match severity {
            Severity::InternalError | Severity::Error | Severity::Warning => {
                tracing::debug!(target: "beamflow::tensorrt", ?severity, "{message}");
                keep(message);
            }
            Severity::Info => tracing::debug!(target: "beamflow::tensorrt", "{message}"),
            Severity::Verbose => tracing::trace!(target: "beamflow::tensorrt", "{message}"),
        }
    }
}

fn keep(message: &str) {
    let mut lines = LINES.lock();
    if lines.len() == KEPT {
        lines.pop_front();
    }
    lines.push_back(message.trim().to_owned());
}

/// The one logger of this process. TensorRT keeps a pointer to it for as long as anything of TensorRT lives.
pub fn logger() -> Result<&'static Logger, String> {
    static LOGGER: OnceLock<Result<Logger, String>> = OnceLock::new();
    LOGGER
        .get_or_init(|| Logger::new(Listener).map_err(|error| error.to_string()))
        .as_ref()
        .map_err(Clone::clone)
}

/// Forgets what was said before the call whose failure is to be explained.
pub fn forget() {
    LINES.lock().clear();
}

/// `what`, with what TensorRT said of it.
pub fn explain(what: impl std::fmt::Display) -> String {
    let lines: Vec<_> = LINES.lock().drain(..).collect();
    if lines.is_empty() {
        what.to_string()
    } else {
        format!("{what}; TensorRT says: {}", lines.join(" | "))
    }
}
