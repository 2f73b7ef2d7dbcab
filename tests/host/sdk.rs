//! Compares our host with the SDK's own server: both write the same server info, and the driver accepts both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use beamflow::vertex::client::{Answer, Datum, Driver};
use beamflow::vertex::map::{Server, ServerConfig};
use numaflow::batchmap::{self, BatchMapper, BatchResponse, Message};
use numaflow::shared::ServerExtras;
use tokio::sync::{mpsc::Receiver, oneshot};
use tokio_util::sync::CancellationToken;

/// Answers with two messages: keys and value, and a tagged one.
struct Two;

#[tonic::async_trait]
impl BatchMapper for Two {
    async fn batchmap(&self, mut input: Receiver<batchmap::Datum>) -> Vec<BatchResponse> {
        let mut responses = Vec::new();
        while let Some(datum) = input.recv().await {
            let mut response = BatchResponse::from_id(datum.id);
            response.append(Message::new(datum.value).with_keys(datum.keys));
            response.append(Message::message_to_drop());
            responses.push(response);
        }
        responses
    }
}

/// Socket and server-info file in a directory.
fn paths(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("batchmap.sock"), dir.join("mapper-server-info"))
}

/// Starts the SDK's server.
fn sdk(dir: &Path) -> oneshot::Sender<()> {
    let (sock, info) = paths(dir);
    let (stop, stopped) = oneshot::channel();
    let server = batchmap::Server::new(Two)
        .with_socket_file(sock)
        .with_server_info_file(info);
    tokio::spawn(server.start_with_shutdown(stopped));
    stop
}

/// The SDK's server, once it runs, has replaced the panic hook of this process, and hides the messages of failed
/// tests. It does so once; this puts the default hook back.
pub fn keep_panic_messages() {
    drop(std::panic::take_hook());
}

/// Starts ours.
fn ours(dir: &Path) -> tokio_util::sync::DropGuard {
    let (sock_path, server_info_path) = paths(dir);
    let config = ServerConfig {
        sock_path,
        server_info_path,
        ..ServerConfig::default()
    };
    let shutdown = CancellationToken::new();
    let server = Server::new(Arc::new(Two), config, |id, _| BatchResponse::from_id(id));
    tokio::spawn(server.serve(shutdown.clone()));
    shutdown.drop_guard()
}

async fn driver(dir: &Path) -> Driver {
    let (sock, info) = paths(dir);
    let driver = Driver::wait_ready(&info, &sock, Duration::from_secs(60)).await;
    keep_panic_messages();
    driver.unwrap()
}

/// Two read batches and an empty one, then a clean end.
async fn session(mut driver: Driver) -> Vec<Answer> {
    let mut answers = Vec::new();
    for batch in [0..500, 500..503, 0..0] {
        let datums = batch.map(|i| Datum {
            keys: vec![format!("key {i}")],
            ..Datum::new(format!("{i}"), vec![i as u8; 4096])
        });
        answers.push(driver.call(futures::stream::iter(datums)).await.unwrap());
    }
    driver.finish().await.unwrap();
    answers
}

#[tokio::test]
async fn our_server_and_the_sdks_give_the_same_answers() {
    let (theirs, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _stop = (sdk(theirs.path()), ours(own.path()));
    let from_theirs = session(driver(theirs.path()).await).await;
    let from_ours = session(driver(own.path()).await).await;
    assert_eq!(from_ours.iter().map(Answer::len).sum::<usize>(), 503);
    for (ours, theirs) in from_ours.iter().zip(&from_theirs) {
        assert_eq!(ours.responses, theirs.responses);
    }
}

#[tokio::test]
async fn our_server_info_says_what_the_sdks_says() {
    let (theirs, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _stop = (sdk(theirs.path()), ours(own.path()));
    let [of_theirs, of_ours] = [theirs.path(), own.path()].map(|dir| async move {
        drop(driver(dir).await);
        let (_, info) = paths(dir);
        let content = std::fs::read_to_string(info).unwrap();
        let json = content.strip_suffix("U+005C__END__").unwrap();
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    });
    assert_eq!(of_ours.await, of_theirs.await);
}
