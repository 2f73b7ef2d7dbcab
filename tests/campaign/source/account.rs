//! What the reader got, and what it may get.

use super::Incident;
use super::detector::{Detector, pixels};
use super::process::Stats;
use beamflow::vertex::client::{Message, Offset};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// What a frame is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub id: i32,
    /// `dataTimeStamp`, in ns since 1970.
    pub time: i64,
}

impl Key {
    fn of(message: &Message) -> Self {
        let header = |name: &str| message.datum.headers[name].as_str();
        Self {
            id: header("x-txn-id").parse().unwrap(),
            time: header("x-frame-time").parse().unwrap(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With the reader.
    Out,
    /// It may come again.
    Back,
    Acked,
}

/// See the module documentation.
#[derive(Default)]
pub struct Account {
    /// Every frame that was posted, in any life.
    posted: HashSet<Key>,
    /// The frames of this life that were delivered.
    frames: HashMap<Key, State>,
    keys: HashMap<Vec<u8>, Key>,
    /// Whether the reader was lost since the last check: what it got and did not show comes again.
    may_come_again: bool,
    /// Frames that the source had taken in before this life's first was posted.
    before: u64,
    incidents: BTreeMap<Incident, u64>,
    totals: BTreeMap<&'static str, u64>,
    /// Counts of this life at the last check.
    checked: BTreeMap<&'static str, u64>,
}

impl Account {
    fn count(&mut self, name: &'static str, more: u64) {
        *self.totals.entry(name).or_default() += more;
    }

    pub fn happened(&mut self, incident: Incident) {
        *self.incidents.entry(incident).or_default() += 1;
    }

    /// A source has started; it has already taken in so many frames.
    pub fn new_life(&mut self, taken: u64) {
        self.frames.clear();
        self.keys.clear();
        self.may_come_again = false;
        self.before = taken;
        self.checked.clear();
    }

    pub fn posted(&mut self, key: Key) {
        assert!(self.posted.insert(key), "the test posts {key:?} twice");
    }

    pub fn delivered(&mut self, message: &Message) {
        let key = Key::of(message);
        assert!(self.posted.contains(&key), "{key:?} was never posted");
        assert_eq!(message.datum.value, pixels(key), "the pixels of {key:?}");
        let again = message.datum.headers.get("x-delivery");
        let again: u64 = again.map_or(1, |count| count.parse().unwrap());
        match self.frames.insert(key, State::Out) {
            None if again > 1 => {
                assert!(self.may_come_again, "{key:?} was delivered to nobody");
                self.count("delivered after a lost reader", 1);
            }
            None => {}
            Some(State::Back) => {
                assert!(again > 1, "{key:?} comes again, and does not say so");
                self.count("delivered after a nack", 1);
            }
            Some(state) => panic!("{key:?} comes again, and is {state:?}"),
        }
        let known = self.keys.insert(message.offset.offset.clone(), key);
        assert!(
            known.is_none_or(|known| known == key),
            "two frames have one offset"
        );
        self.count("deliveries", 1);
    }

    fn set(&mut self, offset: &Offset, state: State) {
        let key = self.keys[&offset.offset];
        self.frames.insert(key, state);
    }

    pub fn nacked(&mut self, nacks: &[(Offset, Option<Duration>)]) {
        for (offset, _) in nacks {
            self.set(offset, State::Back);
        }
        self.count("nacked", nacks.len() as u64);
    }

    pub fn acked(&mut self, acks: &[Offset]) {
        for offset in acks {
            self.set(offset, State::Acked);
        }
        self.count("acked", acks.len() as u64);
    }

    /// The reader was lost in mid-read: frames that it did not show come again.
    pub fn reader_lost(&mut self) {
        self.may_come_again = true;
    }

    /// Every frame that was posted and every id that was left out is taken in or missing, in this life.
    pub fn adds_up(&self, stats: &Stats, detector: &Detector) -> bool {
        let taken = stats.pv("frames") - self.before;
        let missing = stats.sum("gap_frames") - stats.pv("gap_frames_filled");
        let (posted, left_out) = detector.truth();
        taken + missing == posted + left_out
    }

    /// The source has nothing more: every frame that it took in was delivered and acked, or dropped.
    pub fn check(&mut self, stats: &Stats) {
        let open = self
            .frames
            .iter()
            .find(|(_, state)| **state != State::Acked);
        assert_eq!(open, None, "not acked");
        self.may_come_again = false;
        let delivered = self.frames.len() as u64;
        assert_eq!(
            delivered + stats.pv("dropped"),
            stats.pv("frames"),
            "{stats:?}"
        );
        self.count("checks", 1);
        let missing = stats.sum("gap_frames") - stats.pv("gap_frames_filled");
        for (name, now) in [("dropped", stats.pv("dropped")), ("missing", missing)] {
            let before = self.checked.insert(name, now).unwrap_or_default();
            self.count(name, now - before);
        }
    }

    pub fn summary(&self) -> String {
        let (totals, incidents) = (&self.totals, &self.incidents);
        format!("{totals:?}\n{incidents:?}")
    }

    pub fn check_incidents(&self) {
        for incident in [
            Incident::Burst,
            Incident::ReaderKilled,
            Incident::Disconnect,
            Incident::Reset,
            Incident::SourceKilled,
        ] {
            let times = self.incidents.get(&incident).copied().unwrap_or_default();
            assert!(times > 0, "{incident:?} never happened");
        }
        for name in [
            "delivered after a nack",
            "delivered after a lost reader",
            "dropped",
            "missing",
        ] {
            let frames = self.totals.get(name).copied().unwrap_or_default();
            assert!(frames > 0, "no frame was {name}");
        }
    }
}
