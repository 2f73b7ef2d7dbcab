//! What the sink got in this life, and what source, map and sink may say of it.
//!
//! A write that was interrupted may or may not have reached the sink. Its results usually come again, and are certain then; those
//! of a source that was killed meanwhile do not, and stay uncertain until the sink's life ends. What is certain is compared
//! exactly, what is not within its bounds.

use super::Incident;
use super::detector::{Detector, Key, Kind};
use beamflow::vertex::client::Datum;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A message to the sink.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Written {
    key: Key,
    /// The output; a dead letter has none.
    output: Option<String>,
}

impl Written {
    pub fn of(datum: &Datum) -> Self {
        let header = |name: &str| datum.headers[name].as_str();
        let metadata = datum.metadata.as_ref().unwrap();
        let notes = &metadata.user_metadata["beamflow"].key_value;
        let text = |name| {
            notes
                .get(name)
                .map(|note: &Vec<u8>| String::from_utf8(note.clone()).unwrap())
        };
        let output = text("output");
        assert!(output.is_some() != text("reason").is_some(), "{notes:?}");
        Self {
            key: Key {
                id: header("x-txn-id").parse().unwrap(),
                time: header("x-frame-time").parse().unwrap(),
            },
            output,
        }
    }

    fn is_result(&self) -> bool {
        self.output.is_some()
    }
}

/// What a sink got.
#[derive(Default)]
struct Got {
    /// Distinct results that it certainly got.
    sure: HashSet<Written>,
    /// Distinct results that it may have got.
    maybe: HashSet<Written>,
    /// Messages in writes that were answered: results, dead letters.
    written: [u64; 2],
    /// Messages in writes that were not.
    interrupted: [u64; 2],
}

/// Frames in calls of a map.
#[derive(Default)]
struct Calls {
    answered: u64,
    begun: u64,
}

/// See the module documentation.
#[derive(Default)]
pub struct Account {
    got: Got,
    calls: Calls,
    /// What the last check has found of frames that are missing between those that came.
    missing: u64,
    incidents: BTreeMap<Incident, u64>,
    totals: BTreeMap<&'static str, u64>,
    /// The counts of this life of the sink at the last check.
    checked: BTreeMap<&'static str, u64>,
}

fn count(messages: &[Written]) -> [u64; 2] {
    let results = messages.iter().filter(|one| one.is_result()).count();
    [results as u64, (messages.len() - results) as u64]
}

fn whole(stats: &Value, name: &str) -> u64 {
    let value = stats[name].as_u64();
    value.unwrap_or_else(|| panic!("{name}: {stats}"))
}

impl Account {
    pub fn count(&mut self, name: &'static str, more: u64) {
        *self.totals.entry(name).or_default() += more;
    }

    pub fn happened(&mut self, incident: Incident) {
        *self.incidents.entry(incident).or_default() += 1;
    }

    pub fn new_map(&mut self) {
        self.calls = Calls::default();
    }

    pub fn new_sink(&mut self) {
        self.got = Got::default();
        self.checked.clear();
    }

    pub fn mapping(&mut self, frames: u64) {
        self.calls.begun += frames;
    }

    pub fn mapped(&mut self, frames: u64) {
        self.calls.answered += frames;
    }

    pub fn writing(&mut self, messages: &[Written]) {
        let got = &mut self.got;
        let new = messages.iter().filter(|one| one.is_result());
        got.maybe
            .extend(new.filter(|one| !got.sure.contains(*one)).cloned());
        for (sum, new) in got.interrupted.iter_mut().zip(count(messages)) {
            *sum += new;
        }
    }

    pub fn written(&mut self, messages: &[Written]) {
        let got = &mut self.got;
        for one in messages.iter().filter(|one| one.is_result()) {
            got.maybe.remove(one);
            got.sure.insert(one.clone());
        }
        for ((written, interrupted), new) in got
            .written
            .iter_mut()
            .zip(&mut got.interrupted)
            .zip(count(messages))
        {
            *written += new;
            *interrupted -= new;
        }
    }

    /// The books of the source: every frame that it took in is acked or was dropped, for it has nothing more.
    pub fn check_source(&self, stats: &Value) {
        let pv = &stats["pvs"][0];
        let settled = whole(stats, "acked") + whole(stats, "dropped");
        assert_eq!(whole(stats, "taken"), settled, "{stats}");
        assert_eq!(whole(pv, "frames"), settled, "{stats}");
    }

    /// The books of the map: every frame of a call is answered.
    pub fn check_map(&self, metrics: &str) {
        let value = |line: &str| -> u64 { line.rsplit_once(' ').unwrap().1.parse().unwrap() };
        let lines = |name: &'static str| metrics.lines().filter(move |line| line.starts_with(name));
        let received: u64 = lines("beamflow_frames_received_total").map(value).sum();
        let completed: u64 = lines("beamflow_frames_completed_total").map(value).sum();
        assert_eq!(received, completed, "{metrics}");
        let Calls { answered, begun } = self.calls;
        assert!(
            (answered..=begun).contains(&received),
            "{answered} {received} {begun}"
        );
    }

