//! Answers that leave before the end of a call, and streams without an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use beamflow::vertex::MapMode;
use beamflow::vertex::client::{Answered, Datum, Driver, DriverError};
use beamflow::vertex::map::{Answers, Mapped, Mapper, Server, ServerConfig};
use futures::{FutureExt, stream};
use numaflow::batchmap::{self, BatchResponse, Message};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};
use tokio_util::sync::CancellationToken;

use super::support::{UNANSWERED, answer, datum, datums, soon, value};

/// What the handler does with a datum, by its id.
const PANIC: &str = "panic";
const RETURN: &str = "return";
const KEEP: &str = "keep";
const TWICE: &str = "twice";

/// Answers each datum at once, unless its id says something else. Says what it has read.
struct Eager {
    read: mpsc::UnboundedSender<String>,
    calls: AtomicUsize,
}

#[tonic::async_trait]
impl Mapper for Eager {
    async fn map(&self, mut datums: Receiver<batchmap::Datum>, answers: Answers) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        while let Some(datum) = datums.recv().await {
            let id = datum.id.clone();
            let mapped = |_| Mapped {
                response: answer(id.clone(), datum.value.clone()),
                notes: Vec::new(),
            };
            match id.as_str() {
                PANIC => panic!("scripted panic"),
                RETURN => return,
                KEEP => {}
                TWICE => answers.send((0..2).map(mapped).collect()).await.unwrap(),
                _ => answers.send((0..1).map(mapped).collect()).await.unwrap(),
            }
            self.read.send(id).unwrap();
        }
    }
}

/// A host of an [`Eager`] handler.
struct Rig {
    _folder: tempfile::TempDir,
    config: ServerConfig,
    handler: Arc<Eager>,
    read: UnboundedReceiver<String>,
    shutdown: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn start(map_mode: MapMode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ServerConfig {
            map_mode,
            sock_path: folder.path().join("map.sock"),
            server_info_path: folder.path().join("mapper-server-info"),
            ..ServerConfig::default()
        };
        let (told, read) = mpsc::unbounded_channel();
        let handler = Arc::new(Eager {
            read: told,
            calls: AtomicUsize::new(0),
        });
        let shutdown = CancellationToken::new();
        let by_host = |id, _| BatchResponse {
            id,
            message: vec![Message::new(Vec::new()).with_tags(vec![UNANSWERED.to_owned()])],
        };
        let server = Server::new(Arc::clone(&handler), config.clone(), by_host);
        let served = server.serve(shutdown.clone());
        Self {
            _folder: folder,
            config,
            handler,
            read,
            shutdown,
            serving: tokio::spawn(async move { served.await.unwrap() }),
        }
    }

    async fn driver(&self) -> Driver {
        let (info, sock) = (&self.config.server_info_path, &self.config.sock_path);
        let driver = Driver::wait_ready(info, sock, std::time::Duration::from_secs(60));
        driver.await.unwrap()
    }

    async fn has_read(&mut self, id: &str) {
        while soon(self.read.recv()).await.as_deref() != Some(id) {}
    }

    async fn stop(self) {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap();
    }
}

/// The next response's id, or that there is none yet.
fn next_at_once(driver: &mut Driver) -> Option<(String, bool)> {
    let response = driver.next_response().now_or_never()?.unwrap().unwrap();
    Some((response.id, response.status.is_some_and(|s| s.eot)))
}

async fn next(driver: &mut Driver) -> (String, bool) {
    let response = soon(driver.next_response()).await.unwrap().unwrap();
    (response.id, response.status.is_some_and(|s| s.eot))
}

fn response(id: &str) -> (String, bool) {
    (id.to_owned(), false)
}

/// Numa of v1.8.3 takes a read batch for done when all its ids are answered. It then begins the next, and fails if our end of
/// transmission comes only after that. Here numa delays its own: the last open response must not come before it, and then with
/// the end right behind.
#[tokio::test]
async fn the_last_open_response_waits_for_numas_end() {
    let mut rig = Rig::start(MapMode::Batch);
    let mut driver = rig.driver().await;
    for id in ["a", "b", "c"] {
        driver.send_datum(datum(id)).await.unwrap();
        rig.has_read(id).await;
    }
    // All are answered. "c" would leave no id open.
    assert_eq!(next(&mut driver).await, response("a"));
    assert_eq!(next(&mut driver).await, response("b"));
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert_eq!(next_at_once(&mut driver), None);
    }
    // Another datum opens an id, and the held response may leave.
    driver.send_datum(datum(KEEP)).await.unwrap();
    rig.has_read(KEEP).await;
    driver.send_datum(datum("d")).await.unwrap();
    assert_eq!(next(&mut driver).await, response("c"));
    assert_eq!(next(&mut driver).await, response("d"));
    driver.end_of_transmission().await.unwrap();
    assert_eq!(next(&mut driver).await, response(KEEP));
    assert_eq!(next_at_once(&mut driver), Some((String::new(), true)));
    rig.stop().await;
}

