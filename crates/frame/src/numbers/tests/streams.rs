//! Streams of a small model whose losses are known.

use super::*;
use proptest::prelude::*;

/// What happens to the frames of a scan of the model.
#[derive(Clone, Debug)]
enum Event {
    Frames(u64),
    Lost(u64),
    /// A frame that arrives after so many others.
    Late(u64),
    /// The last frames come again.
    Again(u64),
    /// The read batch ends.
    Settle,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1u64..100).prop_map(Event::Frames),
        2 => prop_oneof![1u64..5, 1u64..1500].prop_map(Event::Lost),
        2 => (1u64..40).prop_map(Event::Late),
        1 => (1u64..64).prop_map(Event::Again),
        1 => Just(Event::Settle),
    ];
    prop::collection::vec(event, 0..30)
}

/// A scan: how many frames its start lacks, fewer than a scan has, and what happens in it.
#[derive(Clone, Debug)]
struct Scan {
    lacks: u64,
    events: Vec<Event>,
}

fn scans() -> impl Strategy<Value = Vec<Scan>> {
    let scan = (prop_oneof![Just(0), 0u64..130], events());
    prop::collection::vec(
        scan.prop_map(|(lacks, events)| Scan { lacks, events }),
        1..6,
    )
}

/// What arrives: a frame's number and time, or the end of a read batch.
type Arrival = Option<(u64, i64)>;

/// The arrivals of scans that begin at `first` and have at least `ends` frames at both ends, and how many frames are lost.
fn play(first: u64, ends: u64, scans: &[Scan]) -> (Vec<Arrival>, u64) {
    let (mut arrivals, mut lost, mut time) = (Vec::new(), 0, 0i64);
    let mut jumped = false;
    for (index, Scan { lacks, events }) in scans.iter().enumerate() {
        // What the first scan lacks cannot be known; and a scan that begins at 1 lacks nothing, whatever others began at.
        let unknown = index == 0 || first + lacks <= 1;
        let lacks = match unknown {
            true => 0,
            // After a wide jump, a scan that begins above the numbers before the jump looks like their continuation.
            false if jumped => (*lacks).min(ends - 1),
            false => *lacks,
        };
        jumped = false;
        let mut gap = 0;
        lost += lacks;
        let mut next = first + lacks;
        let begin = arrivals.len();
        // Frames that are late, and how many come before them.
        let mut late: Vec<(u64, (u64, i64))> = Vec::new();
        let mut take = |arrivals: &mut Vec<Arrival>, late: &mut Vec<(u64, (u64, i64))>, next| {
            time += 1;
            arrivals.push(Some((next, time)));
            for (wait, frame) in late.iter_mut() {
                *wait -= 1;
                if *wait == 0 {
                    arrivals.push(Some(*frame));
                }
            }
            late.retain(|(wait, _)| *wait > 0);
            time
        };
        // Each scan begins and ends with frames, so that its numbers are known.
        let ends = [Event::Frames(ends)];
        for event in ends.iter().chain(events).chain(&ends) {
            match *event {
                Event::Lost(frames) => gap += frames,
                Event::Frames(_) | Event::Late(_) => gap = 0,
                Event::Again(_) | Event::Settle => {}
            }
            jumped |= gap >= WINDOW;
            match *event {
                Event::Frames(frames) => {
                    for _ in 0..frames {
                        take(&mut arrivals, &mut late, next);
                        next += 1;
                    }
                }
                Event::Lost(frames) => {
                    // No frame is so late that its number is out of the window.
                    arrivals.extend(late.drain(..).map(|(_, frame)| Some(frame)));
                    lost += frames;
                    next += frames;
                }
                Event::Late(wait) => {
                    let time = take(&mut arrivals, &mut late, next);
                    // It was taken before the frame that overtakes it.
                    let frame = arrivals
                        .iter_mut()
                        .rev()
                        .find_map(|a| a.as_mut().filter(|(number, _)| *number == next));
                    if let Some(frame) = frame {
                        *frame = (next + 1, time);
                    }
                    late.push((wait, (next, time - 1)));
                    next += 2;
                }
                Event::Again(frames) => {
                    let from =
                        (arrivals.len() - (frames as usize).min(arrivals.len() - begin)).max(begin);
                    arrivals.extend_from_within(from..);
                }
                Event::Settle => arrivals.push(None),
            }
        }
    }
    (arrivals, lost)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn counted_losses_are_the_true_ones(first in 0u64..2, scans in scans()) {
        let (arrivals, lost) = play(first, 70, &scans);
        let mut total = Total::default();
        let mut before = 0;
        for arrival in arrivals {
            match arrival {
                Some((number, time)) => {
                    total.note(number, Some(time));
                }
                None => {
                    total.settle();
                }
            }
            prop_assert!(total.counted >= before && total.counted >= total.filled);
            before = total.counted;
        }
        prop_assert_eq!(total.settle(), lost);
    }

    #[test]
    fn without_times_whole_scans_are_counted_as_well(scans in scans()) {
        // Without times, a redelivery and the first frames of a scan look the same, and so do a wide gap and another row.
        let scans: Vec<Scan> = scans.into_iter().map(|scan| Scan {
            lacks: 0,
            events: scan.events.into_iter()
                .filter(|event| !matches!(event, Event::Again(_)))
                .flat_map(|event| [event, Event::Frames(1)])
                .collect(),
        }).collect();
        let (arrivals, lost) = play(1, REPEATED, &scans);
        let mut total = Total::default();
        for arrival in arrivals {
            match arrival {
                Some((number, _)) => {
                    total.note(number, None);
                }
                None => {
                    total.settle();
                }
            }
        }
        prop_assert_eq!(total.settle(), lost);
    }

    #[test]
    fn no_stream_panics_or_takes_more_memory(
        numbers in prop::collection::vec(prop_oneof![
            any::<u64>(), 0u64..20, 0u64..10_000, (u64::MAX - 50)..=u64::MAX, (1u64 << 31) - 50..(1 << 31) + 50,
        ], 0..600),
        times in prop::collection::vec(any::<Option<i64>>(), 1..20),
    ) {
        let mut total = Total::default();
        let mut last = 0;
        for (number, taken) in numbers.into_iter().zip(times.into_iter().cycle()) {
            total.note(number, taken);
            prop_assert!(total.counted - last <= 2 * LARGEST_GAP);
            last = total.counted;
            prop_assert!(total.seen.rows.len() <= ROWS);
            for row in &total.seen.rows {
                prop_assert!(row.gaps.len() <= REPEATED as usize + 1, "{}", row.gaps.len());
            }
        }
        total.settle();
    }
}
