//! Tests of the counter by cases.

/// Streams of a small model whose losses are known.
mod streams;

use super::*;

/// Frames lost for good, as two counters tell them: counted − filled.
#[derive(Default)]
struct Total {
    seen: FrameNumbers,
    counted: u64,
    filled: u64,
}

impl Total {
    fn note(&mut self, number: u64, taken: Option<i64>) -> Kind {
        let noted = self.seen.note(number, taken);
        self.filled += u64::from(noted.filled);
        self.counted += noted.lost.iter().map(|lost| lost.missing).sum::<u64>();
        noted.kind
    }

    fn settle(&mut self) -> u64 {
        let lost = self.seen.settle();
        self.counted += lost.iter().map(|lost| lost.missing).sum::<u64>();
        self.counted - self.filled
    }
}

/// Frames lost among `numbers`, without times.
fn missing(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut total = Total::default();
    for number in numbers {
        total.note(number, None);
    }
    total.settle()
}

/// The same where each frame is newer than the one before.
fn missing_timed(numbers: impl IntoIterator<Item = u64>) -> u64 {
    let mut total = Total::default();
    for (number, time) in numbers.into_iter().zip(1_000..) {
        total.note(number, Some(time));
    }
    total.settle()
}

fn without(numbers: std::ops::RangeInclusive<u64>, hole: std::ops::Range<u64>) -> Vec<u64> {
    numbers.filter(|number| !hole.contains(number)).collect()
}

#[test]
fn a_new_scan_counts_its_gaps_and_its_missing_start() {
    let cases = [
        (1..=500, without(3..=400, 100..150), 52),
        (0..=500, without(10..=899, 100..150), 60),
        (1..=50, without(3..=90, 20..25), 7),
        (1..=3000, without(200..=2900, 1000..2000), 1199),
        (0..=99, without(0..=99, 40..41), 1),
        (1..=99, without(1..=99, 40..41), 1),
    ];
    for (before, scan, lost) in cases {
        let all = || before.clone().chain(scan.iter().copied());
        assert_eq!(missing(all()), lost, "{before:?}");
        assert_eq!(missing_timed(all()), lost, "{before:?}, with times");
        // The scan after it shows nothing new.
        assert_eq!(missing(all().chain(1..=700)), lost, "{before:?}, and on");
    }
}

#[test]
fn a_stray_number_is_no_loss() {
    for stray in [2_147_483_646, 50_000, 999_999, u64::MAX, 0, 5, 1_000_100] {
        let numbers = || (1..=99).chain([stray]).chain(100..=200);
        assert_eq!(missing(numbers()), 0, "{stray}");
        assert_eq!(missing_timed(numbers()), 0, "{stray}, with times");
        // A frame that is lost beside it is found.
        let numbers = || (1..=99).chain([stray]).chain(101..=200);
        let lost = missing_timed(numbers());
        assert!(lost == 1 || stray < 99, "{stray}: {lost}");
    }
}

#[test]
fn a_late_frame_fills_the_gap_of_a_wide_jump() {
    for after in [5100, 9000] {
        let mut total = Total::default();
        // An earlier scan has numbers in the gap as well.
        let before = (0..70).chain(4990..5000).chain(0..70);
        for (number, time) in before.chain([after]).zip(1000..) {
            total.note(number, Some(2 * time));
        }
        let late = 2 * (1000 + 150) - 1;
        assert_eq!(total.note(after - 1, Some(late)), Kind::Late);
        for (number, time) in (after + 1..after + 100).zip(2000..) {
            assert_eq!(total.note(number, Some(2 * time)), Kind::Frame);
        }
        assert_eq!(total.settle(), (4990 - 70) + (after - 1 - 70));
    }
}

#[test]
fn times_as_numbers_are_no_loss() {
    let from = 1_790_000_000_000_000_000;
    for step in [1_000_000, 10_000_000, 16_666_667, 10_000, 1000, 100, 10] {
        assert_eq!(missing((0..20).map(|k| from + k * step)), 0, "{step}");
        assert_eq!(missing_timed((0..200).map(|k| from + k * step)), 0);
        let jitter = |k: u64| from + k * step + k * 7 % 5 * step / 100;
        assert_eq!(missing_timed((0..200).map(jitter)), 0, "{step}, uneven");
    }
}

#[test]
fn numbers_in_equal_steps_are_counted_in_steps() {
    for step in [2, 3, 4, 10, 128] {
        let every = |k: u64| 5 + k * step;
        assert_eq!(missing((0..100).map(every)), 0, "{step}");
        let some = || (0..100).filter(|k| ![8, 20, 21].contains(k)).map(every);
        assert_eq!(missing(some()), 3, "{step}");
        assert_eq!(missing_timed(some()), 3, "{step}");
    }
    // The step is not known from the first difference.
    assert_eq!(missing([100, 104, 105, 106]), 3);
    assert_eq!(missing([100, 103, 106, 107, 108]), 4);
    // One frame at a time, each certain at once.
    let mut total = Total::default();
    for number in [0, 4, 8, 12, 20, 24] {
        total.note(number, None);
        total.settle();
    }
    assert_eq!((total.settle(), total.counted), (1, 1));
}

#[test]
fn numbers_that_are_jumped_over_are_missing() {
    assert_eq!(missing([100, 101, 104, 105, 107]), 3);
    assert_eq!(missing((0..10).chain(5000..5010)), 4990);
    assert_eq!(missing((0..10).chain(900_000..900_100)), 899_990);
    assert_eq!(missing((0..10).chain(9_000_000..9_000_100)), 0);
    let seen = (1..=99_999).filter(|number| number % 10 != 0);
    assert_eq!(missing(seen), 9999);
}

