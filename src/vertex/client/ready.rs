//! Whether a sidecar is up, found out as numa does: first the server-info file, whole and to numa's
//! liking, then the socket, which must answer "ready".

use std::path::Path;
use std::time::Duration;

use numaflow::proto::map::map_client::MapClient;
use tonic::transport::Channel;

use super::{Driver, DriverError};

/// Numa reads the file again until it sees this.
const END: &str = "U+005C__END__";

/// How often a sidecar that is not up yet is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Waits until the sidecar is up, and connects.
pub(super) async fn wait(
    server_info: &Path,
    sock: &Path,
    timeout: Duration,
) -> Result<Driver, DriverError> {
    let mut last = None;
    let waiting = async {
        loop {
            let seen = match check_server_info(server_info) {
                Ok(()) => Driver::connect(sock).await,
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

/// Asks `IsReady`.
pub(super) async fn ask(client: &mut MapClient<Channel>) -> Result<bool, DriverError> {
    let reply = client.is_ready(()).await;
    Ok(reply
        .map_err(|status| DriverError::status("asking whether the sidecar is ready", status))?
        .into_inner()
        .ready)
}

/// Reads the server-info file as numa does.
fn check_server_info(path: &Path) -> Result<(), DriverError> {
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
    let expected = [("/protocol", "uds"), ("/metadata/MAP_MODE", "batch-map")];
    for (field, expected) in expected {
        let found = info.pointer(field).and_then(|value| value.as_str());
        if found != Some(expected) {
            let found = found.unwrap_or("nothing");
            return Err(wrong(format!("{field} is {found:?}, not {expected:?}")));
        }
    }
    Ok(())
}
