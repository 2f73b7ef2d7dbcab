//! How long to wait before something is tried again: 1, 2, 4, ... 30 seconds.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The next delay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delay(Duration);

impl Default for Delay {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Delay {
    /// Twice as long each time.
    pub(super) fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(LONGEST);
        std::mem::replace(&mut self.0, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delay_is_twice_as_long_and_at_most_30_s() {
        let mut delay = Delay::default();
        let delays = [(); 7].map(|()| delay.next().as_secs());
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
    }
}
