//! Borrowed pixels, and the one conversion to `f32`.
//!
//! A payload stays where gRPC put it until its row of a batch is known; then one pass reads the
//! pixels and writes the row. The loop is `chunks` zipped with the row, without an index, so that
//! the compiler turns it into vector code for whatever the target has. Bytes are put together with
//! `from_le_bytes`, so neither the alignment of the payload nor the host's byte order matters.

use std::fmt;

use super::Dtype;

/// The pixels of one frame, borrowed from its payload: exactly as many as the model takes.
///
/// Row by row (C order), little-endian, of [`dtype`](Self::dtype).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pixels<'a> {
    dtype: Dtype,
    bytes: &'a [u8],
}

/// A row of another length than what should be written to it or read from it.
///
/// It cannot happen between a decoder, a batch and an envelope made for the same model; where it
/// does, it is a defect of this program and not of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the row has {row} values where {expected} are needed: decoder, batch and envelope disagree on the shape"
)]
pub struct LengthMismatch {
    /// Values in the row that was given.
    pub row: usize,
    /// Values it must have.
    pub expected: usize,
}

impl LengthMismatch {
    pub(super) const fn check(row: usize, expected: usize) -> Result<(), Self> {
        if row == expected {
            Ok(())
        } else {
            Err(Self { row, expected })
        }
    }
}

impl<'a> Pixels<'a> {
    /// The caller has checked that `bytes` is a whole number of pixels.
    pub(super) const fn new(dtype: Dtype, bytes: &'a [u8]) -> Self {
        Self { dtype, bytes }
    }

    /// The type of the pixels in the payload.
    #[must_use]
    pub const fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Pixels in the frame.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// True for the frame of a model that takes no pixels, and only then.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Converts all pixels into `row`, in order; nothing else of `row` exists or is touched.
    ///
    /// Every 8 and 16-bit value is exact in `f32`. 32-bit integers and `float64` go to the nearest
    /// `f32`, ties to even (IEEE 754), so integers beyond 2²⁴ may move by half a unit in the last
    /// place, and a `float64` beyond `f32`'s range becomes infinite. `float32` is passed on bit for
    /// bit, infinities and NaN included: what they mean is the model's business.
    ///
    /// # Errors
    /// [`LengthMismatch`] unless `row.len()` is [`len`](Self::len); the row is then untouched.
    pub fn write_to(&self, row: &mut [f32]) -> Result<(), LengthMismatch> {
        LengthMismatch::check(row.len(), self.len())?;
        match self.dtype {
            Dtype::U8 => convert(self.bytes, row, |pixel| f32::from(u8::from_le_bytes(pixel))),
            Dtype::I8 => convert(self.bytes, row, |pixel| f32::from(i8::from_le_bytes(pixel))),
            Dtype::U16 => convert(self.bytes, row, |pixel| {
                f32::from(u16::from_le_bytes(pixel))
            }),
            Dtype::I16 => convert(self.bytes, row, |pixel| {
                f32::from(i16::from_le_bytes(pixel))
            }),
            Dtype::U32 => convert(self.bytes, row, |pixel| u32::from_le_bytes(pixel) as f32),
            Dtype::I32 => convert(self.bytes, row, |pixel| i32::from_le_bytes(pixel) as f32),
            Dtype::F32 => convert(self.bytes, row, f32::from_le_bytes),
            Dtype::F64 => convert(self.bytes, row, |pixel| f64::from_le_bytes(pixel) as f32),
        }
        Ok(())
    }
}

/// Generic over the pixel, so that each type gets a loop of its own and no branch inside it.
#[inline]
fn convert<const SIZE: usize>(bytes: &[u8], row: &mut [f32], value: impl Fn([u8; SIZE]) -> f32) {
    let (pixels, _) = bytes.as_chunks::<SIZE>();
    for (to, from) in row.iter_mut().zip(pixels) {
        *to = value(*from);
    }
}

