//! What the hosts have in common: the settings of HTTP/2, and the way from the socket to the drained stop.
//!
//! What always holds: the server-info file, by which numa learns that the program is up, is written when the socket listens;
//! connections are accepted until the host is drained, so that a probe gets an answer instead of waiting in the backlog; a
//! client that does not close its connection keeps no program alive.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tracing::{info, warn};

use super::ServerError;
use super::listener::{self, Place};

/// HTTP/2 frames numa may send, in bytes. At tonic's default of 16 KiB a 512 KiB frame of pixels is
/// 32 HTTP/2 frames, and a host spends its time on their headers.
const MAX_FRAME_SIZE: u32 = 1 << 20;

/// What numa may send ahead on one stream, in bytes: sixteen 512 KiB datums.
const STREAM_WINDOW: u32 = 8 << 20;

/// What a client may send ahead on one connection, in bytes. Larger than one stream's window, or a
/// stalled stream would hold the whole of it and stall the others of its connection. Numa opens one
/// stream a connection, so for numa it is the stream's window that counts.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// The time that connections get to close after the host is drained. A frozen client does not answer HTTP/2's GOAWAY, and
/// must not keep the program alive.
const GOODBYE: Duration = Duration::from_secs(5);

/// Listens, writes the server-info file, and serves what `add` adds until `drained` resolves: then every call is over.
/// Socket and server-info file are removed at the end, also if this future is dropped, so a timeout around it can bound the
/// drain.
///
/// # Errors
/// When the socket cannot be bound (another process answers on it, the path is another kind of file, the directory is not
/// writable), when the server-info file cannot be written, or when tonic fails.
pub(super) async fn serve(
    place: Place<'_>,
    add: impl FnOnce(&mut Server) -> Router,
    drained: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let (listening, incoming) = listener::bind(place).await?;
    let router = add(&mut Server::builder()
        .max_frame_size(MAX_FRAME_SIZE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW));
    let over = CancellationToken::new();
    let draining = async {
        drained.await;
        over.cancel();
    };
    let serving = router.serve_with_incoming_shutdown(incoming, draining);
    listening.announce()?;
    info!(
        socket = %place.sock_path.display(),
        server_info = %place.server_info_path.display(),
        "The sidecar is listening and has announced itself."
    );
    tokio::select! {
        served = serving => served.map_err(ServerError::Transport)?,
        () = overdue(&over) => warn!(
            waited = ?GOODBYE,
            "A client has not closed its connection: every call is answered, so it is cut off."
        ),
    }
    drop(listening);
    info!("Every call in hand is answered, and the socket is given back.");
    Ok(())
}

/// Resolves when connections have had their time to close after the host was drained.
async fn overdue(over: &CancellationToken) {
    over.cancelled().await;
    tokio::time::sleep(GOODBYE).await;
}
