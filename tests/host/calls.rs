//! Calls without faults.

use beamflow::vertex::client::{Datum, DriverError, dial};
use futures::FutureExt;
use numaflow::batchmap::{BatchResponse, Message};
use numaflow::proto::map::MapRequest;
use numaflow::proto::map::map_client::MapClient;
use numaflow::proto::metadata::Metadata;
use prost_types::Timestamp;
use tonic::Code;

use super::support::{Rig, answer, datum, datums, echo, soon, value};

#[tokio::test]
async fn a_stream_without_a_handshake_is_refused() {
    let rig = Rig::start(echo).await;
    let mut client = MapClient::new(dial(&rig.config.sock_path).await.unwrap());
    let requests = futures::stream::iter([MapRequest::from(datum("a"))]);
    let status = soon(client.map_fn(requests)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("handshake"), "{status}");
}

#[tokio::test]
async fn the_handler_gets_every_field_of_a_datum() {
    let rig = Rig::start(|mut input| async move {
        let datum = input.recv().await.unwrap();
        assert!(input.recv().await.is_none());
        let said = format!(
            "{:?} {:?} {:?} {} {}",
            datum.keys,
            datum.headers,
            datum.value,
            datum.event_time.timestamp(),
            datum.watermark.timestamp()
        );
        vec![answer(datum.id, said)]
    })
    .await;
    let mut sent = Datum::new("a", vec![1, 2]).with_header("x-txn-id", "t");
    sent.keys = vec!["k".to_owned()];
    sent.event_time = Some(Timestamp {
        seconds: 1_700_000_000,
        nanos: 0,
    });
    let mut driver = rig.driver().await;
    let back = soon(driver.call(futures::stream::iter([sent])))
        .await
        .unwrap();
    let said = String::from_utf8(value(&back, "a").to_vec()).unwrap();
    assert_eq!(
        said,
        r#"["k"] {"x-txn-id": "t"} [1, 2] 1700000000 1700000000"#
    );
}

#[tokio::test]
async fn each_result_carries_the_metadata_of_its_datum() {
    let rig = Rig::start(|mut input| async move {
        let mut responses = Vec::new();
        while let Some(datum) = input.recv().await {
            let mut response = BatchResponse::from_id(datum.id);
            response.append(Message::new(vec![1]));
            response.append(Message::new(vec![2]));
            responses.insert(0, response);
        }
        responses
    })
    .await;
    let metadata = |id: &str| Metadata {
        previous_vertex: format!("before {id}"),
        ..Metadata::default()
    };
    let sent = ["a", "b", "c"].map(|id| Datum {
        metadata: Some(metadata(id)),
        ..datum(id)
    });
    let mut driver = rig.driver().await;
    let back = soon(driver.call(futures::stream::iter(sent)))
        .await
        .unwrap();
    for id in ["a", "b", "c"] {
        let found: Vec<_> = back.get(id).unwrap().iter().map(|m| &m.metadata).collect();
        assert_eq!(found, [&Some(metadata(id)), &Some(metadata(id))]);
    }
}

/// Numaflow up to 1.8.3 fails if its next read batch starts before this one's end of transmission has arrived.
/// So once the first response has arrived, all the rest must be there, including the end.
#[tokio::test]
async fn the_end_of_transmission_follows_the_last_response_at_once() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    for id in ["a", "b", "c"] {
        driver.send_datum(datum(id)).await.unwrap();
    }
    driver.end_of_transmission().await.unwrap();
    let first = soon(driver.next_response()).await.unwrap().unwrap();
    assert_eq!(first.id, "a");
    let mut behind = Vec::new();
    while let Some(next) = driver.next_response().now_or_never() {
        let next = next.unwrap().unwrap();
        behind.push((next.id, next.status.is_some_and(|status| status.eot)));
    }
    let expected = [("b", false), ("c", false), ("", true)];
    assert_eq!(behind, expected.map(|(id, eot)| (id.to_owned(), eot)));
}

