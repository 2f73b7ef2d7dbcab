//! Programs of a few lines: a source that keeps account, a map and a sink of a closure. Each runs on a runtime of its own, so
//! that it can be killed.

use beamflow::vertex::client::pipeline::{Address, Intake, Outlet, Pipeline, Settings, Until};
use beamflow::vertex::{self, MapMode, map};
use numaflow::batchmap::{self, BatchMapper, BatchResponse};
use numaflow::shared::ServerExtras;
use numaflow::sink::{self, Response, SinkRequest, Sinker};
use numaflow::source::{self, Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A program on a runtime of its own; none by default.
#[derive(Default)]
pub struct Program(Option<Runtime>);

impl Program {
    fn start<F: Future<Output: Send> + Send + 'static>(serve: impl FnOnce() -> F) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(serve());
        Self(Some(runtime))
    }

    /// Ends it as SIGKILL does: its connections break wherever they are.
    pub async fn kill(mut self) {
        let runtime = self.0.take().unwrap();
        let end = move || runtime.shutdown_timeout(Duration::from_secs(60));
        tokio::task::spawn_blocking(end).await.unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The account of a source's messages, which are numbers.
#[derive(Default)]
pub struct Stock {
    pub waiting: BTreeSet<u64>,
    pub out: BTreeSet<u64>,
    delayed: BTreeMap<u64, Instant>,
    /// Each ack of a message that was out.
    pub acked: Vec<u64>,
    /// Each nack, with its delay in milliseconds.
    pub nacked: Vec<(u64, Option<u64>)>,
}

/// A source of numbers; clones share their account. It outlives its program, as a queue on a disk does.
#[derive(Clone, Default)]
pub struct Numbers(Arc<(Mutex<Stock>, Notify)>);

impl Numbers {
    pub fn new(count: u64) -> Self {
        let numbers = Self::default();
        numbers.stock(|stock| stock.waiting = (0..count).collect());
        numbers
    }

    pub fn stock<T>(&self, act: impl FnOnce(&mut Stock) -> T) -> T {
        let done = act(&mut self.0.0.lock().unwrap());
        self.0.1.notify_waiters();
        done
    }

    /// The reader is gone: what is out is delivered again.
    pub fn give_back(&self) {
        self.stock(|stock| {
            let out = std::mem::take(&mut stock.out);
            stock.waiting.extend(out);
        });
    }

    fn take(&self, most: usize) -> Vec<u64> {
        let now = Instant::now();
        let mut stock = self.0.0.lock().unwrap();
        let due = stock.delayed.extract_if(.., |_, due| *due <= now);
        let due: Vec<_> = due.map(|(number, _)| number).collect();
        stock.waiting.extend(due);
        let taken: Vec<u64> = stock.waiting.iter().copied().take(most).collect();
        for number in &taken {
            stock.waiting.remove(number);
            stock.out.insert(*number);
        }
        taken
    }
}

fn message(number: u64) -> Message {
    let mut metadata = source::UserMetadata::new();
    metadata.add_kv("scan".to_owned(), "n".to_owned(), vec![7]);
    Message {
        value: number.to_string().into_bytes(),
        offset: Offset {
            // No valid UTF-8.
            offset: [&[0xff], number.to_string().as_bytes()].concat(),
            partition_id: 3,
        },
        event_time: (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + number)).into(),
        keys: Vec::new(),
        headers: HashMap::from([("x-txn-id".to_owned(), number.to_string())]),
        user_metadata: Some(metadata),
    }
}

fn number(offset: &Offset) -> u64 {
    let text = std::str::from_utf8(&offset.offset[1..]).unwrap();
    text.parse().unwrap()
}

#[tonic::async_trait]
impl Sourcer for Numbers {
    async fn read(&self, request: SourceReadRequest, to: mpsc::Sender<Message>) {
        let deadline = Instant::now() + request.timeout;
        let mut given = Vec::new();
        loop {
            let changed = self.0.1.notified();
            for number in self.take(request.count - given.len()) {
                given.push(number);
                let _ = to.send(message(number)).await;
            }
            if !given.is_empty() || Instant::now() >= deadline {
                break;
            }
            let wake = deadline.min(Instant::now() + Duration::from_millis(5));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        if to.is_closed() {
            self.stock(|stock| {
                let back = given.iter().filter(|number| stock.out.remove(number));
                let back: Vec<u64> = back.copied().collect();
                stock.waiting.extend(back);
            });
        }
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        self.stock(|stock| {
            for number in offsets.iter().map(number) {
                if stock.out.remove(&number) || stock.waiting.remove(&number) {
                    stock.acked.push(number);
                }
            }
        });
    }

    async fn nack(&self, nacks: Vec<NackOffset>) {
        self.stock(|stock| {
            for nack in nacks {
                let number = number(&nack.offset);
                let delay = nack.options.and_then(|options| options.delay);
                stock.nacked.push((number, delay));
                if stock.out.remove(&number) {
                    let delay = Duration::from_millis(delay.unwrap_or(0));
                    stock.delayed.insert(number, Instant::now() + delay);
                }
            }
        });
    }

    async fn pending(&self) -> Option<usize> {
        Some(self.stock(|stock| stock.waiting.len() + stock.out.len() + stock.delayed.len()))
    }

    async fn active_partitions(&self) -> Option<Vec<i32>> {
        Some(vec![3])
    }
}

/// A map of a closure.
pub struct By<F>(pub F);

#[tonic::async_trait]
impl<F: Fn(&batchmap::Datum) -> Vec<batchmap::Message> + Send + Sync> BatchMapper for By<F> {
    async fn batchmap(&self, mut input: mpsc::Receiver<batchmap::Datum>) -> Vec<BatchResponse> {
        let mut responses = Vec::new();
        while let Some(datum) = input.recv().await {
            let message = (self.0)(&datum);
            let id = datum.id;
            responses.push(BatchResponse { id, message });
        }
        responses
    }
}

/// A map of a closure that answers each datum at once, for a unary map too.
pub struct AtOnce<F>(pub F);

#[tonic::async_trait]
impl<F> map::Mapper for AtOnce<F>
where
    F: Fn(&batchmap::Datum) -> Vec<batchmap::Message> + Send + Sync + 'static,
{
    async fn map(&self, mut datums: mpsc::Receiver<batchmap::Datum>, answers: map::Answers) {
        while let Some(datum) = datums.recv().await {
            let message = (self.0)(&datum);
            let response = BatchResponse {
                id: datum.id,
                message,
            };
            let notes = Vec::new();
            let _ = answers.send(vec![map::Mapped { response, notes }]).await;
        }
    }
}

#[tonic::async_trait]
impl<F: Fn(&SinkRequest) -> Response + Send + Sync> Sinker for By<F> {
    async fn sink(&self, mut input: mpsc::Receiver<SinkRequest>) -> Vec<Response> {
        let mut responses = Vec::new();
        while let Some(request) = input.recv().await {
            responses.push((self.0)(&request));
        }
        responses
    }
}

/// The number of a message at the sink.
pub fn number_of(request: &SinkRequest) -> u64 {
    request.headers["x-txn-id"].parse().unwrap()
}

/// The sockets of a pipeline, in one folder.
pub struct Rig(tempfile::TempDir);

impl Rig {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn address(&self, name: &str) -> Address {
        let folder: &Path = self.0.path();
        let (sock, info) = (format!("{name}.sock"), format!("{name}-info"));
        Address {
            ready_within: Duration::from_secs(60),
            ..Address::new(folder.join(sock), folder.join(info))
        }
    }

    /// Serves a source with the SDK's server.
    pub fn source(&self, source: &Numbers) -> Program {
        let Address {
            sock, server_info, ..
        } = self.address("source");
        let server = source::Server::new(source.clone())
            .with_socket_file(sock)
            .with_server_info_file(server_info);
        Program::start(|| async { server.start().await.unwrap() })
    }

    /// Serves a source with our host.
    pub fn source_host(&self, numbers: &Numbers) -> Program {
        let Address {
            sock, server_info, ..
        } = self.address("source");
        let config = vertex::source::ServerConfig {
            sock_path: sock,
            server_info_path: server_info,
            ..vertex::source::ServerConfig::default()
        };
        let unacked = numbers.clone();
        let unacked = move || unacked.stock(|stock| stock.out.len() as u64);
        let server = vertex::source::Server::new(Arc::new(numbers.clone()), config, unacked);
        Program::start(|| server.serve(CancellationToken::new()))
    }

    /// Serves a batch map with our host.
    pub fn map<H: map::Mapper>(&self, handler: H) -> Program {
        self.map_as(MapMode::Batch, handler)
    }

    /// Serves a map with our host.
    pub fn map_as<H: map::Mapper>(&self, map_mode: MapMode, handler: H) -> Program {
        let Address {
            sock, server_info, ..
        } = self.address("map");
        let config = map::ServerConfig {
            map_mode,
            sock_path: sock,
            server_info_path: server_info,
            ..map::ServerConfig::default()
        };
        let server = map::Server::new(Arc::new(handler), config, |id, _| {
            BatchResponse::from_id(id)
        });
        Program::start(|| server.serve(CancellationToken::new()))
    }

    /// Serves a sink with the SDK's server.
    pub fn sink(&self, name: &str, sink: impl Sinker + Send + Sync + 'static) -> Program {
        let Address {
            sock, server_info, ..
        } = self.address(name);
        let server = sink::Server::new(sink)
            .with_socket_file(sock)
            .with_server_info_file(server_info);
        Program::start(|| async { server.start().await.unwrap() })
    }

    /// All three over their sockets.
    pub fn pipeline(&self, settings: Settings) -> Pipeline {
        let source = Intake::Source(self.address("source"));
        let sink = Outlet::Sink(self.address("sink"));
        Pipeline::new(settings, source, sink).with_map(self.address("map"))
    }
}

/// Small read batches and short times.
pub fn settings() -> Settings {
    Settings {
        vertex: "v".to_owned(),
        read_batch: 16,
        read_timeout: Duration::from_millis(20),
        until: Until::Idle,
        ..Settings::default()
    }
}

/// Runs a pipeline to its end.
pub async fn finish(
    pipeline: &mut Pipeline,
) -> Result<beamflow::vertex::client::pipeline::Report, beamflow::vertex::client::DriverError> {
    let stop = CancellationToken::new();
    let run = tokio::time::timeout(Duration::from_secs(120), pipeline.run(&stop)).await;
    crate::host::sdk::keep_panic_messages();
    run.expect("the pipeline ends")
}
