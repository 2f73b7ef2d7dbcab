//! Writes the header of a result as numpy does.
//!
//! The header equals numpy's byte for byte, so that a result compares equal to what `numpy.save` writes for the
//! same array: version 1.0, sorted keys, room for the first axis to grow to 21 digits (numpy ≥ 1.23 leaves it
//! so that files can be appended to), then spaces up to a multiple of 64 bytes.

use super::MAGIC;

/// numpy's `GROWTH_AXIS_MAX_DIGITS`: the digits of the largest 64-bit axis.
const GROWTH_DIGITS: usize = 21;
/// numpy's `ARRAY_ALIGN`: the array begins at a multiple of this, so that it can be memory-mapped.
const ALIGN: usize = 64;
/// Magic, version and 16-bit header length.
const PREAMBLE: usize = MAGIC.len() + 2 + 2;

/// All bytes before the array, for a C-ordered array of `descr` and `shape`.
///
/// `None` if the header exceeds the 65,535 bytes of version 1.0, which takes about 20,000 axes.
pub(crate) fn header(descr: &str, shape: &[usize]) -> Option<Vec<u8>> {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // Python's tuples: "()", "(5,)", "(5, 6)".
    let comma = if axes.len() == 1 { "," } else { "" };
    let mut dict = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        axes.join(", ")
    );
    if let Some(first) = axes.first() {
        dict.extend(std::iter::repeat_n(
            ' ',
            GROWTH_DIGITS.saturating_sub(first.len()),
        ));
    }
    // numpy pads by 1 to 64, never by 0: an already aligned header grows by a whole 64.
    let length = PREAMBLE + dict.len() + 1;
    dict.extend(std::iter::repeat_n(' ', ALIGN - length % ALIGN));
    dict.push('\n');

    let mut bytes = Vec::with_capacity(PREAMBLE + dict.len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend(u16::try_from(dict.len()).ok()?.to_le_bytes());
    bytes.extend(dict.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes and the total length of the header that numpy 2.4 wrote.
    fn numpys(start: &[u8], total: usize) -> Vec<u8> {
        let mut bytes = start.to_vec();
        bytes.resize(total - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn headers_are_byte_for_byte_numpys() {
        let cases: [(&str, &[usize], &[u8]); 5] = [
            (
                "<f4",
                &[64, 64],
                b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (64, 64), }",
            ),
            ("<f4", &[10], b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (10,), }"),
            ("<f4", &[], b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (), }"),
            (
                "<i2",
                &[3, 64, 64],
                b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (3, 64, 64), }",
            ),
            (
                "<i2",
                &[1, 1, 2, 2, 3, 2, 1, 2],
                b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (1, 1, 2, 2, 3, 2, 1, 2), }",
            ),
        ];
        for (descr, shape, start) in cases {
            assert_eq!(
                header(descr, shape).unwrap(),
                numpys(start, 128),
                "{shape:?}"
            );
        }
    }

    /// Cases in which numpy's room to grow or its padding of an aligned header decides the length; lengths from
    /// numpy 2.4.
    #[test]
    fn headers_are_as_long_as_numpys_where_padding_decides() {
        let axes = |start: &[usize], rank: usize| -> Vec<usize> {
            start
                .iter()
                .copied()
                .chain(std::iter::repeat(1))
                .take(rank)
                .collect()
        };
        let lengths: [(&[usize], usize, usize); 7] = [
            (&[2], 14, 128),
            (&[2], 15, 192),
            (&[2, 10], 14, 128),
            (&[2, 10, 10], 14, 192), // 128 before padding: a whole 64 more
            (&[2], 35, 192),
            (&[2], 36, 256),
            (&[2], 64, 320),
        ];
        for (start, rank, total) in lengths {
            assert_eq!(
                header("<f4", &axes(start, rank)).unwrap().len(),
                total,
                "{start:?} of rank {rank}"
            );
        }
    }

    #[test]
    fn a_header_that_version_1_cannot_hold_is_none() {
        assert_eq!(header("<f4", &vec![1; 30_000]), None);
    }
}
