//! What clients see of our server.

use beamflow_frame::{Codec, Dtype, FrameShape};
use beamflow_needs::needs;
use beamflow_pva::{Attribute, Image, NewImage, Server, ServerOptions};
use serde_json::{Value, json};

use crate::peer::{Peer, Ports, hex};
use crate::watch::Watch;

/// A result: a patch of float32 with two attributes.
fn patch() -> NewImage {
    let pixels: Vec<u8> = [0.5_f32, -1.0, 2.0, 3.0, 4.0, 5.0]
        .iter()
        .flat_map(|pixel| pixel.to_le_bytes())
        .collect();
    NewImage {
        image: Image {
            pixels: pixels.into(),
            dtype: Dtype::F32,
            shape: FrameShape {
                height: 2,
                width: 3,
            },
            codec: None,
        },
        unique_id: 42,
        data_time_stamp: 1_700_000_000_000_000_001,
        attributes: vec![
            ("PositionX".to_owned(), Attribute::Number(1e-6)),
            (
                "SourcePV".to_owned(),
                Attribute::Text("13SIM1:Pva1:Image".to_owned()),
            ),
        ],
    }
}

/// What a client needs that searches over UDP.
fn ports(server: &Server) -> Ports {
    Ports {
        tcp: server.tcp_port(),
        udp: server.udp_port(),
    }
}

/// A PVXS client that gets the TCP port as an argument. It listens for beacons on a port that must not be taken.
fn pvxs(script: &str, pv: &str, server: &Server, count: &[&str]) -> Peer {
    let ports = Ports {
        tcp: server.tcp_port(),
        ..Ports::free()
    };
    let (tcp, udp) = (ports.tcp.to_string(), ports.udp.to_string());
    Peer::start(script, &[&[pv, &tcp, &udp], count].concat(), ports)
}

/// The next line of a peer. The server goes on meanwhile.
async fn line(peer: Peer) -> (Peer, Value) {
    let waiting = tokio::task::spawn_blocking(move || {
        let line = peer.line();
        (peer, line)
    });
    waiting.await.unwrap()
}

/// `value` without `timeStamp`, which is returned as nanoseconds.
fn without_time(mut value: Value) -> (Value, i64) {
    let time = value.as_object_mut().unwrap().remove("timeStamp").unwrap();
    let field = |name: &str| time[name].as_i64().unwrap();
    (
        value,
        field("secondsPastEpoch") * 1_000_000_000 + field("nanoseconds"),
    )
}

fn attribute(name: &str, value: Value, time: &Value) -> Value {
    json!({
        "name": name, "value": value, "tags": [], "descriptor": name, "sourceType": 0, "source": "beamflow",
        "alarm": {"severity": 0, "status": 0, "message": ""}, "timeStamp": time,
    })
}

fn dimension(size: usize) -> Value {
    json!({"size": size, "offset": 0, "fullSize": size, "binning": 1, "reverse": false})
}

#[needs(pva_peers)]
#[tokio::test]
async fn pvxs_reads_every_field_of_an_image() {
    let server = Server::start(&ServerOptions::loopback()).unwrap();
    let pv = server.image("beamflow:phase:image").unwrap();
    let peer = pvxs("p4p_client.py", "beamflow:phase:image", &server, &["3"]);
    let (peer, idle) = line(peer).await;
    assert_eq!(
        (&idle["value"], &idle["dimension"]),
        (&Value::Null, &json!([]))
    );

    pv.post(&patch()).unwrap();
    let (peer, seen) = line(peer).await;
    let time = seen["timeStamp"].clone();
    let (seen, first) = without_time(seen);
    let expected = json!({
        "id": "epics:nt/NTNDArray:1.0",
        "value": ["<f4", hex(&patch().image.pixels)],
        "codec": {"name": "", "parameters": 9},
        "compressedSize": 24, "uncompressedSize": 24, "uniqueId": 42,
        "dataTimeStamp": {"secondsPastEpoch": 1_700_000_000, "nanoseconds": 1, "userTag": 0},
        "alarm": {"severity": 0, "status": 0, "message": ""},
        "dimension": [dimension(3), dimension(2)],
        "attribute": [
            attribute("ColorMode", json!(0), &time),
            attribute("PositionX", json!(1e-6), &time),
            attribute("SourcePV", json!("13SIM1:Pva1:Image"), &time),
        ],
    });
    assert_eq!(seen, expected);

    // The same bytes, said to be compressed.
    let mut compressed = patch();
    compressed.image.codec = Some(Codec::Lz4);
    compressed.image.pixels = compressed.image.pixels.slice(..5);
    pv.post(&compressed).unwrap();
    let (_, seen) = line(peer).await;
    let (seen, second) = without_time(seen);
    assert!(second > first);
    assert_eq!(seen["value"], json!(["|u1", hex(&compressed.image.pixels)]));
    assert_eq!(seen["codec"], json!({"name": "lz4", "parameters": 9}));
    assert_eq!(
        (&seen["compressedSize"], &seen["uncompressedSize"]),
        (&json!(5), &json!(24))
    );
}

