//! The part of protobuf and ONNX that is needed to write small models, valid and invalid.

pub(crate) fn varint(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 0x7f {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

pub(crate) fn int(field: u64, n: u64) -> Vec<u8> {
    [varint(field << 3), varint(n)].concat()
}

pub(crate) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [
        &varint(field << 3 | 2),
        &varint(content.len() as u64),
        content,
    ]
    .concat()
}

pub(crate) fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &parts.concat())
}

pub(crate) const F32: u64 = 1;
pub(crate) const I32: u64 = 6;
pub(crate) const STRING: u64 = 8;

/// An input (field 11) or output (field 12) of a graph. `"N"` is a symbolic dimension, `"?"` an undeclared shape.
pub(crate) fn tensor(field: u64, name: &str, dtype: u64, shape: &[&str]) -> Vec<u8> {
    let dims: Vec<_> = shape
        .iter()
        .map(|n| match n.parse() {
            Ok(n) => message(1, &[int(1, n)]),
            Err(_) => message(1, &[bytes(2, n.as_bytes())]),
        })
        .collect();
    let mut kind = vec![int(1, dtype)];
    if shape != ["?"] {
        kind.push(message(2, &dims));
    }
    let kind = message(2, &[message(1, &kind)]);
    message(field, &[bytes(1, name.as_bytes()), kind])
}

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut parts: Vec<_> = inputs.iter().map(|n| bytes(1, n.as_bytes())).collect();
    parts.extend(outputs.iter().map(|n| bytes(2, n.as_bytes())));
    parts.push(bytes(4, op.as_bytes()));
    parts.extend_from_slice(attributes);
    message(1, &parts)
}

pub(crate) fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let mut parts = vec![bytes(1, name.as_bytes())];
    parts.extend(values.iter().map(|n| int(8, *n)));
    parts.push(int(20, 7));
    message(5, &parts)
}

pub(crate) fn number(name: &str, value: u64) -> Vec<u8> {
    message(5, &[bytes(1, name.as_bytes()), int(3, value), int(20, 2)])
}

pub(crate) fn weights(name: &str, shape: &[u64], values: &[f32]) -> Vec<u8> {
    let mut parts: Vec<_> = shape.iter().map(|n| int(1, *n)).collect();
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    parts.extend([int(2, F32), bytes(8, name.as_bytes()), bytes(9, &raw)]);
    message(5, &parts)
}

pub(crate) fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    [int(1, 8), message(8, &[int(2, 17)]), message(7, graph)].concat()
}
