//! The times of exposures: a steady rate from the opening of the shutter.

use std::time::Duration;

/// A series of exposures; frame 1 is taken one period after the shutter opens.
#[derive(Clone, Copy, Debug)]
pub struct Exposures {
    /// Frames per second, greater than zero.
    pub fps: f64,
    /// The number of the last frame; `None` if the series has no end.
    pub last: Option<u64>,
}

impl Exposures {
    /// The time of frame `number` after the shutter opens: `number / fps`.
    #[must_use]
    pub fn at(&self, number: u64) -> Duration {
        Duration::try_from_secs_f64(number as f64 / self.fps).unwrap_or(Duration::MAX)
    }

    /// The number of the newest frame when the shutter has been open for `elapsed`; 0 if there is none yet.
    #[must_use]
    pub fn taken(&self, elapsed: Duration) -> u64 {
        let mut number = (elapsed.as_secs_f64() * self.fps) as u64;
        // Product and quotient round differently. `at` decides, so that a reader that waits until `at` finds
        // its frame.
        while number > 0 && self.at(number) > elapsed {
            number -= 1;
        }
        while self.at(number + 1) <= elapsed {
            number += 1;
        }
        self.last.map_or(number, |last| number.min(last))
    }

    /// The time of the frame after `number`, after the shutter opens; `None` after the last.
    #[must_use]
    pub fn next(&self, number: u64) -> Option<Duration> {
        let ended = self.last.is_some_and(|last| number >= last);
        (!ended).then(|| self.at(number + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn endless(fps: f64) -> Exposures {
        Exposures { fps, last: None }
    }

    #[test]
    fn a_frame_exists_from_its_exposure_time_on() {
        for fps in [0.001, 0.3, 7.0, 99.9, 1000.0, 333_333.3, 1e6] {
            let exposures = endless(fps);
            for number in [1, 2, 3, 10, 12_345, 1_000_003] {
                let moment = exposures.at(number);
                assert_eq!(exposures.taken(moment), number, "{fps}");
                let before = moment - Duration::from_nanos(1);
                assert_eq!(exposures.taken(before), number - 1, "{fps}");
            }
        }
    }

    #[test]
    fn frames_are_taken_from_the_first_period_to_the_last_frame() {
        let exposures = Exposures {
            fps: 10.0,
            last: Some(25),
        };
        assert_eq!(exposures.taken(Duration::ZERO), 0);
        assert_eq!(exposures.taken(Duration::from_secs(1)), 10);
        assert_eq!(exposures.taken(Duration::from_secs(3600)), 25);
        assert_eq!(exposures.next(24), Some(Duration::from_millis(2500)));
        assert_eq!(exposures.next(25), None);
    }
}
