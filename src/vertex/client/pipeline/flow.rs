//! One life of a pipeline: from connecting to the end, or to the first error.
//!
//! Four stages, each with one read batch at most, and channels between them: read, map, write, settle. A batch holds a permit
//! from before its read until it is settled, so that the number of permits bounds what is in hand. A stage that fails ends;
//! its channels close, the stages before it end at their next batch, and those behind it finish what they have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use numaflow::proto::map::map_response;
use numaflow::shared::{DROP, NACK};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::books::Books;
use super::calls::{Fate, within};
use super::ends::{Drain, Tap};
use super::parent::{Mapped, Parent, ReadBatch, Written, part};
use super::writing::{Part, Writer};
use super::{Outlet, Pipeline, Settings, Until};
use crate::vertex::client::{Datum, Driver, DriverError, MapMode, sink};

/// What all stages share.
pub(super) struct Life<'a> {
    settings: &'a Settings,
    books: &'a Mutex<Books>,
    /// One call at a time, as numa has it.
    tap: tokio::sync::Mutex<Tap<'a>>,
    stop: &'a CancellationToken,
    /// A stage has failed.
    failed: CancellationToken,
    error: Mutex<Option<DriverError>>,
}

/// Connects, runs, and gives back what is in hand if it fails.
///
/// # Errors
/// The first of any stage.
pub(super) async fn run(
    pipeline: &mut Pipeline,
    stop: &CancellationToken,
) -> Result<(), DriverError> {
    let Pipeline {
        settings,
        source,
        map,
        sinks,
        fallback,
        on_success,
        books,
    } = pipeline;
    // Of a run that was dropped. The source notices that by itself.
    books.lock().return_all();
    let tap = Tap::open(source)
        .await
        .map_err(|error| error.of("source"))?;
    let driver = match map {
        Some(address) => Some(address.map().await.map_err(|error| error.of("map"))?),
        None => None,
    };
    let mut drains = Vec::new();
    for sink in sinks {
        drains.push(
            Drain::open(sink)
                .await
                .map_err(|error| error.of(Part::Sink.name()))?,
        );
    }
    let fallback = open(fallback, Part::Fallback).await?;
    let on_success = open(on_success, Part::OnSuccess).await?;
    let life = Life {
        settings,
        books,
        tap: tokio::sync::Mutex::new(tap),
        stop,
        failed: CancellationToken::new(),
        error: Mutex::new(None),
    };
    // The permits bound what is in the channels, too.
    let depth = settings.read_ahead.max(1);
    let (to_map, from_read) = mpsc::channel(depth);
    let (to_write, from_map) = mpsc::channel(depth);
    let (to_settle, from_write) = mpsc::channel(depth);
    let writer = Writer {
        settings,
        books,
        drains,
        fallback,
        on_success,
    };
    tokio::join!(
        life.stage(life.read_on(depth, to_map)),
        life.stage(life.map_on(driver, from_read, to_write)),
        life.stage(life.write_on(writer, from_map, to_settle)),
        life.stage(life.settle_on(from_write)),
    );
    let Some(error) = life.error.into_inner() else {
        return Ok(());
    };
    let nacks = books.lock().return_all();
    if !nacks.is_empty() {
        // If the source is the part that is gone, it delivers them again by its own rules.
        let nacking = life.tap.into_inner().nack(nacks).await;
        tracing::debug!(ok = nacking.is_ok(), "What was in hand is given back.");
    }
    Err(error)
}

/// Connects to a sink that a pipeline may have.
async fn open(outlet: &mut Option<Outlet>, part: Part) -> Result<Option<Drain<'_>>, DriverError> {
    let Some(outlet) = outlet else {
        return Ok(None);
    };
    let drain = Drain::open(outlet).await;
    Ok(Some(drain.map_err(|error| error.of(part.name()))?))
}

