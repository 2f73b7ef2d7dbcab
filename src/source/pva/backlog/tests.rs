//! Tests of the backlog.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn identity(number: u64) -> Identity {
    Identity::local(0, 1, number)
}

fn backlog(frames: usize, bytes: usize) -> Backlog<u64> {
    Backlog::new(BacklogLimits {
        frames,
        bytes: bytes + frames.min(1000) * BESIDE,
        ack_timeout: Some(10 * SECOND),
    })
}

fn put(backlog: &mut Backlog<u64>, number: u64, bytes: usize) -> Put {
    backlog.put(identity(number), number, bytes)
}

fn numbers(deliveries: &[Delivery<u64>]) -> Vec<(u64, u32)> {
    let each = deliveries
        .iter()
        .map(|delivery| (*delivery.frame, delivery.count));
    each.collect()
}

#[test]
fn the_oldest_unread_frame_is_dropped_and_no_read_one() {
    let now = Instant::now();
    let mut backlog = backlog(3, 10_000);
    for number in 1..=3 {
        assert_eq!(put(&mut backlog, number, 10), Put::Kept(0));
    }
    assert_eq!(numbers(&backlog.take(now, 1)), [(1, 1)]);
    assert_eq!(put(&mut backlog, 4, 10), Put::Kept(0));
    assert_eq!(put(&mut backlog, 5, 10), Put::Kept(1));
    assert_eq!(numbers(&backlog.take(now, 9)), [(3, 1), (4, 1), (5, 1)]);
    let books = backlog.books();
    assert_eq!((books.taken, books.dropped, books.unacked), (5, 1, 4));
}

#[test]
fn bytes_are_bounded_also_if_everything_is_read() {
    let now = Instant::now();
    let mut backlog = backlog(1000, 100);
    let limit = backlog.limits.bytes;
    let half = limit / 2 - BESIDE;
    assert_eq!(put(&mut backlog, 1, half), Put::Kept(0));
    assert_eq!(put(&mut backlog, 2, half), Put::Kept(0));
    assert_eq!(put(&mut backlog, 3, half), Put::Kept(1));
    assert_eq!(numbers(&backlog.take(now, 9)), [(2, 1), (3, 1)]);
    assert_eq!(put(&mut backlog, 4, half), Put::Dropped);
    assert!(backlog.ack(identity(2)));
    assert_eq!(put(&mut backlog, 5, half), Put::Kept(0));
    assert!(backlog.books().bytes <= limit as u64);
    // A frame that never fits drops the unread ones, and is dropped.
    assert_eq!(put(&mut backlog, 6, limit), Put::Dropped);
}

#[test]
fn a_nacked_frame_comes_again_after_its_delay_and_first() {
    let now = Instant::now();
    let mut backlog = backlog(10, 1000);
    for number in 1..=4 {
        put(&mut backlog, number, 1);
    }
    backlog.take(now, 2);
    assert!(backlog.nack(identity(1), now, SECOND));
    assert!(backlog.nack(identity(2), now, Duration::ZERO));
    assert!(!backlog.nack(identity(3), now, SECOND), "it was not read");
    assert!(!backlog.nack(identity(9), now, SECOND), "it is not here");
    assert_eq!(backlog.next(), Some(now + SECOND));
    assert_eq!(numbers(&backlog.take(now, 2)), [(2, 2), (3, 1)]);
    let later = now + SECOND;
    assert_eq!(numbers(&backlog.take(later, 9)), [(1, 2), (4, 1)]);
    assert_eq!(backlog.books().again, 2);
}

#[test]
fn a_frame_without_an_ack_comes_again_and_with_one_never() {
    let now = Instant::now();
    let mut backlog = backlog(10, 1000);
    put(&mut backlog, 1, 1);
    put(&mut backlog, 2, 1);
    backlog.take(now, 2);
    assert!(backlog.ack(identity(1)));
    assert!(!backlog.ack(identity(1)));
    assert_eq!(backlog.books().unknown_acks, 1);
    assert_eq!(numbers(&backlog.take(now + 9 * SECOND, 9)), []);
    assert_eq!(numbers(&backlog.take(now + 10 * SECOND, 9)), [(2, 2)]);
    // An ack that comes while it waits to be delivered again counts.
    backlog.give_back(&[identity(2)]);
    assert!(backlog.ack(identity(2)));
    assert_eq!(numbers(&backlog.take(now + 30 * SECOND, 9)), []);
    assert_eq!(backlog.books().pending(), 0);
}

#[test]
fn what_a_lost_reader_had_is_delivered_first_in_its_order() {
    let now = Instant::now();
    let mut backlog = backlog(10, 1000);
    for number in 1..=5 {
        put(&mut backlog, number, 1);
    }
    let read: Vec<_> = backlog.take(now, 3).iter().map(|d| d.identity).collect();
    backlog.give_back(&read);
    let again = numbers(&backlog.take(now, 9));
    assert_eq!(again, [(1, 2), (2, 2), (3, 2), (4, 1), (5, 1)]);
}

proptest! {
    #[test]
    fn every_frame_is_in_one_state_and_the_limits_hold(
        frames in 1_usize..20,
        bytes in 1_usize..3000,
        steps in prop::collection::vec((0_u8..7, any::<u8>(), 0_u64..12), 0..300),
    ) {
        let mut backlog = backlog(frames, bytes);
        let limit = backlog.limits.bytes as u64;
        let mut now = Instant::now();
        let (mut next, mut out) = (0, Vec::new());
        let mut acked = std::collections::HashSet::new();
        for (step, pick, time) in steps {
            now += Duration::from_secs(time);
            let any = |out: &Vec<Identity>| out.get(usize::from(pick) % out.len().max(1)).copied();
            match step {
                0 | 1 => {
                    next += 1;
                    put(&mut backlog, next, usize::from(pick) * 4);
                }
                2 => {
                    for delivery in backlog.take(now, usize::from(pick % 8)) {
                        prop_assert!(!acked.contains(&delivery.identity));
                        out.push(delivery.identity);
                    }
                }
                3 => if let Some(identity) = any(&out) {
                    prop_assert!(!backlog.ack(identity) || acked.insert(identity));
                },
                4 => if let Some(identity) = any(&out) {
                    backlog.nack(identity, now, Duration::from_secs(time));
                },
                5 => backlog.give_back(&out),
                _ => {
                    prop_assert!(!backlog.ack(identity(u64::MAX)));
                }
            }
            let books = backlog.books();
            let states = books.acked + books.dropped + books.unread + books.unacked + books.waiting;
            prop_assert_eq!(books.taken, states);
            prop_assert!(books.unread <= frames as u64 && books.bytes <= limit);
            prop_assert_eq!(backlog.again.len(), backlog.again.iter().collect::<std::collections::HashSet<_>>().len());
        }
        // In the end everything that was not dropped comes, and can be acked.
        loop {
            let again = backlog.take(now, 100);
            if again.is_empty() {
                match backlog.next() {
                    Some(at) => now = at,
                    None => break,
                }
            }
            for delivery in again {
                prop_assert!(backlog.ack(delivery.identity));
            }
        }
        let books = backlog.books();
        prop_assert_eq!((books.pending(), books.bytes), (0, 0));
    }
}
