//! The host of a sink, with sinks of a few lines.

use beamflow::vertex::ServerError;
use beamflow::vertex::client::{Datum, DriverError, Sink, Verdict};
use beamflow::vertex::sink::{Server, ServerConfig};
use futures::stream::{self, Stream, StreamExt};
use numaflow::proto::sink::sink_client::SinkClient;
use numaflow::proto::sink::{Handshake, SinkRequest as Request};
use numaflow::shared::ServerExtras;
use numaflow::sink::{self, Response, SinkRequest, Sinker};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::support::soon;

const LONG: Duration = Duration::from_secs(60);

/// A sink that does what a message says.
#[derive(Clone)]
struct Scripted {
    /// It returns when there is a permit.
    gate: Arc<Semaphore>,
    /// A message has come.
    taken: Arc<Notify>,
    /// A batch is read to its end.
    read: Arc<Notify>,
    /// The values of each batch that it has carried to its end.
    batches: mpsc::UnboundedSender<Vec<String>>,
}

#[tonic::async_trait]
impl Sinker for Scripted {
    async fn sink(&self, mut input: mpsc::Receiver<SinkRequest>) -> Vec<Response> {
        let (mut responses, mut values) = (Vec::new(), Vec::new());
        while let Some(request) = input.recv().await {
            let value = String::from_utf8(request.value).unwrap();
            self.taken.notify_one();
            match value.as_str() {
                "panic" => panic!("a panic on purpose"),
                "return" => return responses,
                "forget" => {}
                "invent" => {
                    responses.push(Response::ok("another".into()));
                    responses.push(Response::ok(request.id));
                }
                "repeat" => {
                    responses.push(Response::failure(request.id.clone(), "first".into()));
                    responses.push(Response::ok(request.id));
                }
                "fallback" => responses.push(Response::fallback(request.id)),
                _ => responses.push(Response::ok(request.id)),
            }
            values.push(value);
        }
        self.read.notify_one();
        self.gate.acquire().await.unwrap().forget();
        let _ = self.batches.send(values);
        responses
    }
}

/// A host that serves.
struct Rig {
    config: ServerConfig,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServerError>>,
    gate: Arc<Semaphore>,
    taken: Arc<Notify>,
    read: Arc<Notify>,
    batches: mpsc::UnboundedReceiver<Vec<String>>,
    _dir: tempfile::TempDir,
}

/// A sink with so many permits.
fn scripted(permits: usize) -> (Scripted, mpsc::UnboundedReceiver<Vec<String>>) {
    let (batches, ended) = mpsc::unbounded_channel();
    let sink = Scripted {
        gate: Arc::new(Semaphore::new(permits)),
        taken: Arc::default(),
        read: Arc::default(),
        batches,
    };
    (sink, ended)
}

impl Rig {
    fn start() -> Self {
        Self::start_with(1_000, |_| {})
    }

    fn start_with(permits: usize, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            sock_path: dir.path().join("sink.sock"),
            server_info_path: dir.path().join("sinker-server-info"),
            ..ServerConfig::default()
        };
        change(&mut config);
        let (sink, batches) = scripted(permits);
        let (gate, taken, read) = (
            Arc::clone(&sink.gate),
            Arc::clone(&sink.taken),
            Arc::clone(&sink.read),
        );
        let server = Server::new(Arc::new(sink), config.clone());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        Self {
            config,
            shutdown,
            serving,
            gate,
            taken,
            read,
            batches,
            _dir: dir,
        }
    }

    async fn client(&self) -> Sink {
        let (info, sock) = (&self.config.server_info_path, &self.config.sock_path);
        Sink::wait_ready(info, sock, LONG).await.unwrap()
    }

    async fn batch(&mut self) -> Vec<String> {
        soon(self.batches.recv()).await.unwrap()
    }

    /// Sends a batch until the sink has read all of it.
    async fn until_read(&self, writing: impl Future<Output: std::fmt::Debug>) {
        tokio::select! {
            biased;
            answered = writing => panic!("{answered:?}"),
            () = soon(self.read.notified()) => {}
        }
    }

    async fn end(self) {
        soon(self.serving).await.unwrap().unwrap();
        assert!(!self.config.sock_path.exists());
        assert!(!self.config.server_info_path.exists());
    }
}

