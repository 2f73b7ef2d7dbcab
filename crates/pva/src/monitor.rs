//! One PV, followed for as long as the program runs.
//!
//! [`Monitor::next`] yields what happens, in order. Each monitor has a client of its own, so that trouble with one
//! server resets the connection of one PV.
//!
//! The client decodes an update as it comes and puts it into a queue of [`MonitorOptions::queue`] updates; it never
//! waits for the reader. It asks the server for a queue as well ([`MonitorOptions::server_queue`]), because servers
//! keep few updates otherwise, but never for `pipeline=true`, which makes pvDatabase servers abort.
//!
//! The client reconnects by itself. What it does not do by itself, this does, with a new client each time:
//!
//! - A monitor that has ended (the server ended it, or refused it, or sent invalid bytes) is started again, after 1,
//!   2, 4, ... 30 seconds; the first update begins again with 1.
//! - After a message that is too long or invalid the client ends the connection and does not say so (epics-pva-rs
//!   0.31). This is noticed within about a second. The monitor is started again as after an end: the first message of
//!   the next connection may be as long.
//! - A connection that had updates and then has none for [`MonitorOptions::watchdog`] is given up: a corrupt length
//!   can stall a stream for good. An idle detector looks the same, so this also happens without need.
//! - While it searches for a server by a name, the name is looked up again, after 1, 2, 4, ... 30 seconds. If it has
//!   another address, the search is started again there. Names in the environment are looked up at a start only.
//! - After an update that cannot be decoded the monitor is started again: the updates after it have no base.

/// How long to wait before something is tried again.
mod delay;
/// The address of the server's name.
mod lookup;
/// What the callback has reported and the reader has not read.
mod queue;
/// The monitor of the client, as it is started and stopped.
mod subscription;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::ServerAddress;
use crate::ntndarray::{Content, ReadOptions, Refusal, Update, read};
use delay::Delay;
use lookup::{Lookup, Resolver};
use queue::Item;
use subscription::Subscription;

/// How often a monitor that reports nothing is checked: has it ended, is the watchdog due? A connection that has been
/// dead for as long without an event is given up.
const CHECK: Duration = Duration::from_millis(500);

/// Which PV, and how it is followed.
#[derive(Debug, Clone)]
pub struct MonitorOptions {
    /// The name of the PV.
    pub pv: String,
    /// Where its server is. Without it the `EPICS_PVA_*` variables of the environment decide, as for other clients.
    pub server: Option<ServerAddress>,
    /// Updates that the server is asked to keep for this client.
    pub server_queue: u32,
    /// Decoded updates that are kept for the reader. They take memory: as many frames.
    pub queue: usize,
    /// After how long without updates the connection is given up; never if absent.
    pub watchdog: Option<Duration>,
    /// What is read of an update. A message of the server may be 1 MiB longer than the largest frame; one that is
    /// still longer ends the connection.
    pub read: ReadOptions,
}

impl MonitorOptions {
    /// The PV `pv`: 16 updates in the server, 16 here, a watchdog of 30 s.
    #[must_use]
    pub fn new(pv: impl Into<String>) -> Self {
        Self {
            pv: pv.into(),
            server: None,
            server_queue: 16,
            queue: 16,
            watchdog: Some(Duration::from_secs(30)),
            read: ReadOptions::default(),
        }
    }
}

/// What happens to a PV.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A connection; the first update after it is a snapshot.
    Connected {
        /// The server's end of it.
        peer: SocketAddr,
    },
    /// The connection is gone. Updates may be missing from now on.
    Disconnected,
    /// An update.
    Update(Box<Update>),
    /// The monitor is started again. If it was connected, a `Disconnected` comes first.
    Restarted(Restart),
}

/// Why a monitor is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// The server ended it, or the client gave it up.
    Ended,
    /// No update for the time of the watchdog.
    Watchdog,
    /// An update could not be decoded.
    Undecodable,
    /// The connection was dead, and the client had not said so. It is so after a message that is too long or invalid.
    Dead,
    /// The server's name has another address.
    Moved,
}

impl Restart {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Ended,
        Self::Watchdog,
        Self::Undecodable,
        Self::Dead,
        Self::Moved,
    ];

    /// A short name, for counts by reason.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Watchdog => "watchdog",
            Self::Undecodable => "undecodable",
            Self::Dead => "dead",
            Self::Moved => "moved",
        }
    }
}

/// One PV, followed. Dropping it ends it; while it searches, its search may go on in the background.
#[derive(Debug)]
pub struct Monitor {
    options: MonitorOptions,
    subscription: Option<Subscription>,
    lookup: Lookup,
    /// What the next calls yield before anything else.
    next: VecDeque<Event>,
    /// When the next subscription may start, and how long the one after it has to wait.
    start_at: Instant,
    delay: Delay,
    connected: bool,
    /// There has been an update since the program started.
    updated: bool,
    /// The last connection or update.
    last: Instant,
    /// Since when the connection has been dead, and no event has said so.
    dead_since: Option<Instant>,
    /// The watchdog restarts the monitor of an idle detector again and again: not every line of it belongs in the log.
    quiet: bool,
}

impl Monitor {
    /// A monitor that connects when [`next`](Self::next) is first awaited.
    #[must_use]
    pub fn new(options: MonitorOptions) -> Self {
        Self::resolved_by(Resolver::System, options)
    }

