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
use crate::inference::schedule::Arrived;
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
pub(crate) struct Decoders {
    decoder: Decoder,
    /// Frames that are decoded at once, at most.
    most: usize,
    free: Arc<Mutex<Vec<Scratch>>>,
}

/// A datum whose pixels are at hand.
pub(crate) struct Received {
    pub(crate) datum: Datum,
    /// When it came.
    pub(crate) at: Instant,
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
            free: Arc::new(Mutex::new(Vec::new())),
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

    fn start(&self, Arrived { datum, at }: Arrived) -> JoinHandle<Received> {
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
                at,
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

#[allow(
    clippy::large_enum_variant,
    reason = "a frame that is ready leaves at once: at most `most` are kept"
)]
enum Begun {
    Ready(Received),
    Running(JoinHandle<Received>),
}

impl<S: Stream<Item = Arrived> + Unpin> Stream for Decoding<'_, S> {
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
                    Poll::Ready(Some(arrived))
                        if Decoder::is_compressed(&arrived.datum.headers) =>
                    {
                        let task = this.decoders.start(arrived);
                        this.begun.push_back(Begun::Running(task));
                    }
                    Poll::Ready(Some(Arrived { datum, at })) => {
                        let received = Received {
                            datum,
                            at,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Codec, Dtype, FrameShape, headers::Description};
    use futures::{StreamExt, stream};
    use std::cell::Cell;

    const SHAPE: FrameShape = FrameShape {
        height: 1,
        width: 4,
    };

    /// Frame `k`: four pixels of `k`, as one LZ4 literal where it is compressed.
    fn datum(k: u8, compressed: bool) -> Arrived {
        let description = Description {
            number: u64::from(k),
            dtype: Dtype::U8,
            shape: SHAPE,
            codec: compressed.then_some(Codec::Lz4),
        };
        let literal = if compressed { vec![4 << 4] } else { vec![] };
        let datum = Datum {
            keys: Vec::new(),
            value: [literal, vec![k; 4]].concat(),
            watermark: Default::default(),
            event_time: Default::default(),
            id: k.to_string(),
            headers: description.headers().collect(),
        };
        let at = Instant::now();
        Arrived { datum, at }
    }

    fn decoders(most: usize) -> Decoders {
        Decoders::new(Decoder::new(Dtype::U8, SHAPE), most)
    }

    /// The pixel of each frame, and after how many drawn datums it left.
    async fn leave(most: usize, compressed: impl Fn(u8) -> bool) -> Vec<(u8, usize)> {
        let decoders = decoders(most);
        let drawn = Cell::new(0);
        let source = stream::iter(0..20).map(|k| {
            drawn.set(drawn.get() + 1);
            datum(k, compressed(k))
        });
        let mut decoding = decoders.stream(source);
        let mut left = Vec::new();
        while let Some(received) = decoding.next().await {
            let mut spare = Scratch::default();
            let pixels = received.pixels(&decoders.decoder, &mut spare).unwrap();
            left.push((pixels.bytes()[0], drawn.get()));
        }
        assert!(decoders.free.lock().len() <= most);
        left
    }

    #[tokio::test]
    async fn frames_leave_in_the_order_in_which_they_came() {
        for most in [1, 2, 7, 64] {
            let left = leave(most, |k| k % 3 != 1).await;
            assert!(left.iter().map(|(k, _)| *k).eq(0..20), "{most}: {left:?}");
        }
    }

    #[tokio::test]
    async fn no_frame_is_drawn_early_but_to_be_decoded() {
        let left = leave(4, |_| false).await;
        assert!(left.iter().all(|(k, drawn)| *drawn == usize::from(*k) + 1));
        let left = leave(4, |_| true).await;
        assert!(left.iter().all(|(k, drawn)| *drawn <= usize::from(*k) + 4));
    }

    #[tokio::test]
    async fn a_scratch_comes_back_when_the_call_is_given_up() {
        let decoders = decoders(3);
        let source = stream::iter((0..20).map(|k| datum(k, true)));
        let mut decoding = decoders.stream(source);
        drop(decoding.next().await);
        drop(decoding);
        while decoders.free.lock().len() < 3 {
            tokio::task::yield_now().await;
        }
    }
}
