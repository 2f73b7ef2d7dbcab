//! Which updates of a PV are frames.
//!
//! A monitor reports states, not frames: an idle channel's first update has no pixels, a connection begins with a snapshot of
//! what was posted before, plugins post a frame twice, a counter starts again at every scan. The rules, in this order:
//!
//! 1. No pixels: *idle*. Other fields than the pixels have changed: *metadata*. Neither is a frame.
//! 2. The numbers are judged by [`FrameNumbers`]: a frame, the first of a new series, a late one, a duplicate, or a frame of a
//!    PV that does not number them.
//!    Without any time, a number that does not change numbers nothing.
//! 3. A duplicate is no frame.
//! 4. The first update of a connection that begins a series is a frame only if it is young: it may be from before the scan.
//! 5. Frames below `--first-frame` are left out: a detector that is still settling.
//! 6. A frame that cannot be passed on is *refused*, with the reason. Its number counts, so it is no gap as well.
//!
//! A change of the attribute of `--scan-attribute` ends the series, whatever the numbers do.
//!
//! # Who lost a frame
//!
//! Each gap has one reason, the first that applies since the frame before it: the connection was lost; this client was too slow
//! for its own queue; the server says that it has left updates out (pvAccessCPP does, PVXS never does). Otherwise it was lost
//! upstream: in the detector, a driver, a plugin, or in a server that does not say so.
//!
//! The rules have no clock and do no I/O.

use super::identity::Identity;
use crate::frame::numbers::{FrameNumbers, Kind, Lost};
use crate::pva::{Content, Update};
use std::collections::VecDeque;
use std::time::Duration;

/// Gaps whose reason is remembered until they are certain.
const REMEMBERED: usize = 256;

/// Whether a snapshot at the begin of a connection is a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initial {
    Always,
    Never,
    /// If it was posted within this time.
    Within(Duration),
}

/// What the rules depend on.
#[derive(Clone, Debug)]
pub(crate) struct RuleOptions {
    pub(crate) initial: Initial,
    /// Frames with smaller numbers are left out.
    pub(crate) first_frame: Option<u64>,
    /// The attribute whose change begins a series.
    pub(crate) scan_attribute: Option<String>,
}

/// The rules for one PV, and what they remember of it.
#[derive(Debug)]
pub(crate) struct Rules {
    options: RuleOptions,
    pv: u32,
    /// Tells this process's own identities from others'.
    process: u64,
    numbers: FrameNumbers,
    series: Option<Series>,
    /// The number of the image before.
    number: Option<u64>,
    /// Both time stamps of the image before.
    stamps: Option<(i64, i64)>,
    /// Frames of a PV that does not number them; their own numbers.
    unnumbered: u64,
    /// Frames with an identity of this process.
    local: u64,
    /// What has gone wrong since the image before.
    trouble: Option<Reason>,
    /// Numbers before which something had gone wrong, and what.
    reasons: VecDeque<(u64, Reason)>,
}

/// A series of frames, as this process saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// When its first frame was taken, in ns since 1970.
    pub(crate) start: i64,
    /// The attribute of `--scan-attribute`.
    pub(crate) scan: Option<String>,
}

/// Where a frame was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Connection,
    Client,
    Server,
    Upstream,
}

impl Reason {
    pub(crate) const ALL: [Self; 4] =
        [Self::Connection, Self::Client, Self::Server, Self::Upstream];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Client => "client",
            Self::Server => "server",
            Self::Upstream => "upstream",
        }
    }
}

/// Frames that are certain to be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) missing: u64,
    /// The number of the frame after them.
    pub(crate) before: u64,
    pub(crate) reason: Reason,
}

/// Why an update is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    Idle,
    Metadata,
    Duplicate,
    /// A snapshot that is too old.
    Stale,
    FirstFrame,
    /// Refused for this reason.
    Refused(&'static str),
}

impl Skip {
    /// A compressed frame that is damaged, found where it is decoded.
    pub(crate) const UNDECODABLE: Self = Self::Refused("codec");

    /// A frame that no message of gRPC can hold.
    pub(crate) const NO_MESSAGE: Self = Self::Refused("too_large");

    /// Every name.
    pub(crate) const NAMES: [&'static str; 11] = [
        "idle",
        "metadata",
        "duplicate",
        "stale",
        "first_frame",
        "undecodable",
        "layout",
        "rgb",
        "too_large",
        "dtype",
        "codec",
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Metadata => "metadata",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::FirstFrame => "first_frame",
            Self::Refused(kind) => kind,
        }
    }
}

/// What a frame is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) identity: Identity,
    /// Its number in its series.
    pub(crate) number: u64,
    pub(crate) series: Series,
    /// It begins the series.
    pub(crate) begins: bool,
    /// It was overtaken by another.
    pub(crate) late: bool,
    /// The PV does not number its frames; said once.
    pub(crate) unnumbered: bool,
}

/// What an update is, and what it shows about others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: Result<Named, Skip>,
    pub(crate) gaps: Vec<Gap>,
    /// The frame had been counted as missing.
    pub(crate) filled: bool,
}

impl Rules {
    /// The rules for PV number `pv`. `process` is random.
    pub(crate) fn new(options: RuleOptions, pv: u32, process: u64) -> Self {
        Self {
            options,
            pv,
            process,
            numbers: FrameNumbers::default(),
            series: None,
            number: None,
            stamps: None,
            unnumbered: 0,
            local: 0,
            trouble: None,
            reasons: VecDeque::new(),
        }
    }

    /// The connection is gone: what is missing from now on may have been lost by that.
    pub(crate) fn disconnected(&mut self) {
        self.blame(Reason::Connection);
    }

    /// Declares every open gap certain: no update has come for a while.
    pub(crate) fn settle(&mut self) -> Vec<Gap> {
        let lost = self.numbers.settle();
        self.gaps(lost)
    }

