//! Black-box tests of the hosts and the driver: real gRPC over a real Unix socket, with handlers of a few lines.
//! No test measures time. A test that waits for something gives up after a minute, so that it fails instead of
//! hanging.

/// Calls without faults.
mod calls;
/// The driver's checks.
mod driver;
/// Answers that leave before the end of a call, and streams without an end.
mod early;
/// Faults of the handler.
mod faults;
/// Disconnects and protocol violations.
mod hangups;
/// Start, shutdown, the socket and the server-info file.
mod lifecycle;
/// Our host and the SDK's own.
pub mod sdk;
/// The host of a sink.
mod sink;
/// The host of a source.
mod source;
/// A host with a handler of a few lines.
mod support;
