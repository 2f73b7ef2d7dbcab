//! A server whose name gets another address, with real servers and a resolver of the test.

use super::*;
use crate::post::{Server, ServerOptions};
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const PATIENCE: Duration = Duration::from_secs(60);
const PV: &str = "a:image";

/// What a name stands for.
type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// A server on an address of this machine.
fn serve(address: Ipv4Addr, tcp_port: u16) -> Server {
    let server = Server::start(&ServerOptions {
        bind: Some(IpAddr::V4(address)),
        tcp_port: Some(tcp_port),
        exact_port: true,
        ..ServerOptions::loopback()
    });
    server.unwrap()
}

fn monitor(port: u16, addresses: &Addresses) -> Monitor {
    let addresses = Arc::clone(addresses);
    let resolver = Resolver::Function(Arc::new(move || match &addresses.lock()[..] {
        [] => Err(io::Error::other("no such name")),
        found => Ok(found.to_vec()),
    }));
    let options = MonitorOptions {
        server: Some(format!("tcp://ioc.example:{port}").parse().unwrap()),
        ..MonitorOptions::new(PV)
    };
    Monitor::resolved_by(resolver, options)
}

/// The next event that is no update.
async fn event(monitor: &mut Monitor) -> Event {
    loop {
        let event = tokio::time::timeout(PATIENCE, monitor.next()).await;
        match event.expect("something happens") {
            Event::Update(_) => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_server_is_found_again_at_the_new_address_of_its_name() {
    let first = serve(Ipv4Addr::LOCALHOST, 0);
    let _pv = first.image(PV).unwrap();
    let port = first.tcp_port();
    let was = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = Addresses::new(vec![was].into());
    let mut monitor = monitor(port, &addresses);
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: was });

    drop(first);
    assert_eq!(event(&mut monitor).await, Event::Disconnected);
    // For a while the name has no address.
    addresses.lock().clear();
    let looked_up = async {
        while !monitor.lookup.has_failed() {
            let _ = tokio::time::timeout(CHECK, monitor.next()).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked_up).await.unwrap();

    let now = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let second = serve(Ipv4Addr::new(127, 0, 0, 2), port);
    let _pv = second.image(PV).unwrap();
    *addresses.lock() = vec![now];
    assert_eq!(event(&mut monitor).await, Event::Restarted(Restart::Moved));
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: now });
}

#[tokio::test]
async fn a_search_goes_on_where_the_name_still_points() {
    let server = serve(Ipv4Addr::LOCALHOST, 0);
    let pv = server.image(PV).unwrap();
    let port = server.tcp_port();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = Addresses::new(vec![at].into());
    let mut monitor = monitor(port, &addresses);
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: at });
    drop((server, pv));
    assert_eq!(event(&mut monitor).await, Event::Disconnected);
    // The name has one more address, which comes first.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    *addresses.lock() = vec![other, at];
    let server = serve(Ipv4Addr::LOCALHOST, port);
    let _pv = server.image(PV).unwrap();
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: at });
}
