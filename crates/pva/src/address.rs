//! Where a PV's server is.
//!
//! pvAccess finds servers by name search over UDP. A server may have another TCP port after each start, so a search
//! at its host is what finds it again; a fixed TCP address does without UDP, for networks that carry none.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use beamflow_frame::BadValue;

/// The UDP port for searches.
const SEARCH_PORT: u16 = 5076;

/// Where the server of a PV is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// Each connection begins with a search at this host, by unicast. It finds a server on whatever TCP port it has.
    Search {
        /// A name or an IP address.
        host: String,
        /// The UDP port for searches.
        port: u16,
    },
    /// No search: the server always listens on this TCP port.
    Fixed {
        /// A name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

impl ServerAddress {
    /// Whether the host is a name, whose address can change.
    pub(crate) fn is_name(&self) -> bool {
        let (Self::Search { host, .. } | Self::Fixed { host, .. }) = self;
        host.parse::<IpAddr>().is_err()
    }

    /// Looks the host up. IPv4 comes first: servers search and listen on it unless they are configured otherwise.
    pub(crate) async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let (Self::Search { host, port } | Self::Fixed { host, port }) = self;
        let found = tokio::net::lookup_host((host.as_str(), *port)).await?;
        let (mut addresses, v6): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv4);
        addresses.extend(v6);
        Ok(addresses)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Search { host, port } => ("udp", host, port),
            Self::Fixed { host, port } => ("tcp", host, port),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

/// Reads `udp://HOST[:PORT]`, `HOST[:PORT]` (the same) or `tcp://HOST:PORT`. The UDP port is 5076 unless it is given.
///
/// # Errors
/// [`BadValue`] for any other text, and for a port of 0.
impl FromStr for ServerAddress {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let address = text.trim();
        let read = match address.split_once("://") {
            Some(("tcp", rest)) => match host_and_port(rest) {
                Some((host, Some(port))) => Some(Self::Fixed { host, port }),
                _ => None,
            },
            Some(("udp", rest)) => searched(rest),
            Some(_) => None,
            None => searched(address),
        };
        let forms =
            "udp://HOST or udp://HOST:PORT to search there, tcp://HOST:PORT for a fixed port";
        read.ok_or_else(|| BadValue::new(text, forms))
    }
}

fn searched(text: &str) -> Option<ServerAddress> {
    let (host, port) = host_and_port(text)?;
    let port = port.unwrap_or(SEARCH_PORT);
    Some(ServerAddress::Search { host, port })
}

/// Host and, if there is one, port. An IPv6 address is in brackets.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        text.split_at_checked(end)?
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(named) {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|&port| port != 0)?)
        }
        None if rest.is_empty() => None,
        _ => return None,
    };
    Some((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_is_read() {
        for (text, printed) in [
            ("ioc", "udp://ioc:5076"),
            ("udp://ioc", "udp://ioc:5076"),
            (" 10.0.0.7:15076 ", "udp://10.0.0.7:15076"),
            ("tcp://ioc.example:5075", "tcp://ioc.example:5075"),
            ("tcp://[::1]:5075", "tcp://[::1]:5075"),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn another_text_is_refused_with_the_forms() {
        for text in [
            "",
            "udp://",
            "tcp://ioc",
            "http://ioc:80",
            "ioc:0",
            "ioc:65536",
            "ioc:+1",
            "ioc:",
            "a b",
            "::1",
            "[::1",
            "[ioc]:5076",
            "ioc:1:2",
            "ioc/x",
        ] {
            let error = text.parse::<ServerAddress>().expect_err(text).to_string();
            assert!(error.contains("tcp://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn an_ip_address_is_no_name() {
        for (text, is_name) in [
            ("udp://ioc", true),
            ("10.0.0.7", false),
            ("tcp://[::1]:5075", false),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().is_name(), is_name);
        }
    }

    #[tokio::test]
    async fn a_host_is_resolved_to_ipv4_if_it_can_be() {
        let address: ServerAddress = "localhost:7".parse().unwrap();
        let found = address.resolve().await.unwrap();
        assert_eq!(found.first(), Some(&"127.0.0.1:7".parse().unwrap()));
    }
}
