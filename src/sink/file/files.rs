//! The files of all series, and when they end: with the next series of their PV, after a pause, at their most rows, and with
//! the process.

use super::interrupted;
use super::open::{Open, Over};
use super::room;
use super::scan::{FileError, Put, ScanFile};
use super::settings::Settings;
use super::tally::{DoneFile, FileTally, OpenFile};
use crate::sink::result::{self, Identity, Model, NoResult, Received};
use crate::sink::seen::Seen;
use crate::sink::series::{LATE, Place, Series};
use crate::telemetry::rate::RateLimit;
use numaflow::sink::{Response, SinkRequest};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a file is for.
type Key = (u64, Model);

/// Results that are remembered beyond their file, to recognise those that are delivered again.
const SEEN: usize = 65_536;

/// See the module's essay.
pub(super) struct Files {
    settings: Settings,
    series: Series,
    seen: Seen<(Identity, Model)>,
    /// By the number of their series, and the model: results of two models are not mixed.
    open: HashMap<Key, Open>,
    /// Of an earlier process, and those that could not be completed.
    interrupted: Vec<Open>,
    /// To be completed, which takes a while.
    over: Vec<Over>,
    /// Files that are being completed.
    completing: Vec<OpenFile>,
    tally: FileTally,
    lines: RateLimit,
    late_lines: RateLimit,
    unfit_lines: RateLimit,
    no_result_lines: RateLimit,
}

/// A message on its way.
struct Message {
    id: String,
    /// The file that must be finished before the message is acknowledged.
    awaits: Option<Key>,
    /// What is remembered then.
    identity: Option<(Identity, Model)>,
    failure: Option<String>,
}

impl Files {
    /// Repairs the files that an earlier process left.
    pub(super) fn new(settings: Settings) -> std::io::Result<Self> {
        let now = Instant::now();
        let interrupted = interrupted::find(&settings.folder)?;
        let interrupted = interrupted.into_iter().map(|file| Open {
            pv: file.about().pv.as_str().into(),
            file,
            last: now,
            followed: None,
        });
        let limit = || RateLimit::new(1, Duration::from_secs(10));
        Ok(Self {
            settings,
            series: Series::default(),
            seen: Seen::new(SEEN),
            open: HashMap::new(),
            interrupted: interrupted.collect(),
            over: Vec::new(),
            completing: Vec::new(),
            tally: FileTally {
                no_results: NoResult::kinds().map(|kind| (kind, 0)).collect(),
                ..FileTally::default()
            },
            lines: limit(),
            late_lines: limit(),
            unfit_lines: limit(),
            no_result_lines: limit(),
        })
    }

    /// Writes a read batch, and answers each message.
    pub(super) fn take(&mut self, batch: Vec<SinkRequest>) -> Vec<Response> {
        let now = Instant::now();
        // Half precision becomes single precision.
        let bytes: u64 = batch.iter().map(|one| 2 * one.value.len() as u64).sum();
        let room = room::check(&self.settings.folder, bytes);
        let full = room.err().map(|full| full.to_string());
        let batch = batch.into_iter();
        let messages: Vec<_> = batch
            .map(|request| self.message(request, full.as_deref(), now))
            .collect();
        let mut failures = HashMap::new();
        for (key, open) in &mut self.open {
            if let Err(error) = open.file.finish() {
                failures.insert(key.clone(), error.to_string());
            }
        }
        let failed = |message: &Message| {
            let finish = message.awaits.as_ref().and_then(|key| failures.get(key));
            message.failure.as_ref().or(finish).cloned()
        };
        let mut responses = Vec::with_capacity(messages.len());
        for message in messages {
            if let Some(why) = failed(&message) {
                self.tally.failed += 1;
                self.trouble(&why, now);
                responses.push(Response::failure(message.id, why));
                continue;
            }
            if let Some(identity) = message.identity {
                self.seen.insert(identity);
                self.tally.written += 1;
                self.tally.trouble = None;
            }
            responses.push(Response::ok(message.id));
        }
        responses
    }

