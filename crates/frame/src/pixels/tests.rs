//! Conversion of extremes and of arbitrary values, for every type, into both types of row.

use super::*;
use crate::{BadPixelFill, BadPixelLimit};
use half::f16;
use proptest::prelude::*;

/// A frame of one line.
fn pixels(dtype: Dtype, bytes: &[u8]) -> Pixels<'_> {
    let width = bytes.len() / dtype.size();
    Pixels::new(dtype, FrameShape { height: 1, width }, bytes)
}

/// Only what is not finite is bad, as often as it may come.
fn not_finite() -> BadPixels {
    let limit = BadPixelLimit::Percent(100.0);
    BadPixels::new("nan".parse().ok(), BadPixelFill::Zero, limit, None)
}

fn converted(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let pixels = pixels(dtype, bytes);
    let mut row = vec![f32::MIN; pixels.len()];
    pixels
        .write_to(ValuesMut::F32(&mut row), &not_finite())
        .unwrap();
    row
}

/// What becomes of `value`.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

/// One test per type: extremes as literals (independent of the code), then arbitrary values.
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
                let expected: Vec<u32> = values.iter().map(|&value| finite(value as f32).to_bits()).collect();
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
        (f32::INFINITY, 0.0),
    ]
);
round_trip!(
    float64_goes_to_the_nearest_even,
    Dtype::F64,
    f64,
    [
        (0.1, 0.1),
        (16_777_217.0, 16_777_216.0),
        (1e300, 0.0),
        (-1e-300, -0.0),
    ]
);

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
    let pixels = pixels(Dtype::I16, &[1, 0, 2, 0]);
    for length in [0, 1, 3, 4] {
        let mut row = vec![7.0; length];
        assert_eq!(
            pixels.write_to(ValuesMut::F32(&mut row), &not_finite()),
            Err(Rejection::WrongLength(LengthMismatch {
                row: length,
                expected: 2
            }))
        );
        assert_eq!(row, vec![7.0; length]);
    }
}

#[test]
fn debug_shows_type_and_count_and_no_pixels() {
    assert_eq!(
        format!("{:?}", pixels(Dtype::I16, &[1, 0, 2, 0])),
        "Pixels(2 x int16)"
    );
}

fn halves(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f16>, Rejection> {
    let pixels = pixels(dtype, bytes);
    let mut row = vec![f16::NAN; pixels.len()];
    let found = pixels.write_to(ValuesMut::F16(&mut row), &not_finite());
    found.map(|_| row)
}

#[test]
fn int16_becomes_the_nearest_half_precision_value() {
    let values: Vec<i16> = (i16::MIN..=i16::MAX).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (half, value) in halves(Dtype::I16, &bytes).unwrap().into_iter().zip(values) {
        let error = (half.to_f64() - f64::from(value)).abs();
        let neighbours = [half.to_bits().wrapping_sub(1), half.to_bits() + 1].map(f16::from_bits);
        for other in neighbours.into_iter().filter(|other| other.is_finite()) {
            assert!(
                error <= (other.to_f64() - f64::from(value)).abs(),
                "{value}"
            );
        }
        if value.unsigned_abs() <= 2048 {
            assert_eq!(half.to_f64(), f64::from(value));
        }
    }
}

#[test]
fn a_pixel_beyond_half_precision_is_refused_not_made_infinite() {
    for (dtype, bytes, value) in [
        (Dtype::U16, 65_520_u16.to_le_bytes().to_vec(), "6.552e4"),
        (Dtype::I32, (-70_000_i32).to_le_bytes().to_vec(), "-7e4"),
        (Dtype::F32, 1e6_f32.to_le_bytes().to_vec(), "1e6"),
        (Dtype::F64, 1e38_f64.to_le_bytes().to_vec(), "e3"),
    ] {
        let refused = halves(dtype, &bytes).unwrap_err();
        assert_eq!(refused.kind(), "out_of_range");
        let text = refused.to_string();
        assert!(text.contains(value) && text.contains("65504"), "{text}");
    }
    // The last value that is rounded to the largest `f16`.
    let row = halves(Dtype::U16, &65_519_u16.to_le_bytes()).unwrap();
    assert_eq!(row, [f16::MAX]);
    // Infinities are bad pixels.
    let row = halves(Dtype::F32, &f32::NEG_INFINITY.to_le_bytes()).unwrap();
    assert_eq!(row, [f16::ZERO]);
}

#[test]
fn a_bad_pixel_is_found_at_any_position() {
    for place in [0, 15, 16, 255, 262] {
        let mut values = vec![1_u32; 263];
        values[place] = 1 << 20;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert!(halves(Dtype::U32, &bytes).is_err(), "{place}");
    }
}
