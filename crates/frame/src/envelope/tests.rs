//! Tests of the envelope.

use super::*;
use OutputDtype::{Float32, Int16};
use OutputFormat::{Npy, Raw};
use OutputSize::{Full, Size};
use half::f16;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

/// Each value encodes its place: plane × 10,000 + row × 100 + column.
fn places(planes: u16, height: u16, width: u16) -> Vec<f32> {
    let place = |p: u16, y: u16, x: u16| f32::from(p) * 10_000.0 + f32::from(y * 100 + x);
    (0..planes)
        .flat_map(|p| (0..height).flat_map(move |y| (0..width).map(move |x| place(p, y, x))))
        .collect()
}

#[test]
fn a_message_is_byte_for_byte_what_numpy_saves_of_the_crop() {
    // a = np.arange(70, dtype='<f4').reshape(2, 5, 7) * 1.5 - 20; np.save(file, a[:, 1:4, 1:5])
    let mut saved =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 4), }"
            .to_vec();
    saved.resize(127, b' ');
    saved.push(b'\n');
    let data = "000000c10000d0c00000a0c0000060c000002040000080400000b0400000e04000005041000068410000804100008c41\
                000032420000384200003e420000444200005c42000062420000684200006e4200008342000086420000894200008c42";
    let hex = |at: usize| u8::from_str_radix(&data[at..at + 2], 16).unwrap();
    saved.extend((0..data.len()).step_by(2).map(hex));

    let row: Vec<f32> = (0..70u8)
        .map(|value| f32::from(value) * 1.5 - 20.0)
        .collect();
    let envelope = Envelope::new(
        &[2, 5, 7],
        Size {
            width: 4,
            height: 3,
        },
        Float32,
        Npy,
    )
    .unwrap();
    assert_eq!(envelope.encode(Values::F32(&row)).unwrap().message, saved);
}

#[test]
fn the_crop_keeps_pixel_n_half_in_its_centre() {
    let crop = |plane: (u16, u16), width, height| {
        let shape = [plane.0.into(), plane.1.into()];
        let envelope = Envelope::new(&shape, Size { width, height }, Float32, Raw).unwrap();
        floats(
            &envelope
                .encode(Values::F32(&places(1, plane.0, plane.1)))
                .unwrap()
                .message,
        )
    };
    assert_eq!(crop((4, 4), 2, 2), [101.0, 102.0, 201.0, 202.0]);
    assert_eq!(crop((5, 4), 1, 2), [102.0, 202.0], "odd of even: column 2");
    assert_eq!(crop((4, 5), 2, 1), [201.0, 202.0], "odd of even: row 2");
    assert_eq!(
        crop((3, 3), 3, 1),
        [100.0, 101.0, 102.0],
        "width before height"
    );
    assert_eq!(crop((2, 2), 2, 2), [0.0, 1.0, 100.0, 101.0]);
    assert_eq!(crop((128, 128), 64, 64).first(), Some(&3232.0));
    assert_eq!(crop((128, 128), 64, 64).last(), Some(&9595.0));
}

#[test]
fn a_raw_int16_crop_is_byte_for_byte_that_of_the_python_sidecars() {
    // pred = np.arange(my * mx, dtype='<f4') * 1.7 - 20, then batch_infer's lines (see crop_start):
    // image = pred.reshape(my, mx); startx = mx//2-(ox//2); starty = my//2-(oy//2)
    // image[starty:starty+oy, startx:startx+ox].astype(np.int16).tobytes().hex(), with numpy 2.4
    let cases = [
        ([6, 6], "3x3", "0300050007000e000f001100180019001b00"),
        ([6, 5], "2x3", "ffff0000070008000f001100"),
        ([5, 7], "4x2", "fafffcfffdffffff0500070008000a00"),
        ([4, 6], "1x1", "0500"),
        ([5, 5], "3x3", "f7fff8fffaffffff00000200070008000a00"),
    ];
    for (shape, size, hex) in cases {
        let row: Vec<f32> = (0..shape[0] * shape[1])
            .map(|value| value as f32 * 1.7 - 20.0)
            .collect();
        let envelope = Envelope::new(&shape, size.parse().unwrap(), Int16, Raw).unwrap();
        let message = envelope.encode(Values::F32(&row)).unwrap();
        let given: String = message
            .message
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(given, hex, "{shape:?} {size}");
    }
}

#[test]
fn every_plane_of_a_stack_is_cropped() {
    let envelope = Envelope::new(
        &[3, 3, 3],
        Size {
            width: 1,
            height: 1,
        },
        Float32,
        Raw,
    )
    .unwrap();
    assert_eq!(envelope.shape(), [3, 1, 1]);
    assert_eq!(
        floats(
            &envelope
                .encode(Values::F32(&places(3, 3, 3)))
                .unwrap()
                .message
        ),
        [101.0, 10_101.0, 20_101.0]
    );
}

#[test]
fn leading_ones_are_dropped_and_vectors_are_sent_whole() {
    let shape = |axes: &[usize], size| {
        Envelope::new(axes, size, Float32, Npy)
            .unwrap()
            .shape()
            .to_vec()
    };
    let size = Size {
        width: 2,
        height: 2,
    };
    assert_eq!(shape(&[1, 128, 128], Full), [128, 128]);
    assert_eq!(shape(&[1, 1, 4, 5], size), [2, 2]);
    assert_eq!(shape(&[2, 1, 4, 5], size), [2, 1, 2, 2]);
    assert_eq!(shape(&[1, 10], size), [10]);
    assert_eq!(shape(&[1, 1], size), [0_usize; 0]);
    assert_eq!(shape(&[], size), [0_usize; 0]);
    let vector = Envelope::new(&[1, 3], size, Float32, Raw).unwrap();
    assert_eq!(
        floats(
            &vector
                .encode(Values::F32(&[1.0, 2.0, 3.0]))
                .unwrap()
                .message
        ),
        [1.0, 2.0, 3.0]
    );
}

