//! Checks the framing of an `.onnx` file before rten reads the file.
//!
//! rten 0.27 does not detect two kinds of damage: it loops forever on a number of more than ten bytes, and it allocates
//! whatever length a field declares, and a failed allocation ends the process (rten issue 1218). So this module walks
//! the file by the messages of onnx.proto. It accepts only files in which every number ends, every field lies within
//! its message, and messages are not nested deeper than in any model. It does not interpret the fields; rten does.

/// The maximum depth of nested messages. A model without control flow needs 7, and each loop or branch adds 3. rten
/// reads messages recursively, so the limit prevents a stack overflow.
const DEEPEST: u32 = 64;

/// The messages of onnx.proto that rten reads and that contain other messages.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    SequenceType,
    Shape,
    /// Any message that contains only numbers and strings.
    Flat,
}

/// The content of a field that declares its length.
enum Content {
    Message(Message),
    Numbers,
    Bytes,
}

impl Message {
    fn content(self, field: u64) -> Content {
        use Message::{
            Attribute, Flat, Graph, Model, Node, SequenceType, Shape, Tensor, TensorType, Type,
            ValueInfo,
        };
        let message = match (self, field) {
            (Model, 7) | (Attribute, 6 | 11) => Graph,
            (Graph, 1) => Node,
            (Graph, 5) | (Attribute, 5 | 10) => Tensor,
            (Graph, 11..=13) => ValueInfo,
            (Node, 5) => Attribute,
            (ValueInfo, 2) | (SequenceType, 1) => Type,
            (Type, 1) => TensorType,
            (Type, 4) => SequenceType,
            (TensorType, 2) => Shape,
            (Model, 8 | 14) | (Shape, 1) | (Tensor, 13) => Flat,
            (Tensor, 1 | 5 | 7 | 11) | (Attribute, 8) => return Content::Numbers,
            _ => return Content::Bytes,
        };
        Content::Message(message)
    }
}

/// Checks a whole file.
///
/// # Errors
/// What is wrong, as text to follow the file's name.
pub(crate) fn check(file: &[u8]) -> Result<(), String> {
    message(Message::Model, file, DEEPEST).map_err(|words| match cut_at(file) {
        Some(needed) => format!(
            "it is cut short: it has {} bytes, but needs at least {needed}; copy or download it again",
            file.len()
        ),
        None => words.to_owned(),
    })
}

/// The bytes that a file needs at least, if it is the beginning of a model: all its fields are fields of a model, and
/// the last one is longer than the file.
fn cut_at(file: &[u8]) -> Option<u64> {
    let mut rest = file;
    while !rest.is_empty() {
        let tag = number(&mut rest).ok()?;
        match (tag >> 3, tag & 7) {
            (1 | 5, 0) => drop(number(&mut rest).ok()?),
            (2..=4 | 6..=8 | 14 | 20 | 25 | 26, 2) => {
                let length = number(&mut rest).ok()?;
                let missing = length.saturating_sub(rest.len() as u64);
                if missing > 0 {
                    return Some(missing.saturating_add(file.len() as u64));
                }
                take(&mut rest, length).ok()?;
            }
            _ => return None,
        }
    }
    None
}

/// Whether a file is an ONNX model.
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
pub(crate) fn is_model(file: &[u8]) -> bool {
    !file.is_empty() && check(file).is_ok() && has_graph(file)
}

/// Whether a file whose framing is correct has a graph: the one field that no model lacks.
pub(crate) fn has_graph(file: &[u8]) -> bool {
    let mut rest = file;
    while let Ok(tag) = number(&mut rest) {
        let passed = match tag & 7 {
            0 => number(&mut rest).map(drop),
            1 => take(&mut rest, 8).map(drop),
            2 if tag >> 3 == 7 => return true,
            2 => number(&mut rest).and_then(|length| take(&mut rest, length).map(drop)),
            5 => take(&mut rest, 4).map(drop),
            _ => return false,
        };
        if passed.is_err() {
            return false;
        }
    }
    false
}

fn message(kind: Message, mut rest: &[u8], depth: u32) -> Result<(), &'static str> {
    let depth = depth
        .checked_sub(1)
        .ok_or("it is not an ONNX model, or it is damaged: its messages are nested too deep")?;
    while !rest.is_empty() {
        let tag = number(&mut rest)?;
        // The wire types of Protocol Buffers; ONNX uses no others.
        match tag & 7 {
            0 => drop(number(&mut rest)?),
            1 => drop(take(&mut rest, 8)?),
            2 => {
                let length = number(&mut rest)?;
                let mut field = take(&mut rest, length)?;
                match kind.content(tag >> 3) {
                    Content::Message(inner) => message(inner, field, depth)?,
                    Content::Numbers => {
                        while !field.is_empty() {
                            number(&mut field)?;
                        }
                    }
                    Content::Bytes => {}
                }
            }
            5 => drop(take(&mut rest, 4)?),
            _ => {
                return Err(
                    "it is not an ONNX model, or it is damaged: a field has an unknown wire type",
                );
            }
        }
    }
    Ok(())
}

/// Takes a varint: seven bits a byte, the lowest first, at most ten bytes.
fn number(rest: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CUT_SHORT)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("it is not an ONNX model, or it is damaged: a number does not end")
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], &'static str> {
    let length = usize::try_from(length).map_err(|_| CUT_SHORT)?;
    let (field, after) = rest.split_at_checked(length).ok_or(CUT_SHORT)?;
    *rest = after;
    Ok(field)
}

const CUT_SHORT: &str =
    "it is not an ONNX model, or it is cut short: a field is longer than its message";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fields_that_do_not_end_are_detected() {
        assert_eq!(
            check(&[0xff; 100]).unwrap_err(),
            "it is not an ONNX model, or it is damaged: a number does not end"
        );
        assert_eq!(check(&[0x08]).unwrap_err(), CUT_SHORT);
        // Field 2, which declares a length of a terabyte.
        assert_eq!(
            check(&[0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]).unwrap_err(),
            "it is cut short: it has 7 bytes, but needs at least 1099511627783; copy or download it again"
        );
        // Nested in the graph: a node (field 1) that is longer than the graph, but not longer than the file.
        assert_eq!(
            check(&[0x3a, 2, 0x0a, 3, 0x08, 1, 0x08, 1]).unwrap_err(),
            CUT_SHORT
        );
        assert_eq!(check(b""), Ok(()));
        // A checkout without Git LFS has this text instead of the model.
        let pointer = b"version https://git-lfs.github.com/spec/v1\n";
        assert!(
            check(pointer)
                .unwrap_err()
                .ends_with("a field has an unknown wire type")
        );
    }

    #[test]
    fn nesting_is_limited() {
        let nest = |depth: usize| {
            let mut bytes = Vec::new();
            for i in (0..depth).rev() {
                // Graph in model, node in graph, attribute in node, graph in attribute, …
                let field = if i == 0 { 7 } else { [6_u8, 1, 5][i % 3] };
                let mut length = bytes.len();
                let mut header = vec![field << 3 | 2];
                while length > 0x7f {
                    header.push(length as u8 | 0x80);
                    length >>= 7;
                }
                header.push(length as u8);
                bytes.splice(0..0, header);
            }
            bytes
        };
        assert!(check(&nest(63)).is_ok());
        assert!(check(&nest(64)).unwrap_err().ends_with("nested too deep"));
    }
}
