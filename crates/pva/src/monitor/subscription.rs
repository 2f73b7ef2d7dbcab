//! The monitor of the client, as it is started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;

use epics_pva_rs::client::PvaClient;
use epics_pva_rs::client_native::ops_v2::{MonitorConnEvent, SubscriptionHandle};
use epics_pva_rs::pv_request::PvRequestExpr;
use parking_lot::Mutex;

use super::MonitorOptions;
use super::lookup::Lookup;
use super::queue::{Item, Queue};
use crate::address::ServerAddress;
use crate::change::Decoder;

/// What a message has beside the pixels: attributes and the other fields.
const MESSAGE_EXTRA: usize = 1 << 20;

/// Why a monitor cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot resolve the server's address: {0}")]
    Address(std::io::Error),
    #[error("{0}")]
    Client(String),
}

pub(super) struct Subscription {
    client: PvaClient,
    handle: SubscriptionHandle,
    /// Where the server is searched, or is; none if the environment says so.
    address: Option<SocketAddr>,
    queue: Arc<Queue>,
    squashed: u64,
}

impl Subscription {
    /// A client for this PV, and its monitor. It searches, connects and reconnects from now on.
    pub(super) async fn start(
        options: &MonitorOptions,
        lookup: &mut Lookup,
    ) -> Result<Self, StartError> {
        let address = match &options.server {
            Some(server) => Some(lookup.first(server).await.map_err(StartError::Address)?),
            None => None,
        };
        let client = client(options, address);
        let wrong = |error: &dyn std::fmt::Display| StartError::Client(error.to_string());
        let request = format!("record[queueSize={}]field()", options.server_queue);
        let request = PvRequestExpr::parse(&request).map_err(|error| wrong(&error))?;
        let queue = Arc::new(Queue::new(options.queue));
        // Both callbacks run in one task, in the order in which things happen.
        let decoder = Arc::new(Mutex::new(Decoder::default()));
        let (updates, updated) = (Arc::clone(&queue), Arc::clone(&decoder));
        let connections = Arc::clone(&queue);
        let handle = client.pvmonitor_raw_frames_handle_with_request(
            &options.pv,
            request.to_pv_field(),
            move |structure, body, order| {
                updates.update(updated.lock().decode(structure, &body, order));
            },
            move |event| match event {
                MonitorConnEvent::Connected { peer } => {
                    decoder.lock().connected();
                    connections.connection(Some(peer));
                }
                MonitorConnEvent::Disconnected | MonitorConnEvent::Finished => {
                    connections.connection(None);
                }
            },
        );
        Ok(Self {
            handle: handle.await.map_err(|error| wrong(&error))?,
            client,
            address,
            queue,
            squashed: 0,
        })
    }

    /// The address that its server's name had at the start.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The oldest item that was not read.
    pub(super) fn pop(&self) -> Option<Item> {
        self.queue.pop()
    }

    /// Waits for an item.
    pub(super) async fn pushed(&self) {
        self.queue.pushed().await;
    }

    /// It has ended, and reports nothing any more.
    pub(super) fn has_ended(&self) -> bool {
        self.handle.is_done()
    }

    /// Its connection works, as far as the client knows.
    pub(super) fn is_alive(&self) -> bool {
        self.client.report_zeroed(false).channels_active > 0
    }

    /// How many updates the client has merged into others since the last call.
    pub(super) fn squashed(&mut self) -> u64 {
        let total = self.handle.stats(false).n_cli_squash;
        let before = std::mem::replace(&mut self.squashed, total);
        total.saturating_sub(before)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        // The handle's own drop ends the monitor. Its end is not awaited: while it searches, there is none.
        self.handle.stop();
        self.client.close();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

fn client(options: &MonitorOptions, address: Option<SocketAddr>) -> PvaClient {
    let largest = options.read.max_bytes.saturating_add(MESSAGE_EXTRA);
    let builder = PvaClient::builder()
        .max_message_size(largest)
        .user("beamflow");
    let (Some(server), Some(address)) = (&options.server, address) else {
        return builder.build();
    };
    let builder = builder.name_servers(Vec::new());
    match server {
        ServerAddress::Fixed { .. } => builder.server_addr(address).build(),
        ServerAddress::Search { .. } => builder
            .auto_addr_list(false)
            .addr_list(vec![address.into()])
            .broadcast_port(address.port())
            .build(),
    }
}
