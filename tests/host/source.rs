//! The host of a source, with sources of a few lines.

use beamflow::vertex::ServerError;
use beamflow::vertex::client::{DriverError, Message, Nack, Offset, Source};
use beamflow::vertex::source::{Server, ServerConfig};
use numaflow::shared::ServerExtras;
use numaflow::source::{self, NackOffset, SourceReadRequest, Sourcer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::support::soon;

const LONG: Duration = Duration::from_secs(60);

/// What a source is told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Read(usize),
    /// A read has ended; whether its channel was closed.
    Ended(bool),
    Acked(Vec<u8>),
    Nacked(Vec<u8>, Option<u64>),
}

/// A source that gives one message for each entry of `sizes` and read, named by its place; `None` panics. A read with fewer
/// messages than requested waits until its channel is closed, if `waits`.
#[derive(Default)]
struct Scripted {
    sizes: Vec<Option<usize>>,
    waits: bool,
    /// The message without an offset.
    nameless: Option<usize>,
    tell: Option<mpsc::UnboundedSender<Told>>,
    out: Mutex<u64>,
}

impl Scripted {
    fn tell(&self, told: Told) {
        if let Some(tell) = &self.tell {
            let _ = tell.send(told);
        }
    }
}

#[tonic::async_trait]
impl Sourcer for Scripted {
    async fn read(&self, request: SourceReadRequest, to: mpsc::Sender<source::Message>) {
        self.tell(Told::Read(request.count));
        let sizes = self.sizes.iter().enumerate();
        for (place, size) in sizes.take(request.count) {
            let offset = match self.nameless == Some(place) {
                true => String::new(),
                false => place.to_string(),
            };
            *self.out.lock().unwrap() += 1;
            let message = source::Message {
                value: vec![place as u8; size.expect("a panic on purpose")],
                offset: source::Offset {
                    offset: offset.into_bytes(),
                    partition_id: 0,
                },
                event_time: SystemTime::now().into(),
                keys: Vec::new(),
                headers: HashMap::new(),
                user_metadata: None,
            };
            let _ = to.send(message).await;
        }
        if self.waits && self.sizes.len() < request.count {
            to.closed().await;
        }
        self.tell(Told::Ended(to.is_closed()));
    }

    async fn ack(&self, offsets: Vec<source::Offset>) {
        *self.out.lock().unwrap() -= offsets.len() as u64;
        for offset in offsets {
            self.tell(Told::Acked(offset.offset));
        }
    }

    async fn nack(&self, nacks: Vec<NackOffset>) {
        for nack in nacks {
            let delay = nack.options.and_then(|options| options.delay);
            self.tell(Told::Nacked(nack.offset.offset, delay));
        }
    }

    async fn pending(&self) -> Option<usize> {
        None
    }

    async fn active_partitions(&self) -> Option<Vec<i32>> {
        Some(vec![4, 5])
    }
}

/// A host that serves.
struct Rig {
    config: ServerConfig,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServerError>>,
    told: mpsc::UnboundedReceiver<Told>,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn start(scripted: Scripted) -> Self {
        Self::start_with(scripted, |_| {})
    }

    fn start_with(mut scripted: Scripted, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            sock_path: dir.path().join("source.sock"),
            server_info_path: dir.path().join("sourcer-server-info"),
            ..ServerConfig::default()
        };
        change(&mut config);
        let (tell, told) = mpsc::unbounded_channel();
        scripted.tell = Some(tell);
        let source = Arc::new(scripted);
        let of = Arc::clone(&source);
        let server = Server::new(source, config.clone(), move || *of.out.lock().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        Self {
            config,
            shutdown,
            serving,
            told,
            _dir: dir,
        }
    }

    async fn client(&self) -> Source {
        let (info, sock) = (&self.config.server_info_path, &self.config.sock_path);
        Source::wait_ready(info, sock, LONG).await.unwrap()
    }

    async fn told(&mut self) -> Told {
        soon(self.told.recv()).await.unwrap()
    }

    async fn end(self) {
        soon(self.serving).await.unwrap().unwrap();
        assert!(!self.config.sock_path.exists());
        assert!(!self.config.server_info_path.exists());
    }
}

fn sizes(sizes: &[usize]) -> Vec<Option<usize>> {
    sizes.iter().copied().map(Some).collect()
}

fn offsets(messages: &[Message]) -> Vec<Offset> {
    messages.iter().map(|read| read.offset.clone()).collect()
}

fn told_nack(place: u8) -> Told {
    Told::Nacked(vec![b'0' + place], None)
}

