//! Rate limits for log lines that may come once a frame.
//!
//! A detector with a wrong setting sends thousands of bad frames a second. The first few get a line each; the rest are
//! counted, and the next line says how many.

use std::time::Duration;
use tokio::time::Instant;

/// Lets `burst` lines through per `window`, and counts what it holds back.
#[derive(Debug)]
pub(crate) struct RateLimit {
    burst: u32,
    window: Duration,
    opened: Option<Instant>,
    passed: u32,
    held_back: u64,
}

impl RateLimit {
    /// `burst` lines per `window`.
    #[must_use]
    pub(crate) const fn new(burst: u32, window: Duration) -> Self {
        Self {
            burst,
            window,
            opened: None,
            passed: 0,
            held_back: 0,
        }
    }

    /// Whether a line may pass at `now`: `Some(n)` if so, where `n` lines were held back before it.
    pub(crate) fn pass(&mut self, now: Instant) -> Option<u64> {
        let over = self
            .opened
            .is_none_or(|opened| now.saturating_duration_since(opened) >= self.window);
        if over {
            self.opened = Some(now);
            self.passed = 0;
        }
        if self.passed < self.burst {
            self.passed += 1;
            Some(std::mem::take(&mut self.held_back))
        } else {
            self.held_back += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_pass_and_the_rest_are_counted() {
        let start = Instant::now();
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        let passed: Vec<_> = (0..5).map(|_| limit.pass(start)).collect();
        assert_eq!(passed, [Some(0), Some(0), None, None, None]);
        assert_eq!(limit.pass(start + Duration::from_secs(10)), Some(3));
        assert_eq!(limit.pass(start + Duration::from_secs(11)), Some(0));
        assert_eq!(limit.pass(start + Duration::from_secs(12)), None);
    }
}
