//! What the ring, the lanes and the schedules wait with: locks, channels, threads, tasks and time-outs.
//!
//! They are named in this one place so that `tests/models` can have others here: the same code then runs under a scheduler
//! that tries thousands of orders, and the same ones again. In the program they are the usual ones.

pub(crate) use parking_lot::{Condvar, Mutex};
pub(crate) use std::sync::{atomic, mpsc};
pub(crate) use std::thread;
pub(crate) use tokio::sync::{Semaphore, oneshot};
pub(crate) use tokio::task::{JoinError, JoinHandle, spawn, spawn_blocking};
pub(crate) use tokio::time::{sleep, timeout, timeout_at};