impl Life<'_> {
    /// Runs one stage and notes its error, if it is the first.
    async fn stage(&self, stage: impl Future<Output = Result<(), DriverError>>) {
        if let Err(error) = stage.await {
            self.error.lock().get_or_insert(error);
            self.failed.cancel();
        }
    }

    fn is_enough(&self) -> bool {
        match self.settings.until {
            Until::Acked(count) => self.books.lock().counts.acked >= count,
            Until::Stopped | Until::Idle => false,
        }
    }

    async fn read_on(
        &self,
        depth: usize,
        to_map: mpsc::Sender<ReadBatch>,
    ) -> Result<(), DriverError> {
        let settings = self.settings;
        let permits = Arc::new(Semaphore::new(depth));
        loop {
            let acquired = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.failed.cancelled() => return Ok(()),
                acquired = Arc::clone(&permits).acquire_owned() => acquired,
            };
            let Ok(permit) = acquired else { return Ok(()) };
            if self.is_enough() {
                return Ok(());
            }
            let patience = settings.read_timeout.saturating_add(settings.patience);
            let mut tap = self.tap.lock().await;
            let reading = tap.read(settings.read_batch, settings.read_timeout);
            let (mut messages, time) = within(patience, "source", "reading", reading).await?;
            let is_empty = messages.is_empty();
            let is_clear = {
                let mut books = self.books.lock();
                books.counts.reads.enter(time);
                messages.retain(|message| books.enter(message));
                books.is_clear()
            };
            if is_empty && is_clear && settings.until == Until::Idle {
                let asking = tap.is_idle();
                let (is_idle, _) =
                    within(settings.patience, "source", "asking for pending", asking).await?;
                if is_idle {
                    return Ok(());
                }
            }
            drop(tap);
            let batch = ReadBatch { messages, permit };
            if !batch.messages.is_empty() && to_map.send(batch).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn map_on(
        &self,
        mut driver: Option<Driver>,
        mut from_read: mpsc::Receiver<ReadBatch>,
        to_write: mpsc::Sender<Mapped>,
    ) -> Result<(), DriverError> {
        if let Some(driver) = driver.as_mut().filter(|d| d.map_mode() == MapMode::Unary) {
            return super::stream::map_on(self, driver, from_read, to_write).await;
        }
        while let Some(ReadBatch { messages, permit }) = from_read.recv().await {
            let (mut parents, datums) = part(messages);
            let outputs = match &mut driver {
                None => self.unmapped(datums),
                Some(driver) => {
                    let calling = driver.call(stream::iter(datums));
                    let (answer, time) =
                        within(self.settings.patience, "map", "mapping", calling).await?;
                    self.mapped(time);
                    self.outputs(&mut parents, answer.responses.into_iter().collect())
                }
            };
            let batch = Mapped {
                parents,
                outputs,
                permit,
            };
            if to_write.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Without a map a message is its own output.
    fn unmapped(&self, datums: Vec<Datum>) -> Vec<(usize, Datum)> {
        let output = |datum: Datum| Datum {
            id: self.output_id(&datum.id, 0),
            ..datum
        };
        datums.into_iter().map(output).enumerate().collect()
    }

    fn output_id(&self, id: &str, index: usize) -> String {
        format!("{}-{id}-{index}", self.settings.vertex)
    }

    /// Counts a read batch that is mapped.
    pub(super) fn mapped(&self, time: Duration) {
        self.books.lock().counts.maps.enter(time);
    }

    /// How long a call may take.
    pub(super) fn patience(&self) -> Duration {
        self.settings.patience
    }

    /// The outputs to write, in the order of their parents.
    pub(super) fn outputs(
        &self,
        parents: &mut [Parent],
        mut answered: HashMap<String, Vec<map_response::Result>>,
    ) -> Vec<(usize, Datum)> {
        let mut outputs = Vec::new();
        let mut dropped = 0;
        for (place, parent) in parents.iter_mut().enumerate() {
            let results = answered.remove(&parent.id).unwrap_or_default();
            for (index, result) in results.into_iter().enumerate() {
                let has = |tag: &str| result.tags.iter().any(|other| other == tag);
                if has(NACK) {
                    parent.fate = Fate::Nack(sink::delay(result.nack_options));
                } else if has(DROP) {
                    dropped += 1;
                } else {
                    let id = self.output_id(&parent.id, index);
                    outputs.push((place, parent.output(id, result)));
                }
            }
        }
        let mut books = self.books.lock();
        books.counts.mapped += parents.len() as u64;
        books.counts.dropped += dropped;
        outputs
    }

    async fn write_on(
        &self,
        mut writer: Writer<'_>,
        mut from_map: mpsc::Receiver<Mapped>,
        to_settle: mpsc::Sender<Written>,
    ) -> Result<(), DriverError> {
        while let Some(batch) = from_map.recv().await {
            let Mapped {
                mut parents,
                outputs,
                permit,
            } = batch;
            for (place, fate) in writer.write(outputs).await? {
                if let Some(parent) = parents.get_mut(place) {
                    parent.fate = fate;
                }
            }
            let batch = Written {
                parents,
                _permit: permit,
            };
            if to_settle.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn settle_on(&self, mut from_write: mpsc::Receiver<Written>) -> Result<(), DriverError> {
        let patience = self.settings.patience;
        while let Some(batch) = from_write.recv().await {
            let began = Instant::now();
            let (acks, nacks): (Vec<_>, Vec<_>) = batch
                .parents
                .iter()
                .partition(|parent| parent.fate == Fate::Ack);
            let mut tap = self.tap.lock().await;
            if !acks.is_empty() {
                let offsets = acks.iter().map(|parent| parent.offset.clone()).collect();
                within(patience, "source", "acking", tap.ack(offsets)).await?;
                let ids = acks.iter().map(|parent| &parent.id);
                self.books.lock().acked(ids);
            }
            if !nacks.is_empty() {
                let nacked = nacks.iter().map(|parent| parent.nack()).collect();
                within(patience, "source", "nacking", tap.nack(nacked)).await?;
                let ids = nacks.iter().map(|parent| &parent.id);
                self.books.lock().nacked(ids);
            }
            self.books.lock().counts.acks.enter(began.elapsed());
        }
        Ok(())
    }
}
