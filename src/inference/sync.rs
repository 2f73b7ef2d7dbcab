//! The synchronisation primitives of the ring, the lanes and the schedules: locks, channels, threads, tasks and timeouts.
//!
//! `tests/models` replaces this module and compiles the same code on a scheduler that tries thousands of interleavings,
//! reproducibly. The program uses the usual primitives.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::{atomic, mpsc};
pub(crate) use std::thread;
pub(crate) use tokio::sync::{Semaphore, oneshot};
pub(crate) use tokio::task::{JoinError, JoinHandle, spawn, spawn_blocking};
pub(crate) use tokio::time::{sleep, sleep_until, timeout};

/// The time since `begun`. No model depends on the speed of the machine: there it is none.
#[allow(clippy::disallowed_methods, reason = "a lane's own time")]
pub(crate) fn since(begun: std::time::Instant) -> std::time::Duration {
    begun.elapsed()
}
