//! What a session has on a GPU, and how it is given up.
//!
//! What always holds:
//! - nothing is freed while the GPU still uses it;
//! - nothing of a lost device is freed. Every call on it fails, and libraries log an error for each object, or end the
//!   process from a destructor. A lost device gives nothing back before the process ends.

use super::timeline::Timeline;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// A session's stream and `T`, which uses it. See the module documentation.
pub(crate) struct OnDevice<T>(ManuallyDrop<Parts<T>>);

/// Field order is drop order: `used` is dropped before the stream that it uses.
pub(crate) struct Parts<T> {
    pub(crate) used: T,
    pub(crate) timeline: Timeline,
}

impl<T> OnDevice<T> {
    pub(crate) fn new(used: T, timeline: Timeline) -> Self {
        Self(ManuallyDrop::new(Parts { used, timeline }))
    }
}

impl<T> Deref for OnDevice<T> {
    type Target = Parts<T>;

    fn deref(&self) -> &Parts<T> {
        &self.0
    }
}

impl<T> DerefMut for OnDevice<T> {
    fn deref_mut(&mut self) -> &mut Parts<T> {
        &mut self.0
    }
}

impl<T> Drop for OnDevice<T> {
    fn drop(&mut self) {
        match self.timeline.wait() {
            // SAFETY: this is the only place where the parts are dropped, and nothing uses them afterwards.
            Ok(()) => unsafe { ManuallyDrop::drop(&mut self.0) },
            Err(error) => {
                tracing::debug!(%error, "A session of a lost device is left as it is, and ends with the process.");
            }
        }
    }
}