#[test]
fn float32_leaves_bit_for_bit() {
    let row = [
        0.1,
        -0.0,
        f32::MIN_POSITIVE / 2.0,
        f32::INFINITY,
        f32::from_bits(0x7fc0_1234),
        f32::MAX,
    ];
    let envelope = Envelope::new(&[2, 3], Full, Float32, Raw).unwrap();
    let bits: Vec<u32> = floats(&envelope.encode(Values::F32(&row)).unwrap().message)
        .iter()
        .map(|v| v.to_bits())
        .collect();
    assert_eq!(bits, row.map(f32::to_bits));
}

#[test]
fn int16_truncates_toward_zero_saturates_and_has_no_nan() {
    let cases = [
        (1.99, 1),
        (-1.99, -1),
        (0.5, 0),
        (3.1, 3),
        (32_767.9, 32_767),
        (40_000.0, 32_767),
        (-1e9, -32_768),
        (f32::NEG_INFINITY, -32_768),
        (f32::NAN, 0),
    ];
    let envelope = Envelope::new(&[3, 3], Full, Int16, Raw).unwrap();
    let message = envelope
        .encode(Values::F32(&cases.map(|(value, _)| value)))
        .unwrap()
        .message;
    let values: Vec<i16> = message
        .as_chunks()
        .0
        .iter()
        .map(|value| i16::from_le_bytes(*value))
        .collect();
    assert_eq!(values, cases.map(|(_, expected)| expected));
}

#[test]
fn the_length_is_known_beforehand_and_allocated_once() {
    for (dtype, format, bytes) in [
        (Float32, Npy, 144),
        (Float32, Raw, 16),
        (Int16, Npy, 136),
        (Int16, Raw, 8),
    ] {
        let envelope = Envelope::new(
            &[1, 5, 5],
            Size {
                width: 2,
                height: 2,
            },
            dtype,
            format,
        )
        .unwrap();
        let message = envelope.encode(Values::F32(&[1.0; 25])).unwrap().message;
        assert_eq!(envelope.encoded_len(), bytes);
        assert_eq!((message.len(), message.capacity()), (bytes, bytes));
    }
}

#[test]
fn a_size_beyond_the_output_is_refused_with_a_remedy() {
    for (width, height) in [(65, 32), (64, 33), (512, 512)] {
        let error = Envelope::new(&[1, 32, 64], Size { width, height }, Float32, Npy).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{width}x{height}")), "{text}");
        assert!(text.contains("at most 64x32, or for full"), "{text}");
    }
    let empty = Envelope::new(
        &[4, 4],
        Size {
            width: 0,
            height: 1,
        },
        Float32,
        Npy,
    )
    .unwrap_err();
    assert_eq!(
        empty,
        EnvelopeError::EmptyCrop {
            asked: Size {
                width: 0,
                height: 1
            }
        }
    );
}

#[test]
fn an_output_without_values_or_beyond_memory_is_refused() {
    for shape in [
        &[0, 4][..],
        &[4, 0],
        &[usize::MAX, 2],
        &[usize::MAX / 2, 1],
        &[1 << 62],
    ] {
        let result = Envelope::new(shape, Full, Float32, Npy);
        assert_eq!(
            result,
            Err(EnvelopeError::Unsendable {
                shape: shape.to_vec()
            })
        );
    }
}

#[test]
fn a_row_of_another_length_is_an_error_not_a_short_message() {
    let envelope = Envelope::new(&[2, 3], Full, Float32, Npy).unwrap();
    for row in [5, 7] {
        assert_eq!(
            envelope.encode(Values::F32(&vec![0.0; row])),
            Err(LengthMismatch { row, expected: 6 })
        );
    }
}

#[test]
fn half_precision_results_are_sent_exactly_as_single_precision() {
    let envelope = Envelope::new(
        &[1, 2, 2],
        OutputSize::Full,
        OutputDtype::Float32,
        OutputFormat::Raw,
    )
    .unwrap();
    let values = [0.1, -2.5, 65_504.0, f32::INFINITY].map(f16::from_f32);
    assert_eq!(
        floats(&envelope.encode(Values::F16(&values)).unwrap().message),
        values.map(f16::to_f32)
    );
}

#[test]
fn only_the_wanted_range_is_read() {
    for (shape, size) in [
        (vec![1, 6, 8], "2x4"),
        (vec![3, 5, 5], "1x1"),
        (vec![7], "full"),
        (vec![4, 4], "full"),
    ] {
        let envelope = Envelope::new(
            &shape,
            size.parse().unwrap(),
            OutputDtype::Float32,
            OutputFormat::Raw,
        )
        .unwrap();
        // Each value encodes its place, so the message shows which places were read.
        let row: Vec<f32> = (0..envelope.row_len()).map(|place| place as f32).collect();
        let read = floats(&envelope.encode(Values::F32(&row)).unwrap().message);
        let (first, last) = (read.first().unwrap(), read.last().unwrap());
        assert_eq!(
            envelope.wanted(),
            *first as usize..*last as usize + 1,
            "{shape:?} {size}"
        );
    }
}
