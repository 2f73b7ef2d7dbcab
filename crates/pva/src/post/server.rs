//! A server: its settings, its ports, its PVs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use epics_pva_rs::server_native::{PvaServer, PvaServerConfig, SharedPV, SharedSource};

use super::{ImagePv, NumberPv, PostError};

/// Settings of a [`Server`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// The address that it listens on. Without it `EPICS_PVAS_INTF_ADDR_LIST` decides, or it is all addresses.
    pub bind: Option<IpAddr>,
    /// The TCP port, 0 for any free one. Without it `EPICS_PVAS_SERVER_PORT` decides, or it is 5075. A port that is
    /// taken is replaced by a free one, unless `exact_port` is set: [`Server::tcp_port`] is the one it has.
    pub tcp_port: Option<u16>,
    /// A TCP port that is taken is an error.
    pub exact_port: bool,
    /// The UDP port for searches, likewise: `EPICS_PVAS_BROADCAST_PORT`, or 5076.
    pub udp_port: Option<u16>,
    /// Clients; more are disconnected at once.
    pub max_connections: usize,
    /// Updates that are kept for a client that does not say how many.
    pub monitor_queue: usize,
    /// Announces itself to the network, as `EPICS_PVAS_BEACON_ADDR_LIST` says or by broadcast.
    pub beacons: bool,
}

impl Default for ServerOptions {
    /// 64 clients, 16 updates for each, the rest as the environment says.
    fn default() -> Self {
        Self {
            bind: None,
            tcp_port: None,
            exact_port: false,
            udp_port: None,
            max_connections: 64,
            monitor_queue: 16,
            beacons: true,
        }
    }
}

impl ServerOptions {
    /// For this machine only, on free ports: nothing is sent to the network.
    #[must_use]
    pub fn loopback() -> Self {
        Self {
            bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            tcp_port: Some(0),
            udp_port: Some(0),
            beacons: false,
            ..Self::default()
        }
    }

    fn config(&self) -> PvaServerConfig {
        /// Clients send requests only.
        const LARGEST_REQUEST: usize = 1 << 20;
        let mut config = PvaServerConfig::default().with_env();
        if let Some(address) = self.bind {
            config.bind_ip = address;
            config.intf_addr_error = None;
            config.interfaces = if address.is_unspecified() {
                Vec::new()
            } else {
                vec![address]
            };
        }
        config.tcp_port = self.tcp_port.unwrap_or(config.tcp_port);
        config.udp_port = self.udp_port.unwrap_or(config.udp_port);
        if !self.beacons {
            config.auto_beacon = false;
            config.beacon_destinations.clear();
        }
        config.max_connections = self.max_connections;
        config.monitor_queue_depth = self.monitor_queue;
        config.max_message_size = Some(LARGEST_REQUEST);
        config.serve_put_get = false;
        config
    }
}

/// Why a server, or one of its PVs, cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It cannot listen.
    #[error("cannot serve PVs: {0}")]
    Start(String),
    /// Another program has the TCP port.
    #[error("cannot listen on TCP port {0}: another program has it, or it is not permitted")]
    Port(u16),
    /// There is a PV of this name.
    #[error("the PV {0} is served already: give it another name")]
    Name(String),
    /// The PV cannot be opened.
    #[error("the PV {name} cannot be served: {error}")]
    Pv {
        /// Its name.
        name: String,
        /// Why.
        error: PostError,
    },
}

/// A server of read-only PVs. Dropping it ends it.
pub struct Server {
    source: Arc<SharedSource>,
    server: PvaServer,
}

impl Server {
    /// Starts a server without PVs, inside of a tokio runtime.
    ///
    /// # Errors
    /// An address that is not of this machine, variables of the environment that are wrong, and, with `exact_port`, a
    /// port that is taken.
    pub fn start(options: &ServerOptions) -> Result<Self, ServerError> {
        let source = Arc::new(SharedSource::new());
        let config = options.config();
        let wanted = config.tcp_port;
        let server = PvaServer::start(Arc::clone(&source), config)
            .map_err(|error| ServerError::Start(error.to_string()))?;
        let server = Self { source, server };
        if options.exact_port && wanted != 0 && wanted != server.tcp_port() {
            return Err(ServerError::Port(wanted));
        }
        Ok(server)
    }

    /// The TCP port that it listens on.
    #[must_use]
    pub fn tcp_port(&self) -> u16 {
        self.server.tcp_addr().port()
    }

    /// The UDP port for searches.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.server.config().udp_port
    }

    /// Clients that are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.server.report().peer_count
    }

    /// Adds a PV of images. It is idle until the first is posted.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn image(&self, name: &str) -> Result<ImagePv, ServerError> {
        let image = ImagePv::new().map_err(|error| unopened(name, error))?;
        self.add(name, &image.pv)?;
        Ok(image)
    }

    /// Adds a PV of one number.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn number(&self, name: &str, first: f64) -> Result<NumberPv, ServerError> {
        let number = NumberPv::new(first).map_err(|error| unopened(name, error))?;
        self.add(name, &number.pv)?;
        Ok(number)
    }

    fn add(&self, name: &str, pv: &SharedPV) -> Result<(), ServerError> {
        let added = self.source.try_add(name, pv.clone());
        added.map_err(|_| ServerError::Name(name.to_owned()))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.tcp_port();
        f.debug_struct("Server")
            .field("tcp_port", &port)
            .finish_non_exhaustive()
    }
}

fn unopened(name: &str, error: PostError) -> ServerError {
    let name = name.to_owned();
    ServerError::Pv { name, error }
}
