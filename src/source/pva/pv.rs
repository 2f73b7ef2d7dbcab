//! One PV: what its monitor reports becomes frames in the backlog, counts and log lines.
//!
//! What always holds: `updates = frames + skipped`, each with one reason.

use super::backlog::{Backlog, Put};
use super::datum::{Frame, MOST_PAYLOAD, TimeFrom, datum, event_time};
use super::rules::{Gap, Judged, Named, Reason, RuleOptions, Rules, Skip};
use super::settings::{Common, PvSettings};
use crate::frame::headers::Description;
use crate::frame::{Decoder, Rejection, Scratch};
use crate::pva::{Content, Event, Image, MonitorOptions, ReadOptions, Restart, Update};
use crate::telemetry::rate::RateLimit;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Updates that wait to be judged, at least: 64 ms at 1000 frames/s.
const LEAST_QUEUE: usize = 64;

/// Counts by reason; each reason is there from the start.
pub(crate) type Counted = BTreeMap<&'static str, u64>;

/// What has happened to a PV.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tally {
    pub(crate) pv: String,
    /// The server, while connected.
    pub(crate) peer: Option<String>,
    pub(crate) connections: u64,
    pub(crate) updates: u64,
    pub(crate) frames: u64,
    /// Bytes of frames as they are sent on, and as raw pixels.
    pub(crate) bytes: u64,
    pub(crate) uncompressed_bytes: u64,
    /// Updates that are no frames.
    pub(crate) skipped: Counted,
    /// Frames that are missing.
    pub(crate) gap_frames: Counted,
    /// Frames that came after they had been counted as missing.
    pub(crate) gap_frames_filled: u64,
    pub(crate) late: u64,
    pub(crate) series: u64,
    /// Updates that were left out, by the server (if it says so) and by this client.
    pub(crate) left_out: Counted,
    /// Frames that were not read in time.
    pub(crate) dropped: u64,
    pub(crate) event_times: Counted,
    pub(crate) restarts: Counted,
    /// Positions that are missing or no numbers.
    pub(crate) positions_missing: u64,
    pub(crate) newest: Option<Newest>,
}

/// The newest frame of a PV.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Newest {
    pub(crate) number: u64,
    pub(crate) shape: String,
    pub(crate) dtype: &'static str,
    pub(crate) codec: Option<&'static str>,
    #[serde(skip)]
    pub(crate) at: Instant,
}

/// See the module's essay.
pub(crate) struct Pv {
    settings: PvSettings,
    common: Common,
    inner: Mutex<Inner>,
}

struct Inner {
    rules: Rules,
    tally: Tally,
    /// Where compressed frames are decoded, if they are.
    scratch: Scratch,
    gap_lines: RateLimit,
    skip_lines: RateLimit,
    drop_lines: RateLimit,
}

fn counted(names: impl IntoIterator<Item = &'static str>) -> Counted {
    names.into_iter().map(|name| (name, 0)).collect()
}

fn count(counted: &mut Counted, name: &'static str, more: u64) {
    *counted.entry(name).or_default() += more;
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
        let restarts = [
            Restart::Ended,
            Restart::Watchdog,
            Restart::Undecodable,
            Restart::Dead,
        ];
        let tally = Tally {
            pv: settings.name.clone(),
            peer: None,
            connections: 0,
            updates: 0,
            frames: 0,
            bytes: 0,
            uncompressed_bytes: 0,
            skipped: counted(Skip::NAMES),
            gap_frames: counted(Reason::ALL.map(Reason::name)),
            gap_frames_filled: 0,
            late: 0,
            series: 0,
            left_out: counted(["server", "client"]),
            dropped: 0,
            event_times: counted(TimeFrom::ALL.map(TimeFrom::name)),
            restarts: counted(restarts.map(Restart::name)),
            positions_missing: 0,
            newest: None,
        };
        Self {
            settings,
            common: common.clone(),
            inner: Mutex::new(Inner {
                rules: Rules::new(options, index, process),
                tally,
                scratch: Scratch::default(),
                gap_lines: lines(),
                skip_lines: lines(),
                drop_lines: lines(),
            }),
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
            Some(_) if common.decompress => match self.decompressed(image) {
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
        let tally = &mut self.tally;
        tally.frames += 1;
        tally.bytes += image.pixels.len() as u64;
        tally.uncompressed_bytes += image.uncompressed_size().unwrap_or_default() as u64;
        tally.late += u64::from(named.late);
        tally.series += u64::from(named.begins);
        tally.positions_missing += odd as u64;
        count(&mut tally.event_times, from.name(), 1);
        tally.newest = Some(Newest {
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

    /// The image as raw pixels.
    fn decompressed(&mut self, image: &Image) -> Result<Image, Rejection> {
        let Image {
            pixels,
            dtype,
            shape,
            codec,
        } = image;
        let description = Description {
            number: 0,
            dtype: *dtype,
            shape: *shape,
            codec: *codec,
        };
        let headers = description.headers().collect();
        let decoder = Decoder::new(*dtype, *shape);
        let decoded = decoder.decode(pixels, &headers, &mut self.scratch)?;
        Ok(Image {
            pixels: Bytes::copy_from_slice(decoded.bytes()),
            codec: None,
            ..image.clone()
        })
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
        let is_new = |newest: &Newest| newest.shape != shape || newest.dtype != image.dtype.name();
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
