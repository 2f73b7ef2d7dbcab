//! The datums of a call, each noted in the call's intake as it comes.

use crate::inference::metrics::intake::Intake;
use crate::inference::sync::Mutex;
use futures::Stream;
use numaflow::batchmap::Datum;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// See the module's essay.
pub(crate) struct Datums<'a> {
    datums: mpsc::Receiver<Datum>,
    /// `None` if they were noted before.
    intake: Option<&'a Mutex<Intake>>,
}

impl<'a> Datums<'a> {
    /// Datums that come from outside.
    pub(crate) fn from_outside(datums: mpsc::Receiver<Datum>, intake: &'a Mutex<Intake>) -> Self {
        Self {
            datums,
            intake: Some(intake),
        }
    }

    /// Datums that the router has taken from outside.
    pub(crate) fn routed(datums: mpsc::Receiver<Datum>) -> Self {
        Self {
            datums,
            intake: None,
        }
    }
}

impl Stream for Datums<'_> {
    type Item = Datum;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Datum>> {
        let datum = ready!(self.datums.poll_recv(context));
        if let (Some(intake), Some(datum)) = (self.intake, &datum) {
            intake.lock().arrived(datum);
        }
        Poll::Ready(datum)
    }
}
