use super::rig::{By, Numbers, Rig};
use beamflow::vertex::client::{Datum, DriverError, Message, Nack, Offset, Sink, Source, Verdict};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use numaflow::proto::nack_options::NackOptions;
use numaflow::proto::sink::sink_response::Result as Written;
use numaflow::proto::sink::sink_server::{Sink as SinkService, SinkServer};
use numaflow::proto::sink::{self, SinkRequest, SinkResponse};
use numaflow::proto::source::source_server::{Source as SourceService, SourceServer};
use numaflow::proto::source::{
    self, AckRequest, AckResponse, NackRequest, NackResponse, PartitionsResponse, PendingResponse,
    ReadRequest, ReadResponse, ReadyResponse, read_response,
};
use numaflow::sink::Response as SinkAnswer;
use prost_types::Timestamp;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

const LONG: Duration = Duration::from_secs(60);

/// A source that answers each read with prepared responses, whatever it asked for, and acks without success.
#[derive(Clone, Default)]
struct Scripted {
    is_mute: bool,
    responses: Vec<ReadResponse>,
}

#[tonic::async_trait]
impl SourceService for Scripted {
    type ReadFnStream = BoxStream<'static, Result<ReadResponse, Status>>;
    type AckFnStream = BoxStream<'static, Result<AckResponse, Status>>;

