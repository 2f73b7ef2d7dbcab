//! The final answer of every frame, and counts of the faults.

use crate::frames::{Kind, is_result};
use crate::life::Ending;
use crate::plan::Incident;
use beamflow::vertex::client::Answer;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

const NACK: &str = "U+005C__NACK__";

/// Counts by kind.
type Counts<K> = BTreeMap<K, u64>;

/// See the module documentation.
pub struct Account {
    seed: u64,
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
    pub fn new(seed: u64, frames: usize) -> Self {
        Self {
            seed,
            answered: vec![0; frames],
            open: frames,
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

    pub fn kind(&self, frame: usize) -> Kind {
        Kind::of(self.seed, frame)
    }

    /// The frames of the next read batch, at most `most`: those waiting for redelivery first.
    pub fn read_batch(&mut self, most: usize) -> Vec<usize> {
        let again = most.min(self.again.len());
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
            let kind = self.kind(*frame);
            if answer.tags(&id).any(|tag| tag == NACK) {
                assert!(kind.is_good(), "frame {frame}: {kind:?} is nacked");
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
                    is_result(*frame, &message.value),
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

    pub fn engine_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub fn check_all_answered(&self) {
        let wrong = self.answered.iter().filter(|n| **n != 1).count();
        assert_eq!(wrong, 0, "frames without exactly one final answer");
    }

    pub fn verdict(&self, seed: u64, time: Duration) -> String {
        let mut text = format!(
            "campaign, seed {seed}: {} frames, {} calls completed, {:.0} s\n",
            self.answered.len(),
            self.calls,
            time.as_secs_f64()
        );
        let _ = writeln!(
            text,
            "  answered exactly once    {}",
            self.answered.iter().filter(|n| **n == 1).count()
        );
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
