//! The HTTP server: the status page, `/metrics`, `/stats`, `/livez`, `/readyz`. Read-only.
//!
//! What always holds: no path reads a file or changes anything; a request is small and must arrive within seconds; a connection
//! lasts half a minute at most; there are at most `MOST_CONNECTIONS` of them. An error on one does not affect the sidecar.

use super::drawing;
use super::exposition::{Format, classic};
use super::listen::listen;
use crate::telemetry::newest::NewestFrame;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a request's head may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Bytes that a request's head may have.
const HEAD_SIZE: usize = 16 * 1024;
/// How long a connection may last.
const CONNECTION_WITHIN: Duration = Duration::from_secs(30);
/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 32;
/// The page may run its own script and connect to this address only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";
/// How long to wait before a taken port is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What a vertex shows.
pub(crate) trait Site: Send + Sync + 'static {
    /// The status page, as HTML.
    fn page(&self) -> String;

    /// Everything counted and measured, as OpenMetrics text.
    ///
    /// # Errors
    /// None is known: the text is written to memory.
    fn metrics(&self) -> Result<String, std::fmt::Error>;

    /// The same for the page, as JSON.
    fn stats(&self) -> Response;

    /// Whether the vertex is ready, in a word.
    fn readiness(&self) -> (StatusCode, Cow<'static, str>) {
        (StatusCode::OK, "ready\n".into())
    }

    /// The frame behind the path `/newest/SEQUENCE/INDEX.png`, and which of its images is meant.
    fn picture(&self, _sequence: u64, _index: usize) -> Option<(Arc<NewestFrame>, usize)> {
        None
    }

    /// A part of the mosaic behind the path `/mosaic/SEQUENCE/NAME`, and its type; without a number the newest.
    fn mosaic(&self, _sequence: Option<u64>, _name: &str) -> Option<(&'static str, Vec<u8>)> {
        None
    }
}

/// Listens on `address`, and answers in its own task until the process ends. Returns the address, or none if another process
/// has the port: frames do not wait for it, and it is tried again until it is free.
///
/// # Errors
/// The system error if it cannot listen there at all.
pub(crate) async fn serve(
    address: SocketAddr,
    status: Arc<impl Site>,
) -> std::io::Result<Option<SocketAddr>> {
    let status: Arc<dyn Site> = status;
    match listen(address) {
        Ok(listener) => start(listener, status).map(Some),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            tracing::warn!(
                %address,
                "Another process has the port of the metrics (9100 is also node_exporter's, with hostNetwork). Frames are \
                 served; metrics, stats and health are not, until the port is free. Choose another --http-address, or off."
            );
            tokio::spawn(try_again(address, status));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn try_again(address: SocketAddr, status: Arc<dyn Site>) {
    let listener = loop {
        tokio::time::sleep(AGAIN).await;
        match listen(address) {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::debug!(%address, %error, "The port of the metrics is still taken.")
            }
        }
    };
    if let Err(error) = start(listener, status) {
        tracing::warn!(%address, %error, "Metrics cannot be served.");
    }
}

fn start(listener: TcpListener, status: Arc<dyn Site>) -> std::io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "Metrics, stats and health are served over HTTP.");
    tokio::spawn(accept(listener, router(status)));
    Ok(address)
}

async fn accept(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "A connection could not be accepted.");
                // Out of file descriptors, for one: trying again at once would only spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(HEAD_SIZE)
                .serve_connection(TokioIo::new(stream), service);
            let served = tokio::time::timeout(CONNECTION_WITHIN, connection).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "A connection broke off.");
            }
            drop(permit);
        });
    }
}

fn router(status: Arc<dyn Site>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/newest/{sequence}/{image}", get(picture))
        .route("/mosaic/{sequence}/{name}", get(mosaic))
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readiness))
        .with_state(status)
}

async fn page(State(status): State<Arc<dyn Site>>) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(status.page())).into_response()
}

/// One image of the newest frame: `/newest/SEQUENCE/INDEX.png`.
async fn picture(
    State(status): State<Arc<dyn Site>>,
    Path((sequence, image)): Path<(u64, String)>,
) -> Response {
    let index = image.strip_suffix(".png").and_then(|n| n.parse().ok());
    let found = index.and_then(|index| status.picture(sequence, index));
    let Some((frame, index)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Not on the threads that carry the frames.
    let draw = move || drawing::png(&frame, index).map(<[u8]>::to_vec);
    let drawn = tokio::task::spawn_blocking(draw).await;
    match drawn {
        Ok(Some(png)) => {
            let headers = [
                (header::CONTENT_TYPE, "image/png"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, png).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A part of the mosaic: `/mosaic/SEQUENCE/phase.png`, or `newest` in place of the number.
async fn mosaic(
    State(status): State<Arc<dyn Site>>,
    Path((sequence, name)): Path<(String, String)>,
) -> Response {
    let sequence = match sequence.as_str() {
        "newest" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let found = sequence.and_then(|sequence| status.mosaic(sequence, &name));
    let Some((kind, bytes)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, bytes).into_response()
}

async fn metrics(State(status): State<Arc<dyn Site>>, headers: HeaderMap) -> Response {
    let text = match status.metrics() {
        Ok(text) => text,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let format = Format::asked_for(&headers);
    let text = match format {
        Format::OpenMetrics => text,
        Format::Classic => classic(&text),
    };
    let headers = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::VARY, "Accept"),
    ];
    (headers, text).into_response()
}

async fn stats(State(status): State<Arc<dyn Site>>) -> Response {
    status.stats()
}

async fn readiness(State(status): State<Arc<dyn Site>>) -> (StatusCode, Cow<'static, str>) {
    status.readiness()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::schedule::Mode;
    use crate::status::Status;
    use crate::telemetry::newest::Newest;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn served() -> SocketAddr {
        let status = Status::new(Mode::Pipelined, Vec::new(), Newest::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        serve(any, Arc::new(status)).await.unwrap().unwrap()
    }

    // The clock is paused: the ten seconds pass at once.
    #[tokio::test(start_paused = true)]
    async fn a_taken_port_is_served_as_soon_as_it_is_free() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let status = Status::new(Mode::Pipelined, Vec::new(), Newest::default());
        assert_eq!(serve(address, Arc::new(status)).await.unwrap(), None);
        tokio::time::sleep(3 * AGAIN).await;
        drop(other);
        let mut stream = loop {
            tokio::time::sleep(AGAIN).await;
            if let Ok(stream) = TcpStream::connect(address).await {
                break stream;
            }
        };
        let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert!(answer(&mut stream).await.contains("alive"));
    }

    /// What comes back until the connection is closed; nothing if it is broken off.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    // The clock is paused: with nothing else to do, it jumps to whatever is waited for.
    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_arrive_is_not_waited_for() {
        let mut stream = TcpStream::connect(served().await).await.unwrap();
        let begun = tokio::time::Instant::now();
        stream.write_all(b"GET /livez HT").await.unwrap();
        assert!(!answer(&mut stream).await.contains("200"));
        assert!(begun.elapsed() < CONNECTION_WITHIN);
    }

    #[tokio::test]
    async fn a_request_beyond_its_size_is_refused() {
        let mut stream = TcpStream::connect(served().await).await.unwrap();
        let long = "x".repeat(2 * HEAD_SIZE);
        let request = format!("GET /livez?{long} HTTP/1.1\r\nHost: x\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        assert!(!answer(&mut stream).await.contains("200"));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_make_room_for_others() {
        let address = served().await;
        let mut idle = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        assert!(answer(&mut stream).await.contains("alive"));
    }
}
