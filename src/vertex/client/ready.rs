//! Whether a sidecar is up, found out as numa does: first the server-info file, whole and to numa's
//! liking, then the socket, which must answer "ready".

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use tonic::Status;

use super::DriverError;
use crate::vertex::MapMode;

/// Numa reads the file again until it sees this.
const END: &str = "U+005C__END__";

/// How often a sidecar that is not up yet is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What kind of sidecar numa expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A map, of either kind.
    Map,
    /// A source.
    Source,
    /// A sink.
    Sink,
}

/// Waits until the sidecar is up, and connects. A map says in its server-info file of which kind it is.
pub(super) async fn wait<T, F: Future<Output = Result<T, DriverError>>>(
    server_info: &Path,
    kind: Kind,
    timeout: Duration,
    connect: impl Fn(MapMode) -> F,
) -> Result<T, DriverError> {
    let mut last = None;
    let waiting = async {
        loop {
            let seen = match check_server_info(server_info, kind) {
                Ok(map_mode) => connect(map_mode).await,
                Err(error) => Err(error),
            };
            match seen {
                Err(error) if error.may_pass() => last = Some(Box::new(error)),
                settled => return settled,
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(timeout, waiting)
        .await
        .unwrap_or_else(|_| Err(DriverError::TimedOut { timeout, last }))
}

/// The reply to `IsReady`.
pub(super) fn answer(reply: Result<bool, Status>) -> Result<bool, DriverError> {
    reply.map_err(|status| DriverError::status("asking whether the sidecar is ready", status))
}

/// Fails unless the reply to `IsReady` is "ready".
pub(super) fn check(reply: Result<bool, Status>, sock: &Path) -> Result<(), DriverError> {
    if answer(reply)? {
        return Ok(());
    }
    Err(DriverError::NotReady {
        path: sock.to_owned(),
    })
}

/// Reads the server-info file as numa does.
fn check_server_info(path: &Path, kind: Kind) -> Result<MapMode, DriverError> {
    let wrong = |problem: String| DriverError::ServerInfo {
        path: path.to_owned(),
        problem,
    };
    let unwritten = |_| DriverError::NotAnnounced {
        path: path.to_owned(),
    };
    let content = std::fs::read_to_string(path).map_err(unwritten)?;
    let Some(json) = content.strip_suffix(END) else {
        return Err(DriverError::NotAnnounced {
            path: path.to_owned(),
        });
    };
    let info: serde_json::Value =
        serde_json::from_str(json).map_err(|error| wrong(format!("it is not JSON ({error})")))?;
    let text = |field: &str| info.pointer(field).and_then(|value| value.as_str());
    let protocol = text("/protocol").unwrap_or("nothing");
    if protocol != "uds" {
        return Err(wrong(format!("/protocol is {protocol:?}, not \"uds\"")));
    }
    // Numa takes a map that does not say for a unary one.
    let map_mode = match text("/metadata/MAP_MODE") {
        Some("batch-map") => MapMode::Batch,
        Some("unary-map") | None => MapMode::Unary,
        Some(other) => {
            let problem = format!("/metadata/MAP_MODE is {other:?}, not batch-map or unary-map");
            return Err(wrong(problem));
        }
    };
    // Numa finds out by them whether the source takes nacks; without them it sends none.
    if kind == Kind::Source {
        for field in ["/language", "/version"] {
            if text(field).is_none_or(str::is_empty) {
                let problem = format!("{field} is missing: numa would send this source no nacks");
                return Err(wrong(problem));
            }
        }
    }
    Ok(map_mode)
}
