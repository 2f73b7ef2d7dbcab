//! A host on its own socket, with a closure as its handler.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use beamflow::vertex::client::{Datum, Driver};
use beamflow::vertex::map::{Server, ServerConfig, ServerError};
use numaflow::batchmap::{self, BatchMapper, BatchResponse, Message};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The tag that the host of a [`Rig`] puts on datums without an answer.
pub const UNANSWERED: &str = "unanswered";

/// Fails the test if `future` does not finish.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("timeout after a minute")
}

/// A closure as a handler.
pub struct By<F>(pub F);

#[tonic::async_trait]
impl<F, R> BatchMapper for By<F>
where
    F: Fn(Receiver<batchmap::Datum>) -> R + Send + Sync,
    R: Future<Output = Vec<BatchResponse>> + Send,
{
    async fn batchmap(&self, input: Receiver<batchmap::Datum>) -> Vec<BatchResponse> {
        (self.0)(input).await
    }
}

/// A response of one message.
pub fn answer(id: impl Into<String>, value: impl Into<Vec<u8>>) -> BatchResponse {
    let mut response = BatchResponse::from_id(id.into());
    response.append(Message::new(value.into()));
    response
}

/// Answers each datum with its own payload.
pub async fn echo(mut input: Receiver<batchmap::Datum>) -> Vec<BatchResponse> {
    let mut responses = Vec::new();
    while let Some(datum) = input.recv().await {
        responses.push(answer(datum.id, datum.value));
    }
    responses
}

/// Datums with these ids, and the id as payload.
pub fn datums(ids: &[&str]) -> impl futures::Stream<Item = Datum> + Unpin {
    let datums: Vec<Datum> = ids.iter().map(|id| datum(id)).collect();
    futures::stream::iter(datums)
}

/// A datum with its id as payload.
pub fn datum(id: &str) -> Datum {
    Datum::new(id, id.as_bytes().to_vec())
}

/// The value of the first message for `id`.
pub fn value<'a>(answer: &'a beamflow::vertex::client::Answer, id: &str) -> &'a [u8] {
    &answer.get(id).unwrap()[0].value
}

/// A host that serves.
pub struct Rig {
    pub dir: TempDir,
    pub config: ServerConfig,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<Result<(), ServerError>>,
}

impl Rig {
    pub async fn start<F, R>(handler: F) -> Self
    where
        F: Fn(Receiver<batchmap::Datum>) -> R + Send + Sync + 'static,
        R: Future<Output = Vec<BatchResponse>> + Send + 'static,
    {
        Self::start_with(handler, |_| {}).await
    }

    /// Starts a host with the given configuration; both paths are in the rig's directory.
    pub async fn start_with<F, R>(handler: F, change: impl FnOnce(&mut ServerConfig)) -> Self
    where
        F: Fn(Receiver<batchmap::Datum>) -> R + Send + Sync + 'static,
        R: Future<Output = Vec<BatchResponse>> + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            sock_path: dir.path().join("batchmap.sock"),
            server_info_path: dir.path().join("mapper-server-info"),
            ..ServerConfig::default()
        };
        change(&mut config);
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server(handler, config.clone()).serve(shutdown.clone()));
        let rig = Self {
            dir,
            config,
            shutdown,
            serving,
        };
        drop(rig.driver().await);
        rig
    }

    /// A driver on a new connection.
    pub async fn driver(&self) -> Driver {
        let (info, sock) = (&self.config.server_info_path, &self.config.sock_path);
        Driver::wait_ready(info, sock, Duration::from_secs(60))
            .await
            .unwrap()
    }

    /// Shuts the host down; returns the result of `serve`.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.shutdown.cancel();
        soon(self.serving).await.unwrap()
    }
}

/// A host that does not serve yet.
pub fn server<F, R>(handler: F, config: ServerConfig) -> Server<By<F>>
where
    F: Fn(Receiver<batchmap::Datum>) -> R + Send + Sync + 'static,
    R: Future<Output = Vec<BatchResponse>> + Send + 'static,
{
    Server::new(Arc::new(By(handler)), config, |id, _| BatchResponse {
        id,
        message: vec![Message::new(Vec::new()).with_tags(vec![UNANSWERED.to_owned()])],
    })
}
