//! Which pixels are bad, for each type and rule, and what replaces them.

use super::*;
use crate::Scratch;
use crate::{Decoder, Rejection};
use std::collections::HashMap;
use std::path::Path;

const SHAPE: FrameShape = FrameShape {
    height: 3,
    width: 4,
};

fn bad(rule: &str, fill: BadPixelFill, mask: Option<Mask>) -> BadPixels {
    let rule = (rule != "off").then(|| rule.parse().unwrap());
    BadPixels::new(rule, fill, BadPixelLimit::Percent(50.0), mask)
}

/// A frame of `dtype` through `bad`, with the number of bad pixels.
fn through<const N: usize>(
    dtype: Dtype,
    bytes: &[[u8; N]],
    bad: &BadPixels,
) -> Result<(Vec<f32>, usize), Rejection> {
    let payload = bytes.concat();
    let mut scratch = Scratch::default();
    let pixels = Decoder::new(dtype, SHAPE).decode(&payload, &HashMap::new(), &mut scratch)?;
    let mut row = vec![f32::NAN; 12];
    let found = pixels.write_to(ValuesMut::F32(&mut row), bad)?;
    Ok((row, found))
}

/// Ten everywhere, but `value` in the middle.
fn with<const N: usize>(ten: [u8; N], value: [u8; N]) -> Vec<[u8; N]> {
    let mut bytes = vec![ten; 12];
    bytes[5] = value;
    bytes
}

#[test]
fn a_detectors_mark_for_no_count_is_found_in_every_type() {
    let default = BadPixels::default();
    let marked = |result: Result<(Vec<f32>, usize), Rejection>| {
        let (row, found) = result.unwrap();
        assert_eq!(found, 1);
        let expected: Vec<_> = (0..12).map(|k| if k == 5 { 0.0 } else { 10.0 }).collect();
        assert_eq!(row, expected);
    };
    marked(through(Dtype::U8, &with([10], [u8::MAX]), &default));
    let u16s = with(10_u16.to_le_bytes(), u16::MAX.to_le_bytes());
    marked(through(Dtype::U16, &u16s, &default));
    let u32s = with(10_u32.to_le_bytes(), u32::MAX.to_le_bytes());
    marked(through(Dtype::U32, &u32s, &default));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let f32s = with(10_f32.to_le_bytes(), value.to_le_bytes());
        marked(through(Dtype::F32, &f32s, &default));
    }
    for value in [f64::NAN, 1e300, -1e300] {
        let f64s = with(10_f64.to_le_bytes(), value.to_le_bytes());
        marked(through(Dtype::F64, &f64s, &default));
    }
    // Pilatus writes −1 and −2.
    let negative = bad("max,negative", BadPixelFill::Zero, None);
    for value in [-1_i32, -2] {
        let i32s = with(10_i32.to_le_bytes(), value.to_le_bytes());
        marked(through(Dtype::I32, &i32s, &negative));
        assert_eq!(through(Dtype::I32, &i32s, &default).unwrap().1, 0);
    }
    let saturated = bad("above=4000", BadPixelFill::Zero, None);
    let i16s = with(10_i16.to_le_bytes(), 4095_i16.to_le_bytes());
    marked(through(Dtype::I16, &i16s, &saturated));
}

#[test]
fn the_value_beside_the_mark_is_a_count() {
    let default = BadPixels::default();
    let u16s = with(10_u16.to_le_bytes(), (u16::MAX - 1).to_le_bytes());
    let (row, found) = through(Dtype::U16, &u16s, &default).unwrap();
    assert_eq!((row[5], found), (65_534.0, 0));
    // Within 128 of the largest, f32 cannot tell uint32 values apart.
    let u32s = with(10_u32.to_le_bytes(), (u32::MAX - 256).to_le_bytes());
    assert_eq!(through(Dtype::U32, &u32s, &default).unwrap().1, 0);
}

#[test]
fn a_half_precision_row_gets_no_infinity_either() {
    let payload = with(10_u16.to_le_bytes(), u16::MAX.to_le_bytes()).concat();
    let decoder = Decoder::new(Dtype::U16, SHAPE);
    let mut scratch = Scratch::default();
    let pixels = decoder
        .decode(&payload, &HashMap::new(), &mut scratch)
        .unwrap();
    let mut row = vec![half::f16::NAN; 12];
    for fill in [BadPixelFill::Zero, BadPixelFill::Median] {
        let found = pixels.write_to(ValuesMut::F16(&mut row), &bad("max", fill, None));
        assert_eq!(found, Ok(1));
        let expected = if fill == BadPixelFill::Zero {
            0.0
        } else {
            10.0
        };
        assert_eq!(row[5].to_f32(), expected);
    }
}

#[test]
fn the_median_is_that_of_the_good_neighbours() {
    let mut values = [
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
        f32::NAN,
        f32::NAN,
        8.0,
        9.0,
        10.0,
        11.0,
        12.0_f32,
    ];
    let frame = values.map(f32::to_le_bytes);
    let median = bad("nan", BadPixelFill::Median, None);
    let (row, found) = through(Dtype::F32, &frame, &median).unwrap();
    assert_eq!(found, 2);
    // Around the first: 1 2 3 5 9 10 11; around the second: 2 3 4 8 10 11 12. Neither counts the other.
    (values[5], values[6]) = (5.0, 8.0);
    assert_eq!(row, values);
}

