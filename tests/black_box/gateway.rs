//! The gateway of `k8s/components/pva-gateway`: p4p's own program with the component's configuration, between `pva-sink` and a
//! viewer.

use crate::black_box::results::{
    Scan, Viewer, bytes, connect, image, port, pva_sink, values, write,
};
use beamflow_needs::needs;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// Two ports that are free.
fn free_ports() -> [u16; 2] {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_viewer_sees_results_through_the_gateway() {
    let sink = pva_sink(&["--outputs", "phase"]).await;
    let mut numa = connect(&sink).await;
    let scan = Scan::new();
    write(&mut numa, &[scan.result(1, "phase")]).await;

    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join("k8s/components/pva-gateway/gateway.conf");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let mut config: Value = serde_json::from_str(&shipped).unwrap();
    let [tcp, udp] = free_ports();
    let at = format!("127.0.0.1:{}", port(&sink, "tcp_port").await);
    // Of the component, only the addresses change.
    assert_eq!(
        config["clients"][0]["EPICS_PVA_NAME_SERVERS"],
        "pva-sink:5075"
    );
    config["clients"][0]["EPICS_PVA_NAME_SERVERS"] = json!(at);
    let server = &mut config["servers"][0];
    for (name, value) in [
        ("interface", json!(["127.0.0.1"])),
        ("serverport", json!(tcp)),
        ("bcastport", json!(udp)),
        ("addrlist", json!("127.0.0.1")),
        ("autoaddrlist", json!(false)),
    ] {
        server[name] = value;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.conf");
    std::fs::write(&path, config.to_string()).unwrap();
    let gateway = Command::new(std::env::var("BEAMFLOW_PYTHON").unwrap())
        .args(["-m", "p4p.gw"])
        .arg(&path)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();

    let mut viewer = Viewer::start(tcp, "beamflow:phase:image");
    let update = viewer.update().await;
    assert_eq!(update.unique_id, Some(1));
    write(&mut numa, &[scan.result(2, "phase")]).await;
    let update = viewer.update().await;
    assert_eq!(update.unique_id, Some(2));
    assert_eq!(image(&update).pixels[..], bytes(&values(2)));
    drop((viewer, gateway));
    sink.stop().await;
}
