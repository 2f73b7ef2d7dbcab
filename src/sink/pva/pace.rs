//! At most so many results a second: the newest wins, and the last one always comes.

use std::time::Duration;
use tokio::time::Instant;

/// The pace of one PV.
#[derive(Debug)]
pub(crate) struct Pace<T> {
    interval: Option<Duration>,
    /// Before this time nothing is posted.
    next: Option<Instant>,
    pending: Option<T>,
}

/// What becomes of a result.
#[derive(Debug, PartialEq)]
pub(crate) enum Offered<T> {
    /// It is to be posted.
    Post(T),
    /// It is posted later, unless a newer one comes.
    Held,
    /// The same; this one, which was held, is not posted.
    Superseded(T),
}

impl<T> Pace<T> {
    /// Without an interval every result is posted at once.
    pub(crate) const fn new(interval: Option<Duration>) -> Self {
        Self {
            interval,
            next: None,
            pending: None,
        }
    }

    /// A result has come.
    pub(crate) fn offer(&mut self, result: T, now: Instant) -> Offered<T> {
        if self.pending.is_none() && self.next.is_none_or(|next| next <= now) {
            self.posted(now);
            return Offered::Post(result);
        }
        match self.pending.replace(result) {
            None => Offered::Held,
            Some(older) => Offered::Superseded(older),
        }
    }

    /// The result that was held, if it is its time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<T> {
        if self.next.is_some_and(|next| next > now) {
            return None;
        }
        let result = self.pending.take()?;
        self.posted(now);
        Some(result)
    }

    /// When a held result is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.pending.as_ref().and(self.next)
    }

    /// The result that was held, before its time.
    pub(crate) const fn rest(&mut self) -> Option<T> {
        self.pending.take()
    }

    fn posted(&mut self, now: Instant) {
        self.next = self.interval.and_then(|interval| now.checked_add(interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_the_last_always_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(Some(Duration::from_millis(100)));
        assert_eq!(pace.offer(1, at(0)), Offered::Post(1));
        assert_eq!(pace.offer(2, at(10)), Offered::Held);
        assert_eq!(pace.offer(3, at(20)), Offered::Superseded(2));
        assert_eq!(pace.next(), Some(at(100)));
        assert_eq!(pace.due(at(99)), None);
        // One that comes when another is due does not overtake it.
        assert_eq!(pace.offer(4, at(100)), Offered::Superseded(3));
        assert_eq!(pace.due(at(100)), Some(4));
        assert_eq!(pace.next(), None);
        assert_eq!(pace.offer(5, at(199)), Offered::Held);
        assert_eq!(pace.due(at(300)), Some(5));
        assert_eq!(pace.offer(6, at(500)), Offered::Post(6));
        assert_eq!(pace.offer(7, at(501)), Offered::Held);
        assert_eq!(pace.rest(), Some(7));
    }

    #[test]
    fn without_a_rate_every_result_is_posted() {
        let now = Instant::now();
        let mut pace = Pace::new(None);
        assert!((0..5).all(|k| pace.offer(k, now) == Offered::Post(k)));
    }
}
