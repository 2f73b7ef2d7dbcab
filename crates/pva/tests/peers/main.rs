//! The crate against other implementations of pvAccess: PVXS (p4p) and pvAccessCPP (pvapy), as servers and clients.
//!
//! Every peer has private ports, sends nothing to other machines, and is driven line by line: no test depends on
//! how fast the machine is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

/// Codecs and pixel types, as servers send them.
mod formats;
/// Peers as child processes.
mod peer;
/// Connections that are lost and found.
mod reconnect;
/// What clients see of our server.
mod server;
/// A monitor in a test.
mod watch;
