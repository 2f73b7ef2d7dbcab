//! Replaces `src/inference/sync.rs` under the scheduler: every operation is a point at which another thread or
//! task may run.
//!
//! Locks, atomics, channels, threads and tasks are shuttle's. Semaphores and oneshot channels are tokio's, and
//! each of their operations is one step, because tokio has its own models of their internals. Time is random: a
//! timeout may expire at any step, and one of `Duration::MAX` never does.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

pub use shuttle::future::JoinError;
pub use shuttle::sync::{atomic, mpsc};

/// Lets another thread or task run.
fn step() {
    shuttle::thread::sleep(Duration::ZERO);
}

/// A random one of `choices`, drawn by the schedule.
pub fn choose(choices: usize) -> usize {
    use shuttle::rand::{Rng, thread_rng};
    thread_rng().gen_range(0..choices)
}

/// Waits until `holds`. If it never does, the schedule exceeds its steps and the model fails.
pub fn until(holds: impl Fn() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

/// Threads.
pub mod thread {
    pub use shuttle::thread::*;

    /// The duration is ignored: other threads may run.
    pub fn sleep(_: std::time::Duration) {
        shuttle::thread::yield_now();
    }
}

/// parking_lot's lock, which a panic does not poison.
pub struct Mutex<T>(shuttle::sync::Mutex<T>);

pub struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock();
        MutexGuard(Some(guard.unwrap_or_else(PoisonError::into_inner)))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

/// parking_lot's condition variable.
pub struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub fn new() -> Self {
        Self(shuttle::sync::Condvar::new())
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let woken = self.0.wait(guard.0.take().unwrap());
        guard.0 = Some(woken.unwrap_or_else(PoisonError::into_inner));
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// tokio's semaphore.
pub struct Semaphore(Arc<tokio::sync::Semaphore>);

impl Semaphore {
    pub fn new(permits: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(permits)))
    }

    pub async fn acquire(
        &self,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, tokio::sync::AcquireError> {
        step();
        self.0.acquire().await
    }

    pub async fn acquire_owned(
        self: Arc<Self>,
    ) -> Result<tokio::sync::OwnedSemaphorePermit, tokio::sync::AcquireError> {
        step();
        Arc::clone(&self.0).acquire_owned().await
    }

    pub fn add_permits(&self, permits: usize) {
        step();
        self.0.add_permits(permits);
    }

    pub fn available_permits(&self) -> usize {
        step();
        self.0.available_permits()
    }
}

/// tokio's channel for one value.
pub mod oneshot {
    pub use tokio::sync::oneshot::Receiver;

    pub struct Sender<T>(tokio::sync::oneshot::Sender<T>);

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Sender(sender), receiver)
    }

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            super::step();
            self.0.send(value)
        }

        pub fn is_closed(&self) -> bool {
            super::step();
            self.0.is_closed()
        }
    }
}

/// A task. If its handle is dropped, the task continues; the model ends only after it, so a task that never
/// ends is found.
pub struct JoinHandle<T>(Option<shuttle::future::JoinHandle<T>>);

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(self.0.as_mut().unwrap()).poll(cx)
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    JoinHandle(Some(shuttle::future::spawn(future)))
}

pub fn spawn_blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> oneshot::Receiver<R> {
    let (done, result) = oneshot::channel();
    drop(shuttle::thread::spawn(move || {
        let _ = done.send(work());
    }));
    result
}

/// The duration is ignored: other tasks may run.
pub async fn sleep(_: Duration) {
    shuttle::future::yield_now().await;
}

/// The error of an expired timeout.
#[derive(Debug)]
pub struct Elapsed;

/// The longest timeout, in steps of a task that does nothing else.
const MOST_STEPS: usize = 12;

/// Up to as many steps as `limit` has milliseconds.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    if limit == Duration::MAX {
        return Ok(future.await);
    }
    within(choose(limit.as_millis() as usize + 1), future).await
}

/// A random number of steps, independent of the clock.
pub async fn sleep_until(_: tokio::time::Instant) {
    for _ in 0..choose(MOST_STEPS) {
        shuttle::future::yield_now().await;
    }
}

async fn within<F: Future>(steps: usize, future: F) -> Result<F::Output, Elapsed> {
    let timer = shuttle::future::spawn(async move {
        for _ in 0..steps {
            shuttle::future::yield_now().await;
        }
    });
    let abort = timer.abort_handle();
    let result = match futures::future::select(pin!(future), timer).await {
        futures::future::Either::Left((output, _)) => Ok(output),
        futures::future::Either::Right(_) => Err(Elapsed),
    };
    abort.abort();
    result
}

/// No time passes.
pub fn since(_: std::time::Instant) -> Duration {
    Duration::ZERO
}
