//! Tests of the rules, on updates as servers send them.

use super::*;
use crate::frame::{Dtype, FrameShape};
use crate::pva::{Attribute, Image, Refusal};
use proptest::prelude::*;

/// A moment, in ns since 1970; a frame takes a millisecond.
const T0: i64 = 1_790_000_000_000_000_000;
const MS: i64 = 1_000_000;

fn image() -> Content {
    Content::Image(Image {
        pixels: Default::default(),
        dtype: Dtype::U16,
        shape: FrameShape {
            height: 1,
            width: 1,
        },
        codec: None,
    })
}

/// Frame `id`, taken and posted `at` ms after T0.
fn frame(id: i64, at: i64) -> Update {
    Update {
        unique_id: Some(id),
        time_stamp: T0 + at * MS + 5,
        data_time_stamp: T0 + at * MS,
        attributes: Vec::new(),
        value_marked: true,
        first: false,
        overrun: false,
        lost_in_client: 0,
        content: image(),
    }
}

fn rules(options: RuleOptions) -> Rules {
    Rules::new(options, 2, 77)
}

fn usual() -> Rules {
    rules(RuleOptions {
        initial: Initial::Within(Duration::from_secs(5)),
        first_frame: None,
        scan_attribute: None,
    })
}

fn judge(rules: &mut Rules, update: &Update) -> Judged {
    rules.judge(update, update.time_stamp + MS)
}

/// The numbers of the frames among `updates`, or why they are none.
fn verdicts(rules: &mut Rules, updates: &[Update]) -> Vec<Result<u64, Skip>> {
    let verdicts = updates.iter().map(|update| judge(rules, update).verdict);
    verdicts
        .map(|verdict| verdict.map(|named| named.number))
        .collect()
}

#[test]
fn updates_without_new_pixels_are_no_frames() {
    let mut rules = usual();
    let with = |content| Update {
        content,
        ..frame(1, 1)
    };
    let updates = [
        with(Content::Idle),
        frame(1, 1),
        with(Content::Metadata),
        frame(2, 2),
    ];
    let expected = [Err(Skip::Idle), Ok(1), Err(Skip::Metadata), Ok(2)];
    assert_eq!(verdicts(&mut rules, &updates), expected);
}

#[test]
fn a_frame_that_is_posted_twice_is_one_frame() {
    let mut rules = usual();
    let updates = [
        frame(1, 1),
        frame(1, 1),
        frame(2, 2),
        frame(1, 1),
        frame(2, 2),
        frame(3, 3),
    ];
    let twice = Err(Skip::Duplicate);
    let expected = [Ok(1), twice, Ok(2), twice, twice, Ok(3)];
    assert_eq!(verdicts(&mut rules, &updates), expected);
}

#[test]
fn the_snapshot_of_a_connection_is_a_frame_only_if_it_is_young() {
    let old = Update {
        first: true,
        ..frame(41, 0)
    };
    for (initial, age, is_frame) in [
        (Initial::Within(Duration::from_secs(5)), 4_999, true),
        (Initial::Within(Duration::from_secs(5)), 5_001, false),
        (Initial::Always, 90_000, true),
        (Initial::Never, 1, false),
    ] {
        let mut rules = rules(RuleOptions {
            initial,
            first_frame: None,
            scan_attribute: None,
        });
        let judged = rules.judge(&old, old.time_stamp + age * MS);
        assert_eq!(judged.verdict.is_ok(), is_frame, "{initial:?} {age}");
        // The scan that begins then is complete.
        let updates: Vec<_> = (1..20).map(|k| frame(k, 100_000 + k)).collect();
        let verdicts = verdicts(&mut rules, &updates);
        assert!(
            verdicts.iter().all(Result::is_ok),
            "{initial:?}: {verdicts:?}"
        );
        assert_eq!(rules.settle(), []);
    }
}

