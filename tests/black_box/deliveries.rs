//! A frame that fails each time is delivered again after a growing delay, and not without end.

use crate::black_box::common::{Host, MODES, NEVER, SIM, assert_result, bad, good};
use beamflow::vertex::client::{Answer, Datum, Driver};
use futures::stream;
use tokio::time::timeout;

const NACK: &str = "U+005C__NACK__";

/// Frames of a call.
const FRAMES: usize = 20;

/// One call of these datums.
async fn deliver(driver: &mut Driver, datums: impl Iterator<Item = Datum> + Send) -> Answer {
    let datums: Vec<_> = datums.collect();
    let call = timeout(NEVER, driver.call(stream::iter(datums)));
    call.await.expect("the call is answered").unwrap()
}

/// The delay in the nack of frame `k`, in ms; none if it is no nack.
fn delay(answer: &Answer, k: usize) -> Option<u64> {
    let id = k.to_string();
    let nacked = answer.tags(&id).any(|tag| tag == NACK);
    let options = || answer.get(&id)?[0].nack_options.as_ref()?.delay;
    nacked.then(options).flatten()
}

fn delays(answer: &Answer) -> Vec<Option<u64>> {
    (0..FRAMES).map(|k| delay(answer, k)).collect()
}

fn assert_dead_letter(answer: &Answer, k: usize, deliveries: u32) {
    let [message] = answer.get(&k.to_string()).unwrap() else {
        panic!("one message")
    };
    assert_eq!(message.tags, ["dead"], "frame {k}");
    assert_eq!(message.value, good(k).value, "frame {k}");
    assert_eq!(message.keys, [format!("key-{k}")], "frame {k}");
    let metadata = message.metadata.as_ref().unwrap();
    let group = &metadata.user_metadata["beamflow"];
    let reason = std::str::from_utf8(&group.key_value["reason"]).unwrap();
    let begin = format!("no result after {deliveries} deliveries: ");
    assert!(reason.starts_with(&begin), "{reason}");
}

#[tokio::test]
async fn a_frame_that_fails_in_every_delivery_becomes_a_dead_letter() {
    for mode in MODES {
        let model = format!("{SIM},error-every=1");
        let flags = ["--mode", mode, "--model-path", &model];
        let more = ["--on-invalid", "tag:dead", "--max-deliveries", "3"];
        let host = Host::start(&[flags, more].concat()).await;
        let mut driver = host.driver().await;
        for expected in [1000, 2000] {
            let answer = deliver(&mut driver, (0..FRAMES).map(good)).await;
            assert_eq!(delays(&answer), [Some(expected); FRAMES], "{mode}");
        }
        assert_eq!(host.counts.totals().exhausted, 0, "{mode}");
        let answer = deliver(&mut driver, (0..FRAMES).map(good)).await;
        (0..FRAMES).for_each(|k| assert_dead_letter(&answer, k, 3));
        let totals = host.counts.totals();
        assert_eq!((totals.exhausted, totals.failed), (20, 60), "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn without_a_tag_a_frame_is_dropped_after_its_last_delivery_and_counted() {
    for mode in MODES {
        let model = format!("{SIM},error-every=1");
        let flags = ["--mode", mode, "--model-path", &model];
        let host = Host::start(&[&flags[..], &["--max-deliveries", "2"]].concat()).await;
        let mut driver = host.driver().await;
        let answer = deliver(&mut driver, (0..FRAMES).map(good)).await;
        assert_eq!(delays(&answer), [Some(1000); FRAMES], "{mode}");
        let answer = deliver(&mut driver, (0..FRAMES).map(good)).await;
        let dropped = (0..FRAMES).all(|k| answer.is_dropped(&k.to_string()));
        assert!(dropped, "{mode}");
        assert_eq!(host.counts.totals().exhausted, 20, "{mode}");
        host.stop().await;
    }
}

#[tokio::test]
async fn the_count_of_the_source_is_used_where_it_is_larger() {
    for mode in MODES {
        let model = format!("{SIM},error-every=1");
        let flags = ["--mode", mode, "--model-path", &model];
        let more = ["--on-invalid", "tag:dead", "--max-deliveries", "4"];
        let host = Host::start(&[flags, more].concat()).await;
        let mut driver = host.driver().await;
        let delivery = |count: usize| {
            let of = move |k| good(k).with_header("x-delivery", count.to_string());
            (0..FRAMES).map(of)
        };
        let answer = deliver(&mut driver, delivery(3)).await;
        assert_eq!(delays(&answer), [Some(4000); FRAMES], "{mode}");
        let answer = deliver(&mut driver, delivery(4)).await;
        (0..FRAMES).for_each(|k| assert_dead_letter(&answer, k, 4));
        host.stop().await;
    }
}

#[tokio::test]
async fn without_a_limit_the_delay_grows_to_a_minute() {
    let model = format!("{SIM},error-every=1");
    let flags = ["--model-path", &model, "--max-deliveries", "off"];
    let host = Host::start(&flags).await;
    let mut driver = host.driver().await;
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let answer = deliver(&mut driver, (0..FRAMES).map(good)).await;
        assert_eq!(delays(&answer), [Some(expected * 1000); FRAMES]);
    }
    assert_eq!(host.counts.totals().exhausted, 0);
    host.stop().await;
}

/// The last delivery of some, the first of others, and frames that are rejected, in one call.
#[tokio::test]
async fn the_last_delivery_of_a_frame_changes_no_other_answer() {
    for mode in MODES {
        let flags = ["--mode", mode, "--model-path", SIM];
        let more = ["--on-invalid", "tag:dead", "--max-deliveries", "2"];
        let host = Host::start(&[flags, more].concat()).await;
        let mut driver = host.driver().await;
        let datum = |k: usize| match k % 5 {
            0 => bad(k).with_header("x-delivery", "2".to_owned()),
            1 | 2 => good(k).with_header("x-delivery", "2".to_owned()),
            _ => good(k),
        };
        let answer = deliver(&mut driver, (0..FRAMES).map(datum)).await;
        for k in 0..FRAMES {
            if k % 5 == 0 {
                let message = &answer.get(&k.to_string()).unwrap()[0];
                assert_eq!(
                    (&message.tags[0][..], &message.value),
                    ("dead", &bad(k).value)
                );
            } else {
                assert_result(&answer, k);
            }
        }
        assert_eq!(host.counts.totals().exhausted, 0, "{mode}");
        host.stop().await;
    }
}