    async fn read_fn(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadFnStream>, Status> {
        let Self { is_mute, responses } = self.clone();
        let answers = request.into_inner().flat_map(move |request| {
            let handshake = request.unwrap().handshake;
            let echo = ReadResponse {
                handshake,
                ..ReadResponse::default()
            };
            stream::iter(match handshake {
                Some(_) if is_mute => vec![eot()],
                Some(_) => vec![echo],
                None => responses.clone(),
            })
        });
        Ok(Response::new(answers.map(Ok).boxed()))
    }

    async fn ack_fn(
        &self,
        request: Request<Streaming<AckRequest>>,
    ) -> Result<Response<Self::AckFnStream>, Status> {
        let echo = |request: Result<AckRequest, Status>| {
            Ok(AckResponse {
                handshake: request.unwrap().handshake,
                result: None,
            })
        };
        Ok(Response::new(request.into_inner().map(echo).boxed()))
    }

    async fn nack_fn(&self, _: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        Ok(Response::new(NackResponse { result: None }))
    }

    async fn pending_fn(&self, _: Request<()>) -> Result<Response<PendingResponse>, Status> {
        let result = Some(source::pending_response::Result { count: -1 });
        Ok(Response::new(PendingResponse { result }))
    }

    async fn partitions_fn(&self, _: Request<()>) -> Result<Response<PartitionsResponse>, Status> {
        Ok(Response::new(PartitionsResponse { result: None }))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        Ok(Response::new(ReadyResponse { ready: true }))
    }
}

impl Scripted {
    async fn connect(self) -> Result<Source, DriverError> {
        let dir = tempfile::tempdir().unwrap();
        let sock = dir.path().join("sock");
        let listener = UnixListenerStream::new(UnixListener::bind(&sock).unwrap());
        let router = tonic::transport::Server::builder().add_service(SourceServer::new(self));
        tokio::spawn(router.serve_with_incoming(listener));
        Source::connect(&sock).await
    }
}

fn eot() -> ReadResponse {
    ReadResponse {
        status: Some(read_response::Status {
            eot: true,
            ..read_response::Status::default()
        }),
        ..ReadResponse::default()
    }
}

fn result(offset: &str, event_time: Option<Timestamp>) -> ReadResponse {
    ReadResponse {
        result: Some(read_response::Result {
            offset: Some(Offset {
                offset: offset.as_bytes().to_vec(),
                partition_id: 0,
            }),
            event_time,
            ..read_response::Result::default()
        }),
        ..ReadResponse::default()
    }
}

fn good(offset: &str) -> ReadResponse {
    result(offset, Some(Timestamp::default()))
}

/// The result of one read of at most two messages; a client that saw an error is not used again.
async fn read(responses: &[ReadResponse]) -> Result<Vec<Message>, DriverError> {
    let scripted = Scripted {
        responses: responses.to_vec(),
        ..Scripted::default()
    };
    let mut source = scripted.connect().await.unwrap();
    let read = source.read(2, LONG).await;
    if read.is_err() {
        let again = source.read(2, LONG).await;
        assert!(matches!(again, Err(DriverError::Closed)), "{again:?}");
    }
    read
}

#[tokio::test]
async fn a_read_refuses_what_would_end_numa() {
    let whole = read(&[good("a"), good("b"), eot()]).await.unwrap();
    let ids: Vec<_> = whole.iter().map(|message| &message.datum.id).collect();
    assert_eq!(ids, ["YQ==-0", "Yg==-0"]);

    let error = read(&[good("a"), good(""), eot()]).await.unwrap_err();
    assert!(matches!(error, DriverError::NoOffset), "{error}");
    let error = read(&[result("a", None), eot()]).await.unwrap_err();
    assert!(error.to_string().contains("YQ==-0"), "{error}");
    let error = read(&[ReadResponse::default()]).await.unwrap_err();
    assert!(matches!(error, DriverError::Hollow), "{error}");
    let three = [good("a"), good("b"), good("c"), eot()];
    let error = read(&three).await.unwrap_err();
    assert!(
        matches!(error, DriverError::TooMany { count: 2 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_second_end_of_transmission_is_noticed() {
    let scripted = Scripted {
        responses: vec![good("a"), eot(), eot()],
        ..Scripted::default()
    };
    let mut source = scripted.connect().await.unwrap();
    assert_eq!(source.read(2, LONG).await.unwrap().len(), 1);
    // Another call on the same connection comes back behind it.
    source.is_ready().await.unwrap();
    let error = source.read(2, LONG).await.unwrap_err();
    assert!(matches!(error, DriverError::AfterEot { .. }), "{error}");
}

#[tokio::test]
async fn a_source_must_echo_the_handshake_and_confirm_acks() {
    let mute = Scripted {
        is_mute: true,
        ..Scripted::default()
    };
    let error = mute.connect().await.unwrap_err();
    assert!(error.to_string().contains("ReadFn"), "{error}");
    let mut source = Scripted::default().connect().await.unwrap();
    let error = source.ack(Vec::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("acking"), "{error}");
    let error = source.nack(Vec::new()).await.unwrap_err();
    assert!(error.to_string().starts_with("nacking"), "{error}");
    assert_eq!(source.pending().await.unwrap(), None, "it cannot tell");
}

#[tokio::test]
async fn the_sdks_source_satisfies_the_client() {
    let rig = Rig::new();
    let numbers = Numbers::new(5);
    let _program = rig.source(&numbers);
    let at = rig.address("source");
    let source = Source::wait_ready(&at.server_info, &at.sock, LONG).await;
    crate::host::sdk::keep_panic_messages();
    let mut source = source.unwrap();
    assert_eq!(source.partitions().await.unwrap(), [3]);
    let messages = source.read(4, LONG).await.unwrap();
    let numbers_read: Vec<_> = messages.iter().map(|m| m.datum.value.clone()).collect();
    assert_eq!(numbers_read, [b"0", b"1", b"2", b"3"]);
    let mut offsets = messages.iter().map(|message| message.offset.clone());
    source.ack(vec![offsets.next().unwrap()]).await.unwrap();
    let later = Some(Duration::from_millis(1));
    let nacks = [(offsets.next(), None), (offsets.next(), later)];
    let nacks = nacks.map(|(offset, delay)| Nack {
        offset: offset.unwrap(),
        delay,
    });
    source.nack(nacks.into()).await.unwrap();
    assert_eq!(source.pending().await.unwrap(), Some(4));
    numbers.stock(|stock| {
        assert_eq!(stock.acked, [0]);
        assert_eq!(stock.nacked, [(1, None), (2, Some(1))]);
    });
}

/// A sink that answers each end of transmission with prepared responses.
#[derive(Clone)]
struct ScriptedSink(Vec<SinkResponse>);

#[tonic::async_trait]
impl SinkService for ScriptedSink {
    type SinkFnStream = BoxStream<'static, Result<SinkResponse, Status>>;

    async fn sink_fn(
        &self,
        request: Request<Streaming<SinkRequest>>,
    ) -> Result<Response<Self::SinkFnStream>, Status> {
        let script = self.0.clone();
        let answers = request.into_inner().flat_map(move |request| {
            let request = request.unwrap();
            let echo = SinkResponse {
                handshake: request.handshake,
                ..SinkResponse::default()
            };
            stream::iter(match (request.handshake, request.status) {
                (Some(_), _) => vec![echo],
                (None, Some(_)) => script.clone(),
                (None, None) => Vec::new(),
            })
        });
        Ok(Response::new(answers.map(Ok).boxed()))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<sink::ReadyResponse>, Status> {
        Ok(Response::new(sink::ReadyResponse { ready: true }))
    }
}

fn to(id: &str, status: sink::Status) -> SinkResponse {
    let options = NackOptions {
        delay: Some(7),
        ..NackOptions::default()
    };
    let result = Written {
        id: id.to_owned(),
        status: status.into(),
        err_msg: "why".to_owned(),
        nack_options: Some(options),
        ..Written::default()
    };
    SinkResponse {
        results: vec![result],
        ..SinkResponse::default()
    }
}

fn sink_eot() -> SinkResponse {
    SinkResponse {
        status: Some(sink::TransmissionStatus { eot: true }),
        ..SinkResponse::default()
    }
}

/// The verdicts on a batch of `a` and `b`; a client that saw an error is not used again.
async fn write(script: Vec<SinkResponse>) -> Result<Vec<Verdict>, DriverError> {
    let dir = tempfile::tempdir().unwrap();
    let sock = dir.path().join("sock");
    let listener = UnixListenerStream::new(UnixListener::bind(&sock).unwrap());
    let server = SinkServer::new(ScriptedSink(script));
    let router = tonic::transport::Server::builder().add_service(server);
    tokio::spawn(router.serve_with_incoming(listener));
    let mut sink = Sink::connect(&sock).await.unwrap();
    let batch = ["a", "b"].map(|id| Datum::new(id, Vec::new()));
    let written = sink.write(&batch).await;
    if written.is_err() {
        let again = sink.write(&batch).await;
        assert!(matches!(again, Err(DriverError::Closed)), "{again:?}");
    }
    written
}

#[tokio::test]
async fn verdicts_come_in_the_order_of_the_batch() {
    use sink::Status::{Failure, Fallback, Nack, OnSuccess, Serve, Success};
    let failed = Verdict::Failed("why".to_owned());
    let nacked = Verdict::Nacked(Some(Duration::from_millis(7)));
    for (status, verdict) in [
        (Success, Verdict::Written),
        (Serve, Verdict::Written),
        (OnSuccess, Verdict::OnSuccess(None)),
        (Fallback, Verdict::Fallback),
        (Failure, failed),
        (Nack, nacked),
    ] {
        let script = vec![to("b", Success), to("a", status), sink_eot()];
        assert_eq!(write(script).await.unwrap(), [verdict, Verdict::Written]);
    }
}

#[tokio::test]
async fn each_message_gets_exactly_one_verdict() {
    let ok = |id| to(id, sink::Status::Success);
    match write(vec![ok("a"), sink_eot()]).await {
        Err(DriverError::Missing { unanswered }) => assert_eq!(unanswered, ["b"]),
        other => panic!("{other:?}"),
    }
    match write(vec![ok("a"), ok("a"), ok("b"), sink_eot()]).await {
        Err(DriverError::Repeated { id }) => assert_eq!(id, "a"),
        other => panic!("{other:?}"),
    }
    match write(vec![ok("a"), ok("x"), ok("b"), sink_eot()]).await {
        Err(DriverError::Unknown { id }) => assert_eq!(id, "x"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_sdks_sink_satisfies_the_client() {
    let rig = Rig::new();
    let fail_b = By(|request: &numaflow::sink::SinkRequest| match &*request.id {
        "b" => SinkAnswer::failure(request.id.clone(), "no".to_owned()),
        _ => SinkAnswer::ok(request.id.clone()),
    });
    let _program = rig.sink("sink", fail_b);
    let at = rig.address("sink");
    let sink = Sink::wait_ready(&at.server_info, &at.sock, LONG).await;
    crate::host::sdk::keep_panic_messages();
    let mut sink = sink.unwrap();
    assert!(sink.is_ready().await.unwrap());
    for _ in 0..2 {
        let batch = ["a", "b"].map(|id| Datum::new(id, vec![0; 100_000]));
        let verdicts = sink.write(&batch).await.unwrap();
        let failed = Verdict::Failed("no".to_owned());
        assert_eq!(verdicts, [Verdict::Written, failed]);
        assert!(sink.write(&[]).await.unwrap().is_empty());
    }
}