    /// Judges an update that has come at `now`, in ns since 1970.
    pub(crate) fn judge(&mut self, update: &Update, now: i64) -> Judged {
        if update.lost_in_client > 0 {
            self.blame(Reason::Client);
        }
        if update.overrun {
            self.blame(Reason::Server);
        }
        let refused = match &update.content {
            Content::Idle => return skipped(Skip::Idle),
            Content::Metadata => return skipped(Skip::Metadata),
            Content::Image(_) => None,
            Content::Refused(refusal) => Some(refusal.kind()),
        };
        let Some(number) = update
            .unique_id
            .map(number)
            .or(refused.is_none().then_some(0))
        else {
            // Not even its number could be read.
            return skipped(Skip::Refused(refused.unwrap_or_default()));
        };
        let scan = self.scan(update);
        // An update without the attribute says nothing about the scan.
        let ended = |series: &Series| scan.is_some() && series.scan != scan;
        if self.series.as_ref().is_some_and(ended) {
            self.numbers.end_series();
        }
        if let Some(trouble) = self.trouble.take() {
            self.reasons.push_back((number, trouble));
            if self.reasons.len() > REMEMBERED {
                self.reasons.pop_front();
            }
        }
        let stamps = (update.time_stamp, update.data_time_stamp);
        let taken = [update.data_time_stamp, update.time_stamp]
            .into_iter()
            .find(|stamp| *stamp > 0);
        // Without times the same number says nothing: a repeated frame is better than a lost one.
        let (kind, filled, lost) = if taken.is_none() && self.number == Some(number) {
            (Kind::Unnumbered, false, Vec::new())
        } else {
            let noted = self.numbers.note(number, taken);
            (noted.kind, noted.filled, noted.lost)
        };
        self.number = Some(number);
        let gaps = self.gaps(lost);
        let verdict = self.verdict(update, number, kind, (taken, now), scan);
        self.stamps = Some(stamps);
        Judged {
            verdict: match refused {
                Some(kind) if verdict.is_ok() => Err(Skip::Refused(kind)),
                _ => verdict,
            },
            gaps,
            filled,
        }
    }

    fn verdict(
        &mut self,
        update: &Update,
        number: u64,
        kind: Kind,
        (taken, now): (Option<i64>, i64),
        scan: Option<String>,
    ) -> Result<Named, Skip> {
        if kind == Kind::Duplicate {
            return Err(Skip::Duplicate);
        }
        let begins = self.series.is_none() || kind == Kind::NewSeries;
        if begins && update.first && self.is_stale(update.time_stamp, now) {
            return Err(Skip::Stale);
        }
        let series = match &self.series {
            Some(series) if !begins => series.clone(),
            _ => Series {
                start: taken.unwrap_or(now),
                scan,
            },
        };
        self.series = Some(series.clone());
        let first_unnumbered = kind == Kind::Unnumbered && self.unnumbered == 0;
        let number = if kind == Kind::Unnumbered {
            self.unnumbered += 1;
            self.unnumbered
        } else {
            number
        };
        if self.options.first_frame.is_some_and(|first| number < first) {
            return Err(Skip::FirstFrame);
        }
        Ok(Named {
            identity: self.identity(update),
            number,
            series,
            begins,
            late: kind == Kind::Late,
            unnumbered: first_unnumbered,
        })
    }

    /// The identity of an image: one of this process where the time stamps do not tell it from the image before.
    fn identity(&mut self, update: &Update) -> Identity {
        let stamps = (update.time_stamp, update.data_time_stamp);
        if stamps == (0, 0) || self.stamps == Some(stamps) {
            self.local += 1;
            return Identity::local(self.pv, self.process, self.local);
        }
        Identity {
            pv: self.pv,
            unique_id: update.unique_id.unwrap_or_default(),
            time_stamp: update.time_stamp,
            data_time_stamp: update.data_time_stamp,
        }
    }

    fn is_stale(&self, posted: i64, now: i64) -> bool {
        match self.options.initial {
            Initial::Always => false,
            Initial::Never => true,
            Initial::Within(time) => {
                let age = now.saturating_sub(posted);
                i128::from(age) > time.as_nanos().cast_signed()
            }
        }
    }

    fn scan(&self, update: &Update) -> Option<String> {
        let name = self.options.scan_attribute.as_ref()?;
        let mut attributes = update.attributes.iter();
        let (_, value) = attributes.find(|(attribute, _)| attribute == name)?;
        Some(value.to_string())
    }

    /// Something went wrong; the first reason in the order of [`Reason`] counts.
    fn blame(&mut self, reason: Reason) {
        let before = self.trouble.unwrap_or(Reason::Upstream);
        self.trouble = Some(reason.min(before));
    }

    fn gaps(&mut self, lost: Vec<Lost>) -> Vec<Gap> {
        let reasons = &self.reasons;
        let gap = |Lost { missing, before }| {
            let mut known = reasons.iter().rev();
            let known = known.find(|(number, _)| *number == before);
            Gap {
                missing,
                before,
                reason: known.map_or(Reason::Upstream, |(_, reason)| *reason),
            }
        };
        lost.into_iter().map(gap).collect()
    }
}

const fn skipped(skip: Skip) -> Judged {
    Judged {
        verdict: Err(skip),
        gaps: Vec::new(),
        filled: false,
    }
}

/// The number of a frame. EPICS counts with 32 bits, which become negative: the bits go on counting.
fn number(unique_id: i64) -> u64 {
    match i32::try_from(unique_id) {
        Ok(id) => u64::from(id.cast_unsigned()),
        Err(_) => unique_id.cast_unsigned(),
    }
}

#[cfg(test)]
mod tests;
