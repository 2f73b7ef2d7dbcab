//! Connections that are lost and found.

use std::time::Duration;

use beamflow_needs::needs;
use beamflow_pva::{Content, Event, MonitorOptions, Restart};
use serde_json::json;

use crate::peer::{Peer, Ports, hex};
use crate::watch::{Watch, options};

/// A PVXS server, and its TCP port.
fn pvxs(ports: Ports) -> (Peer, u16) {
    let (tcp, udp) = (ports.tcp.to_string(), ports.udp.to_string());
    let peer = Peer::start("p4p_server.py", &["pva:image", &tcp, &udp], ports);
    let port = peer.line()["tcp"].as_u64().unwrap();
    (peer, port.try_into().unwrap())
}

fn post(peer: &mut Peer, id: i32) {
    let frame =
        json!({"value": ["ubyteValue", "<u1", "0102"], "uniqueId": id, "dimension": [2, 1]});
    peer.tell(&json!({ "post": frame }));
}

fn connected(event: &Event) -> bool {
    matches!(event, Event::Connected { .. })
}

/// Kills a server after a frame, starts the next one with `next`, and returns the port of the second connection.
async fn killed_and_back(options: MonitorOptions, first: Ports, next: Ports) -> u16 {
    let mut watch = Watch::new(options);
    let (mut peer, _) = pvxs(first);
    assert!(connected(&watch.event().await));
    watch.idle().await;
    post(&mut peer, 7);
    assert_eq!(watch.image().await.0, Some(7));
    peer.kill();
    assert_eq!(watch.event().await, Event::Disconnected);

    let (mut peer, port) = pvxs(next);
    let Event::Connected { peer: address } = watch.wait_for(connected).await else {
        unreachable!()
    };
    assert_eq!(address.port(), port);
    // Not frame 7 once more: PVXS marks nothing in this update.
    watch.idle().await;
    post(&mut peer, 1);
    assert_eq!(watch.image().await.0, Some(1));
    port
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_server_is_found_again_on_its_port() {
    let ports = Ports::free();
    let server = format!("tcp://127.0.0.1:{}", ports.tcp);
    let port = killed_and_back(options(&server), ports, ports).await;
    assert_eq!(port, ports.tcp);
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_server_is_found_again_on_another_port() {
    let first = Ports::free();
    let next = Ports {
        tcp: Ports::free().tcp,
        ..first
    };
    let server = format!("udp://127.0.0.1:{}", first.udp);
    let port = killed_and_back(options(&server), first, next).await;
    assert_ne!(port, first.tcp);
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_silent_connection_is_given_up_after_an_update() {
    let (mut peer, port) = pvxs(Ports::free());
    let mut watch = Watch::new(MonitorOptions {
        watchdog: Some(Duration::from_millis(100)),
        ..options(&format!("tcp://127.0.0.1:{port}"))
    });
    watch.idle().await;
    // It cannot know that the detector is idle.
    assert_eq!(watch.event().await, Event::Disconnected);
    assert_eq!(watch.event().await, Event::Restarted(Restart::Watchdog));
    watch.wait_for(connected).await;
    watch.idle().await;
    // The snapshot of each new connection is the last frame.
    post(&mut peer, 1);
    loop {
        if let Event::Update(update) = watch
            .wait_for(|event| matches!(event, Event::Update(_)))
            .await
            && update.first
            && update.unique_id == Some(1)
        {
            break;
        }
    }
}

/// The client gives no sign of it: without the check, only the watchdog would end this.
#[needs(pva_peers)]
#[tokio::test]
async fn a_message_above_the_limit_ends_the_connection_only() {
    let (mut peer, port) = pvxs(Ports::free());
    let mut watch = Watch::new(MonitorOptions {
        watchdog: None,
        ..options(&format!("tcp://127.0.0.1:{port}"))
    });
    watch.idle().await;
    let pixels = hex(&[0; 3 << 20]);
    let large =
        json!({"value": ["ubyteValue", "<u1", pixels], "uniqueId": 1, "dimension": [1024, 3072]});
    peer.tell(&json!({ "post": large }));
    assert_eq!(watch.event().await, Event::Disconnected);
    assert_eq!(watch.event().await, Event::Restarted(Restart::Dead));
    // The first message of the next connection is as long.
    watch.wait_for(connected).await;
    watch
        .wait_for(|event| *event == Event::Restarted(Restart::Dead))
        .await;
    post(&mut peer, 2);
    assert_eq!(watch.image().await.0, Some(2));
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_pv_that_is_closed_and_opened_is_followed() {
    let (mut peer, port) = pvxs(Ports::free());
    let mut watch = Watch::at(port);
    watch.idle().await;
    peer.tell(&json!({"close": true}));
    assert_eq!(watch.event().await, Event::Disconnected);
    peer.tell(&json!({"open": true}));
    watch.idle().await;
    post(&mut peer, 1);
    assert_eq!(watch.image().await.0, Some(1));
}

/// `server` is a channel of every PVXS server, and cannot be monitored.
#[needs(pva_peers)]
#[tokio::test]
async fn a_refused_monitor_is_started_again() {
    let (_peer, port) = pvxs(Ports::free());
    let mut watch = Watch::new(MonitorOptions {
        pv: "server".to_owned(),
        ..options(&format!("tcp://127.0.0.1:{port}"))
    });
    for _ in 0..2 {
        assert!(connected(&watch.event().await));
        assert_eq!(watch.event().await, Event::Disconnected);
        assert_eq!(watch.event().await, Event::Restarted(Restart::Ended));
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn the_simulated_detector_of_pvapy_is_followed() {
    let ports = Ports::free();
    let arguments = [
        "-cn",
        "pva:image",
        "-nx",
        "64",
        "-ny",
        "32",
        "-dt",
        "int16",
        "-fps",
        "50",
        "-rt",
        "300",
        "-std",
        "0",
        "-shd",
        "0",
        "-dc",
    ];
    let _peer = Peer::start_program("pvapy-ad-sim-server", &arguments, ports);
    let mut watch = Watch::new(options(&format!("udp://127.0.0.1:{}", ports.udp)));
    let (mut seen, mut last) = (0, None);
    while seen < 50 {
        let update = watch.update().await;
        match update.content {
            Content::Image(image) => {
                let id = update.unique_id;
                assert!(id > last, "{id:?} after {last:?}");
                assert_eq!((image.shape.height, image.shape.width), (32, 64));
                (seen, last) = (seen + 1, id);
            }
            // It serves the PV before it has a frame.
            Content::Idle => assert!(update.first),
            other => panic!("{other:?}"),
        }
    }
}