    /// Writes a message, unless the disk is `full`.
    fn message(&mut self, request: SinkRequest, full: Option<&str>, now: Instant) -> Message {
        let mut message = Message {
            id: request.id.clone(),
            awaits: None,
            identity: None,
            failure: None,
        };
        let received = match result::read(&request, self.settings.raw) {
            Ok(received) => received,
            Err(why) => {
                self.no_result(&why, &request.id, now);
                return message;
            }
        };
        self.tally.results += 1;
        if !self.settings.wants(&received.identity.output) {
            self.tally.other_outputs += 1;
            return message;
        }
        self.tally.rounded += u64::from(received.image.rounded);
        let known = (received.identity.clone(), received.model.clone());
        if self.seen.has(&known) {
            self.tally.duplicates += 1;
            return message;
        }
        if let Some(full) = full {
            message.failure = Some(full.to_owned());
            return message;
        }
        match self.write(&received, now) {
            Ok(Some((series, Put::Written))) => {
                message.awaits = Some((series, received.model));
                message.identity = Some(known);
            }
            Ok(Some((_, Put::Duplicate))) => self.tally.duplicates += 1,
            Ok(Some((_, Put::Unfit(why)))) => self.unfit(&received, &why, now),
            Ok(None) => self.late(&received, now),
            Err(error) => message.failure = Some(error.to_string()),
        }
        message
    }

    /// Writes a result to the file of its series; `None` if that is complete.
    fn write(
        &mut self,
        received: &Received,
        now: Instant,
    ) -> Result<Option<(u64, Put)>, FileError> {
        let place = self.series.place(received, now);
        if place.begins {
            let pv = &received.identity.pv;
            let before = self.open.values_mut().filter(|open| open.pv == *pv);
            before.for_each(|open| {
                open.followed.get_or_insert(now);
            });
        }
        if place.over {
            return Ok(None);
        }
        let is_full = |open: &Open| {
            open.file.rows() >= self.settings.frames_per_file && !open.file.has(received)
        };
        let key = (place.series, received.model.clone());
        if self.open.get(&key).is_some_and(is_full) {
            self.complete(&key);
        }
        if !self.open.contains_key(&key) {
            let open = self.begin(received, &place, now)?;
            self.open.insert(key.clone(), open);
        }
        let Some(open) = self.open.get_mut(&key) else {
            return Ok(None);
        };
        open.last = now;
        open.file.put(received).map(|put| Some((place.series, put)))
    }

    /// The file of a series: one of an earlier process, or a new one.
    fn begin(
        &mut self,
        received: &Received,
        place: &Place,
        now: Instant,
    ) -> Result<Open, FileError> {
        let pv = Arc::clone(&received.identity.pv);
        let mut before = self.interrupted.iter();
        let before = before.position(|open| interrupted::is_of(&open.file, received));
        if let Some(at) = before {
            let open = self.interrupted.swap_remove(at);
            tracing::info!(
                path = %open.file.path().display(),
                rows = open.file.rows(),
                "The series goes on in the file of an earlier process."
            );
            return Ok(open);
        }
        // Those of the same detector are complete: another series has begun.
        for open in self.interrupted.iter_mut().filter(|open| open.pv == pv) {
            open.followed.get_or_insert(now);
        }
        let start = received.series_start.or(received.identity.time);
        let file = ScanFile::create(
            &self.settings.folder,
            start.unwrap_or_else(result::now),
            super::layout::About {
                pv: pv.to_string(),
                scan: received.scan.clone(),
                series_start: received.series_start,
                model: received.model.name.to_string(),
                version: received.model.version.to_string(),
                engine: received.engine.clone(),
            },
        )?;
        tracing::info!(
            path = %file.path().display(),
            pv = &*pv,
            series = place.series,
            scan = received.scan.as_deref().unwrap_or("unnamed"),
            first = received.identity.number,
            model = &*received.model.name,
            version = &*received.model.version,
            "A file begins."
        );
        Ok(Open {
            pv,
            file,
            last: now,
            followed: None,
        })
    }

