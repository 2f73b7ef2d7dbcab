//! One call of a part, bounded in time, and what it makes of a message.

use crate::vertex::client::DriverError;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// What a message becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Ack,
    Nack(Option<Duration>),
}

/// Bounds one call.
pub(super) async fn within<T>(
    patience: Duration,
    part: &'static str,
    doing: &'static str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<(T, Duration), DriverError> {
    let began = Instant::now();
    let called = tokio::time::timeout(patience, call).await;
    let waited = patience;
    let result = called.unwrap_or(Err(DriverError::Overdue { doing, waited }));
    let result = result.map_err(|error| error.of(part))?;
    Ok((result, began.elapsed()))
}