#[test]
fn a_late_frame_takes_its_loss_back() {
    assert_eq!(missing([1, 2, 4, 3, 5, 7, 6, 8]), 0);
    assert_eq!(missing_timed([1, 2, 4, 3, 5, 7, 6, 8]), 0);
    let mut total = Total::default();
    for number in [1, 2, 5] {
        total.note(number, None);
    }
    assert_eq!(total.settle(), 2, "certain at the end of a read batch");
    assert_eq!(total.note(4, None), Kind::Late);
    assert_eq!((total.settle(), total.counted, total.filled), (1, 2, 1));
    assert_eq!(total.note(4, None), Kind::Duplicate);
    assert_eq!(total.settle(), 1);
}

#[test]
fn a_gap_is_counted_after_64_frames_without_it() {
    let mut total = Total::default();
    for number in (1..=10).chain(14..14 + REORDERED) {
        total.note(number, None);
        assert_eq!(total.counted, 0, "{number}");
    }
    let noted = total.seen.note(14 + REORDERED, None);
    let gap = Lost {
        missing: 3,
        before: 14,
    };
    assert_eq!(noted.lost, [gap]);
    assert_eq!(total.seen.settle(), [], "it is reported once");
}

#[test]
fn frames_that_come_again_are_no_gap() {
    assert_eq!(missing([10, 11, 12, 10, 11, 13, 12, 14]), 0);
    assert_eq!(missing((1..=128).chain(1..=64).chain(129..200)), 0);
    assert_eq!(missing((0..128).chain(0..64).chain([130])), 2);
    // A part of the last read batch, and a part of one of the scan before.
    assert_eq!(missing((1..=64).chain(9..=16).chain(65..=128)), 0);
    let mut total = Total::default();
    for number in (1..=200u64).chain(1..=50) {
        let time = if total.seen.rows.len() > 1 || number == 1 {
            5000
        } else {
            0
        };
        total.note(number, Some(time + number as i64));
    }
    for number in 150..=200 {
        let kind = total.note(number, Some(number as i64));
        assert_eq!(kind, Kind::Duplicate, "{number}");
    }
    total.note(51, Some(6000));
    assert_eq!(total.settle(), 0);
    // From further below than what is remembered.
    let mut total = Total::default();
    for number in (1..=6000).chain(100..=300) {
        total.note(number, Some(number as i64));
    }
    assert_eq!(total.note(6001, Some(6001)), Kind::Frame);
    assert_eq!(total.settle(), 0);
}

#[test]
fn numbers_that_wrap_continue() {
    for end in [1u64 << 31, 1 << 32] {
        let numbers = |lost: u64| (end - 300..end - 2).chain(lost..300);
        assert_eq!(missing(numbers(0)), 2, "{end}");
        assert_eq!(missing_timed(numbers(5)), 7, "{end}");
    }
    let text = |number: i32| {
        let headers = [("x-txn-id".to_owned(), number.to_string())];
        crate::frame_number(&headers.into_iter().collect())
    };
    let numbers = [i32::MAX - 1, i32::MAX, i32::MIN, i32::MIN + 1];
    assert_eq!(missing(numbers.into_iter().filter_map(text)), 0);
    assert_eq!(text(i32::MIN), Some(1 << 31));
    assert_eq!(text(-1), Some(u64::from(u32::MAX)));
}

#[test]
fn a_scan_that_begins_elsewhere_lacks_nothing() {
    assert_eq!(missing((50_000..50_100).chain(20_000..21_000)), 0);
    assert_eq!(missing_timed((1..5000).chain(2000..3000)), 0);
    assert_eq!(missing((700..900).chain(1..500)), 0, "joined in mid-scan");
    assert_eq!(missing_timed((700..900).chain(3..500)), 0, "no first known");
}

#[test]
fn rows_of_numbers_that_alternate_are_no_loss() {
    let rows = |far: u64| (0..300).flat_map(move |k| [1000 + k, far + k]);
    for far in [100_000, 900_000, 5_000_000] {
        assert_eq!(missing(rows(far)), 0, "{far}");
        assert_eq!(missing_timed(rows(far)), 0, "{far}");
        let holes = rows(far).filter(|number| *number != far + 100 && *number != 1200);
        assert_eq!(missing_timed(holes), 2, "{far}");
    }
}

#[test]
fn a_source_without_numbers_has_no_gaps() {
    let mut total = Total::default();
    let kinds: Vec<Kind> = (0..4).map(|time| total.note(0, Some(time))).collect();
    assert_eq!(
        kinds,
        [Kind::Frame, Kind::Frame, Kind::Unnumbered, Kind::Unnumbered]
    );
    assert_eq!(total.settle(), 0);
    assert_eq!(missing(std::iter::repeat_n(7, 1000)), 0);
}

#[test]
fn an_ended_series_is_followed_by_a_new_one() {
    // The counter starts again, and the new series lacks its start; or it goes on.
    for (first, lost) in [(31, 30), (101, 0), (103, 2)] {
        let mut total = Total::default();
        for number in 1..=100 {
            total.note(number, None);
        }
        total.seen.end_series();
        assert_eq!(total.note(first, None), Kind::NewSeries, "{first}");
        assert_eq!(total.note(first + 1, None), Kind::Frame);
        assert_eq!(total.settle(), lost, "{first}");
    }
}
