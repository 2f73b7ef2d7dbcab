//! The part of the `.npy` format that images need.
//!
//! A file is a magic, a version, a length, and a header that is a Python dict literal, padded with
//! spaces to a multiple of 64 bytes and closed by a newline; the array follows, without a trailer.
//! Version 1.0 has a 16-bit header length; 2.0 and 3.0 have 32 bits, and 3.0 allows UTF-8.
//!
//! Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays", and
//! `numpy/lib/_format_impl.py` of numpy 2.4, which wrote the fixtures in the tests.

/// A parser that borrows from the payload.
mod reader;
/// Writes the header of a result.
mod writer;

pub use reader::Array;
pub(super) use writer::header;

/// The first bytes of every `.npy` file.
pub const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// What `numpy.save` of numpy 2.4 wrote for `np.arange(6, dtype='<i2').reshape(2, 3) * 1000 - 2500`.
#[cfg(test)]
pub(super) fn fixture() -> Vec<u8> {
    let mut file =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }"
            .to_vec();
    file.resize(127, b' ');
    file.push(b'\n');
    file.extend(b"\x3c\xf6\x24\xfa\x0c\xfe\xf4\x01\xdc\x05\xc4\x09");
    file
}
