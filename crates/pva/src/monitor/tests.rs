//! A server whose name gets another address, with real servers and a resolver of the test.

use super::*;
use crate::post::{Server, ServerOptions};
use parking_lot::Mutex;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const PATIENCE: Duration = Duration::from_secs(60);
const PV: &str = "a:image";

/// What a name stands for, and how often it was looked up.
type Addresses = Arc<Mutex<(Vec<SocketAddr>, usize)>>;

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
    let resolver = Resolver::Function(Arc::new(move || {
        let (found, lookups) = &mut *addresses.lock();
        *lookups += 1;
        if found.is_empty() {
            return Err(io::Error::other("no such name"));
        }
        Ok(found.clone())
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

/// Waits until the name was looked up, and nothing has come of it.
async fn looked_up(monitor: &mut Monitor, addresses: &Addresses) {
    let before = addresses.lock().1;
    let waiting = async {
        // The second begins when the first is evaluated.
        while addresses.lock().1 < before + 2 {
            let next = tokio::time::timeout(CHECK, monitor.next()).await;
            assert!(next.is_err(), "{next:?}");
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test]
async fn a_server_is_found_again_at_the_new_address_of_its_name() {
    let first = serve(Ipv4Addr::LOCALHOST, 0);
    let _pv = first.image(PV).unwrap();
    let port = first.tcp_port();
    let was = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = Addresses::new((vec![was], 0).into());
    let mut monitor = monitor(port, &addresses);
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: was });

    drop(first);
    assert_eq!(event(&mut monitor).await, Event::Disconnected);
    // For a while the name has no address.
    addresses.lock().0.clear();
    looked_up(&mut monitor, &addresses).await;

    let now = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let second = serve(Ipv4Addr::new(127, 0, 0, 2), port);
    let _pv = second.image(PV).unwrap();
    addresses.lock().0 = vec![now];
    assert_eq!(event(&mut monitor).await, Event::Restarted(Restart::Moved));
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: now });
}

#[tokio::test]
async fn a_search_goes_on_where_the_name_still_points() {
    let server = serve(Ipv4Addr::LOCALHOST, 0);
    let pv = server.image(PV).unwrap();
    let port = server.tcp_port();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let addresses = Addresses::new((vec![at], 0).into());
    let mut monitor = monitor(port, &addresses);
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: at });
    drop((server, pv));
    assert_eq!(event(&mut monitor).await, Event::Disconnected);
    // The name has one more address, which comes first.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    addresses.lock().0 = vec![other, at];
    looked_up(&mut monitor, &addresses).await;
    let server = serve(Ipv4Addr::LOCALHOST, port);
    let _pv = server.image(PV).unwrap();
    assert_eq!(event(&mut monitor).await, Event::Connected { peer: at });
}
