//! The files of all series, and when they end: with the next series of their PV, after a pause, at their most rows, and with
//! the process.

use super::interrupted;
use super::room;
use super::scan::{FileError, Put, ScanFile};
use super::settings::Settings;
use super::tally::{DoneFile, FileTally, OpenFile};
use crate::sink::result::{self, Identity, NoResult, Received};
use crate::sink::seen::Seen;
use crate::sink::series::{LATE, Place, Series};
use crate::telemetry::rate::RateLimit;
use numaflow::sink::{Response, SinkRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Results that are remembered beyond their file, to recognise those that are delivered again.
const SEEN: usize = 65_536;

/// See the module's essay.
pub(super) struct Files {
    settings: Settings,
    series: Series,
    seen: Seen<Identity>,
    /// By the number of their series.
    open: BTreeMap<u64, Open>,
    /// Of an earlier process.
    interrupted: Vec<Open>,
    tally: FileTally,
    lines: RateLimit,
    late_lines: RateLimit,
    unfit_lines: RateLimit,
    no_result_lines: RateLimit,
}

/// A file that grows.
struct Open {
    pv: Arc<str>,
    file: ScanFile,
    last: Instant,
    /// When the next series of its PV began.
    followed: Option<Instant>,
}

/// A message on its way.
struct Message {
    id: String,
    /// The file that must be finished before the message is acknowledged.
    awaits: Option<u64>,
    /// What is remembered then.
    identity: Option<Identity>,
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
            open: BTreeMap::new(),
            interrupted: interrupted.collect(),
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
        let mut failures = BTreeMap::new();
        for (series, open) in &mut self.open {
            if let Err(error) = open.file.finish() {
                failures.insert(*series, error.to_string());
            }
        }
        let failed = |message: &Message| {
            let finish = message.awaits.and_then(|series| failures.get(&series));
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
        self.tally.rounded += u64::from(received.image.rounded);
        if self.seen.has(&received.identity) {
            self.tally.duplicates += 1;
            return message;
        }
        if let Some(full) = full {
            message.failure = Some(full.to_owned());
            return message;
        }
        match self.write(&received, now) {
            Ok(Some((series, Put::Written))) => {
                message.awaits = Some(series);
                message.identity = Some(received.identity);
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
        let outputs = &self.settings.outputs;
        if !outputs.is_empty()
            && !outputs
                .iter()
                .any(|name| **name == *received.identity.output)
        {
            let why = "it is not among --outputs".to_owned();
            return Ok(Some((0, Put::Unfit(why))));
        }
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
        if self.open.get(&place.series).is_some_and(is_full) {
            self.complete(place.series)?;
        }
        if !self.open.contains_key(&place.series) {
            let open = self.begin(received, &place, now)?;
            self.open.insert(place.series, open);
        }
        let Some(open) = self.open.get_mut(&place.series) else {
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
                model: received.model.clone(),
                version: received.version.clone(),
            },
        )?;
        tracing::info!(
            path = %file.path().display(),
            pv = &*pv,
            series = place.series,
            scan = received.scan.as_deref().unwrap_or("unnamed"),
            first = received.identity.number,
            model = received.model,
            version = received.version,
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
        let over: Vec<_> = over.map(|(series, _)| *series).collect();
        for series in over {
            if let Err(error) = self.complete(series) {
                self.trouble(&error.to_string(), now);
            }
        }
        while let Some(at) = self.interrupted.iter().position(is_over) {
            let mut open = self.interrupted.swap_remove(at);
            if let Err(error) = self.close(&mut open) {
                self.trouble(&error.to_string(), now);
                // Tried again after the same time.
                (open.last, open.followed) = (now, open.followed.map(|_| now));
                self.interrupted.push(open);
            }
        }
    }

    /// Completes every file: the process ends.
    pub(super) fn end(&mut self) {
        let interrupted = std::mem::take(&mut self.interrupted);
        for mut open in std::mem::take(&mut self.open)
            .into_values()
            .chain(interrupted)
        {
            if let Err(error) = self.close(&mut open) {
                tracing::error!(%error, "A file is not complete: the next process repairs it.");
            }
        }
    }

    fn complete(&mut self, series: u64) -> Result<(), FileError> {
        let Some(mut open) = self.open.remove(&series) else {
            return Ok(());
        };
        self.close(&mut open).inspect_err(|_| {
            self.open.insert(series, open);
        })
    }

    fn close(&mut self, open: &mut Open) -> Result<(), FileError> {
        let path = open.file.close()?;
        let rows = open.file.rows();
        tracing::info!(path = %path.display(), rows, "A file is complete.");
        self.tally.complete(DoneFile { path, rows });
        Ok(())
    }

    /// What has happened so far.
    pub(super) fn tally(&self) -> FileTally {
        let open = self.open.values().chain(&self.interrupted);
        FileTally {
            series: self.series.counted(),
            open: open
                .map(|open| OpenFile {
                    path: open.file.path().to_owned(),
                    rows: open.file.rows(),
                    last: open.last,
                })
                .collect(),
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
