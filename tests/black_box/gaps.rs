//! Numbers that are missing in `x-txn-id` are counted, with the right value, and logged.

use crate::black_box::common::{SIM, good};
use crate::black_box::served::Served;
use prost_types::Timestamp;

#[tokio::test]
async fn missing_frame_numbers_are_counted_and_logged() {
    let mut served = Served::start(&["--model-path", SIM]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    for numbers in [100..110, 113..120, 113..121, 121..125] {
        let datums = numbers.map(|number| {
            let mut datum = good(number);
            let header = ("x-txn-id".to_owned(), number.to_string());
            datum.headers.extend([header]);
            datum
        });
        driver.call(futures::stream::iter(datums)).await.unwrap();
    }
    let metrics = served.metrics().await;
    assert_eq!(metrics["beamflow_frame_gaps_total"], 3.0);
    let logged = || served.sidecar.log().contains("missing=3 before=113");
    crate::black_box::common::eventually("the line", logged).await;
    drop(driver);
    served.sidecar.stop().await.unwrap();
}

/// What the sidecar counts as missing, and of that as late, in these read batches. `taken` gives a frame's event time from its
/// place in the order of arrival, and from its number.
async fn gaps(calls: &[Vec<u64>], taken: impl Fn(u64, u64) -> Option<u64>) -> (f64, f64) {
    let mut served = Served::start(&["--model-path", SIM, "--bsz-size", "64"]).await;
    let mut driver = served.sidecar.connect().await.unwrap();
    let mut arrived = 0;
    for numbers in calls {
        let datums: Vec<_> = numbers
            .iter()
            .map(|number| {
                arrived += 1;
                let mut datum = good(arrived as usize);
                datum.event_time = Some(Timestamp {
                    seconds: taken(arrived, *number).unwrap_or_default() as i64,
                    nanos: 0,
                });
                let header = ("x-txn-id".to_owned(), number.to_string());
                datum.headers.extend([header]);
                datum
            })
            .collect();
        driver.call(futures::stream::iter(datums)).await.unwrap();
    }
    let metrics = served.metrics().await;
    drop(driver);
    served.sidecar.stop().await.unwrap();
    let of = |name: &str| metrics[&format!("beamflow_{name}_total")];
    (of("frame_gaps"), of("frame_gaps_filled"))
}

/// Some day in 2026, in seconds.
const BEGIN: u64 = 1_790_000_000;

#[tokio::test]
async fn counted_gaps_are_frames_that_are_lost() {
    let without = |numbers: std::ops::RangeInclusive<u64>| {
        numbers.filter(|number| !(100..150).contains(number))
    };
    let cases: [(Vec<u64>, f64); 8] = [
        ((1..=500).chain(without(3..=400)).collect(), 52.0),
        ((0..=500).chain(without(10..=899)).collect(), 60.0),
        (
            (1..=99).chain([2_147_483_646]).chain(100..=200).collect(),
            0.0,
        ),
        (
            (0..20)
                .map(|k| 1_790_000_000_000_000_000 + k * 1_000_000)
                .collect(),
            0.0,
        ),
        ((0..100).map(|k| 4 * k).collect(), 0.0),
        (
            (0..100).filter(|k| k % 10 != 5).map(|k| 4 * k).collect(),
            10.0,
        ),
        (
            (0..200)
                .map(|k| {
                    if k % 8 == 3 {
                        k + 1
                    } else if k % 8 == 4 {
                        k - 1
                    } else {
                        k
                    }
                })
                .collect(),
            0.0,
        ),
        ((4_294_967_200..4_294_967_290).chain(4..100).collect(), 10.0),
    ];
    for (numbers, lost) in cases {
        let calls: Vec<Vec<u64>> = numbers.chunks(64).map(<[u64]>::to_vec).collect();
        for untimed in [true, false] {
            let taken = |arrived, _| (!untimed).then_some(BEGIN + arrived);
            let (counted, filled) = gaps(&calls, taken).await;
            assert_eq!(counted - filled, lost, "{:?}…", &numbers[..8]);
        }
    }
}

#[tokio::test]
async fn a_frame_that_comes_after_its_gap_was_counted_is_told() {
    let calls = [vec![1, 2, 4, 6], vec![5, 7, 8], vec![3, 9]];
    assert_eq!(gaps(&calls, |_, _| None).await, (2.0, 2.0));
    // The same frames again, as after a NACK.
    let calls = [vec![1, 2, 4], vec![1, 2, 4], vec![5]];
    let taken = |_, number| Some(BEGIN + number);
    assert_eq!(gaps(&calls, taken).await, (1.0, 0.0));
}
