//! Faults of the handler: every datum is still answered.

use std::sync::atomic::{AtomicUsize, Ordering};

use beamflow::vertex::client::{Answer, Datum};
use numaflow::batchmap::BatchResponse;

use super::support::{Rig, UNANSWERED, answer, datum, datums, echo, soon, value};

/// The ids that the host answered.
fn by_the_host(back: &Answer) -> Vec<&str> {
    let ids = back.responses.iter().map(|(id, _)| id.as_str());
    ids.filter(|id| back.tags(id).any(|tag| tag == UNANSWERED))
        .collect()
}

/// More than read-ahead and HTTP/2 windows hold, so the host must continue to read.
fn much() -> impl futures::Stream<Item = Datum> {
    futures::stream::iter((0..400).map(|i| Datum::new(i.to_string(), vec![0; 64 << 10])))
}

#[tokio::test]
async fn a_panic_costs_one_call_and_every_datum_of_it_is_answered() {
    let calls = AtomicUsize::new(0);
    let rig = Rig::start(move |mut input| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let first = input.recv().await.unwrap();
            assert!(call > 0, "scripted panic");
            let mut responses = echo(input).await;
            responses.push(answer(first.id, first.value));
            responses
        }
    })
    .await;
    let mut driver = rig.driver().await;
    let back = soon(driver.call(much())).await.unwrap();
    assert_eq!(by_the_host(&back).len(), 400);
    let back = soon(driver.call(datums(&["a", "b"]))).await.unwrap();
    assert_eq!(by_the_host(&back), [""; 0]);
    assert_eq!(value(&back, "b"), b"b");
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn an_early_return_ends_neither_call_nor_stream() {
    let rig = Rig::start(|mut input| async move {
        let first = input.recv().await.unwrap();
        vec![answer(first.id, "taken")]
    })
    .await;
    let mut driver = rig.driver().await;
    for _ in 0..2 {
        let back = soon(driver.call(much())).await.unwrap();
        assert_eq!(value(&back, "0"), b"taken");
        assert_eq!(by_the_host(&back).len(), 399);
    }
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn a_datum_without_an_answer_is_answered_by_the_host() {
    let rig = Rig::start(|input| async move {
        let mut responses = echo(input).await;
        responses.retain(|response| response.id != "b");
        responses
    })
    .await;
    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a", "b", "c"]))).await.unwrap();
    assert_eq!(by_the_host(&back), ["b"]);
    assert_eq!(value(&back, "c"), b"c");
}

#[tokio::test]
async fn a_datum_answered_twice_gets_the_first_answer_only() {
    let rig = Rig::start(|input| async move {
        let mut responses = echo(input).await;
        responses.push(answer("a", "again"));
        responses
    })
    .await;
    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a", "b"]))).await.unwrap();
    assert_eq!(back.len(), 2);
    assert_eq!(value(&back, "a"), b"a");
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn an_answer_to_an_unknown_id_is_dropped() {
    let rig = Rig::start(|input| async move {
        let mut responses = echo(input).await;
        responses.insert(0, answer("invented", "?"));
        responses
    })
    .await;
    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a"]))).await.unwrap();
    assert_eq!(back.len(), 1);
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn equal_ids_in_one_batch_are_each_answered() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    let sent = ["1", "2", "3"].map(|value| Datum::new("a", value.as_bytes().to_vec()));
    let back = soon(driver.call(futures::stream::iter(sent)))
        .await
        .unwrap();
    let values: Vec<_> = back
        .responses
        .iter()
        .map(|(_, m)| &m[0].value[..])
        .collect();
    assert_eq!(values, [b"1", b"2", b"3"]);
}

#[tokio::test]
async fn an_answer_without_a_message_is_sent_on_as_a_drop() {
    let rig = Rig::start(|input| async move {
        let responses = echo(input).await.into_iter();
        responses.map(|r| BatchResponse::from_id(r.id)).collect()
    })
    .await;
    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a"]))).await.unwrap();
    assert!(back.is_dropped("a"));
}

#[tokio::test]
async fn a_handler_that_answers_unread_blocks_no_sender() {
    let rig = Rig::start(|_input| async { vec![answer("a", "guessed")] }).await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    let back = soon(driver.call(datums(&["b"]))).await.unwrap();
    assert_eq!(value(&back, "a"), b"guessed");
    assert_eq!(by_the_host(&back), ["b"]);
}

#[tokio::test]
async fn an_answer_too_large_to_send_is_replaced_not_fatal() {
    const LIMIT: usize = 64 << 10;
    // Grows each value: one of them beyond the limit.
    let grow = |mut input: tokio::sync::mpsc::Receiver<numaflow::batchmap::Datum>| async move {
        let mut responses = Vec::new();
        while let Some(datum) = input.recv().await {
            responses.push(answer(datum.id, vec![7; 2 * datum.value.len()]));
        }
        responses
    };
    let rig = Rig::start_with(grow, |config| config.max_message_size = LIMIT).await;
    let mut driver = rig.driver().await;
    let sizes = [
        ("small", 10),
        ("large", LIMIT / 2 + 1),
        ("fits", LIMIT / 2 - 1000),
    ];
    for _ in 0..2 {
        let datums = sizes.map(|(id, size)| Datum::new(id, vec![0; size]));
        let back = soon(driver.call(futures::stream::iter(datums)))
            .await
            .unwrap();
        assert_eq!(by_the_host(&back), ["large"]);
        assert_eq!(value(&back, "fits").len(), LIMIT - 2000);
    }
    driver.finish().await.unwrap();
}