fn batch(values: &[&str]) -> Vec<Datum> {
    let datum = |(k, value): (usize, &&str)| Datum::new(k.to_string(), value.as_bytes().to_vec());
    values.iter().enumerate().map(datum).collect()
}

fn failed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Failed(_))
}

#[tokio::test]
async fn a_sink_info_says_what_the_sdks_says() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info");
    let theirs = sink::Server::new(scripted(1).0)
        .with_socket_file(dir.path().join("sock"))
        .with_server_info_file(&info);
    let (_stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(theirs.start_with_shutdown(stopped));
    let rig = Rig::start();
    drop(Sink::wait_ready(&info, &dir.path().join("sock"), LONG).await);
    super::sdk::keep_panic_messages();
    drop(rig.client().await);
    let [theirs, ours] = [&info, &rig.config.server_info_path].map(|path| {
        let content = std::fs::read_to_string(path).unwrap();
        let json = content.strip_suffix("U+005C__END__").unwrap();
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    });
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn batch_after_batch_is_written_and_answered() {
    let mut rig = Rig::start();
    let mut client = rig.client().await;
    assert!(client.is_ready().await.unwrap());
    for size in [1, 3, 2_500] {
        let values = vec!["x"; size];
        let verdicts = soon(client.write(&batch(&values))).await.unwrap();
        assert_eq!(verdicts, vec![Verdict::Written; size]);
        assert_eq!(rig.batch().await, values);
    }
    let large = Datum::new("large", vec![b'x'; 20 << 20]);
    let verdicts = soon(client.write(&[large])).await.unwrap();
    assert_eq!(verdicts, [Verdict::Written]);
    let verdicts = soon(client.write(&batch(&["x", "fallback"])))
        .await
        .unwrap();
    assert_eq!(verdicts, [Verdict::Written, Verdict::Fallback]);
}

#[tokio::test]
async fn each_message_is_answered_once_whatever_the_sink_returns() {
    let rig = Rig::start();
    let mut client = rig.client().await;
    let messages = batch(&["x", "forget", "invent", "repeat", "x"]);
    let verdicts = soon(client.write(&messages)).await.unwrap();
    let failures: Vec<bool> = verdicts.iter().map(failed).collect();
    assert_eq!(failures, [false, true, false, true, false]);
    assert_eq!(verdicts[3], Verdict::Failed("first".into()));
    // It returns in the middle of a batch that does not fit into the channel.
    let mut values = vec!["x"; 200];
    values[1] = "return";
    let verdicts = soon(client.write(&batch(&values))).await.unwrap();
    assert_eq!(verdicts[0], Verdict::Written);
    assert!(verdicts[1..].iter().all(failed));
}

#[tokio::test]
async fn a_panic_fails_its_batch_and_no_other() {
    let mut rig = Rig::start();
    let mut client = rig.client().await;
    let verdicts = soon(client.write(&batch(&["x", "panic", "x"]))).await;
    assert!(verdicts.unwrap().iter().all(failed));
    let verdicts = soon(client.write(&batch(&["x"]))).await.unwrap();
    assert_eq!(verdicts, [Verdict::Written]);
    assert_eq!(rig.batch().await, ["x"]);
}

/// A stream that shakes hands, sends a message and leaves the batch open.
fn open_batch(value: &str) -> impl Stream<Item = Request> + Send + 'static {
    let handshake = Request {
        handshake: Some(Handshake { sot: true }),
        ..Request::default()
    };
    let message = Datum::new("1", value.as_bytes().to_vec()).into();
    stream::iter([handshake, message]).chain(stream::pending())
}

/// A numa that has sent one message of a batch, and is killed.
async fn leave_within_a_batch(rig: &Rig, value: &'static str) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let numa = builder.worker_threads(1).enable_all().build().unwrap();
    let sock = rig.config.sock_path.clone();
    numa.spawn(async move {
        let channel = beamflow::vertex::client::dial(&sock).await.unwrap();
        let responses = SinkClient::new(channel).sink_fn(open_batch(value)).await;
        std::future::pending::<()>().await;
        drop(responses);
    });
    soon(rig.taken.notified()).await;
    let kill = tokio::task::spawn_blocking(move || numa.shutdown_timeout(LONG));
    soon(kill).await.unwrap();
    // The sink sees the end of the batch: the host knows that numa has gone.
    soon(rig.read.notified()).await;
}