/// Plays numa of v1.8.3: a read batch is done when all ids are answered; the next is registered at once; an end of transmission
/// that comes then is an error.
#[tokio::test]
async fn numa_of_1_8_3_never_sees_an_end_between_read_batches() {
    let rig = Rig::start(MapMode::Batch);
    let mut driver = rig.driver().await;
    for batch in 0..200 {
        let ids: Vec<_> = (0..8).map(|k| format!("{batch}-{k}")).collect();
        for id in &ids {
            driver.send_datum(datum(id)).await.unwrap();
        }
        driver.end_of_transmission().await.unwrap();
        for _ in &ids {
            assert!(!next(&mut driver).await.1, "an end before the last answer");
        }
        // Before anything of the next batch is sent, the end is there.
        assert_eq!(next_at_once(&mut driver), Some((String::new(), true)));
    }
    rig.stop().await;
}

#[tokio::test]
async fn each_datum_of_a_stream_is_answered_while_it_is_open() {
    let mut rig = Rig::start(MapMode::Unary);
    let mut driver = rig.driver().await;
    assert_eq!(driver.map_mode(), MapMode::Unary);
    for id in ["a", KEEP, "b", "c"] {
        driver.send_datum(datum(id)).await.unwrap();
        if id != KEEP {
            assert_eq!(next(&mut driver).await, response(id));
        }
        rig.has_read(id).await;
    }
    // What the handler did not answer, the host answers when the stream ends; there is no end of transmission.
    driver.half_close();
    assert_eq!(next(&mut driver).await, response(KEEP));
    assert!(soon(driver.next_response()).await.unwrap().is_none());
    rig.stop().await;
}

#[tokio::test]
async fn thousands_of_datums_are_answered_with_few_in_flight() {
    let rig = Rig::start(MapMode::Unary);
    for concurrency in [1, 3, 1_000] {
        let mut driver = rig.driver().await.with_concurrency(concurrency);
        let sent = (0..5_000).map(|n| Datum::new(n.to_string(), vec![n as u8; 7]));
        let mut seen = vec![false; 5_000];
        let take = |answered: Answered| {
            let n: usize = answered.id.parse().unwrap();
            assert_eq!(answered.messages[0].value, vec![n as u8; 7]);
            assert!(!std::mem::replace(&mut seen[n], true));
        };
        soon(driver.stream(stream::iter(sent), take)).await.unwrap();
        assert!(seen.into_iter().all(|seen| seen));
        driver.finish().await.unwrap();
    }
    rig.stop().await;
}

/// A panic or an early return costs what is in hand, which the host answers; the stream goes on with another call.
#[tokio::test]
async fn a_handler_that_breaks_off_costs_no_stream() {
    for fault in [PANIC, RETURN] {
        let rig = Rig::start(MapMode::Unary);
        let mut driver = rig.driver().await;
        let back = soon(driver.call(datums(&["a", KEEP, fault])))
            .await
            .unwrap();
        assert_eq!(value(&back, "a"), b"a");
        for id in [KEEP, fault] {
            assert!(back.tags(id).any(|tag| tag == UNANSWERED), "{fault}: {id}");
        }
        let back = soon(driver.call(datums(&["b", "c"]))).await.unwrap();
        assert_eq!(value(&back, "c"), b"c");
        assert_eq!(rig.handler.calls.load(Ordering::SeqCst), 2);
        driver.finish().await.unwrap();
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_repeated_answer_leaves_a_stream_once() {
    let rig = Rig::start(MapMode::Unary);
    let mut driver = rig.driver().await;
    let back = soon(driver.call(datums(&["a", TWICE, "b"]))).await.unwrap();
    assert_eq!(back.len(), 3);
    driver.finish().await.unwrap();
    rig.stop().await;
}

/// On SIGTERM a stream is not read any further. What has come is answered, and the stream ends.
#[tokio::test]
async fn a_shutdown_answers_what_a_stream_has_in_hand() {
    let mut rig = Rig::start(MapMode::Unary);
    let mut driver = rig.driver().await;
    driver.send_datum(datum(KEEP)).await.unwrap();
    rig.has_read(KEEP).await;
    rig.shutdown.cancel();
    assert_eq!(next(&mut driver).await, response(KEEP));
    assert!(soon(driver.next_response()).await.unwrap().is_none());
    soon(rig.serving).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_the_protocol_ends_alone() {
    let rig = Rig::start(MapMode::Unary);
    let mut driver = rig.driver().await;
    driver.send_request(Default::default()).await.unwrap();
    match soon(driver.call(datums(&[]))).await {
        Ok(_) => {}
        Err(error) => panic!("{error}"),
    }
    let error = soon(driver.next_response()).await.unwrap_err();
    assert!(matches!(error, DriverError::Status { .. }), "{error}");
    let mut driver = rig.driver().await;
    assert_eq!(soon(driver.call(datums(&["a"]))).await.unwrap().len(), 1);
    rig.stop().await;
}
