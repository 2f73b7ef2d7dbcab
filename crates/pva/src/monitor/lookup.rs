//! The address of a server's name, which may change while the monitor searches for it.
//!
//! A lookup runs in a task of its own. So a caller that is cancelled does not end it, and a slow name server holds up no
//! event.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::delay::Delay;
use crate::address::ServerAddress;

type Resolve = dyn Fn() -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// What is asked for the addresses of a name.
#[derive(Clone, Default)]
pub(super) enum Resolver {
    /// The machine's own.
    #[default]
    System,
    /// A function, for tests.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a test changes the address of a name")
    )]
    Function(Arc<Resolve>),
}

impl Resolver {
    async fn resolve(self, server: ServerAddress) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => server.resolve().await,
            Self::Function(resolve) => resolve(),
        }
    }
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Lookup {
    resolver: Resolver,
    running: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
    /// When the next one may begin; none while there is a connection.
    due: Option<Instant>,
    delay: Delay,
    /// The last one has failed.
    failed: bool,
}

impl Lookup {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            ..Self::default()
        }
    }

    /// The address of `server`, for a search that begins now.
    pub(super) async fn first(&mut self, server: &ServerAddress) -> io::Result<SocketAddr> {
        let running = self.begin(server);
        let found = running.await;
        self.running = None;
        let found = found.map_err(io::Error::other)??;
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        found.first().copied().ok_or_else(none)
    }

    /// A search has begun, or a connection is lost: the name is looked up again after a while.
    pub(super) fn searching(&mut self) {
        self.due = Some(Instant::now() + self.delay.next());
    }

    /// There is a connection: its address is right.
    pub(super) fn connected(&mut self) {
        self.due = None;
        self.delay = Delay::default();
    }

    /// The new address of `server`, if its name does not stand for `current` any more. To be called again and again
    /// while the search goes on.
    pub(super) async fn moved(
        &mut self,
        server: &ServerAddress,
        current: SocketAddr,
    ) -> Option<SocketAddr> {
        let due = self.due.filter(|_| server.is_name())?;
        if due > Instant::now() || !self.begin(server).is_finished() {
            return None;
        }
        let found = self.running.take()?.await;
        self.searching();
        match found.map_err(io::Error::other).flatten() {
            Ok(found) => {
                self.failed = false;
                let first = found.first().copied();
                first.filter(|_| !found.contains(&current))
            }
            Err(error) => {
                // Once for all that fail in a row.
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(%server, %error, "The server's name cannot be looked up again.");
                }
                None
            }
        }
    }

    fn begin(&mut self, server: &ServerAddress) -> &mut JoinHandle<io::Result<Vec<SocketAddr>>> {
        let resolver = &self.resolver;
        self.running
            .get_or_insert_with(|| tokio::spawn(resolver.clone().resolve(server.clone())))
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
