//! One PV: what its monitor reports becomes frames in the backlog, counts and log lines.
//!
//! What always holds: `updates = frames + skipped`, each with one reason.

use super::backlog::{Backlog, Put};
use super::datum::{Frame, MOST_PAYLOAD, datum, event_time};
use super::pixels;
use super::rules::{Gap, Judged, Named, RuleOptions, Rules, Skip};
use super::settings::{Common, PvSettings};
use super::tally::{NewestFrame, Tally, count};
use crate::frame::{Rejection, Scratch};
use crate::pva::{Content, Event, Image, MonitorOptions, ReadOptions, Update};
use crate::telemetry::newest::Newest;
use crate::telemetry::rate::RateLimit;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Updates that wait to be judged, at least: 64 ms at 1000 frames/s.
const LEAST_QUEUE: usize = 64;

/// See the module's essay.
pub(crate) struct Pv {
    settings: PvSettings,
    common: Common,
    shown: Arc<Newest>,
    inner: Mutex<Inner>,
}

struct Inner {
    rules: Rules,
    tally: Tally,
    /// The newest frame, for the status page.
    shown: Arc<Newest>,
    /// Where compressed frames are decoded, if they are.
    scratch: Scratch,
    gap_lines: RateLimit,
    skip_lines: RateLimit,
    drop_lines: RateLimit,
}

impl Pv {
    /// PV number `index` of the source. `process` is a random number.
    pub(crate) fn new(settings: PvSettings, common: &Common, index: u32, process: u64) -> Self {
        let lines = || RateLimit::new(3, Duration::from_secs(10));
        let options = RuleOptions {
            initial: common.initial,
            first_frame: common.first_frame,
            scan_attribute: common.scan_attribute.clone(),
        };
        let shown = Arc::new(Newest::default());
        Self {
            common: common.clone(),
            shown: Arc::clone(&shown),
            inner: Mutex::new(Inner {
                rules: Rules::new(options, index, process),
                tally: Tally::new(&settings.name),
                shown,
                scratch: Scratch::default(),
                gap_lines: lines(),
                skip_lines: lines(),
                drop_lines: lines(),
            }),
            settings,
        }
    }

    /// How it is monitored.
    pub(crate) fn monitor(&self) -> MonitorOptions {
        MonitorOptions {
            server: self.settings.server.clone(),
            server_queue: self.common.server_queue,
            queue: (self.common.server_queue as usize).max(LEAST_QUEUE),
            watchdog: self.common.watchdog,
            read: ReadOptions {
                max_bytes: self.common.max_frame_bytes,
                attributes: self.common.wanted(),
            },
            ..MonitorOptions::new(&self.settings.name)
        }
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> Tally {
        self.inner.lock().tally.clone()
    }

    /// The newest frame, for the status page.
    pub(crate) fn shown(&self) -> &Newest {
        &self.shown
    }

    /// No event has come for a while: open gaps are certain.
    pub(crate) fn settle(&self) {
        let inner = &mut *self.inner.lock();
        let gaps = inner.rules.settle();
        inner.gaps(&gaps);
    }

    /// Takes in what happened at `now`, in ns since 1970. Returns whether `backlog` has one more frame.
    pub(crate) fn event(&self, event: Event, now: i64, backlog: &Mutex<Backlog<Frame>>) -> bool {
        let inner = &mut *self.inner.lock();
        match event {
            Event::Connected { peer } => {
                inner.tally.connections += 1;
                inner.tally.peer = Some(peer.to_string());
                false
            }
            Event::Disconnected => {
                inner.tally.peer = None;
                inner.rules.disconnected();
                false
            }
            Event::Restarted(reason) => {
                count(&mut inner.tally.restarts, reason.name(), 1);
                false
            }
            Event::Update(update) => inner.update(&update, now, &self.common, backlog),
        }
    }
}

impl Inner {
    fn update(
        &mut self,
        update: &Update,
        now: i64,
        common: &Common,
        backlog: &Mutex<Backlog<Frame>>,
    ) -> bool {
        self.tally.updates += 1;
        count(&mut self.tally.left_out, "client", update.lost_in_client);
        count(&mut self.tally.left_out, "server", update.overrun.into());
        let Judged {
            verdict,
            gaps,
            filled,
        } = self.rules.judge(update, now);
        self.gaps(&gaps);
        self.tally.gap_frames_filled += u64::from(filled);
        match (verdict, &update.content) {
            (Ok(named), Content::Image(image)) => {
                self.frame(&named, update, image, now, common, backlog)
            }
            (Err(skip), content) => {
                self.skip(skip, update.unique_id, content);
                false
            }
            // Only an image is a frame.
            (Ok(_), _) => false,
        }
    }

