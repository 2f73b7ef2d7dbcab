//! A piece of work on its way to a lane and back.

use super::Failure;
use crate::engine::{EngineError, Session, StageTimes};
use crate::inference::sync::oneshot;
use std::time::Instant;

/// Something a lane can run on its session.
pub(crate) trait Work: Send + 'static {
    /// Runs on `session`, on the lane's thread.
    ///
    /// # Errors
    /// What the session says.
    fn run(&mut self, session: &mut dyn Session) -> Result<StageTimes, EngineError>;

    /// Frames in it, for the lanes' own account.
    fn frames(&self) -> usize;
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId {
    /// Never used twice in a process.
    pub(super) number: usize,
    /// An index into the engine's devices.
    pub(super) device: usize,
    /// Its place on the device, from 0: a lane that replaces another takes its seat, so that there are never more
    /// seats than lanes were asked for.
    pub(super) seat: usize,
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lane-{}", self.number)
    }
}

/// A job's return.
pub(crate) struct Reply<W> {
    /// The work, with its buffers.
    pub(crate) work: W,
    /// The lane that ran it; `None` if none did.
    pub(crate) lane: Option<LaneId>,
    /// How it went.
    pub(crate) result: Result<StageTimes, Failure>,
}

/// A job on its way: first `started` resolves, then `done`. Either is closed without a
/// value if the job's lane was abandoned.
pub(crate) struct Pending<W> {
    /// Resolves when a lane takes the job up; closed if none ever does.
    pub(crate) started: oneshot::Receiver<LaneId>,
    /// Resolves with the outcome.
    pub(crate) done: oneshot::Receiver<Reply<W>>,
}

/// A job in the queue.
pub(super) struct Job<W> {
    pub(super) work: W,
    pub(super) avoid: Option<LaneId>,
    pub(super) submitted: Instant,
    /// The device whose lanes it is kept for.
    pub(super) device: Option<usize>,
    pub(super) started: oneshot::Sender<LaneId>,
    pub(super) done: oneshot::Sender<Reply<W>>,
}

impl<W> Job<W> {
    /// Sends the work back unrun.
    pub(super) fn fail(self, failure: Failure) {
        let _ = self.done.send(Reply {
            work: self.work,
            lane: None,
            result: Err(failure),
        });
    }
}