#[tokio::test]
async fn a_source_info_says_what_the_sdks_says() {
    let dir = tempfile::tempdir().unwrap();
    let info = dir.path().join("info");
    let theirs = source::Server::new(Scripted::default())
        .with_socket_file(dir.path().join("sock"))
        .with_server_info_file(&info);
    let (_stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(theirs.start_with_shutdown(stopped));
    let rig = Rig::start(Scripted::default());
    drop(Source::wait_ready(&info, &dir.path().join("sock"), LONG).await);
    super::sdk::keep_panic_messages();
    drop(rig.client().await);
    let [theirs, ours] = [&info, &rig.config.server_info_path].map(|path| {
        let content = std::fs::read_to_string(path).unwrap();
        let json = content.strip_suffix("U+005C__END__").unwrap();
        serde_json::from_str::<serde_json::Value>(json).unwrap()
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours["metadata"], serde_json::json!({}));
}

#[tokio::test]
async fn each_call_of_numa_reaches_the_source() {
    let mut rig = Rig::start(Scripted {
        sizes: sizes(&[0, 10, 1 << 20]),
        ..Scripted::default()
    });
    let mut client = rig.client().await;
    assert!(client.is_ready().await.unwrap());
    assert_eq!(client.pending().await.unwrap(), None);
    assert_eq!(client.partitions().await.unwrap(), [4, 5]);
    for _ in 0..2 {
        let messages = soon(client.read(3, LONG)).await.unwrap();
        assert_eq!(rig.told().await, Told::Read(3));
        assert_eq!(rig.told().await, Told::Ended(false));
        let lengths: Vec<_> = messages.iter().map(|read| read.datum.value.len()).collect();
        assert_eq!(lengths, [0, 10, 1 << 20]);
        let mut offsets = offsets(&messages);
        let last = offsets.pop().unwrap();
        client.ack(offsets).await.unwrap();
        assert_eq!(rig.told().await, Told::Acked(b"0".to_vec()));
        assert_eq!(rig.told().await, Told::Acked(b"1".to_vec()));
        let delay = Some(Duration::from_millis(9));
        let nack = Nack {
            offset: last,
            delay,
        };
        client.nack(vec![nack]).await.unwrap();
        assert_eq!(rig.told().await, Told::Nacked(b"2".to_vec(), Some(9)));
    }
    client.nack(Vec::new()).await.unwrap();
    client.ack(Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_numa_that_leaves_in_mid_read_closes_the_channel() {
    let mut rig = Rig::start(Scripted {
        sizes: sizes(&[1, 1]),
        waits: true,
        ..Scripted::default()
    });
    for _ in 0..3 {
        let mut client = rig.client().await;
        tokio::select! {
            read = client.read(3, LONG) => panic!("{read:?}"),
            told = rig.told() => assert_eq!(told, Told::Read(3)),
        }
        drop(client);
        assert_eq!(rig.told().await, Told::Ended(true));
    }
    let mut client = rig.client().await;
    assert_eq!(soon(client.read(2, LONG)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_source_gave_and_numa_did_not_take_is_nacked() {
    // More than the windows of HTTP/2 hold, and fewer messages than the host's channel does.
    let mut rig = Rig::start(Scripted {
        sizes: sizes(&[6 << 20; 8]),
        ..Scripted::default()
    });
    let mut client = rig.client().await;
    {
        let mut reading = std::pin::pin!(client.read(8, LONG));
        // Sends the request, and then takes nothing.
        assert!(futures::poll!(&mut reading).is_pending());
        assert_eq!(rig.told().await, Told::Read(8));
        assert_eq!(rig.told().await, Told::Ended(false));
    }
    drop(client);
    for place in 0..8 {
        assert_eq!(rig.told().await, told_nack(place));
    }
}

#[tokio::test]
async fn acks_are_taken_after_shutdown_and_reads_are_not() {
    let mut rig = Rig::start(Scripted {
        sizes: sizes(&[1; 4]),
        ..Scripted::default()
    });
    let mut client = rig.client().await;
    let messages = soon(client.read(4, LONG)).await.unwrap();
    rig.shutdown.cancel();
    assert!(!client.is_ready().await.unwrap());
    let short = Duration::from_millis(1);
    assert!(soon(client.read(4, short)).await.unwrap().is_empty());
    let channel = beamflow::vertex::client::dial(&rig.config.sock_path).await;
    match Source::over(channel.unwrap()).await {
        Err(DriverError::Status { status, .. }) => assert_eq!(status.code(), Code::Unavailable),
        other => panic!("{other:?}"),
    }
    for offset in offsets(&messages) {
        soon(client.ack(vec![offset])).await.unwrap();
    }
    let count = std::iter::from_fn(|| rig.told.try_recv().ok()).count();
    assert_eq!(count, 6, "one read, its end, and four acks");
    // The client is still there.
    rig.end().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_acks_no_longer_than_its_grace() {
    let rig = Rig::start_with(
        Scripted {
            sizes: sizes(&[1]),
            ..Scripted::default()
        },
        |config| config.grace = Duration::from_millis(1),
    );
    let mut client = rig.client().await;
    soon(client.read(1, LONG)).await.unwrap();
    rig.shutdown.cancel();
    rig.end().await;
    assert!(soon(client.read(1, LONG)).await.unwrap_err().is_loss());
}

#[tokio::test]
async fn a_source_that_nobody_reads_ends_at_once() {
    let rig = Rig::start_with(Scripted::default(), |config| config.grace = LONG * 60);
    let _client = rig.client().await;
    rig.shutdown.cancel();
    rig.end().await;
}

#[tokio::test]
async fn a_panic_ends_the_stream_and_not_the_source() {
    let mut rig = Rig::start(Scripted {
        sizes: vec![Some(1), None],
        ..Scripted::default()
    });
    let mut client = rig.client().await;
    match soon(client.read(2, LONG)).await {
        Err(DriverError::Status { status, .. }) => assert_eq!(status.code(), Code::Internal),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.told().await, Told::Read(2));
    assert_eq!(rig.told().await, told_nack(0));
    let mut client = rig.client().await;
    assert_eq!(soon(client.read(1, LONG)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_that_numa_cannot_take_is_left_out() {
    let rig = Rig::start_with(
        Scripted {
            sizes: sizes(&[1, 5_000, 1, 1]),
            nameless: Some(2),
            ..Scripted::default()
        },
        |config| config.max_message_size = 4_096,
    );
    let mut client = rig.client().await;
    let messages = soon(client.read(4, LONG)).await.unwrap();
    let names: Vec<_> = messages.iter().map(|read| &read.offset.offset).collect();
    assert_eq!(names, [b"0", b"3"]);
}
