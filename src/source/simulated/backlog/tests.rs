use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NONE: [u64; 0] = [];

/// Ten frames a second.
fn backlog(last: Option<u64>, buffer: u64, ack_timeout: Option<Duration>) -> Backlog {
    Backlog::new(Exposures { fps: 10.0, last }, buffer, ack_timeout)
}

/// A backlog, and the instant at which its shutter opened.
fn opened(last: Option<u64>, buffer: u64, ack_timeout: Option<Duration>) -> (Backlog, Instant) {
    let mut backlog = backlog(last, buffer, ack_timeout);
    let start = Instant::now();
    assert_eq!(backlog.take(start, 100), NONE);
    (backlog, start)
}

#[test]
fn the_first_read_opens_the_shutter() {
    let mut backlog = backlog(None, 100, None);
    let start = Instant::now();
    assert_eq!(backlog.standing(start), Standing::default());
    assert_eq!(backlog.next(), None);
    let first_read = start + SECOND;
    assert_eq!(backlog.take(first_read, 3), NONE);
    assert_eq!(backlog.next(), Some(first_read + 100 * MS));
    assert_eq!(backlog.take(first_read + SECOND, 3), [1, 2, 3]);
    assert_eq!(
        backlog.take(first_read + SECOND, 100),
        [4, 5, 6, 7, 8, 9, 10]
    );
}

#[test]
fn a_slow_reader_loses_the_oldest_frames_counted() {
    let (mut backlog, start) = opened(None, 4, None);
    assert_eq!(backlog.take(start + SECOND, 2), [7, 8]);
    assert_eq!(backlog.dropped(), 6);
    assert_eq!(backlog.take(start + 2 * SECOND, 100), [17, 18, 19, 20]);
    assert_eq!(backlog.dropped(), 6 + 8);
}

#[test]
fn the_series_is_over_when_its_last_frame_is_acked() {
    let (mut backlog, start) = opened(Some(3), 100, None);
    let later = start + 10 * SECOND;
    assert_eq!(backlog.take(later, 100), [1, 2, 3]);
    assert_eq!(backlog.next(), None);
    assert!(backlog.ack(1) && backlog.ack(2));
    assert!(!backlog.is_over());
    assert!(backlog.ack(3));
    assert!(backlog.is_over());
    assert_eq!(backlog.take(later + SECOND, 100), NONE);
}

#[test]
fn pending_is_what_is_neither_acked_nor_dropped() {
    let (mut backlog, start) = opened(Some(10), 8, None);
    let now = start + SECOND;
    backlog.take(now, 5);
    assert_eq!(backlog.standing(now).pending(), 8);
    backlog.ack(3);
    assert_eq!(backlog.standing(now).pending(), 7);
    backlog.nack(4, now, Duration::ZERO);
    assert_eq!(backlog.standing(now).pending(), 7);
}

#[test]
fn a_nacked_frame_comes_again_before_new_ones_until_it_is_acked() {
    let (mut backlog, start) = opened(None, 100, None);
    let now = start + SECOND;
    assert_eq!(backlog.take(now, 3), [1, 2, 3]);
    assert!(backlog.nack(2, now, Duration::ZERO));
    assert_eq!(backlog.take(now, 2), [2, 4]);
    assert!(backlog.nack(2, now, Duration::ZERO));
    assert_eq!(backlog.take(now, 1), [2]);
    assert!(backlog.ack(2));
    assert_eq!(backlog.take(now, 1), [5]);
    let standing = backlog.standing(now);
    assert_eq!((standing.read, standing.again, standing.nacked), (5, 2, 2));
}

#[test]
fn a_nack_with_a_delay_brings_the_frame_when_the_delay_is_over() {
    let (mut backlog, start) = opened(Some(1), 100, None);
    let now = start + SECOND;
    assert_eq!(backlog.take(now, 1), [1]);
    assert!(backlog.nack(1, now, 250 * MS));
    assert_eq!(backlog.next(), Some(now + 250 * MS));
    assert_eq!(backlog.take(now + 249 * MS, 1), NONE);
    assert_eq!(backlog.take(now + 250 * MS, 1), [1]);
}