/// It finds the server by a search over UDP.
#[needs(pva_peers)]
#[tokio::test]
async fn pvaccess_cpp_reads_every_field_of_an_image() {
    let server = Server::start(&ServerOptions::loopback()).unwrap();
    let pv = server.image("beamflow:phase:image").unwrap();
    let peer = Peer::start(
        "pvapy_client.py",
        &["beamflow:phase:image", "2"],
        ports(&server),
    );
    let (peer, idle) = line(peer).await;
    assert_eq!(idle["structure"]["dimension"], json!([]));

    pv.post(&patch()).unwrap();
    let (_, seen) = line(peer).await;
    let pixels = json!(["<f4", hex(&patch().image.pixels)]);
    let image =
        json!({"width": 3, "height": 2, "mode": 0, "field": "floatValue", "pixels": pixels});
    assert_eq!(seen["image"], image);
    let structure = &seen["structure"];
    assert_eq!(structure["value"][0], json!({"floatValue": pixels}));
    assert_eq!(structure["codec"]["name"], "");
    assert_eq!(structure["codec"]["parameters"][0], json!({"value": 9}));
    assert_eq!(structure["uniqueId"], 42);
    assert_eq!(
        (&structure["compressedSize"], &structure["uncompressedSize"]),
        (&json!(24), &json!(24))
    );
    assert_eq!(structure["dimension"], json!([dimension(3), dimension(2)]));
    let time = json!({"secondsPastEpoch": 1_700_000_000, "nanoseconds": 1, "userTag": 0});
    assert_eq!(structure["dataTimeStamp"], time);
    let names = [
        ("ColorMode", json!(0)),
        ("PositionX", json!(1e-6)),
        ("SourcePV", json!("13SIM1:Pva1:Image")),
    ];
    for (index, (name, value)) in names.into_iter().enumerate() {
        let attribute = &structure["attribute"][index];
        assert_eq!(attribute["name"], name);
        assert_eq!(attribute["value"][0]["value"], value);
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_number_is_read_and_cannot_be_changed() {
    let server = Server::start(&ServerOptions::loopback()).unwrap();
    let pv = server.number("beamflow:rate", 0.0).unwrap();
    let peer = pvxs("p4p_client.py", "beamflow:rate", &server, &["3"]);
    let (peer, first) = line(peer).await;
    let (first, at) = without_time(first);
    let alarm = json!({"severity": 0, "status": 0, "message": ""});
    assert_eq!(
        first,
        json!({"id": "epics:nt/NTScalar:1.0", "value": 0.0, "alarm": alarm})
    );

    let put = pvxs("p4p_put.py", "beamflow:rate", &server, &[]);
    let (_, answer) = line(put).await;
    assert!(answer.get("refused").is_some(), "{answer}");

    pv.post(1234.5).unwrap();
    let (_, second) = line(peer).await;
    let (second, later) = without_time(second);
    assert_eq!(second["value"], 1234.5);
    assert!(later > at);
}

/// The stopped client takes no bytes, so the server's buffers for it fill up.
#[needs(pva_peers)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_client_delays_neither_posts_nor_others() {
    const POSTS: i32 = 200;
    let server = Server::start(&ServerOptions::loopback()).unwrap();
    let pv = server.image("pva:image").unwrap();
    let stopped = pvxs("p4p_client.py", "pva:image", &server, &["1000"]);
    let (stopped, _) = line(stopped).await;
    stopped.stop();

    let mut watch = Watch::at(server.tcp_port());
    watch.idle().await;
    for id in 1..=POSTS {
        let shape = FrameShape {
            height: 512,
            width: 512,
        };
        pv.post(&NewImage {
            image: Image {
                pixels: vec![0; 512 * 512].into(),
                dtype: Dtype::U8,
                shape,
                codec: None,
            },
            unique_id: id,
            ..patch()
        })
        .unwrap();
        // Each post reaches the client that reads.
        assert_eq!(watch.image().await.0, Some(id.into()));
    }
}
