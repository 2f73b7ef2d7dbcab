//! The client disconnects during a call, or violates the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use beamflow::vertex::client::DriverError;
use numaflow::proto::map::{Handshake, MapRequest};
use tokio::sync::mpsc;
use tonic::Code;

use super::support::{Rig, answer, datum, datums, echo, soon, value};

/// Sends on a channel when it is dropped.
struct Dropped(mpsc::UnboundedSender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

/// A handler that, in its first call, reads to the end and never returns, with a receiver for the time it
/// starts and is dropped.
async fn stuck_at_first() -> (Rig, mpsc::UnboundedReceiver<&'static str>) {
    let (tell, news) = mpsc::unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let rig = Rig::start(move |mut input| {
        let tell = tell.clone();
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            if call > 0 {
                let mut responses = echo(input).await;
                responses.iter_mut().for_each(|response| {
                    *response = answer(response.id.clone(), format!("call {call}"));
                });
                return responses;
            }
            let _dropped = Dropped(tell.clone());
            while input.recv().await.is_some() {
                tell.send("read").unwrap();
            }
            tell.send("end").unwrap();
            std::future::pending().await
        }
    })
    .await;
    (rig, news)
}

#[tokio::test]
async fn a_disconnect_in_mid_call_stops_the_handler() {
    let (rig, mut news) = stuck_at_first().await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    assert_eq!(soon(news.recv()).await, Some("read"));
    drop(driver);
    // Either the end of the stream or its reset may be seen first; both must work.
    while soon(news.recv()).await != Some("dropped") {}

    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a"]))).await.unwrap();
    assert_eq!(value(&back, "a"), b"call 1", "not the same handler");
    driver.finish().await.unwrap();
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_disconnect_while_computing_stops_the_handler() {
    let (rig, mut news) = stuck_at_first().await;
    let mut driver = rig.driver().await;
    driver.end_of_transmission().await.unwrap();
    assert_eq!(soon(news.recv()).await, Some("end"));
    drop(driver);
    assert_eq!(soon(news.recv()).await, Some("dropped"));
    rig.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_closed_within_a_batch_is_answered_and_ended() {
    let rig = Rig::start(echo).await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    driver.send_datum(datum("b")).await.unwrap();
    driver.half_close();
    let back = soon(driver.answer()).await.unwrap();
    assert_eq!(value(&back, "b"), b"b");
    assert!(soon(driver.next_response()).await.unwrap().is_none());
}

/// Sends `wrong` within a batch; returns the status that ends the stream.
async fn violate(wrong: MapRequest) -> tonic::Status {
    let (rig, mut news) = stuck_at_first().await;
    let mut driver = rig.driver().await;
    driver.send_datum(datum("a")).await.unwrap();
    assert_eq!(soon(news.recv()).await, Some("read"));
    driver.send_request(wrong).await.unwrap();
    let status = match soon(driver.answer()).await.unwrap_err() {
        DriverError::Status { status, .. } => *status,
        other => panic!("{other}"),
    };
    while soon(news.recv()).await != Some("dropped") {}
    let mut driver = rig.driver().await;
    soon(driver.call(datums(&["b"]))).await.unwrap();
    status
}

#[tokio::test]
async fn an_empty_message_ends_only_its_stream() {
    let status = violate(MapRequest {
        id: "hollow".to_owned(),
        ..MapRequest::default()
    })
    .await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("hollow"), "{status}");
    assert!(status.message().contains("neither payload"), "{status}");
}

#[tokio::test]
async fn a_second_handshake_ends_its_stream_by_name_and_no_other() {
    let status = violate(MapRequest {
        handshake: Some(Handshake { sot: true }),
        ..MapRequest::default()
    })
    .await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("second handshake"), "{status}");
}