    fn resolved_by(resolver: Resolver, options: MonitorOptions) -> Self {
        let now = Instant::now();
        Self {
            options,
            subscription: None,
            lookup: Lookup::new(resolver),
            next: VecDeque::new(),
            start_at: now,
            delay: Delay::default(),
            connected: false,
            updated: false,
            last: now,
            dead_since: None,
            quiet: false,
        }
    }

    /// The options that it was made with.
    #[must_use]
    pub fn options(&self) -> &MonitorOptions {
        &self.options
    }

    /// Whether the PV is connected, as of the last event.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Waits for what happens next. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.next.pop_front() {
                return event;
            }
            let Some(subscription) = &mut self.subscription else {
                tokio::time::sleep_until(self.start_at).await;
                self.start().await;
                continue;
            };
            // In this order: what has ended adds nothing.
            let ended = subscription.has_ended();
            if let Some(item) = subscription.pop() {
                return self.event(item);
            }
            let trouble = if ended {
                Some(Restart::Ended)
            } else if self.connected {
                self.trouble()
            } else {
                self.moved().await
            };
            if let Some(reason) = trouble {
                self.restart(reason);
            } else if let Some(subscription) = &self.subscription {
                // Either way it is looked at again.
                let _ = tokio::time::timeout(CHECK, subscription.pushed()).await;
            }
        }
    }

    /// Whether a monitor that searches must do so at another address.
    async fn moved(&mut self) -> Option<Restart> {
        let server = self.options.server.as_ref()?;
        let was = self.subscription.as_ref()?.address()?;
        let now = self.lookup.moved(server, was).await?;
        let pv = &self.options.pv;
        tracing::warn!(pv, %server, %was, %now, "The server's name has another address: the search goes on there.");
        Some(Restart::Moved)
    }

    /// Why a connection that reports nothing and has not ended must be given up.
    fn trouble(&mut self) -> Option<Restart> {
        let silence = self.last.elapsed();
        if silence < CHECK {
            self.dead_since = None;
            return None;
        }
        if self
            .subscription
            .as_ref()
            .is_some_and(Subscription::is_alive)
        {
            self.dead_since = None;
        } else if self.dead_since.get_or_insert_with(Instant::now).elapsed() >= CHECK {
            return Some(Restart::Dead);
        }
        let limit = self.options.watchdog.filter(|_| self.updated)?;
        (silence >= limit).then_some(Restart::Watchdog)
    }

    /// Starts a subscription, or puts it off.
    async fn start(&mut self) {
        let (pv, server) = (&self.options.pv, &self.options.server);
        let place = server
            .as_ref()
            .map_or_else(|| "EPICS_PVA_*".to_owned(), ToString::to_string);
        match Subscription::start(&self.options, &mut self.lookup).await {
            Ok(subscription) => {
                self.lookup.searching();
                if !self.quiet {
                    tracing::info!(pv, server = place, "Searching for the PV.");
                }
                self.subscription = Some(subscription);
            }
            Err(error) => {
                let again_in = self.put_off();
                let pv = &self.options.pv;
                tracing::warn!(pv, server = place, %error, ?again_in, "The PV cannot be monitored.");
            }
        }
    }

    /// Lets the next start wait.
    fn put_off(&mut self) -> Duration {
        let delay = self.delay.next();
        self.start_at = Instant::now() + delay;
        delay
    }

    fn restart(&mut self, reason: Restart) {
        self.subscription = None;
        self.dead_since = None;
        if std::mem::take(&mut self.connected) {
            self.next.push_back(Event::Disconnected);
        }
        self.next.push_back(Event::Restarted(reason));
        self.quiet = reason == Restart::Watchdog;
        // These have waited already.
        if matches!(reason, Restart::Watchdog | Restart::Moved) {
            self.start_at = Instant::now();
            return;
        }
        let again_in = self.put_off();
        let pv = &self.options.pv;
        let (reason, limit) = (reason.name(), self.options.read.max_bytes);
        tracing::warn!(
            pv,
            reason,
            limit,
            ?again_in,
            "The monitor is started again."
        );
    }

    fn event(&mut self, item: Item) -> Event {
        let pv = &self.options.pv;
        match item {
            Item::Connected(peer) => {
                if !std::mem::take(&mut self.quiet) {
                    tracing::info!(pv, %peer, "The PV is connected.");
                }
                self.connected = true;
                self.lookup.connected();
                self.last = Instant::now();
                Event::Connected { peer }
            }
            Item::Disconnected => {
                tracing::warn!(pv, "The connection is lost.");
                self.connected = false;
                self.lookup.searching();
                Event::Disconnected
            }
            Item::Update(change, left_out) => {
                self.updated = true;
                self.last = Instant::now();
                let squashed = self.subscription.as_mut().map_or(0, Subscription::squashed);
                let mut update = match change {
                    Ok(change) => {
                        self.delay = Delay::default();
                        read(&change, &self.options.read)
                    }
                    Err(reason) => {
                        self.restart(Restart::Undecodable);
                        undecodable(reason)
                    }
                };
                update.lost_in_client = left_out + squashed;
                Event::Update(Box::new(update))
            }
        }
    }
}

fn undecodable(reason: String) -> Update {
    Update {
        unique_id: None,
        time_stamp: 0,
        data_time_stamp: 0,
        attributes: Vec::new(),
        value_marked: true,
        first: false,
        overrun: false,
        lost_in_client: 0,
        content: Content::Refused(Refusal::Undecodable { reason }),
    }
}

#[cfg(test)]
mod tests;
