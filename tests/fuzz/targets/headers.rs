//! Header maps. The input is lines: the datum's id, then `name:value` for each header.

use super::assert_one_line;
use beamflow::frame::headers::{DTYPE, SHAPE, TXN_ID};
use beamflow::frame::{Decoder, Dtype, FrameShape, Scratch, frame_id, frame_number};
use std::collections::{BTreeMap, HashMap};

/// The map of these lines, filled in two orders: a map is unordered, and the results must not depend on its
/// order.
pub fn maps(lines: &str) -> [HashMap<String, String>; 2] {
    let pairs: BTreeMap<&str, &str> = lines.lines().filter_map(|l| l.split_once(':')).collect();
    let owned = |(name, value): (&&str, &&str)| ((*name).to_owned(), (*value).to_owned());
    let forward: HashMap<_, _> = pairs.iter().map(owned).collect();
    let mut backward = HashMap::with_capacity(1000);
    backward.extend(pairs.iter().rev().map(owned));
    [forward, backward]
}

/// The value of `name` in any case of letters: the exact name first, then the first by name; blank counts as
/// absent.
fn said<'a>(map: &'a HashMap<String, String>, name: &str) -> Option<&'a str> {
    let mut all: Vec<_> = map
        .iter()
        .filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
        .collect();
    all.sort_by_key(|(key, _)| (*key != name, *key));
    all.first().map(|(_, value)| value.as_str())
}

pub fn target(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (id, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let [map, same] = maps(lines);

    // The name and the number of the frame.
    let named = said(&map, TXN_ID);
    assert_eq!(frame_id(&map, id), named.unwrap_or(id));
    assert_eq!(frame_id(&map, id), frame_id(&same, id));
    let number = frame_number(&map);
    // EPICS' 32-bit numbers become negative after 2³¹ − 1.
    let wrapped = |text: &str| Some(u64::from(text.parse::<i32>().ok()?.cast_unsigned()));
    let read = |text: &str| text.parse().ok().or_else(|| wrapped(text));
    assert_eq!(number, named.and_then(|name| read(name.trim())));
    assert_eq!(number, frame_number(&same));

    // Type and shape: a frame of 4 × 6 int16 is read with the type and shape of the headers, or rejected.
    let shape = FrameShape {
        height: 4,
        width: 6,
    };
    let decoder = Decoder::new(Dtype::I16, shape);
    let payload = [1; 4 * 6 * 2];
    let [mut scratch, mut other] = [Scratch::default(), Scratch::default()];
    let decoded = decoder.decode(&payload, &map, &mut scratch);
    assert_eq!(decoded, decoder.decode(&payload, &same, &mut other));
    let dtype = said(&map, DTYPE).map_or(Ok(Dtype::I16), str::parse);
    let given = said(&map, SHAPE).map_or(Ok(shape), str::parse);
    match (dtype, given) {
        (Ok(dtype), Ok(given)) if given == shape && dtype.size() == 2 => {
            assert_eq!(decoded.unwrap().dtype(), dtype);
        }
        (dtype, given) => {
            let rejection = decoded.unwrap_err();
            let expected = match (dtype, given) {
                (Err(_), _) => "unknown_dtype",
                (_, Err(_)) => "bad_header",
                (_, Ok(given)) if given != shape => "wrong_shape",
                _ => "wrong_size",
            };
            assert_eq!(rejection.kind(), expected);
            assert_one_line(&rejection.to_string(), 1000);
        }
    }
}
