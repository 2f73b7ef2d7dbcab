//! Frames in the order in which a sink may get them.

use super::super::result::{Identity, Model};
use super::*;
use crate::frame::FloatImage;
use proptest::prelude::*;

/// A frame of scan `scan`, which began at `start`: its number, and when it was taken.
fn frame(number: u64, time: Option<i64>, start: Option<i64>) -> Received {
    Received {
        identity: Identity {
            pv: "pva:image".into(),
            number,
            time,
            output: "phase".into(),
        },
        series_start: start,
        scan: None,
        model: Model {
            name: "".into(),
            version: "".into(),
        },
        engine: None,
        position_x: None,
        position_y: None,
        image: FloatImage {
            shape: "1x1".parse().unwrap(),
            values: vec![0.0],
            rounded: false,
        },
    }
}

/// Places frames in order; the series of each.
fn placed(series: &mut Series, frames: &[Received]) -> Vec<u64> {
    let now = Instant::now();
    let place = |frame| series.place(frame, now).series;
    frames.iter().map(place).collect()
}

/// Numbers, and the time at which number 0 was taken. A frame takes 1.
fn scan(numbers: &[u64], from: i64, start: Option<i64>) -> Vec<Received> {
    let time = |number: &u64| Some(from + *number as i64);
    numbers
        .iter()
        .map(|number| frame(*number, time(number), start))
        .collect()
}

#[test]
fn a_counter_that_begins_again_begins_a_series() {
    for names in [[None, None], [Some(1), Some(101)]] {
        let mut series = Series::default();
        let frames = [
            scan(&[1, 2, 3, 4], 0, names[0]),
            scan(&[1, 2, 3], 100, names[1]),
        ];
        assert_eq!(
            placed(&mut series, &frames.concat()),
            [1, 1, 1, 1, 2, 2, 2],
            "{names:?}"
        );
        let counted = series.counted();
        assert_eq!((counted.frames, counted.missing, counted.series), (7, 0, 2));
    }
}

#[test]
fn late_frames_go_to_the_series_that_they_are_of() {
    for names in [[None, None], [Some(1), Some(101)]] {
        let mut series = Series::default();
        let frames = [
            scan(&[1, 2, 4, 3], 0, names[0]),
            // The first frame of the second scan is overtaken, and so is the last one of the first.
            scan(&[3, 2], 100, names[1]),
            scan(&[5], 0, names[0]),
            scan(&[1, 4], 100, names[1]),
        ];
        let expected = [1, 1, 1, 1, 2, 2, 1, 2, 2];
        let placed = placed(&mut series, &frames.concat());
        assert_eq!(placed, expected, "{names:?}");
        series.sweep(Instant::now() + LATE);
        assert_eq!(series.counted().missing, 0, "{names:?}");
    }
}

#[test]
fn another_name_with_numbers_that_go_on_is_the_same_series() {
    let mut series = Series::default();
    let frames = [
        scan(&[1, 2, 3], 0, Some(1)),
        // The source was started again.
        scan(&[4, 6], 0, Some(4)),
        scan(&[5], 0, Some(4)),
        // A frame of the source before.
        scan(&[7], 0, Some(1)),
    ];
    assert_eq!(placed(&mut series, &frames.concat()), [1; 7]);
    // A jump too large for lost frames.
    let far = scan(&[2_000_000], 0, Some(9));
    assert_eq!(placed(&mut series, &far), [2]);
}

#[test]
fn a_short_series_is_not_taken_for_one_that_goes_on() {
    let mut series = Series::default();
    let frames = [
        scan(&[1, 2], 0, Some(1)),
        // Its first frames come last: 5 looks as if the numbers went on.
        scan(&[5, 1, 2, 6], 100, Some(101)),
    ];
    assert_eq!(placed(&mut series, &frames.concat()), [1, 1, 1, 2, 2, 2]);
}

#[test]
fn another_scan_is_another_series_though_the_numbers_go_on() {
    let mut series = Series::default();
    let named = |frames: Vec<Received>, scan: &str| {
        let name = |frame| Received {
            scan: Some(scan.to_owned()),
            ..frame
        };
        frames.into_iter().map(name).collect::<Vec<_>>()
    };
    let frames = [
        named(scan(&[1, 2, 3], 0, Some(1)), "a"),
        named(scan(&[4, 5], 0, Some(4)), "b"),
        named(scan(&[6], 0, None), "b"),
        named(scan(&[7], 0, None), "c"),
    ];
    assert_eq!(placed(&mut series, &frames.concat()), [1, 1, 1, 2, 2, 2, 3]);
}

