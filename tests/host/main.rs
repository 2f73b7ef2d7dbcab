//! The host and the driver, black box: real gRPC over a real Unix socket, with handlers of a few
//! lines. No test measures time; those that wait for something that may never come give up after a
//! minute, so that a broken promise is a failure and not a hang.

// Helpers outside #[test] functions may stop at the first surprise too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// What a call promises.
mod calls;
/// What the driver insists on.
mod driver;
/// What happens when the handler errs.
mod faults;
/// What happens when numa goes away, or breaks the protocol.
mod hangups;
/// Start, shutdown, the socket and the server-info file.
mod lifecycle;
/// A host with a handler of a few lines.
mod support;
