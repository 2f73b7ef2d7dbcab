//! Payloads and headers, decoded and converted. The input is a line with the frame type (`int16 4x4`), header
//! lines, an empty line, and the payload.

use super::{assert_one_line, headers};
use beamflow::frame::values::ValuesMut;
use beamflow::frame::{
    BadPixelFill, BadPixelLimit, BadPixels, Decoder, Dtype, FrameShape, Pixels, Rejection, Scratch,
};
use half::f16;
use std::collections::HashMap;

const SHAPE: FrameShape = FrameShape {
    height: 4,
    width: 4,
};

pub fn target(data: &[u8]) {
    let (head, payload) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (&b""[..], data),
    };
    let head = String::from_utf8_lossy(head);
    let (first, lines) = head.split_once('\n').unwrap_or((&head, ""));
    let (dtype, shape) = first.split_once(' ').unwrap_or((first, ""));
    let (dtype, shape) = (dtype.parse().ok(), shape.parse().ok());
    let (dtype, shape) = (dtype.unwrap_or(Dtype::I16), shape.unwrap_or(SHAPE));
    let [map, same] = headers::maps(lines);

    let decoder = Decoder::new(dtype, shape);
    let [mut scratch, mut other] = [Scratch::default(), Scratch::default()];
    let decoded = decoder.decode(payload, &map, &mut scratch);
    assert_eq!(decoded, decoder.decode(payload, &same, &mut other));
    match decoded {
        Ok(pixels) => {
            assert_eq!(Some(pixels.len()), shape.pixels());
            assert!(
                payload.starts_with(b"\x93NUMPY")
                    || Decoder::is_compressed(&map)
                    || pixels.len() * pixels.dtype().size() == payload.len()
            );
            if Decoder::is_compressed(&map) {
                convert(&pixels, pixels.bytes());
            } else {
                convert(&pixels, payload);
            }
        }
        Err(rejection) => {
            check(&rejection);
            assert_ne!(
                rejection.kind(),
                "out_of_range",
                "decoding does not check the values"
            );
        }
    }

    // Without headers, a payload that is not npy is a frame exactly if it has the right size.
    if !payload.starts_with(b"\x93NUMPY") {
        let decoded = decoder.decode(payload, &HashMap::new(), &mut scratch);
        assert_eq!(decoded.is_ok(), shape.bytes(dtype) == Some(payload.len()));
    }
}

/// The kind of a rejection is a known one, and its text is one line.
pub fn check(rejection: &Rejection) {
    assert!(Rejection::KINDS.contains(&rejection.kind()));
    assert_one_line(&rejection.to_string(), 1000);
}

/// Converts `pixels`, the last bytes of `payload`, and compares each with its bytes.
fn convert(pixels: &Pixels<'_>, payload: &[u8]) {
    let dtype = pixels.dtype();
    let bytes = &payload[payload.len() - pixels.len() * dtype.size()..];
    let expected: Vec<f64> = bytes
        .chunks_exact(dtype.size())
        .map(|pixel| value(dtype, pixel))
        .collect();

    let finite = |value: &f64| {
        Some(*value as f32)
            .filter(|value| value.is_finite())
            .unwrap_or(0.0)
    };
    let limit = BadPixelLimit::Percent(100.0);
    let bad = BadPixels::new("nan".parse().ok(), BadPixelFill::Zero, limit, None);
    let mut row = vec![7.0; pixels.len()];
    let found = pixels.write_to(ValuesMut::F32(&mut row), &bad).unwrap();
    let not_finite = expected
        .iter()
        .filter(|value| !(**value as f32).is_finite());
    assert_eq!(found, not_finite.count());
    for (converted, expected) in row.iter().zip(&expected) {
        assert_eq!(*converted, finite(expected));
    }
    rejects_or_is_finite(pixels);
    if dtype == Dtype::F32 {
        let same_bits = row
            .iter()
            .zip(bytes.chunks_exact(4))
            .all(|(value, bytes)| *value == 0.0 || value.to_le_bytes() == bytes);
        assert!(same_bits, "float32 is passed on bit for bit");
    }

    let mut half = vec![f16::ONE; pixels.len()];
    let beyond = |value: &f64| finite(value).abs() >= 65_520.0;
    match pixels.write_to(ValuesMut::F16(&mut half), &bad) {
        Ok(_) => {
            for (converted, expected) in half.iter().zip(&expected) {
                assert!(!beyond(expected), "{expected}");
                assert_eq!(*converted, f16::from_f32(finite(expected)));
            }
        }
        Err(rejection) => {
            check(&rejection);
            assert_eq!(rejection.kind(), "out_of_range");
            assert!(expected.iter().any(beyond), "{rejection}");
        }
    }

    // A row of another length is refused and left as it was.
    let mut longer = vec![7.0; pixels.len() + 1];
    assert!(pixels.write_to(ValuesMut::F32(&mut longer), &bad).is_err());
    assert!(longer.iter().all(|value| *value == 7.0));
}

/// Whatever the rule, a model gets finite values or none.
fn rejects_or_is_finite(pixels: &Pixels<'_>) {
    let rules = [
        None,
        Some("max"),
        Some("negative"),
        Some("max,negative,above=100"),
    ];
    for rule in rules {
        let rule = rule.map(|rule| rule.parse().unwrap());
        for fill in [BadPixelFill::Zero, BadPixelFill::Median] {
            let bad = BadPixels::new(rule, fill, BadPixelLimit::default(), None);
            let mut row = vec![7.0; pixels.len()];
            match pixels.write_to(ValuesMut::F32(&mut row), &bad) {
                Ok(_) => assert!(row.iter().all(|value| value.is_finite())),
                Err(rejection) => check(&rejection),
            }
        }
    }
}

/// A pixel as a number. Exact: every type fits into `f64`.
fn value(dtype: Dtype, pixel: &[u8]) -> f64 {
    let pixel = |count: usize| {
        assert_eq!(pixel.len(), count);
        let mut padded = [0; 8];
        padded[..count].copy_from_slice(pixel);
        u64::from_le_bytes(padded)
    };
    match dtype {
        Dtype::U8 => pixel(1) as f64,
        Dtype::I8 => f64::from(pixel(1) as i8),
        Dtype::U16 => pixel(2) as f64,
        Dtype::I16 => f64::from(pixel(2) as i16),
        Dtype::U32 => pixel(4) as f64,
        Dtype::I32 => f64::from(pixel(4) as i32),
        Dtype::F32 => f64::from(f32::from_bits(pixel(4) as u32)),
        Dtype::F64 => f64::from_bits(pixel(8)),
    }
}