/// Type and count: a log line is no place for 262,144 pixels.
impl fmt::Debug for Pixels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({} x {})", self.len(), self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        let pixels = Pixels::new(dtype, bytes);
        let mut row = vec![f32::MIN; pixels.len()];
        pixels.write_to(&mut row).unwrap();
        row
    }

    /// One test per type: extremes as literals (a reference that is not the code), then any values.
    macro_rules! round_trip {
        ($name:ident, $dtype:expr, $type:ty, $extremes:expr) => {
            #[test]
            fn $name() {
                let extremes: &[($type, f32)] = &$extremes;
                let bytes: Vec<u8> = extremes.iter().flat_map(|(value, _)| value.to_le_bytes()).collect();
                let expected: Vec<f32> = extremes.iter().map(|(_, expected)| *expected).collect();
                assert_eq!(converted($dtype, &bytes), expected);

                proptest!(|(values in prop::collection::vec(any::<$type>(), 0..70))| {
                    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                    let bits: Vec<u32> = converted($dtype, &bytes).iter().map(|value| value.to_bits()).collect();
                    let expected: Vec<u32> = values.iter().map(|&value| (value as f32).to_bits()).collect();
                    prop_assert_eq!(bits, expected);
                });
            }
        };
    }

    round_trip!(
        uint8_is_exact,
        Dtype::U8,
        u8,
        [(0, 0.0), (127, 127.0), (255, 255.0)]
    );
    round_trip!(
        int8_is_exact,
        Dtype::I8,
        i8,
        [(-128, -128.0), (-1, -1.0), (127, 127.0)]
    );
    round_trip!(
        uint16_is_exact,
        Dtype::U16,
        u16,
        [(0, 0.0), (0x8000, 32_768.0), (65_535, 65_535.0)]
    );
    round_trip!(
        int16_is_exact,
        Dtype::I16,
        i16,
        [(-32_768, -32_768.0), (-2, -2.0), (32_767, 32_767.0)]
    );
    round_trip!(
        uint32_goes_to_the_nearest_even,
        Dtype::U32,
        u32,
        [
            (16_777_216, 16_777_216.0),
            (16_777_217, 16_777_216.0), // a tie: to even, down
            (16_777_219, 16_777_220.0), // a tie: to even, up
            (u32::MAX, 4_294_967_296.0),
        ]
    );
    round_trip!(
        int32_goes_to_the_nearest_even,
        Dtype::I32,
        i32,
        [
            (i32::MIN, -2_147_483_648.0),
            (-16_777_217, -16_777_216.0),
            (-1, -1.0),
            (i32::MAX, 2_147_483_648.0),
        ]
    );
    round_trip!(
        float32_is_passed_on_bit_for_bit,
        Dtype::F32,
        f32,
        [
            (f32::MIN, f32::MIN),
            (1e-45, 1e-45),
            (-0.0, -0.0),
            (f32::INFINITY, f32::INFINITY),
        ]
    );
    round_trip!(
        float64_goes_to_the_nearest_even,
        Dtype::F64,
        f64,
        [
            (0.1, 0.1),
            (16_777_217.0, 16_777_216.0),
            (1e300, f32::INFINITY),
            (-1e-300, -0.0),
        ]
    );

    #[test]
    fn nan_stays_nan() {
        assert!(
            converted(Dtype::F32, &f32::NAN.to_le_bytes())
                .iter()
                .all(|value| value.is_nan())
        );
        assert!(
            converted(Dtype::F64, &f64::NAN.to_le_bytes())
                .iter()
                .all(|value| value.is_nan())
        );
    }

    #[test]
    fn the_alignment_of_the_payload_does_not_matter() {
        let values: Vec<f64> = (0..40).map(f64::from).collect();
        for offset in 0..8 {
            let mut bytes = vec![0xEE; offset];
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let row = converted(Dtype::F64, bytes.get(offset..).unwrap());
            assert_eq!(
                row,
                (0..40u8).map(f32::from).collect::<Vec<_>>(),
                "offset {offset}"
            );
        }
    }

    #[test]
    fn a_row_of_another_length_is_refused_and_left_alone() {
        let pixels = Pixels::new(Dtype::I16, &[1, 0, 2, 0]);
        for length in [0, 1, 3, 4] {
            let mut row = vec![7.0; length];
            assert_eq!(
                pixels.write_to(&mut row),
                Err(LengthMismatch {
                    row: length,
                    expected: 2
                })
            );
            assert_eq!(row, vec![7.0; length]);
        }
    }

    #[test]
    fn debug_shows_type_and_count_and_no_pixels() {
        assert_eq!(
            format!("{:?}", Pixels::new(Dtype::I16, &[1, 0, 2, 0])),
            "Pixels(2 x int16)"
        );
    }
}
