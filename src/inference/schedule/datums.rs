//! The datums of a call, each noted in the call's intake as it comes.

use crate::inference::metrics::intake::Intake;
use crate::inference::sync::Mutex;
use futures::Stream;
use numaflow::batchmap::Datum;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A datum, and when it came.
pub(crate) struct Arrived {
    pub(crate) datum: Datum,
    pub(crate) at: Instant,
}

/// See the module's essay.
pub(crate) enum Datums<'a> {
    /// From outside.
    Coming(mpsc::Receiver<Datum>, &'a Mutex<Intake>),
    /// Those that the router has taken from outside.
    Routed(mpsc::Receiver<Arrived>),
}

impl Stream for Datums<'_> {
    type Item = Arrived;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Arrived>> {
        match self.get_mut() {
            Self::Coming(datums, intake) => {
                let datum = ready!(datums.poll_recv(context));
                Poll::Ready(datum.map(|datum| {
                    let at = Instant::now();
                    intake.lock().arrived(&datum, at);
                    Arrived { datum, at }
                }))
            }
            Self::Routed(datums) => datums.poll_recv(context),
        }
    }
}
