//! TensorRT's log lines. A failed call of TensorRT returns no reason; the reason is in its log.
//!
//! The latest warnings and errors are kept and attached to the error that they explain. The caller logs that error,
//! because only the caller knows its consequence. TensorRT's own lines go to this program's log at DEBUG, verbose ones
//! at TRACE.

use crate::Cause;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::OnceLock;
use trtx::{LogHandler, Logger, Severity};

/// Number of lines kept.
const KEPT: usize = 6;

thread_local! {
    /// Lines logged on this thread. A lane must not report the errors of another lane as its own.
    static HERE: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// Lines logged on any thread. A build uses several threads.
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
    // TensorRT may log on a thread that is ending, whose own lines are gone. A panic must not reach its code.
    let _ = HERE.try_with(|lines| push(&mut lines.borrow_mut()));
    push(&mut ANYWHERE.lock());
}

/// The only logger of this process. TensorRT keeps a pointer to it for as long as any TensorRT object lives.
pub(crate) fn logger() -> Result<&'static Logger, Cause> {
    static LOGGER: OnceLock<Result<Logger, Cause>> = OnceLock::new();
    LOGGER
        .get_or_init(|| Logger::new(Listener).map_err(Cause::of))
        .as_ref()
        .map_err(Clone::clone)
}

/// Discards the lines of this thread. Call this before a call whose failure [`explain`] is to explain.
pub(crate) fn forget() {
    HERE.with_borrow_mut(VecDeque::clear);
}

/// `error`, with the lines that TensorRT logged on this thread.
pub(crate) fn explain(error: trtx::Error) -> Cause {
    said(Cause::of(error), HERE.with_borrow_mut(std::mem::take))
}

/// Discards the lines of all threads.
pub(crate) fn forget_all() {
    ANYWHERE.lock().clear();
}

/// `cause`, with the lines that TensorRT logged on any thread.
pub(crate) fn explain_all(cause: Cause) -> Cause {
    said(cause, std::mem::take(&mut ANYWHERE.lock()))
}

fn said(cause: Cause, lines: VecDeque<String>) -> Cause {
    if lines.is_empty() {
        return cause;
    }
    let lines: Vec<_> = lines.into();
    let words = format!("{cause}; TensorRT's log: {}", lines.join(" | "));
    cause.in_words(words)
}
