//! Whole models, and the format.

use super::*;

/// The project's own network.
const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/ptychonn_64.onnx");
/// PtychoNN as published; not in the repository.
const PUBLISHED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/models/ptychoNN_8.onnx"
);

/// The bytes of the published model, or `None` if the file is absent.
fn published() -> Option<Vec<u8>> {
    let bytes = std::fs::read(PUBLISHED).ok();
    if bytes.is_none() {
        eprintln!("skipped: there is no {PUBLISHED}");
    }
    bytes
}

fn rewritten(bytes: &[u8]) -> (Model, Graph, Summary) {
    let converted = to_half(bytes).unwrap();
    let mut model = Model::decode(converted.model.as_slice()).unwrap();
    let graph = model.graph.take().unwrap();
    assert_types_fit(&graph);
    (model, graph, converted.summary)
}

#[test]
fn the_network_of_this_project_is_rewritten() {
    let bytes = std::fs::read(OWN).unwrap();
    let (model, graph, summary) = rewritten(&bytes);
    let given = Model::decode(bytes.as_slice()).unwrap();
    assert_eq!(model.opset_import, given.opset_import);
    assert_eq!(graph.input[0].clone().element(), Some(&mut { FLOAT16 }));
    assert_eq!(graph.output, given.graph.unwrap().output);
    assert_eq!((summary.weights, summary.casts), (51, 19));
    assert_eq!((summary.underflowed, summary.subnormal), (216, 2087));
    assert_eq!(summary.kept_single["ReduceMean"], 5);
}

#[test]
fn the_published_network_is_rewritten() {
    let Some(bytes) = published() else { return };
    let (_, graph, summary) = rewritten(&bytes);
    assert_eq!(
        (summary.weights, summary.casts, summary.kept_single.len()),
        (35, 1, 0)
    );
    assert_eq!(graph.output[0].name(), "94");
}

#[test]
fn decoding_and_encoding_keeps_every_byte_of_a_model() {
    for bytes in [std::fs::read(OWN).ok(), published()].into_iter().flatten() {
        let model = Model::decode(bytes.as_slice()).unwrap();
        assert!(model.encode_to_vec() == bytes);
    }
}

/// Decodes and encodes a message with the given fields, each with its wire type: 0 for a number, 2 for bytes or a
/// message, 5 for a float32.
fn passes<M: Message + Default>(fields: &[(u8, u8)]) {
    let mut bytes = Vec::new();
    for (field, kind) in fields {
        prost::encoding::encode_varint(u64::from(field << 3 | kind), &mut bytes);
        bytes.extend(match kind {
            0 => &[1][..],
            5 => &[0, 0, 0x80, 0x3f],
            _ => &[0],
        });
    }
    assert_eq!(M::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
}

#[test]
fn every_field_of_the_format_is_kept() {
    let bytes = |fields: std::ops::RangeInclusive<u8>| fields.map(|field| (field, 2));
    let join = |fields: &[&[(u8, u8)]]| fields.concat();
    passes::<Model>(&join(&[
        &[(1, 0), (2, 2), (3, 2), (4, 2), (5, 0)],
        &[(6, 2), (7, 2), (8, 2), (14, 2), (20, 2), (25, 2), (26, 2)],
    ]));
    let graph = [1, 2, 5].map(|field| (field, 2)).into_iter();
    passes::<Graph>(&graph.chain(bytes(10..=16)).collect::<Vec<_>>());
    passes::<Node>(&bytes(1..=10).collect::<Vec<_>>());
    passes::<Attribute>(&join(&[
        &[
            (1, 2),
            (2, 5),
            (3, 0),
            (4, 2),
            (5, 2),
            (6, 2),
            (7, 5),
            (8, 0),
            (9, 2),
            (10, 2),
        ],
        &[
            (11, 2),
            (13, 2),
            (14, 2),
            (15, 2),
            (20, 0),
            (21, 2),
            (22, 2),
            (23, 2),
        ],
    ]));
    passes::<Tensor>(&[
        (1, 0),
        (2, 0),
        (3, 2),
        (6, 2),
        (8, 2),
        (9, 2),
        (12, 2),
        (13, 2),
        (14, 0),
    ]);
    passes::<Tensor>(&[(16, 2)]);
    passes::<ValueInfo>(&bytes(1..=4).collect::<Vec<_>>());
    let kinds = [1, 4, 5, 6, 7, 8, 9].map(|field| (field, 2));
    passes::<Type>(&kinds);
    passes::<TensorType>(&[(1, 0), (2, 2)]);
    // The lists of numbers, which are packed. An empty list is not written.
    let lists = Tensor {
        float_data: vec![1.0],
        int32_data: vec![1],
        int64_data: vec![1],
        double_data: vec![1.0],
        uint64_data: vec![1],
        ..Tensor::default()
    };
    let fields = [
        &[4 << 3 | 2, 4, 0, 0, 0x80, 0x3f][..],
        &[5 << 3 | 2, 1, 1, 7 << 3 | 2, 1, 1],
        &[
            10 << 3 | 2,
            8,
            0,
            0,
            0,
            0,
            0,
            0,
            0xf0,
            0x3f,
            11 << 3 | 2,
            1,
            1,
        ],
    ];
    assert_eq!(lists.encode_to_vec(), fields.concat());
}