    /// The books of the sink.
    pub fn check_sink(&mut self, stats: &Value, detector: &Detector) {
        let got = &self.got;
        let lone = got.maybe.len() as u64;
        let sure = got.sure.len() as u64;
        let (results, duplicates) = (whole(stats, "results"), whole(stats, "duplicates"));
        let within = |value: u64, least: u64, more: u64, what: &str| {
            assert!(
                (least..=least + more).contains(&value),
                "{what}: {value}, not from {least} to {}: {stats}",
                least + more
            );
        };
        within(results, got.written[0], got.interrupted[0], "results");
        let letters = whole(&stats["no_results"], "dead_letter");
        within(letters, got.written[1], got.interrupted[1], "dead letters");
        let others = stats["no_results"].as_object().unwrap().iter();
        let others = others.filter(|(reason, _)| *reason != "dead_letter");
        assert!(
            others.map(|(_, n)| n.as_u64()).all(|n| n == Some(0)),
            "{stats}"
        );
        // Every distinct result is posted once.
        let distinct = results - duplicates;
        within(distinct, sure, lone, "distinct results");
        let posted: u64 = stats["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| whole(output, "posted"))
            .sum();
        assert_eq!(posted, distinct, "{stats}");
        // Every frame is placed once, or counted by the reason why it is not.
        let mosaic = &stats["mosaic"];
        assert_eq!(whole(mosaic, "patches"), distinct, "{stats}");
        let left_out = ["unpositioned", "outside", "unusable", "without_phase"];
        let left_out: u64 = left_out.iter().map(|name| whole(mosaic, name)).sum();
        let frames = whole(mosaic, "placed") + left_out;
        let halves = ["earlier", "repeated", "mismatched"];
        let halves: u64 = halves.iter().map(|name| whole(mosaic, name)).sum();
        let off = (2 * frames + halves).abs_diff(distinct);
        assert!(off <= lone, "{off} of at most {lone} halves: {stats}");
        let mut kinds: BTreeMap<Kind, HashSet<Key>> = BTreeMap::new();
        let mut series: HashMap<u64, (i32, i32, HashSet<i32>)> = HashMap::new();
        for Written { key, .. } in &got.sure {
            let posted = detector.posted(*key);
            kinds.entry(posted.kind).or_default().insert(*key);
            let (low, high, ids) =
                series
                    .entry(posted.series)
                    .or_insert((key.id, key.id, HashSet::new()));
            (*low, *high) = (key.id.min(*low), key.id.max(*high));
            ids.insert(key.id);
        }
        assert!(
            !kinds.contains_key(&Kind::Odd),
            "the map has a result for an odd frame"
        );
        let of = |kind| kinds.get(&kind).map_or(0, |keys| keys.len() as u64);
        if lone == 0 {
            let unpositioned = whole(mosaic, "unpositioned");
            within(
                of(Kind::Unpositioned),
                unpositioned,
                halves / 2,
                "unpositioned",
            );
            // One that is far away and comes first takes the place of the canvas, until a few more have come.
            let strays = 4 * series.len() as u64;
            let placed = whole(mosaic, "placed") + halves / 2;
            assert!(
                placed.abs_diff(of(Kind::Good)) <= strays + halves,
                "{stats}"
            );
            let frames = of(Kind::Good) + of(Kind::Unpositioned) + of(Kind::Outside);
            assert_eq!(whole(stats, "frames"), frames, "{stats}");
            assert_eq!(whole(stats, "series"), series.len() as u64, "{stats}");
        }
        let gaps = series.values().map(|(low, high, ids)| {
            let all = u64::from(high.abs_diff(*low)) + 1;
            all - ids.len() as u64
        });
        self.missing = gaps.sum();
        self.note(stats, mosaic, lone);
    }

    fn note(&mut self, stats: &Value, mosaic: &Value, lone: u64) {
        self.count("checks", 1);
        self.count("checks with uncertain results", u64::from(lone > 0));
        for (name, now) in [
            ("results", whole(stats, "results")),
            ("duplicates", whole(stats, "duplicates")),
            ("dead letters", whole(&stats["no_results"], "dead_letter")),
            ("placed", whole(mosaic, "placed")),
            ("unpositioned", whole(mosaic, "unpositioned")),
            ("outside", whole(mosaic, "outside")),
            ("of earlier series", whole(mosaic, "earlier")),
        ] {
            let before = self.checked.insert(name, now).unwrap_or_default();
            self.count(name, now - before);
        }
    }

    /// Frames that are missing between those that the sink certainly got.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    pub fn summary(&self) -> String {
        let (totals, incidents) = (&self.totals, &self.incidents);
        format!("{totals:?}\n{incidents:?}")
    }

    pub fn check_happened(&self) {
        for incident in [
            Incident::Reset,
            Incident::SourceKilled,
            Incident::MapKilled,
            Incident::SinkKilled,
            Incident::NumaKilled,
        ] {
            let times = self.incidents.get(&incident).copied().unwrap_or_default();
            assert!(times > 0, "{incident:?} never happened");
        }
        for name in [
            "duplicates",
            "dead letters",
            "placed",
            "unpositioned",
            "outside",
        ] {
            let frames = self.totals.get(name).copied().unwrap_or_default();
            assert!(frames > 0, "nothing was counted as {name}");
        }
        let uncertain = self.totals["checks with uncertain results"];
        assert!(
            uncertain * 2 < self.totals["checks"],
            "too little is certain: {uncertain}"
        );
    }
}
