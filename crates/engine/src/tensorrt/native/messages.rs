//! What TensorRT says. Its calls fail without a reason; the reason is in its log.
//!
//! The latest warnings and errors are kept, to be attached to the error they explain: that error is logged where it is
//! known what it cost. TensorRT's own lines go to this program's log at DEBUG, all of them.

use crate::Cause;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::OnceLock;
use trtx::{LogHandler, Logger, Severity};

/// Lines kept.
const KEPT: usize = 6;

thread_local! {
    /// What was said on this thread: a lane is not to take another lane's trouble for its own.
    static HERE: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// What was said on any thread: a build is spread over several.
static ANYWHERE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

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
    let push = |lines: &mut VecDeque<String>| {
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(message.trim().to_owned());
    };
    HERE.with_borrow_mut(push);
    push(&mut ANYWHERE.lock());
}

/// The one logger of this process. TensorRT keeps a pointer to it for as long as anything of TensorRT lives.
pub(crate) fn logger() -> Result<&'static Logger, Cause> {
    static LOGGER: OnceLock<Result<Logger, Cause>> = OnceLock::new();
    LOGGER
        .get_or_init(|| Logger::new(Listener).map_err(Cause::of))
        .as_ref()
        .map_err(Clone::clone)
}

/// Forgets what was said on this thread before the call whose failure is to be explained.
pub(crate) fn forget() {
    HERE.with_borrow_mut(VecDeque::clear);
}

/// `error`, with what TensorRT said of it on this thread.
pub(crate) fn explain(error: trtx::Error) -> Cause {
    said(Cause::of(error), HERE.with_borrow_mut(std::mem::take))
}

/// Forgets what was said on all threads.
pub(crate) fn forget_all() {
    ANYWHERE.lock().clear();
}

/// `cause`, with what TensorRT said of it on any thread.
pub(crate) fn explain_all(cause: Cause) -> Cause {
    said(cause, std::mem::take(&mut ANYWHERE.lock()))
}

fn said(cause: Cause, lines: VecDeque<String>) -> Cause {
    if lines.is_empty() {
        return cause;
    }
    let lines: Vec<_> = lines.into();
    let words = format!("{cause}; TensorRT says: {}", lines.join(" | "));
    cause.in_words(words)
}
