//! Codecs and pixel types, as servers send them.

use beamflow_frame::{Codec, Dtype, FrameShape};
use beamflow_needs::needs;
use beamflow_pva::{Attribute, Content, Image, Refusal};
use serde_json::{Value, json};

use crate::peer::{Peer, Ports, hex};
use crate::watch::{Watch, options};

const SHAPE: FrameShape = FrameShape {
    height: 2,
    width: 3,
};

/// The member of NTNDArray's union, its number in pvData, the name in numpy.
const TYPES: [(Dtype, &str, i32, &str); 8] = [
    (Dtype::I8, "byteValue", 1, "<i1"),
    (Dtype::I16, "shortValue", 2, "<i2"),
    (Dtype::I32, "intValue", 3, "<i4"),
    (Dtype::U8, "ubyteValue", 5, "<u1"),
    (Dtype::U16, "ushortValue", 6, "<u2"),
    (Dtype::U32, "uintValue", 7, "<u4"),
    (Dtype::F32, "floatValue", 9, "<f4"),
    (Dtype::F64, "doubleValue", 10, "<f8"),
];

/// Six pixels whose bytes all differ.
fn pixels(dtype: Dtype) -> Vec<u8> {
    let bytes = SHAPE.bytes(dtype).unwrap();
    (0..bytes).map(|byte| (7 + 5 * byte) as u8).collect()
}

/// A PVXS server and a monitor that has seen its idle channel.
async fn pvxs(more: &[&str]) -> (Peer, Watch) {
    let ports = Ports::free();
    let udp = ports.udp.to_string();
    let arguments = [&["pva:image", "0", &udp], more].concat();
    let peer = Peer::start("p4p_server.py", &arguments, ports);
    let port = peer.line()["tcp"].as_u64().unwrap();
    let mut watch = Watch::at(port.try_into().unwrap());
    watch.idle().await;
    (peer, watch)
}

async fn pvaccess_cpp() -> (Peer, Watch) {
    let ports = Ports::free();
    let peer = Peer::start("pvapy_server.py", &["pva:image"], ports);
    peer.line();
    // It may have another TCP port than it was given.
    let mut watch = Watch::new(options(&format!("udp://127.0.0.1:{}", ports.udp)));
    watch.idle().await;
    (peer, watch)
}

fn frame(id: i32, value: Value) -> Value {
    json!({"value": value, "uniqueId": id, "dimension": [SHAPE.width, SHAPE.height]})
}

fn with(mut frame: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    frame.as_object_mut().unwrap().extend(fields);
    frame
}