    fn frame(
        &mut self,
        named: &Named,
        update: &Update,
        image: &Image,
        now: i64,
        common: &Common,
        backlog: &Mutex<Backlog<Frame>>,
    ) -> bool {
        let (time, from) = event_time(update, now);
        let pv = self.tally.pv.clone();
        let raw;
        let image = match image.codec {
            Some(_) if common.decompress => match pixels::raw(image, &mut self.scratch) {
                Ok(decoded) => {
                    raw = decoded;
                    &raw
                }
                Err(rejection) => {
                    self.refuse(Skip::UNDECODABLE, update.unique_id, &rejection);
                    return false;
                }
            },
            _ => image,
        };
        let bytes = image.pixels.len();
        if bytes > MOST_PAYLOAD {
            let why = format!(
                "its {bytes} bytes are more than Numaflow's messages hold, {MOST_PAYLOAD}; compress it"
            );
            self.refuse(Skip::NO_MESSAGE, update.unique_id, &why);
            return false;
        }
        let (frame, odd) = datum(&pv, named, update, image, time, common);
        let put = backlog
            .lock()
            .put(named.identity, frame, image.pixels.len());
        if put == Put::Known {
            self.skip(Skip::Duplicate, update.unique_id, &update.content);
            return false;
        }
        self.announce(named, image);
        self.show(named.number, image);
        let tally = &mut self.tally;
        tally.frames += 1;
        tally.bytes += image.pixels.len() as u64;
        tally.uncompressed_bytes += image.uncompressed_size().unwrap_or_default() as u64;
        tally.late += u64::from(named.late);
        tally.series += u64::from(named.begins);
        tally.positions_missing += odd as u64;
        count(&mut tally.event_times, from.name(), 1);
        tally.newest = Some(NewestFrame {
            number: named.number,
            shape: image.shape.to_string(),
            dtype: image.dtype.name(),
            codec: image.codec.map(crate::frame::Codec::name),
            at: Instant::now(),
        });
        let dropped = match put {
            Put::Kept(dropped) => dropped,
            Put::Dropped | Put::Known => 1,
        };
        tally.dropped += dropped;
        if dropped > 0
            && let Some(more) = self.drop_lines.pass(Instant::now())
        {
            tracing::warn!(
                pv,
                dropped = tally.dropped,
                more,
                "Frames are not read in time, and the oldest unread ones are dropped: raise --queue-size or --queue-bytes, or \
                 make the pipeline faster."
            );
        }
        put != Put::Dropped
    }

    /// Keeps the frame for the status page, if it was requested.
    fn show(&mut self, number: u64, image: &Image) {
        let shown = Arc::clone(&self.shown);
        shown.offer(Some(number), || {
            let picture = pixels::picture(&self.tally.pv, image, &mut self.scratch);
            let undrawn = |why: &Rejection| {
                tracing::debug!(
                    pv = self.tally.pv,
                    number,
                    "A frame cannot be drawn: {why}."
                );
            };
            picture.inspect_err(undrawn).into_iter().collect()
        });
    }

    /// Logs what begins with a frame: the first one, a series, another shape.
    fn announce(&self, named: &Named, image: &Image) {
        let pv = &self.tally.pv;
        let shape = image.shape.to_string();
        let codec = image.codec.map_or("none", crate::frame::Codec::name);
        if named.unnumbered {
            tracing::warn!(
                pv,
                "The PV does not number its frames (uniqueId stays the same): they are numbered here, and missing ones are not \
                 noticed."
            );
        }
        let is_new =
            |newest: &NewestFrame| newest.shape != shape || newest.dtype != image.dtype.name();
        if named.begins || self.tally.newest.as_ref().is_some_and(is_new) {
            tracing::info!(
                pv,
                number = named.number,
                shape,
                dtype = image.dtype.name(),
                codec,
                bytes = image.pixels.len(),
                scan = named.series.scan,
                "{}",
                if named.begins {
                    "A series of frames begins."
                } else {
                    "The frames have another shape or dtype."
                }
            );
        }
    }

    /// Counts a frame that is not passed on, and says why.
    fn refuse(&mut self, skip: Skip, id: Option<i64>, why: &dyn std::fmt::Display) {
        count(&mut self.tally.skipped, skip.name(), 1);
        self.say_refused(id, why);
    }

    fn say_refused(&mut self, id: Option<i64>, why: &dyn std::fmt::Display) {
        if let Some(more) = self.skip_lines.pass(Instant::now()) {
            tracing::warn!(pv = self.tally.pv, id, more, "A frame is refused: {why}.");
        }
    }

    fn skip(&mut self, skip: Skip, id: Option<i64>, content: &Content) {
        count(&mut self.tally.skipped, skip.name(), 1);
        let pv = &self.tally.pv;
        match (skip, content) {
            (Skip::Refused(_), Content::Refused(refusal)) => self.say_refused(id, refusal),
            (Skip::Stale, _) => tracing::info!(
                pv,
                id,
                "The PV's last image is from before this connection, and older than --initial: it is no frame."
            ),
            _ => {}
        }
    }

    fn gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            count(&mut self.tally.gap_frames, gap.reason.name(), gap.missing);
            if let Some(more) = self.gap_lines.pass(Instant::now()) {
                tracing::warn!(
                    pv = self.tally.pv,
                    missing = gap.missing,
                    before = gap.before,
                    lost_by = gap.reason.name(),
                    more,
                    "Frames are missing before this number."
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
