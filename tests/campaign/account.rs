//! The final answer of every frame, and counts of the faults.

use crate::frames::{Frames, Kind};
use crate::life::Ending;
use crate::plan::Incident;
use beamflow::vertex::client::Answer;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::time::Duration;

const NACK: &str = "U+005C__NACK__";

/// Counts by kind.
type Counts<K> = BTreeMap<K, u64>;

/// See the module documentation.
pub struct Account {
    frames: Frames,
    /// Final answers of each frame so far.
    answered: Vec<u8>,
    open: usize,
    fresh: usize,
    /// Frames to be delivered again.
    again: VecDeque<usize>,
    calls: u64,
    delivered_again: u64,
    nacked: u64,
    incidents: Counts<Incident>,
    endings: Counts<String>,
    rejected: Counts<Kind>,
    /// Faults as the sidecar counted them.
    faults: Counts<String>,
}

impl Account {
    /// Of the first `count` of `frames`.
    pub fn new(frames: Frames, count: usize) -> Self {
        Self {
            frames,
            answered: vec![0; count],
            open: count,
            fresh: 0,
            again: VecDeque::new(),
            calls: 0,
            delivered_again: 0,
            nacked: 0,
            incidents: BTreeMap::new(),
            endings: BTreeMap::new(),
            rejected: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// Whether a frame has no final answer yet.
    pub fn is_open(&self) -> bool {
        self.open > 0
    }

    pub fn frames(&self) -> Frames {
        self.frames
    }

    /// The frames of the next read batch, at most `most`: those waiting for redelivery first. Numaflow delays a nacked frame,
    /// and other frames come meanwhile: of both, there are at most as many waiting ones as others.
    pub fn read_batch(&mut self, most: usize) -> Vec<usize> {
        let left = self.answered.len() - self.fresh;
        let again = self.again.len().min(most - left.min(most / 2));
        let mut batch: Vec<_> = self.again.drain(..again).collect();
        let end = (self.fresh + most - again).min(self.answered.len());
        batch.extend(self.fresh..end);
        self.fresh = end;
        batch
    }

    pub fn incident(&mut self, incident: Incident) {
        *self.incidents.entry(incident).or_default() += 1;
    }

    /// A call was aborted: none of its answers counts.
    pub fn aborted(&mut self, batch: Vec<usize>) {
        self.delivered_again += batch.len() as u64;
        self.again.extend(batch);
    }

    /// A call is complete; the driver has checked that each id was answered once.
    pub fn complete(&mut self, batch: &[usize], answer: &Answer) {
        self.calls += 1;
        assert_eq!(answer.len(), batch.len());
        for frame in batch {
            let id = frame.to_string();
            let (kind, model) = (self.frames.kind(*frame), self.frames.model(*frame));
            if answer.tags(&id).any(|tag| tag == NACK) {
                assert!(kind.is_good(), "frame {frame}: {kind:?} is nacked");
                assert!(
                    !model.is_sound,
                    "frame {frame}: it is for {model:?}, and is nacked"
                );
                self.nacked += 1;
                self.again.push_back(*frame);
                continue;
            }
            let messages = answer.get(&id).unwrap();
            if kind.is_good() {
                let [message] = messages else {
                    panic!("frame {frame}: {} messages", messages.len());
                };
                assert!(
                    self.frames.is_result(*frame, &message.value),
                    "frame {frame}: wrong pixels"
                );
            } else {
                assert!(
                    answer.is_dropped(&id),
                    "frame {frame}: {kind:?} has a result"
                );
                *self.rejected.entry(kind).or_default() += 1;
            }
            self.answered[*frame] += 1;
            self.open -= 1;
        }
    }

    pub fn life_ended(&mut self, ending: &Ending, faults: BTreeMap<String, u64>) {
        *self.endings.entry(format!("{ending:?}")).or_default() += 1;
        for (kind, count) in faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    pub fn check_exit(&self, code: Option<i32>, expected: i32) {
        assert_eq!(code, Some(expected), "the sidecar's exit code");
    }

    pub fn happened(&self, incident: Incident) -> u64 {
        self.incidents.get(&incident).copied().unwrap_or_default()
    }

    /// The models that had faults, as the sidecar counted them.
    pub fn engine_faults(&self) -> BTreeSet<&str> {
        let faults = self.faults.keys();
        faults.filter_map(|fault| fault.split(' ').next()).collect()
    }

    /// Frames of each model that were answered, by name.
    fn by_model(&self) -> Counts<&'static str> {
        let mut counts = Counts::new();
        for (frame, _) in self.answered.iter().enumerate().filter(|(_, n)| **n == 1) {
            if self.frames.kind(frame).is_good() {
                *counts.entry(self.frames.model(frame).name).or_default() += 1;
            }
        }
        counts
    }

    pub fn check_all_answered(&self) {
        let wrong = self.answered.iter().filter(|n| **n != 1).count();
        assert_eq!(wrong, 0, "frames without exactly one final answer");
    }

    pub fn verdict(&self, time: Duration) -> String {
        let mut text = format!(
            "campaign, seed {}: {} frames, {} calls completed, {:.0} s\n",
            self.frames.seed,
            self.answered.len(),
            self.calls,
            time.as_secs_f64()
        );
        let _ = writeln!(
            text,
            "  answered exactly once    {}",
            self.answered.iter().filter(|n| **n == 1).count()
        );
        let _ = writeln!(text, "  with results   {:?}", self.by_model());
        let _ = writeln!(text, "  nacked, delivered again  {}", self.nacked);
        let _ = writeln!(
            text,
            "  delivered again after an aborted call  {}",
            self.delivered_again
        );
        let _ = writeln!(text, "  around calls   {:?}", self.incidents);
        let _ = writeln!(text, "  bad frames     {:?}", self.rejected);
        let _ = writeln!(text, "  in the engine  {:?}", self.faults);
        let _ = write!(text, "  lives ended    {:?}", self.endings);
        text
    }
}
