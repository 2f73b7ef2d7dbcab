//! Tests of the decoder.

use proptest::prelude::*;

use super::*;
use crate::frame_id;
use crate::npy::{fixture, header as npy_header};

const SHAPE: FrameShape = FrameShape {
    height: 2,
    width: 3,
};
const INT16: Decoder = Decoder::new(Dtype::I16, SHAPE);

/// Decodes what is not compressed.
trait Plain {
    fn plain<'a>(
        &self,
        payload: &'a [u8],
        headers: &HashMap<String, String>,
    ) -> Result<Pixels<'a>, Rejection>;
}

impl Plain for Decoder {
    fn plain<'a>(
        &self,
        payload: &'a [u8],
        headers: &HashMap<String, String>,
    ) -> Result<Pixels<'a>, Rejection> {
        // An empty scratch has no memory that could leak.
        self.decode(payload, headers, Box::leak(Box::default()))
    }
}

fn headers(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn row(pixels: Pixels<'_>) -> Vec<f32> {
    let mut row = vec![f32::NAN; pixels.len()];
    pixels
        .write_to(
            crate::values::ValuesMut::F32(&mut row),
            &crate::BadPixels::default(),
        )
        .unwrap();
    row
}

fn kind(result: Result<Pixels<'_>, Rejection>) -> &'static str {
    result.map_or_else(|rejection| rejection.kind(), |_| "accepted")
}

fn text(result: Result<Pixels<'_>, Rejection>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_raw_frame_is_borrowed_not_copied() {
    let payload = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 0xff, 0xff];
    let pixels = INT16.plain(&payload, &headers(&[])).unwrap();
    assert_eq!(pixels, Pixels::new(Dtype::I16, SHAPE, &payload));
    assert_eq!(row(pixels), [1.0, 2.0, 3.0, 4.0, 5.0, -1.0]);
}

#[test]
fn a_raw_frame_of_another_length_is_rejected_with_both_lengths() {
    for bytes in (0..40).filter(|bytes| *bytes != 12) {
        let payload = vec![0; bytes];
        let expected = Rejection::WrongSize {
            bytes,
            expected: 12,
            dtype: Dtype::I16,
            shape: SHAPE,
        };
        assert_eq!(INT16.plain(&payload, &headers(&[])), Err(expected));
    }
}

#[test]
fn the_dtype_header_overrides_the_type_of_a_raw_frame() {
    let payload = [200, 1, 2, 3, 4, 5];
    for name in ["uint8", "u8", "|u1", "UInt8"] {
        let pixels = INT16.plain(&payload, &headers(&[(DTYPE, name)])).unwrap();
        assert_eq!(row(pixels), [200.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{name}");
    }
    assert_eq!(
        kind(INT16.plain(&[0; 12], &headers(&[(DTYPE, "uint8")]))),
        "wrong_size"
    );
    let unknown = INT16.plain(&[0; 12], &headers(&[(DTYPE, "int17")]));
    assert_eq!(kind(unknown.clone()), "unknown_dtype");
    assert_eq!(
        text(unknown),
        "header x-frame-dtype has pixel type 'int17': name the type as numpy does; \
         supported: uint8, int8, uint16, int16, uint32, int32, float32, float64"
    );
}

#[test]
fn an_unsupported_dtype_header_says_what_is_wrong_with_it() {
    for (given, words) in [
        (">u2", &["big-endian", "as 'uint16'"][..]),
        ("uint64", &["64-bit", "'uint32'"]),
        ("complex64", &["complex"]),
        ("bool", &["truth values", "'uint8'"]),
        ("float16", &["half precision", "'float32'"]),
    ] {
        let refused = text(INT16.plain(&[0; 12], &headers(&[(DTYPE, given)])));
        for word in words {
            assert!(refused.contains(word), "{given}: {refused}");
        }
        assert!(!refused.contains("as numpy does"), "{given}: {refused}");
    }
    // Little-endian is what is read.
    let little = headers(&[(DTYPE, "<u2")]);
    assert_eq!(INT16.plain(&[0; 12], &little).unwrap().dtype(), Dtype::U16);
}

#[test]
fn the_shape_header_must_be_the_models_shape() {
    let with = |shape: &str| kind(INT16.plain(&[0; 12], &headers(&[(headers::SHAPE, shape)])));
    assert_eq!(with("2x3"), "accepted");
    assert_eq!(
        with("3x2"),
        "wrong_shape",
        "as many pixels, but another image"
    );
    assert_eq!(with("2x3x1"), "bad_header");
    let wrong = INT16.plain(&[0; 12], &headers(&[(headers::SHAPE, "3x2")]));
    assert!(text(wrong).starts_with("header x-frame-shape has shape 3x2, the model takes 2x3: "));
    let bad = INT16.plain(&[0; 12], &headers(&[(headers::SHAPE, "big")]));
    assert_eq!(
        text(bad),
        "header x-frame-shape is 'big': use HEIGHTxWIDTH, for example 128x128"
    );
}

#[test]
fn header_names_ignore_case_and_blank_values_are_absent() {
    let payload = [0; 6];
    for pairs in [
        &[("X-Frame-Dtype", "uint8")][..],
        &[("x-frame-dtype", " "), ("X-FRAME-DTYPE", "uint8")],
        &[("X-FRAME-DTYPE", "uint8"), ("X-Frame-Dtype", "int16")], // the first by name
        &[("x-frame-dtype", "uint8"), ("X-FRAME-DTYPE", "int16")], // the exact name before all
    ] {
        assert_eq!(
            kind(INT16.plain(&payload, &headers(pairs))),
            "accepted",
            "{pairs:?}"
        );
    }
    assert_eq!(
        kind(INT16.plain(&[0; 12], &headers(&[(DTYPE, ""), (headers::SHAPE, " ")]))),
        "accepted"
    );
}

#[test]
fn a_frame_is_named_by_its_header_else_by_its_datum() {
    assert_eq!(
        frame_id(&headers(&[("x-txn-id", "scan7/42")]), "17-0"),
        "scan7/42"
    );
    assert_eq!(
        frame_id(&headers(&[("X-Txn-Id", "scan7/42")]), "17-0"),
        "scan7/42"
    );
    assert_eq!(frame_id(&headers(&[("x-txn-id", "")]), "17-0"), "17-0");
    assert_eq!(frame_id(&headers(&[]), "17-0"), "17-0");
}

#[test]
fn an_npy_image_brings_its_own_type() {
    let file = fixture();
    let float64 = Decoder::new(Dtype::F64, SHAPE);
    let pixels = float64.plain(&file, &headers(&[])).unwrap();
    assert_eq!(pixels, Pixels::new(Dtype::I16, SHAPE, &file[128..]));
    assert_eq!(
        row(pixels),
        [-2500.0, -1500.0, -500.0, 500.0, 1500.0, 2500.0]
    );
}

#[test]
fn a_header_may_repeat_but_not_contradict_an_npy_image() {
    let file = fixture();
    let with = |name, value| INT16.plain(&file, &headers(&[(name, value)]));
    assert_eq!(kind(with(DTYPE, "<i2")), "accepted");
    assert_eq!(kind(with(headers::SHAPE, "2x3")), "accepted");
    assert_eq!(kind(with(DTYPE, "uint16")), "bad_header");
    assert_eq!(kind(with(headers::SHAPE, "3x2")), "bad_header");
    let told = text(with(DTYPE, "uint16"));
    assert!(
        told.starts_with(
            "header x-frame-dtype is 'uint16': the npy array in the payload is int16; "
        ),
        "{told}"
    );
    let told = text(with(headers::SHAPE, "3x2"));
    assert!(told.contains("'3x2'") && told.contains("(2, 3)"), "{told}");
}

#[test]
fn an_npy_array_of_another_shape_is_rejected_with_both_shapes() {
    for shape in [
        &[3, 2][..],
        &[6],
        &[],
        &[2, 2, 3],
        &[usize::MAX, usize::MAX],
        &[1 << 33, 1 << 33],
        &[0, 3],
    ] {
        let mut file = npy_header("<i2", shape).unwrap();
        file.extend([0; 12]);
        let result = INT16.plain(&file, &headers(&[]));
        assert_eq!(kind(result.clone()), "wrong_shape", "{shape:?}");
        assert!(text(result).contains("the model takes 2x3"));
    }
    let mut file = npy_header("<i2", &[1, 1, 2, 3]).unwrap();
    file.extend([0; 12]);
    assert_eq!(kind(INT16.plain(&file, &headers(&[]))), "accepted");
    let long = npy_header("<i2", &[7; 500]).unwrap();
    assert!(
        text(INT16.plain(&long, &headers(&[]))).len() < 300,
        "the shape is cut"
    );
}

#[test]
fn every_truncated_or_extended_npy_image_is_rejected() {
    let file = fixture();
    for end in 0..file.len() {
        let kind = kind(INT16.plain(&file[..end], &headers(&[])));
        // A prefix shorter than the magic is a raw payload of the wrong size.
        assert_eq!(
            kind,
            if end < 6 {
                "wrong_size"
            } else {
                "npy_truncated"
            },
            "{end} bytes"
        );
    }
    let mut longer = file;
    for _ in 0..20 {
        longer.push(0);
        assert_eq!(kind(INT16.plain(&longer, &headers(&[]))), "npy_oversized");
    }
}

#[test]
fn the_magic_wins_over_a_raw_frame_of_the_right_size() {
    let payload = *b"\x93NUMPY\x00\x00\x00\x00\x00\x00";
    assert_eq!(kind(INT16.plain(&payload, &headers(&[]))), "bad_npy");
}

#[test]
fn a_model_of_huge_shape_accepts_no_frame() {
    let decoder = Decoder::new(
        Dtype::F64,
        FrameShape {
            height: usize::MAX,
            width: usize::MAX,
        },
    );
    for payload in [&[][..], &[0; 64]] {
        assert_eq!(kind(decoder.plain(payload, &headers(&[]))), "wrong_size");
    }
}

proptest! {
    /// Any bytes give a frame of exactly the model's size or a rejection.
    #[test]
    fn no_input_makes_the_decoder_panic(
        start in prop::sample::select(vec![0usize, 6, 8, 10, 60, 128]),
        tail in prop::collection::vec(any::<u8>(), 0..150),
        damage in prop::collection::vec((0usize..150, any::<u8>()), 0..4),
        dtype in prop::option::of(prop_oneof![Just("uint8".to_owned()), Just("<f4".to_owned()), ".*"]),
        shape in prop::option::of(prop_oneof![Just("2x3".to_owned()), "[0-9]{0,25}[xX][0-9]{0,25}", ".*"]),
    ) {
        let mut payload = fixture();
        payload.truncate(start);
        payload.extend(tail);
        for (at, value) in damage {
            if let Some(byte) = payload.get_mut(at) {
                *byte = value;
            }
        }
        let mut given = HashMap::new();
        given.extend(dtype.map(|dtype| (DTYPE.to_owned(), dtype)));
        given.extend(shape.map(|shape| (headers::SHAPE.to_owned(), shape)));
        match INT16.plain(&payload, &given) {
            Ok(pixels) => prop_assert_eq!(row(pixels).len(), 6),
            Err(rejection) => {
                prop_assert!(Rejection::KINDS.contains(&rejection.kind()));
                prop_assert!(rejection.to_string().len() < 2_000);
            }
        }
    }

    /// Any dict, from the characters that dicts are made of.
    #[test]
    fn no_npy_header_makes_the_decoder_panic(dict in r#"[{}()\[\],:'" <>|a-zA-Z0-9\n]{0,120}"#, version in 0u8..5) {
        let mut payload = MAGIC.to_vec();
        payload.extend([version, 0]);
        payload.extend(u16::try_from(dict.len()).unwrap().to_le_bytes());
        payload.extend(dict.as_bytes());
        prop_assert!(INT16.plain(&payload, &headers(&[])).is_err());
    }
}
