//! The last two minutes, second by second: for the status page and the summary line.
//!
//! Never more than `SECONDS` samples.

use crate::inference::metrics::totals::{Recent, Totals};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Seconds that are kept.
pub(crate) const SECONDS: usize = 120;

/// The sidecar at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When.
    pub(crate) at: Instant,
    /// The totals then.
    pub(crate) totals: Totals,
    /// How long the lanes of each device had been at work, all together.
    pub(crate) busy: Vec<Duration>,
}

/// The last samples. See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Adds a sample, to be called once a second; the oldest goes.
    pub(crate) fn add(&mut self, sample: Sample) {
        // One more than there are seconds: those lie between.
        while self.samples.len() > SECONDS {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Frames per second in each second, the newest last.
    #[must_use]
    pub(crate) fn frames_per_second(&self) -> Vec<f64> {
        let next = self.samples.iter().skip(1);
        let pairs = self.samples.iter().zip(next);
        pairs
            .map(|(before, now)| between(before, now).frames_per_second)
            .collect()
    }

    /// The last `samples` samples, and the mean part of that time that a lane of each device was busy; `None`
    /// with fewer than two samples. `lanes` are those of each device.
    #[must_use]
    pub(crate) fn last(&self, samples: usize, lanes: &[usize]) -> Option<(Recent, Vec<f64>)> {
        let now = self.samples.back()?;
        let first = self.samples.len().saturating_sub(samples + 1);
        let before = self.samples.get(first).filter(|s| s.at < now.at)?;
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64();
        // A device that was not there yet had done nothing.
        let before_all = before.busy.iter().copied();
        let before_all = before_all.chain(std::iter::repeat(Duration::ZERO));
        let busy = now.busy.iter().zip(before_all).zip(lanes);
        let busy = busy.map(|((now, before), lanes)| {
            let busy = now.saturating_sub(before).as_secs_f64();
            (busy / seconds / (*lanes).max(1) as f64).min(1.0)
        });
        Some((between(before, now), busy.collect()))
    }
}

fn between(before: &Sample, now: &Sample) -> Recent {
    let time = now.at.saturating_duration_since(before.at);
    Recent::between(&before.totals, &now.totals, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(frames: impl IntoIterator<Item = u64>) -> History {
        let start = Instant::now();
        let mut history = History::default();
        for (second, frames) in (0..).zip(frames) {
            history.add(Sample {
                at: start + Duration::from_secs(second),
                totals: Totals {
                    frames,
                    ..Totals::default()
                },
                // The device is there from the second sample on.
                busy: vec![Duration::from_millis(500 * second); second.min(1) as usize],
            });
        }
        history
    }

    #[test]
    fn the_rate_of_each_second_is_the_difference_of_its_ends() {
        let history = history([10, 10, 15, 35]);
        assert_eq!(history.frames_per_second(), [0.0, 5.0, 20.0]);
        let (recent, busy) = history.last(2, &[2]).unwrap();
        assert_eq!((recent.seconds, recent.frames_per_second), (2.0, 12.5));
        assert_eq!(busy, [0.25]);
        // More than there is: all there is.
        let (all, busy) = history.last(30, &[1]).unwrap();
        assert_eq!((all.seconds, busy), (3.0, vec![0.5]));
    }

    #[test]
    fn it_never_grows_beyond_its_seconds() {
        let history = history(0..10 * SECONDS as u64);
        assert_eq!(history.frames_per_second(), vec![1.0; SECONDS]);
    }

    #[test]
    fn one_sample_tells_of_no_time() {
        assert!(history([]).last(10, &[1]).is_none());
        assert!(history([5]).last(10, &[1]).is_none());
        assert!(history([5]).frames_per_second().is_empty());
    }
}