#[test]
fn a_frame_whose_ack_does_not_come_in_time_is_delivered_again() {
    let (mut backlog, start) = opened(Some(2), 100, Some(5 * SECOND));
    let now = start + SECOND;
    assert_eq!(backlog.take(now, 100), [1, 2]);
    assert!(backlog.ack(1));
    assert_eq!(backlog.next(), Some(now + 5 * SECOND));
    assert_eq!(backlog.take(now + 4 * SECOND, 100), NONE);
    assert_eq!(backlog.take(now + 5 * SECOND, 100), [2]);
    assert_eq!(backlog.next(), Some(now + 10 * SECOND));
    // A late ack still counts.
    assert_eq!(backlog.standing(now + 10 * SECOND).waiting, 1);
    assert!(backlog.ack(2));
    assert_eq!(backlog.take(now + 20 * SECOND, 100), NONE);
}

#[test]
fn only_delivered_frames_can_be_acked_or_nacked() {
    let (mut backlog, start) = opened(None, 100, None);
    let now = start + SECOND;
    backlog.take(now, 1);
    assert!(backlog.ack(1));
    assert!(!backlog.ack(1));
    assert!(!backlog.nack(1, now, Duration::ZERO));
    assert!(!backlog.ack(2), "taken, not read");
    assert!(!backlog.nack(999, now, Duration::ZERO));
    assert_eq!(backlog.standing(now).acked, 1);
    assert_eq!(backlog.standing(now).nacked, 0);
}

#[test]
fn a_reader_that_never_acks_gets_a_bounded_number_of_frames() {
    let exposures = Exposures {
        fps: 1e6,
        last: None,
    };
    let mut backlog = Backlog::new(exposures, u64::MAX, None);
    let start = Instant::now();
    backlog.take(start, 1);
    let now = start + SECOND;
    assert_eq!(backlog.take(now, usize::MAX).len(), MOST_OUTSTANDING);
    assert!(backlog.is_full());
    assert_eq!(backlog.take(now, 10), NONE);
    assert_eq!(backlog.next(), None, "only an ack brings more");
    backlog.nack(7, now, Duration::ZERO);
    assert_eq!(backlog.take(now, 10), [7], "what was out comes again");
    backlog.ack(7);
    assert_eq!(backlog.take(now, 10), [MOST_OUTSTANDING as u64 + 1]);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(usize),
    Ack(u64),
    Nack(u64, u64),
    GiveBack(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..1500_u64).prop_map(Step::Wait),
        (0..20_usize).prop_map(Step::Take),
        (1..60_u64).prop_map(Step::Ack),
        (1..60_u64, 0..1000_u64).prop_map(|(number, delay)| Step::Nack(number, delay)),
        (1..60_u64).prop_map(Step::GiveBack),
    ]
}

proptest! {
    #[test]
    fn every_frame_is_in_one_place_and_none_comes_after_its_ack(
        steps in prop::collection::vec(step(), 1..200),
        buffer in 0..30_u64,
        timeout in prop::option::of(1..2000_u64),
    ) {
        let mut backlog = backlog(Some(50), buffer, timeout.map(Duration::from_millis));
        let mut now = Instant::now();
        let mut acked = BTreeSet::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Take(most) => {
                    let numbers = backlog.take(now, most);
                    prop_assert!(numbers.len() <= most);
                    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
                    prop_assert_eq!(distinct.len(), numbers.len());
                    prop_assert!(acked.is_disjoint(&distinct));
                }
                Step::Ack(number) => {
                    if backlog.ack(number) {
                        prop_assert!(acked.insert(number));
                    }
                }
                Step::Nack(number, delay) => {
                    backlog.nack(number, now, Duration::from_millis(delay));
                }
                Step::GiveBack(number) => backlog.give_back(&[number]),
            }
            let standing = backlog.standing(now);
            prop_assert_eq!(standing.taken, standing.dropped + standing.acked + standing.pending());
            prop_assert_eq!(standing.taken, standing.dropped + standing.read + standing.unread);
            prop_assert!(standing.unread <= buffer);
            prop_assert!(standing.taken <= 50);
            prop_assert_eq!(standing.acked, acked.len() as u64);
        }
    }
}