#[tokio::test]
async fn what_a_sink_has_begun_is_carried_out_though_numa_leaves() {
    let mut rig = Rig::start_with(0, |_| {});
    drop(rig.client().await);
    for _ in 0..3 {
        leave_within_a_batch(&rig, "a").await;
        rig.gate.add_permits(1);
        assert_eq!(rig.batch().await, ["a"]);
    }
    // A shutdown waits for it.
    leave_within_a_batch(&rig, "b").await;
    rig.shutdown.cancel();
    rig.gate.add_permits(1);
    assert_eq!(rig.batch().await, ["b"]);
    rig.end().await;
}

#[tokio::test]
async fn a_batch_in_hand_is_answered_after_shutdown_and_no_other_begins() {
    let mut rig = Rig::start_with(0, |_| {});
    let mut client = rig.client().await;
    let channel = beamflow::vertex::client::dial(&rig.config.sock_path).await;
    let idle = rig.client().await;
    let messages = batch(&["a", "b"]);
    {
        let mut writing = std::pin::pin!(client.write(&messages));
        rig.until_read(&mut writing).await;
        rig.shutdown.cancel();
        assert!(!idle.is_ready().await.unwrap());
        match Sink::over(channel.unwrap()).await {
            Err(DriverError::Status { status, .. }) => {
                assert_eq!(status.code(), Code::Unavailable);
            }
            other => panic!("{other:?}"),
        }
        rig.gate.add_permits(1);
        let verdicts = soon(writing).await.unwrap();
        assert_eq!(verdicts, [Verdict::Written, Verdict::Written]);
    }
    assert_eq!(rig.batch().await, ["a", "b"]);
    assert!(soon(client.write(&messages)).await.unwrap_err().is_loss());
    rig.end().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_a_sink_no_longer_than_its_grace() {
    let rig = Rig::start_with(0, |config| config.grace = Duration::from_millis(1));
    let mut client = rig.client().await;
    let messages = batch(&["a"]);
    let mut writing = std::pin::pin!(client.write(&messages));
    rig.until_read(&mut writing).await;
    rig.shutdown.cancel();
    assert!(soon(writing).await.unwrap_err().is_loss());
    rig.end().await;
}

#[tokio::test]
async fn a_stream_that_breaks_the_protocol_ends_and_the_sink_goes_on() {
    let rig = Rig::start();
    drop(rig.client().await);
    let channel = beamflow::vertex::client::dial(&rig.config.sock_path).await;
    let mut client = SinkClient::new(channel.unwrap());
    // No handshake.
    let first = client.sink_fn(futures::stream::iter([Request::default()]));
    assert_eq!(soon(first).await.unwrap_err().code(), Code::InvalidArgument);
    // A message without a request within a batch.
    let handshake = Request {
        handshake: Some(Handshake { sot: true }),
        ..Request::default()
    };
    let requests = [
        handshake,
        Datum::new("1", vec![b'x']).into(),
        Request::default(),
    ];
    let opened = client.sink_fn(futures::stream::iter(requests));
    let mut responses = soon(opened).await.unwrap().into_inner();
    let echo = soon(responses.message()).await.unwrap().unwrap();
    assert!(echo.handshake.is_some());
    let ended = soon(responses.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::InvalidArgument);
    let mut client = rig.client().await;
    let verdicts = soon(client.write(&batch(&["x"]))).await.unwrap();
    assert_eq!(verdicts, [Verdict::Written]);
}

#[tokio::test]
async fn a_message_above_the_limit_ends_its_stream_and_not_the_sink() {
    let mut rig = Rig::start_with(1_000, |config| config.max_message_size = 4_096);
    let mut client = rig.client().await;
    let messages = [
        Datum::new("1", vec![b'a']),
        Datum::new("2", vec![b'b'; 5_000]),
    ];
    match soon(client.write(&messages)).await {
        Err(DriverError::Status { status, .. }) => assert_eq!(status.code(), Code::OutOfRange),
        other => panic!("{other:?}"),
    }
    // The sink has what came before.
    assert_eq!(rig.batch().await, ["a"]);
    let mut client = rig.client().await;
    let verdicts = soon(client.write(&batch(&["x"]))).await.unwrap();
    assert_eq!(verdicts, [Verdict::Written]);
}
