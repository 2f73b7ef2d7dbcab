//! Where the HTTP server listens.

use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const WAITING: i32 = 1024;

/// Listens on `address`. `[::]` stands for every address of the machine, in both families; where the machine has no IPv6, for
/// those of IPv4.
///
/// # Errors
/// The system's error.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener> {
    match bind(address) {
        Err(error) if is_any_v6(address) && has_no_v6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        other => other,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if is_any_v6(address) {
        // The system's default may be IPv6 only (net.ipv6.bindv6only).
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    TcpListener::from_std(socket.into())
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// A kernel without IPv6 knows no such sockets; one where it is turned off has no such address.
fn has_no_v6(error: &Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn any_address_is_that_of_both_families() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = listen(any).unwrap();
        let address = listener.local_addr().unwrap();
        let port = address.port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        // A machine without IPv6 is served by IPv4.
        if address.is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port))
                .await
                .unwrap();
        }
        let taken = listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn only_a_machine_without_ipv6_is_served_by_ipv4_alone() {
        let of = |errno: rustix::io::Errno| Error::from_raw_os_error(errno.raw_os_error());
        for errno in [
            rustix::io::Errno::AFNOSUPPORT,
            rustix::io::Errno::ADDRNOTAVAIL,
        ] {
            assert!(has_no_v6(&of(errno)), "{errno:?}");
        }
        for errno in [rustix::io::Errno::ADDRINUSE, rustix::io::Errno::ACCESS] {
            assert!(!has_no_v6(&of(errno)), "{errno:?}");
        }
    }
}
