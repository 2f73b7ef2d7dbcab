//! Many read batches through a running sidecar, paced as Numaflow paces them, and a report of them.
//!
//! Numa reads what the source has, up to `limits.readBatchSize` datums and for at most its read timeout, passes them to
//! the sidecar, and reads again after the answer. `drive` does the same. To a unary map numa passes each datum on its own, up to
//! `limits.concurrency` at a time.

use crate::commands::table::percentile;
use crate::lab::stack::FrameStack;
use crate::vertex::client::{Answer, Datum, Driver, DriverError, MapMode};
use futures::{StreamExt, stream};
use numaflow::shared::{DROP, NACK};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Numaflow's default `limits.readTimeout`.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// The pace of the datums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Datums in a read batch at most: `limits.readBatchSize`.
    pub(crate) read_batch: usize,
    /// Frames per second that the detector delivers; `None`: always as many as are read.
    pub(crate) fps: Option<f64>,
}

impl Pace {
    /// Waits as numa's reader would, and says how many of the `left` frames it then has, where `sent`
    /// have gone since `start`.
    async fn gather(&self, start: Instant, sent: usize, left: usize) -> usize {
        let wanted = self.read_batch.min(left);
        let Some(fps) = self.fps else {
            return wanted;
        };
        let due = |frames: usize| start + Duration::from_secs_f64(frames as f64 / fps);
        let give_up = Instant::now() + READ_TIMEOUT;
        sleep_until(due(sent + wanted).min(give_up)).await;
        let now = Instant::now();
        let there = (1..=wanted).rev().find(|n| due(sent + n) <= now);
        // A reader that has nothing yet reads again; here it waits for the one frame.
        match there {
            Some(n) => n,
            None => {
                sleep_until(due(sent + 1)).await;
                1
            }
        }
    }
}

/// The columns of [`Report::row`].
pub(crate) const HEADER: [&str; 8] = [
    "mode", "frames", "frames/s", "calls", "p50/call", "p99/call", "rejected", "nacked",
];

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Datums sent, all of them answered.
    pub(crate) frames: usize,
    /// Of these, answered by a result.
    pub(crate) results: usize,
    /// Of these, answered by a DROP message: rejected, unless `--on-failure drop` is set.
    pub(crate) rejected: usize,
    /// Of these, answered by a NACK message.
    pub(crate) nacked: usize,
    /// From the first datum to the last answer.
    pub(crate) elapsed: Duration,
    /// Duration of each call, in ascending order.
    pub(crate) calls: Vec<Duration>,
}

impl Report {
    /// Frames answered per second.
    #[must_use]
    pub(crate) fn frames_per_second(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The duration that `fraction` of the calls did not exceed (nearest rank).
    #[must_use]
    pub(crate) fn percentile(&self, fraction: f64) -> Duration {
        percentile(&self.calls, fraction)
    }

    /// The report as a row under [`HEADER`].
    #[must_use]
    pub(crate) fn row(&self, mode: &str) -> [String; 8] {
        [
            mode.to_owned(),
            self.frames.to_string(),
            format!("{:.0}", self.frames_per_second()),
            self.calls.len().to_string(),
            milliseconds(self.percentile(0.50)),
            milliseconds(self.percentile(0.99)),
            self.rejected.to_string(),
            self.nacked.to_string(),
        ]
    }

    fn add(&mut self, answer: &Answer) {
        self.frames += answer.len();
        self.calls.push(answer.duration);
        for (_, messages) in &answer.responses {
            let tagged = |tag: &str| messages.iter().any(|m| m.tags.iter().any(|t| t == tag));
            if tagged(DROP) {
                self.rejected += 1;
            } else if tagged(NACK) {
                self.nacked += 1;
            } else {
                self.results += 1;
            }
        }
    }
}

/// Frame `k` of a stack as a datum with the headers that a PVA source sets: `x-txn-id` is `k`. Beyond its end the stack
/// begins again.
#[must_use]
pub fn datum(stack: &FrameStack, k: usize) -> Datum {
    let frame = stack.frame(k % stack.frames().max(1));
    let mut datum = Datum::new(k.to_string(), frame.to_vec());
    datum.headers.extend(stack.describe(k as u64).headers());
    datum
}

/// Sends frames `0..count`, each made by `datum`, in read batches at `pace`; hands every answer to `take`. A unary map has no
/// read batches: there each frame is a call, and up to the driver's concurrency of them are in flight.
///
/// # Errors
/// A [`DriverError`] when the sidecar breaks a promise or goes away.
pub(crate) async fn drive(
    driver: &mut Driver,
    pace: Pace,
    count: usize,
    datum: impl Fn(usize) -> Datum,
    mut take: impl FnMut(Answer),
) -> Result<Report, DriverError> {
    let mut report = Report::default();
    let start = Instant::now();
    if driver.map_mode() == MapMode::Unary {
        let frames = stream::iter(0..count).then(|k| {
            let datum = &datum;
            async move {
                if let Some(fps) = pace.fps {
                    sleep_until(start + Duration::from_secs_f64((k + 1) as f64 / fps)).await;
                }
                datum(k)
            }
        });
        let take = |answered| {
            let answer = Answer::from(answered);
            report.add(&answer);
            take(answer);
        };
        driver.stream(frames, take).await?;
    }
    let mut sent = report.frames;
    while sent < count {
        let frames = pace.gather(start, sent, count - sent).await;
        let answer = driver
            .call(stream::iter((sent..sent + frames).map(&datum)))
            .await?;
        sent += frames;
        report.add(&answer);
        take(answer);
    }
    report.elapsed = start.elapsed();
    report.calls.sort_unstable();
    Ok(report)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let report = Report {
            calls: (1..=100).map(Duration::from_millis).collect(),
            ..Report::default()
        };
        assert_eq!(report.percentile(0.50), Duration::from_millis(50));
        assert_eq!(report.percentile(0.99), Duration::from_millis(99));
        assert_eq!(report.percentile(1.0), Duration::from_millis(100));
        assert_eq!(Report::default().percentile(0.5), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_detector_gives_what_it_has_when_the_reader_gives_up() {
        let pace = Pace {
            read_batch: 64,
            fps: Some(10.0),
        };
        let start = Instant::now();
        assert_eq!(pace.gather(start, 0, 1000).await, 10);
        assert_eq!(pace.gather(start, 10, 1000).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_detector_fills_the_read_batch() {
        let pace = Pace {
            read_batch: 64,
            fps: Some(1000.0),
        };
        let start = Instant::now();
        assert_eq!(pace.gather(start, 0, 1000).await, 64);
        assert_eq!(start.elapsed().as_millis(), 64);
        assert_eq!(pace.gather(start, 64, 3).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_detector_slower_than_the_reader_gives_one_frame_at_a_time() {
        let pace = Pace {
            read_batch: 64,
            fps: Some(0.2),
        };
        assert_eq!(pace.gather(Instant::now(), 0, 1000).await, 1);
    }
}
