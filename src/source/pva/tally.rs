//! What has happened to a PV, in counts.

use super::datum::TimeFrom;
use super::rules::{Reason, Skip};
use crate::pva::Restart;
use serde::Serialize;
use std::collections::BTreeMap;
use tokio::time::Instant;

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
    pub(crate) newest: Option<NewestFrame>,
}

/// The newest frame of a PV.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NewestFrame {
    pub(crate) number: u64,
    pub(crate) shape: String,
    pub(crate) dtype: &'static str,
    pub(crate) codec: Option<&'static str>,
    #[serde(skip)]
    pub(crate) at: Instant,
}

impl Tally {
    /// Nothing has happened to PV `name`.
    pub(super) fn new(name: &str) -> Self {
        Self {
            pv: name.to_owned(),
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
            restarts: counted(Restart::ALL.map(Restart::name)),
            positions_missing: 0,
            newest: None,
        }
    }
}

fn counted(names: impl IntoIterator<Item = &'static str>) -> Counted {
    names.into_iter().map(|name| (name, 0)).collect()
}

pub(super) fn count(counted: &mut Counted, name: &'static str, more: u64) {
    *counted.entry(name).or_default() += more;
}