#[test]
fn frames_without_times_are_told_apart_by_their_numbers() {
    let mut series = Series::default();
    let frames = |numbers: &[u64]| {
        let frame = |number: &u64| frame(*number, None, None);
        numbers.iter().map(frame).collect::<Vec<_>>()
    };
    assert_eq!(
        placed(&mut series, &frames(&[100, 102, 101, 0, 1])),
        [1, 1, 1, 2, 2]
    );
}

#[test]
fn a_series_takes_late_frames_for_a_while_and_then_its_gaps_are_certain() {
    let mut series = Series::default();
    let now = Instant::now();
    let mut place = |frames: Vec<Received>, at| {
        let place = series.place(&frames[0], at);
        (place, series.counted())
    };
    place(scan(&[1], 0, Some(1)), now);
    place(scan(&[2], 0, Some(1)), now);
    place(scan(&[6], 0, Some(1)), now);
    let (begun, _) = place(scan(&[1], 100, Some(101)), now);
    assert!(begun.begins && !begun.over);
    let (late, counted) = place(scan(&[4], 0, Some(1)), now + LATE / 2);
    assert!(!late.over);
    assert_eq!((late.series, counted.missing), (1, 0));
    let (over, counted) = place(scan(&[5], 0, Some(1)), now + LATE);
    assert!(over.over && over.first_output);
    assert_eq!((over.series, counted.missing), (1, 2));
}

#[test]
fn outputs_of_a_frame_count_once() {
    let mut series = Series::default();
    let now = Instant::now();
    for number in [1, 2, 5] {
        let first = series.place(&frame(number, Some(number as i64), None), now);
        let again = series.place(&frame(number, Some(number as i64), None), now);
        assert!(first.first_output && !again.first_output);
        assert_eq!(first.series, again.series);
    }
    assert_eq!(series.counted().missing, 0);
    series.sweep(now + LATE);
    let expected = Counted {
        frames: 3,
        missing: 2,
        filled: 0,
        series: 1,
    };
    assert_eq!(series.counted(), expected);
}

#[test]
fn memory_is_bounded_in_pvs_and_series() {
    let mut series = Series::default();
    let now = Instant::now();
    for k in 0..3 * PVS as i64 {
        let mut frame = frame(1, Some(k), Some(k));
        frame.identity.pv = k.to_string().into();
        series.place(&frame, now);
    }
    assert_eq!(series.pvs.len(), PVS);
    for k in 0..300 {
        series.place(&frame(1, Some(k), Some(k)), now);
    }
    let (_, of_pv) = series.pvs.back().unwrap();
    assert_eq!((of_pv.live.len(), of_pv.names.len()), (LIVE, NAMES));
}

proptest! {
    /// Scans of a source that names them, their frames shuffled within what replicas of a map can do, the first frame of each
    /// excepted: each frame is placed in its own scan, and what is missing is what was lost.
    #[test]
    fn shuffled_frames_find_their_scans(
        lengths in prop::collection::vec(40..120u64, 1..4),
        lost in prop::collection::btree_set(10..30u64, 0..4),
        moves in prop::collection::vec(0..20i64, 500),
    ) {
        let mut from = 0;
        let mut frames = Vec::new();
        for (scan_index, length) in (1u64..).zip(&lengths) {
            for number in (1..=*length).filter(|number| !lost.contains(number)) {
                frames.push((scan_index, frame(number, Some(from + number as i64), Some(from + 1))));
            }
            from += *length as i64 + 1_000;
        }
        let mut moves = moves.into_iter().cycle();
        let mut order: Vec<_> = (0i64..).zip(frames).map(|(k, frame)| {
            let is_first = frame.1.identity.number == 1;
            (k + moves.next().filter(|_| !is_first).unwrap_or(0), frame)
        }).collect();
        order.sort_by_key(|(key, _)| *key);
        let mut series = Series::default();
        let now = Instant::now();
        for (_, (scan, frame)) in &order {
            let place = series.place(frame, now);
            prop_assert_eq!(place.series, *scan, "{:?}", frame.identity);
        }
        series.sweep(now + LATE);
        let counted = series.counted();
        prop_assert_eq!(counted.missing - counted.filled, (lost.len() * lengths.len()) as u64);
        prop_assert_eq!(counted.series, lengths.len() as u64);
    }
}
