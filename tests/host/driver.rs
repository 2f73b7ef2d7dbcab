//! The driver's checks, tested on a sidecar that breaks the protocol on request.

use std::path::Path;
use std::time::Duration;

use beamflow::vertex::client::{Answer, Driver, DriverError};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use numaflow::proto::map::map_server::{Map, MapServer};
use numaflow::proto::map::{
    Handshake, MapRequest, MapResponse, ReadyResponse, TransmissionStatus, map_response,
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::support::{datum, datums, soon};

/// Sends prepared messages whatever it receives: `before` at once, `after` at each end of transmission.
#[derive(Clone, Default)]
struct Scripted {
    not_ready: bool,
    before: Vec<MapResponse>,
    after: Vec<MapResponse>,
}

#[tonic::async_trait]
impl Map for Scripted {
    type MapFnStream = BoxStream<'static, Result<MapResponse, Status>>;

    async fn map_fn(
        &self,
        request: Request<Streaming<MapRequest>>,
    ) -> Result<Response<Self::MapFnStream>, Status> {
        let Self { before, after, .. } = self.clone();
        let at_eot = request.into_inner().flat_map(move |request| {
            let eot = request.is_ok_and(|r| r.status.is_some_and(|status| status.eot));
            stream::iter(if eot { after.clone() } else { Vec::new() })
        });
        let responses = stream::iter(before).chain(at_eot).map(Ok);
        Ok(Response::new(responses.boxed()))
    }

    async fn is_ready(&self, _: Request<()>) -> Result<Response<ReadyResponse>, Status> {
        Ok(Response::new(ReadyResponse {
            ready: !self.not_ready,
        }))
    }
}

impl Scripted {
    /// Answers the handshake, then sends `after` at each end of transmission.
    fn after(after: &[MapResponse]) -> Self {
        Self {
            before: vec![handshake()],
            after: after.to_vec(),
            ..Self::default()
        }
    }

    fn serve(self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let router = tonic::transport::Server::builder().add_service(MapServer::new(self));
        tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
        dir
    }

    async fn connect(self) -> Result<Driver, DriverError> {
        // The directory can be removed: the client is already connected.
        let dir = self.serve();
        soon(Driver::connect(&dir.path().join("sock"))).await
    }

    /// The driver's result for one read batch of `a` and `b`.
    async fn called(self) -> Result<Answer, DriverError> {
        let mut driver = self.connect().await.unwrap();
        let settled = soon(driver.call(datums(&["a", "b"]))).await;
        if settled.is_err() {
            let again = soon(driver.call(datums(&["c"]))).await;
            assert!(matches!(again, Err(DriverError::Closed)), "{again:?}");
        }
        settled
    }
}

fn handshake() -> MapResponse {
    MapResponse {
        handshake: Some(Handshake { sot: true }),
        ..MapResponse::default()
    }
}

fn eot() -> MapResponse {
    MapResponse {
        status: Some(TransmissionStatus { eot: true }),
        ..MapResponse::default()
    }
}

fn to(id: &str) -> MapResponse {
    MapResponse {
        id: id.to_owned(),
        results: vec![map_response::Result::default()],
        ..MapResponse::default()
    }
}

#[tokio::test]
async fn the_driver_accepts_one_answer_per_datum() {
    let back = Scripted::after(&[to("b"), to("a"), eot()]).called().await;
    assert_eq!(back.unwrap().len(), 2);
}

#[tokio::test]
async fn the_driver_notices_a_datum_without_an_answer() {
    match Scripted::after(&[to("a"), eot()]).called().await {
        Err(DriverError::Missing { unanswered }) => assert_eq!(unanswered, ["b"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_notices_a_datum_that_is_answered_twice() {
    match Scripted::after(&[to("a"), to("a"), to("b"), eot()])
        .called()
        .await
    {
        Err(DriverError::Repeated { id }) => assert_eq!(id, "a"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_notices_an_id_that_was_not_sent() {
    match Scripted::after(&[to("a"), to("x"), to("b"), eot()])
        .called()
        .await
    {
        Err(DriverError::Unknown { id }) => assert_eq!(id, "x"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_refuses_an_answer_without_messages() {
    let mut empty = to("a");
    empty.results.clear();
    match Scripted::after(&[empty, to("b"), eot()]).called().await {
        Err(DriverError::Empty { id }) => assert_eq!(id, "a"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_refuses_an_early_end_of_transmission() {
    let script = Scripted {
        before: vec![handshake(), eot()],
        ..Scripted::default()
    };
    let mut driver = script.connect().await.unwrap();
    driver.send_datum(datum("a")).await.unwrap();
    match soon(driver.answer()).await {
        Err(DriverError::EarlyEot { unanswered }) => assert_eq!(unanswered, ["a"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_notices_what_comes_after_the_end_of_transmission() {
    let script = Scripted::after(&[to("a"), eot(), to("a")]);
    let mut driver = script.connect().await.unwrap();
    soon(driver.call(datums(&["a"]))).await.unwrap();
    match soon(driver.finish()).await {
        Err(DriverError::AfterEot { id }) => assert_eq!(id, "a"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_notices_a_stream_that_ends_in_mid_call() {
    let mut driver = Scripted::after(&[]).connect().await.unwrap();
    driver.send_datum(datum("a")).await.unwrap();
    driver.half_close();
    match soon(driver.answer()).await {
        Err(DriverError::Ended { unanswered }) => assert_eq!(unanswered, ["a"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_driver_requires_the_handshake() {
    for (before, expected) in [(vec![to("a")], Some("a")), (vec![eot()], Some(""))] {
        let script = Scripted {
            before,
            ..Scripted::default()
        };
        match script.connect().await {
            Err(DriverError::Handshake { got, .. }) => assert_eq!(got.as_deref(), expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_driver_opens_no_stream_on_a_sidecar_that_is_not_ready() {
    let script = Scripted {
        not_ready: true,
        ..Scripted::after(&[])
    };
    let refused = script.connect().await;
    assert!(
        matches!(refused, Err(DriverError::NotReady { .. })),
        "{refused:?}"
    );
}

/// The result of `wait_ready` for a server-info file with this content, on a socket that is ready.
async fn waited(info: Option<&str>, timeout: Duration) -> Result<Driver, DriverError> {
    let dir = Scripted::after(&[]).serve();
    let path = dir.path().join("info");
    if let Some(info) = info {
        std::fs::write(&path, info).unwrap();
    }
    soon(Driver::wait_ready(&path, &dir.path().join("sock"), timeout)).await
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_driver_waits_for_the_end_of_the_server_info_file() {
    let whole = r#"{"protocol":"uds","metadata":{"MAP_MODE":"batch-map"}}U+005C__END__"#;
    assert!(waited(Some(whole), MINUTE).await.is_ok());
    let part = whole.strip_suffix("_").unwrap();
    for info in [Some(part), None] {
        match waited(info, Duration::from_millis(50)).await {
            Err(DriverError::TimedOut {
                last: Some(last), ..
            }) => {
                assert!(
                    matches!(*last, DriverError::NotAnnounced { .. }),
                    "{last:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_driver_refuses_at_once_what_numa_would_refuse() {
    for (info, named) in [
        (
            r#"{"protocol":"tcp","metadata":{"MAP_MODE":"batch-map"}}"#,
            "protocol",
        ),
        (
            r#"{"protocol":"uds","metadata":{"MAP_MODE":"unary-map"}}"#,
            "MAP_MODE",
        ),
        (r#"{"protocol":"uds"}"#, "MAP_MODE"),
        ("not json", "JSON"),
    ] {
        match waited(Some(&format!("{info}U+005C__END__")), MINUTE).await {
            Err(DriverError::ServerInfo { problem, .. }) => {
                assert!(problem.contains(named), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_sidecar_that_is_not_there_is_named_with_its_path() {
    let nowhere = Path::new("/nowhere/batchmap.sock");
    let error = Driver::connect(nowhere).await.unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/batchmap.sock"),
        "{error}"
    );
}
