//! Compressed frames, decoded ahead of the collector.
//!
//! To decode a frame takes longer than to convert it: up to milliseconds, against some ten microseconds. So each compressed frame
//! is decoded by a task of its own, while the next ones are received, and several cores share the work:
//!
//! ```text
//!  datums ──▶ Decoding ──▶ collector
//!              │    ▲
//!              ▼    │      up to --decoders tasks, each with its own scratch
//!             decode
//! ```
//!
//! What always holds:
//! - frames leave in the order in which they came;
//! - a frame that is not compressed passes through, and none is read ahead for it;
//! - there are at most `--decoders` frames that are decoded and not yet converted, each in a scratch of the size of a raw frame,
//!   which is used again. What a call leaves behind when it is given up comes back to the same few.

use crate::frame::{Decoder, Pixels, Rejection, Scratch};
use crate::inference::sync::{JoinHandle, Mutex, spawn};
use futures::{Stream, ready};
use numaflow::batchmap::Datum;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What decodes the compressed frames of a model.
#[derive(Debug)]
pub(crate) struct Decoders {
    decoder: Decoder,
    /// Frames that are decoded at once, at most.
    most: usize,
    free: Arc<Mutex<Vec<Scratch>>>,
}

/// A datum whose pixels are at hand.
pub(crate) struct Received {
    pub(crate) datum: Datum,
    pixels: Source,
    /// How long its pixels took to be decoded.
    pub(crate) took: Duration,
}

/// Where the pixels of a datum are.
enum Source {
    /// In its payload.
    Payload,
    Scratch(Held),
    /// Nowhere.
    Rejected(Rejection),
}

impl Received {
    /// The pixels, or why there are none. `decoder` reads them if they are in the payload; `spare` stays empty.
    ///
    /// # Errors
    /// The [`Rejection`] of the frame.
    pub(crate) fn pixels<'a>(
        &'a self,
        decoder: &Decoder,
        spare: &'a mut Scratch,
    ) -> Result<Pixels<'a>, Rejection> {
        match &self.pixels {
            Source::Payload => decoder.decode(&self.datum.value, &self.datum.headers, spare),
            Source::Scratch(held) => Ok(held.scratch.pixels()),
            Source::Rejected(rejection) => Err(rejection.clone()),
        }
    }
}

/// A scratch in use.
struct Held {
    scratch: Scratch,
    most: usize,
    free: Arc<Mutex<Vec<Scratch>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut free = self.free.lock();
        // Calls that overlap may have taken more.
        if free.len() < self.most {
            free.push(std::mem::take(&mut self.scratch));
        }
    }
}

impl Decoders {
    /// Decodes up to `most` frames at once, as `decoder` says.
    pub(crate) fn new(decoder: Decoder, most: usize) -> Self {
        Self {
            decoder,
            most,
            free: Arc::default(),
        }
    }

    /// The datums of `source` with their pixels.
    pub(crate) fn stream<S>(&self, source: S) -> Decoding<'_, S> {
        Decoding {
            decoders: self,
            source: Some(source),
            begun: VecDeque::new(),
        }
    }

    fn start(&self, datum: Datum) -> JoinHandle<Received> {
        let scratch = self.free.lock().pop().unwrap_or_default();
        let (decoder, most, free) = (self.decoder, self.most, Arc::clone(&self.free));
        let mut held = Held {
            scratch,
            most,
            free,
        };
        spawn(async move {
            let begun = Instant::now();
            let decoded = decoder.decode(&datum.value, &datum.headers, &mut held.scratch);
            let pixels = match decoded.map(drop) {
                Ok(()) => Source::Scratch(held),
                Err(rejection) => Source::Rejected(rejection),
            };
            let took = begun.elapsed();
            Received {
                datum,
                pixels,
                took,
            }
        })
    }
}

/// Datums with their pixels, in the order in which they came.
pub(crate) struct Decoding<'a, S> {
    decoders: &'a Decoders,
    /// Where datums come from; `None` once there are no more.
    source: Option<S>,
    /// The datums that have come and not left.
    begun: VecDeque<Begun>,
}

enum Begun {
    Ready(Received),
    Running(JoinHandle<Received>),
}

impl<S: Stream<Item = Datum> + Unpin> Stream for Decoding<'_, S> {
    type Item = Received;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let this = &mut *self;
        loop {
            while this.begun.len() < this.decoders.most
                && let Some(source) = &mut this.source
            {
                match Pin::new(source).poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => this.source = None,
                    Poll::Ready(Some(datum)) if Decoder::is_compressed(&datum.headers) => {
                        let task = this.decoders.start(datum);
                        this.begun.push_back(Begun::Running(task));
                    }
                    Poll::Ready(Some(datum)) => {
                        let received = Received {
                            datum,
                            pixels: Source::Payload,
                            took: Duration::ZERO,
                        };
                        this.begun.push_back(Begun::Ready(received));
                        break;
                    }
                }
            }
            let joined = match this.begun.front_mut() {
                Some(Begun::Running(task)) => Some(ready!(Pin::new(task).poll(cx))),
                Some(Begun::Ready(_)) => None,
                None if this.source.is_none() => return Poll::Ready(None),
                None => return Poll::Pending,
            };
            match (this.begun.pop_front(), joined) {
                (_, Some(Ok(received))) | (Some(Begun::Ready(received)), _) => {
                    return Poll::Ready(Some(received));
                }
                (_, Some(Err(error))) => tracing::error!(
                    %error,
                    "A frame was lost while it was decoded, by a defect of this program; it is answered as failed."
                ),
                (_, None) => return Poll::Ready(None),
            }
        }
    }
}