#[test]
fn a_snapshot_in_mid_series_is_a_frame_however_old() {
    let mut rules = usual();
    verdicts(&mut rules, &[frame(1, 0), frame(2, 20_000)]);
    rules.disconnected();
    let snapshot = Update {
        first: true,
        ..frame(4, 60_000)
    };
    let judged = rules.judge(&snapshot, snapshot.time_stamp + 15_000 * MS);
    assert_eq!(judged.verdict.map(|named| named.number), Ok(4));
    // And the one that was seen before the connection was lost is not seen again.
    let again = Update {
        first: true,
        ..frame(4, 60_000)
    };
    assert_eq!(judge(&mut rules, &again).verdict, Err(Skip::Duplicate));
}

#[test]
fn a_gap_has_the_first_reason_that_applies() {
    let slow = |update| Update {
        lost_in_client: 3,
        ..update
    };
    let overrun = |update| Update {
        overrun: true,
        ..update
    };
    let mut rules = usual();
    let mut gaps = Vec::new();
    let mut put = |rules: &mut Rules, update: Update| gaps.extend(judge(rules, &update).gaps);
    put(&mut rules, frame(1, 1));
    put(&mut rules, frame(2, 2));
    put(&mut rules, frame(4, 4));
    put(&mut rules, overrun(frame(7, 7)));
    put(&mut rules, slow(overrun(frame(11, 11))));
    rules.disconnected();
    put(&mut rules, slow(overrun(frame(16, 16))));
    put(&mut rules, frame(22, 22));
    gaps.extend(rules.settle());
    let found: Vec<_> = gaps.iter().map(|gap| (gap.missing, gap.reason)).collect();
    let expected = [
        (1, Reason::Upstream),
        (2, Reason::Server),
        (3, Reason::Client),
        (4, Reason::Connection),
        (5, Reason::Upstream),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_counter_that_starts_again_begins_a_series() {
    let mut rules = usual();
    let first = judge(&mut rules, &frame(1, 0)).verdict.unwrap();
    assert!(first.begins);
    assert_eq!(first.series.start, T0);
    let second = judge(&mut rules, &frame(2, 1)).verdict.unwrap();
    assert_eq!((second.begins, second.series.start), (false, T0));
    let again = judge(&mut rules, &frame(1, 2)).verdict.unwrap();
    assert_eq!((again.begins, again.series.start), (true, T0 + 2 * MS));
    assert_ne!(again.identity, first.identity);
}

#[test]
fn a_scan_attribute_that_changes_begins_a_series() {
    let mut rules = rules(RuleOptions {
        initial: Initial::Always,
        first_frame: None,
        scan_attribute: Some("ScanNumber".into()),
    });
    let in_scan = |id, scan: Option<i64>| Update {
        attributes: scan
            .map(|scan| ("ScanNumber".to_owned(), Attribute::Integer(scan)))
            .into_iter()
            .collect(),
        ..frame(id, id)
    };
    let mut begun = Vec::new();
    for (id, scan) in [
        (1, Some(7)),
        (2, Some(7)),
        (3, None),
        (4, Some(8)),
        (5, Some(8)),
    ] {
        let named = judge(&mut rules, &in_scan(id, scan)).verdict.unwrap();
        begun.push((named.begins, named.series.scan));
    }
    let [seven, eight] = ["7", "8"].map(|scan| Some(scan.to_owned()));
    let expected = [
        (true, seven.clone()),
        (false, seven.clone()),
        (false, seven),
        (true, eight.clone()),
        (false, eight),
    ];
    assert_eq!(begun, expected);
    assert_eq!(rules.settle(), []);
}

#[test]
fn frames_that_are_not_numbered_are_numbered_here() {
    let mut rules = usual();
    let updates: Vec<_> = (0..6).map(|at| frame(0, at)).collect();
    let expected = [Ok(0), Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)];
    assert_eq!(verdicts(&mut rules, &updates), expected);
}

#[test]
fn frames_without_numbers_and_times_are_frames() {
    let mut rules = usual();
    let update = Update {
        time_stamp: 0,
        data_time_stamp: 0,
        ..frame(0, 0)
    };
    let snapshot = Update {
        first: true,
        ..update.clone()
    };
    let updates = [snapshot, update.clone(), update.clone(), update];
    // A snapshot without a time is too old.
    let expected = [Err(Skip::Stale), Ok(1), Ok(2), Ok(3)];
    let verdicts: Vec<_> = updates
        .iter()
        .map(|update| rules.judge(update, T0).verdict)
        .map(|verdict| verdict.map(|named| named.number))
        .collect();
    assert_eq!(verdicts, expected);
    assert_eq!(rules.settle(), []);
}

#[test]
fn frames_without_times_have_identities_of_this_process() {
    let mut rules = usual();
    let mut identities = Vec::new();
    for id in 1..5 {
        let update = Update {
            time_stamp: 0,
            data_time_stamp: 0,
            ..frame(id, 0)
        };
        identities.push(judge(&mut rules, &update).verdict.unwrap().identity);
    }
    let expected: Vec<_> = (1..5).map(|count| Identity::local(2, 77, count)).collect();
    assert_eq!(identities, expected);
}

#[test]
fn settling_frames_are_left_out_and_are_no_gap() {
    let mut rules = rules(RuleOptions {
        initial: Initial::Always,
        first_frame: Some(3),
        scan_attribute: None,
    });
    let updates: Vec<_> = (1..6).map(|id| frame(id, id)).collect();
    let left_out = Err(Skip::FirstFrame);
    let expected = [left_out, left_out, Ok(3), Ok(4), Ok(5)];
    assert_eq!(verdicts(&mut rules, &updates), expected);
    assert_eq!(rules.settle(), []);
}

#[test]
fn a_refused_frame_is_no_gap_and_its_repeat_no_second_one() {
    let mut rules = usual();
    let rgb = Update {
        content: Content::Refused(Refusal::Color { color_mode: 2 }),
        ..frame(2, 2)
    };
    let unreadable = Update {
        unique_id: None,
        content: Content::Refused(Refusal::Undecodable {
            reason: "cut".into(),
        }),
        ..frame(0, 0)
    };
    let updates = [frame(1, 1), rgb.clone(), rgb, unreadable, frame(3, 3)];
    let expected = [
        Ok(1),
        Err(Skip::Refused("rgb")),
        Err(Skip::Duplicate),
        Err(Skip::Refused("undecodable")),
        Ok(3),
    ];
    assert_eq!(verdicts(&mut rules, &updates), expected);
    assert_eq!(rules.settle(), []);
}

#[test]
fn every_reason_to_skip_has_a_name_that_is_listed() {
    for skip in [
        Skip::Idle,
        Skip::Metadata,
        Skip::Duplicate,
        Skip::Stale,
        Skip::FirstFrame,
        Skip::Refused("rgb"),
    ] {
        assert!(Skip::NAMES.contains(&skip.name()));
    }
}

proptest! {
    #[test]
    fn each_frame_is_one_frame_and_each_loss_a_gap(
        scans in prop::collection::vec(prop::collection::vec((0_u8..8, 0_u8..4), 70..200), 1..4),
    ) {
        let mut rules = usual();
        let (mut frames, mut lost, mut missing, mut filled) = (0, 0, 0, 0);
        let mut seen = std::collections::HashSet::new();
        let mut at = 0;
        let mut count = |judged: Judged, frames: &mut u64| {
            missing += judged.gaps.iter().map(|gap| gap.missing).sum::<u64>();
            filled += u64::from(judged.filled);
            if let Ok(named) = judged.verdict {
                *frames += 1;
                assert!(seen.insert(named.identity));
            }
        };
        let mut posted = 0;
        for scan in scans {
            let mut id = 0;
            let all = scan.len();
            for (k, (gap, repeats)) in scan.into_iter().enumerate() {
                at += 10;
                id += 1;
                if gap == 0 && k > 0 && k + 1 < all {
                    id += 2;
                    lost += 2;
                }
                posted += 1;
                for _ in 0..=repeats {
                    let judged = judge(&mut rules, &frame(id, at));
                    count(judged, &mut frames);
                }
            }
        }
        missing += rules.settle().iter().map(|gap| gap.missing).sum::<u64>();
        prop_assert_eq!(frames, posted);
        prop_assert_eq!(missing - filled, lost);
    }
}