#[test]
fn a_pixel_without_good_neighbours_becomes_zero() {
    let frame = [[f32::NAN; 12]]
        .concat()
        .iter()
        .map(|v| v.to_le_bytes())
        .collect::<Vec<_>>();
    let limit = BadPixelLimit::Percent(100.0);
    let rule = "nan".parse().ok();
    let all = BadPixels::new(rule, BadPixelFill::Median, limit, None);
    let (row, found) = through(Dtype::F32, &frame, &all).unwrap();
    assert_eq!((row, found), (vec![0.0; 12], 12));
}

#[test]
fn too_many_bad_pixels_reject_the_frame() {
    let default = BadPixels::default();
    let frame = |bad: usize| -> Vec<_> {
        let value = |k| if k < bad { u16::MAX } else { 10 };
        (0..12).map(|k| value(k).to_le_bytes()).collect()
    };
    assert_eq!(through(Dtype::U16, &frame(6), &default).unwrap().1, 6);
    let rejection = through(Dtype::U16, &frame(7), &default).unwrap_err();
    assert_eq!(rejection.kind(), "bad_pixels");
    let told = rejection.to_string();
    assert!(
        told.starts_with("7 of 12 pixels of the uint16 frame are bad (--bad-pixels max)"),
        "{told}"
    );
    assert!(told.contains("--max-bad-pixels allows 6"), "{told}");
}

#[test]
fn without_a_rule_what_is_not_finite_rejects_the_frame() {
    let off = BadPixels::off();
    let u16s = with(10_u16.to_le_bytes(), u16::MAX.to_le_bytes());
    assert_eq!(through(Dtype::U16, &u16s, &off).unwrap().0[5], 65_535.0);
    let f32s = with(10_f32.to_le_bytes(), f32::NAN.to_le_bytes());
    assert_eq!(
        through(Dtype::F32, &f32s, &off).unwrap_err().kind(),
        "not_finite"
    );
}

/// The `.npy` file that numpy writes.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
    file.extend(format!("{dict:<117}\n").bytes());
    file.extend(data);
    file
}

#[test]
fn masked_pixels_are_replaced_and_not_counted() {
    let mut data = [0; 12];
    (data[0], data[5]) = (1, 255);
    let path = Path::new("mask.npy");
    let u16s = with(10_u16.to_le_bytes(), u16::MAX.to_le_bytes());
    for descr in ["|b1", "|u1"] {
        let mask = Mask::parse(&npy(descr, "(3, 4)", &data), path).unwrap();
        assert_eq!((mask.shape(), mask.pixels()), (SHAPE, &[0, 5][..]));
        for (fill, value) in [(BadPixelFill::Zero, 0.0), (BadPixelFill::Median, 10.0)] {
            let masked = bad("max", fill, Some(mask.clone()));
            let (row, found) = through(Dtype::U16, &u16s, &masked).unwrap();
            assert_eq!((row[0], row[5], row[6], found), (value, value, 10.0, 0));
            // Without a rule the mask holds, too, and may name what is not finite.
            let off = bad("off", fill, Some(mask.clone()));
            let f32s = with(10_f32.to_le_bytes(), f32::NAN.to_le_bytes());
            let (row, found) = through(Dtype::F32, &f32s, &off).unwrap();
            assert_eq!((row[0], row[5], found), (value, value, 0));
        }
    }
}

#[test]
fn what_is_no_mask_is_refused_with_the_remedy() {
    let path = Path::new("mask.npy");
    let told = |file: &[u8]| Mask::parse(file, path).unwrap_err().to_string();
    for (file, words) in [
        (npy("<f4", "(3, 4)", &[0; 48]), "it is (3, 4) of float32"),
        (
            npy("|b1", "(2, 3, 4)", &[0; 24]),
            "it is (2, 3, 4) of uint8",
        ),
        (npy("|b1", "(3, 4)", &[0; 11]), "with 11 bytes"),
        (b"II*\0".to_vec(), "numpy.save"),
    ] {
        let told = told(&file);
        assert!(
            told.starts_with("mask.npy is no mask") && told.contains(words),
            "{told}"
        );
    }
    let missing = Mask::read(Path::new("/none/mask.npy"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("cannot read the mask /none/mask.npy: "),
        "{missing}"
    );
}

#[test]
fn rules_are_read_as_they_are_printed() {
    for text in [
        "max",
        "negative",
        "max,negative",
        "above=4000",
        "max,negative,above=60000",
        "nan",
    ] {
        assert_eq!(text.parse::<BadPixelRule>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "min",
        "max,max",
        "above",
        "above=",
        "above=nan",
        "above=1,above=2",
        "nan,max",
        "max negative",
    ] {
        let told = text.parse::<BadPixelRule>().unwrap_err().to_string();
        assert!(told.contains("such as max,above=60000"), "{told}");
    }
    assert_eq!("10%".parse::<BadPixelLimit>().unwrap().of(1000), 100);
    assert_eq!("7".parse::<BadPixelLimit>().unwrap().of(1000), 7);
    for text in ["", "-1", "101%", "x%", "1.5"] {
        assert!(text.parse::<BadPixelLimit>().is_err(), "{text}");
    }
    assert_eq!("median".parse(), Ok(BadPixelFill::Median));
    assert!("mean".parse::<BadPixelFill>().is_err());
}