    /// Completes the files whose time is over: to be called about once a second.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.series.sweep(now);
        let idle = self.settings.idle;
        let is_over = |open: &Open| {
            let since = |at: Instant| now.saturating_duration_since(at);
            open.followed.is_some_and(|at| since(at) >= LATE)
                || idle.is_some_and(|idle| since(open.last) >= idle)
        };
        let over = self.open.iter().filter(|(_, open)| is_over(open));
        let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.complete(&key);
        }
        while let Some(at) = self.interrupted.iter().position(is_over) {
            let open = self.interrupted.swap_remove(at);
            self.hand_over(open);
        }
    }

    /// Every file is over: the process ends.
    pub(super) fn end(&mut self) {
        let open = std::mem::take(&mut self.open).into_values();
        let interrupted = std::mem::take(&mut self.interrupted);
        for open in open.chain(interrupted) {
            self.hand_over(open);
        }
    }

    fn complete(&mut self, key: &Key) {
        if let Some(open) = self.open.remove(key) {
            self.hand_over(open);
        }
    }

    fn hand_over(&mut self, open: Open) {
        self.completing.push(open.shown());
        let recipe = self.settings.mosaic.clone();
        self.over.push(Over { open, recipe });
    }

    /// The files that must be completed. The caller calls [`Files::completed`] for each.
    pub(super) fn take_over(&mut self) -> Vec<Over> {
        std::mem::take(&mut self.over)
    }

    /// A file is complete, or could not be completed: it is tried again after a while.
    pub(super) fn completed(&mut self, outcome: Result<DoneFile, Box<(Over, FileError)>>) {
        let now = Instant::now();
        match outcome {
            Ok(done) => {
                let partial = done.path.with_extension("h5.partial");
                self.completing.retain(|file| file.path != partial);
                tracing::info!(path = %done.path.display(), rows = done.rows, "A file is complete.");
                self.tally.complete(done);
            }
            Err(failed) => {
                let (Over { mut open, .. }, error) = *failed;
                self.completing.retain(|file| file.path != open.file.path());
                self.trouble(&error.to_string(), now);
                (open.last, open.followed) = (now, Some(now));
                self.interrupted.push(open);
            }
        }
    }

    /// What has happened so far.
    pub(super) fn tally(&self) -> FileTally {
        let open = self.open.values().chain(&self.interrupted);
        let open = open.map(Open::shown);
        FileTally {
            series: self.series.counted(),
            open: open.chain(self.completing.iter().cloned()).collect(),
            ..self.tally.clone()
        }
    }

    fn trouble(&mut self, why: &str, now: Instant) {
        self.tally.trouble = Some(why.to_owned());
        if let Some(more) = self.lines.pass(now) {
            tracing::error!(
                more,
                "Results cannot be written: {why}. Numaflow sends them again."
            );
        }
    }

    fn late(&mut self, received: &Received, now: Instant) {
        self.tally.late += 1;
        if let Some(more) = self.late_lines.pass(now) {
            tracing::warn!(
                number = received.identity.number,
                output = &*received.identity.output,
                more,
                "A result came after the file of its series was complete: it is not written."
            );
        }
    }

    fn unfit(&mut self, received: &Received, why: &str, now: Instant) {
        self.tally.unfit += 1;
        if let Some(more) = self.unfit_lines.pass(now) {
            tracing::warn!(
                number = received.identity.number,
                output = &*received.identity.output,
                more,
                "A result is not written: {why}."
            );
        }
    }

    fn no_result(&mut self, why: &NoResult, id: &str, now: Instant) {
        *self.tally.no_results.entry(why.kind()).or_default() += 1;
        if let Some(more) = self.no_result_lines.pass(now) {
            tracing::warn!(
                id,
                reason = why.kind(),
                more,
                "A message is no result: {why}."
            );
        }
    }
}