#[needs(pva_peers)]
#[tokio::test]
async fn every_pixel_type_arrives_from_pvxs() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    for (dtype, member, number, numpy) in TYPES {
        let sent = pixels(dtype);
        let post = frame(number, json!([member, numpy, hex(&sent)]));
        peer.tell(&json!({ "post": post }));
        let raw = Image {
            pixels: sent.into(),
            dtype,
            shape: SHAPE,
            codec: None,
        };
        assert_eq!(watch.image().await, (Some(number.into()), raw));
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn every_pixel_type_arrives_from_pvaccess_cpp() {
    let (mut peer, mut watch) = pvaccess_cpp().await;
    for (dtype, _, number, numpy) in TYPES {
        let sent = pixels(dtype);
        peer.tell(&json!({"post": {
            "dtype": numpy, "shape": [SHAPE.height, SHAPE.width], "data": hex(&sent), "uniqueId": number, "codec": null,
        }}));
        let raw = Image {
            pixels: sent.into(),
            dtype,
            shape: SHAPE,
            codec: None,
        };
        assert_eq!(watch.image().await, (Some(number.into()), raw));
    }
}

/// What a codec might have made: it is not looked into.
const COMPRESSED: &[u8] = b"\x00\xffcompressed\x00";

#[needs(pva_peers)]
#[tokio::test]
async fn compressed_bytes_arrive_from_pvxs_unchanged() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    // The buffer that the bytes are in may be longer.
    let buffer = [COMPRESSED, b"stale"].concat();
    for codec in Codec::ALL {
        for (dtype, _, number, _) in TYPES {
            let post = with(
                frame(number, json!(["ubyteValue", "<u1", hex(&buffer)])),
                json!({
                    "codec": codec.name(),
                    "parameters": ["i", number],
                    "compressedSize": COMPRESSED.len(),
                    "uncompressedSize": SHAPE.bytes(dtype),
                }),
            );
            peer.tell(&json!({ "post": post }));
            let image = Image {
                pixels: COMPRESSED.into(),
                dtype,
                shape: SHAPE,
                codec: Some(codec),
            };
            assert_eq!(watch.image().await, (Some(number.into()), image));
        }
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn compressed_bytes_arrive_from_pvaccess_cpp_unchanged() {
    let (mut peer, mut watch) = pvaccess_cpp().await;
    for codec in Codec::ALL {
        peer.tell(&json!({"post": {
            "dtype": "uint16", "shape": [SHAPE.height, SHAPE.width], "data": hex(COMPRESSED), "uniqueId": 1,
            "codec": codec.name(),
        }}));
        let image = Image {
            pixels: COMPRESSED.into(),
            dtype: Dtype::U16,
            shape: SHAPE,
            codec: Some(codec),
        };
        assert_eq!(watch.image().await, (Some(1), image));
    }
}

#[needs(pva_peers)]
#[tokio::test]
async fn an_image_inside_of_an_any_is_read() {
    let (mut peer, mut watch) = pvxs(&["any"]).await;
    let sent = pixels(Dtype::U16);
    peer.tell(&json!({"post": frame(1, json!(["", "<u2", hex(&sent)]))}));
    let (_, image) = watch.image().await;
    assert_eq!((image.dtype, &image.pixels[..]), (Dtype::U16, &sent[..]));
}

#[needs(pva_peers)]
#[tokio::test]
async fn unmarked_fields_are_those_of_the_update_before() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    let sent = pixels(Dtype::U8);
    let post = with(
        frame(1, json!(["ubyteValue", "<u1", hex(&sent)])),
        json!({
            "timeStamp": [2, 3], "dataTimeStamp": [1, 999_999_999],
            "attribute": [["x", 0.5], ["name", "a\nb"], ["other", 1]],
        }),
    );
    peer.tell(&json!({ "post": post }));
    let update = watch.update().await;
    assert!(update.value_marked && !update.first);
    assert_eq!(update.time_stamp, 2_000_000_003);
    assert_eq!(update.data_time_stamp, 1_999_999_999);
    let attributes = [
        ("x".to_owned(), Attribute::Number(0.5)),
        ("name".to_owned(), Attribute::Text("ab".to_owned())),
    ];
    assert_eq!(update.attributes, attributes);

    // Metadata: only the time is posted.
    peer.tell(&json!({"post": {"timeStamp": [9, 0]}}));
    let metadata = watch.update().await;
    assert_eq!(metadata.content, Content::Metadata);
    assert!(!metadata.value_marked);
    assert_eq!(metadata.time_stamp, 9_000_000_000);
    assert_eq!(
        (metadata.unique_id, metadata.attributes),
        (Some(1), attributes.into())
    );

    // A frame without its dimensions has those of the one before.
    let next = pixels(Dtype::I16);
    peer.tell(&json!({"post": {"uniqueId": 2, "value": ["shortValue", "<i2", hex(&next)]}}));
    let (id, image) = watch.image().await;
    assert_eq!(
        (id, image.shape, &image.pixels[..]),
        (Some(2), SHAPE, &next[..])
    );
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_refused_frame_has_its_number_and_ends_nothing() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    let bytes = json!(["ubyteValue", "<u1", hex(&[1; 18])]);
    let rgb = json!({"dimension": [3, 3, 2], "attribute": [["ColorMode", 2]]});
    let cases = [
        (with(frame(1, bytes.clone()), rgb), "rgb"),
        (
            with(
                frame(2, bytes.clone()),
                json!({"dimension": [3, 3, 2], "attribute": []}),
            ),
            "layout",
        ),
        (
            frame(3, json!(["longValue", "<i8", hex(&[1; 48])])),
            "dtype",
        ),
        (
            frame(4, json!(["ulongValue", "<u8", hex(&[1; 48])])),
            "dtype",
        ),
        (frame(5, bytes.clone()), "layout"),
        (
            with(frame(6, bytes.clone()), json!({"codec": "zfp"})),
            "codec",
        ),
        (
            with(frame(7, bytes.clone()), json!({"codec": "lz4"})),
            "codec",
        ),
        (
            with(
                frame(8, bytes),
                json!({"codec": "", "dimension": [1 << 20, 1 << 20]}),
            ),
            "too_large",
        ),
    ];
    for (post, kind) in cases {
        peer.tell(&json!({ "post": post }));
        let update = watch.update().await;
        assert_eq!(update.unique_id, post["uniqueId"].as_i64());
        match update.content {
            Content::Refused(refusal) => assert_eq!(refusal.kind(), kind, "{refusal}"),
            other => panic!("{post}: {other:?}"),
        }
    }
    let good = frame(9, json!(["ubyteValue", "<u1", hex(&[1; 6])]));
    peer.tell(&json!({ "post": good }));
    assert_eq!(watch.image().await.0, Some(9));
}

#[needs(pva_peers)]
#[tokio::test]
async fn a_frame_above_the_limit_is_refused() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    let post = json!({
        "value": ["ubyteValue", "<u1", hex(&[0; (1 << 20) + 1024])], "uniqueId": 1, "dimension": [1024, 1025],
    });
    peer.tell(&json!({ "post": post }));
    assert!(matches!(
        watch.refusal().await,
        Refusal::TooLarge {
            limit: 0x10_0000,
            ..
        }
    ));
}

/// `pvapyc` is the name of no codec: the simulated detector of pvaPy sets it for raw pixels.
#[needs(pva_peers)]
#[tokio::test]
async fn an_unknown_codec_with_all_pixels_is_none() {
    let (mut peer, mut watch) = pvxs(&[]).await;
    let sent = pixels(Dtype::F32);
    let post = with(
        frame(1, json!(["floatValue", "<f4", hex(&sent)])),
        json!({"codec": "pvapyc"}),
    );
    peer.tell(&json!({ "post": post }));
    let (_, image) = watch.image().await;
    assert_eq!((image.codec, image.dtype), (None, Dtype::F32));
}