#[tokio::test]
async fn an_empty_read_batch_is_answered() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    for _ in 0..2 {
        assert!(soon(driver.call(datums(&[]))).await.unwrap().is_empty());
    }
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn five_thousand_datums_are_answered_batch_after_batch() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    for batch in 0..2 {
        let ids: Vec<String> = (0..5_000).map(|i| format!("{batch}-{i}")).collect();
        let sent: Vec<Datum> = ids.iter().map(|id| datum(id)).collect();
        let back = soon(driver.call(futures::stream::iter(sent)))
            .await
            .unwrap();
        assert_eq!(back.len(), 5_000);
        for id in &ids {
            assert_eq!(value(&back, id), id.as_bytes());
        }
    }
    driver.finish().await.unwrap();
}

#[tokio::test]
async fn messages_of_eight_mebibytes_come_back_bit_for_bit() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    let payload = |seed: u8| -> Vec<u8> {
        (0..8 << 20)
            .map(|i: u32| (i >> 8) as u8 ^ i as u8 ^ seed)
            .collect()
    };
    let sent: Vec<Datum> = (0..4u8)
        .map(|i| Datum::new(i.to_string(), payload(i)))
        .collect();
    let back = soon(driver.call(futures::stream::iter(sent)))
        .await
        .unwrap();
    for i in 0..4u8 {
        assert!(value(&back, &i.to_string()) == payload(i), "message {i}");
    }
}

#[tokio::test]
async fn no_more_datums_wait_for_the_handler_than_configured() {
    for (read_ahead, expected) in [(0, "1"), (3, "3")] {
        let rig = Rig::start_with(
            |mut input| async move {
                let capacity = input.max_capacity().to_string();
                vec![answer(input.recv().await.unwrap().id, capacity)]
            },
            |config| config.read_ahead = read_ahead,
        )
        .await;
        let mut driver = rig.driver().await;
        let back = soon(driver.call(datums(&["a"]))).await.unwrap();
        assert_eq!(value(&back, "a"), expected.as_bytes());
    }
}

#[tokio::test]
async fn a_message_over_the_limit_ends_only_its_stream() {
    let rig = Rig::start_with(echo, |config| config.max_message_size = 1024).await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    let large = futures::stream::iter([Datum::new("large", vec![0; 2048])]);
    match soon(driver.call(large)).await.unwrap_err() {
        DriverError::Status { status, .. } => assert_eq!(status.code(), Code::OutOfRange),
        other => panic!("{other}"),
    }
    let mut driver = rig.driver().await;
    soon(driver.call(datums(&["b"]))).await.unwrap();
}

/// A stalled stream keeps only its own read-ahead, not the window of other streams on its connection.
#[tokio::test]
async fn a_stalled_stream_delays_no_other() {
    let (release, released) = tokio::sync::watch::channel(false);
    let rig = Rig::start(move |mut input| {
        let mut released = released.clone();
        async move {
            let first = input.recv().await.unwrap();
            if first.id.starts_with("stall") {
                released.wait_for(|released| *released).await.unwrap();
            }
            let mut responses = echo(input).await;
            responses.push(answer(first.id, first.value));
            responses
        }
    })
    .await;
    let channel = dial(&rig.config.sock_path).await.unwrap();
    let mut stalled = beamflow::vertex::client::Driver::over(channel.clone())
        .await
        .unwrap();
    let mut other = beamflow::vertex::client::Driver::over(channel)
        .await
        .unwrap();
    let mebibytes = |name: &str, count: usize| -> Vec<Datum> {
        (0..count)
            .map(|i| Datum::new(format!("{name}{i}"), vec![0; 1 << 20]))
            .collect()
    };
    // More than the windows and the read-ahead can hold.
    let much = mebibytes("stall", 48);
    let stalled =
        tokio::spawn(async move { stalled.call(futures::stream::iter(much)).await.unwrap() });
    for _ in 0..5 {
        let some = futures::stream::iter(mebibytes("go", 4));
        assert_eq!(soon(other.call(some)).await.unwrap().len(), 4);
    }
    assert!(!stalled.is_finished());
    release.send(true).unwrap();
    assert_eq!(soon(stalled).await.unwrap().len(), 48);
}
