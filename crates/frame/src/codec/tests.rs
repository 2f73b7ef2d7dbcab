//! The decoders against frames that other libraries compressed (`tests/data/codecs`), and against damage.

use super::*;
use crate::Decoder;
use crate::values::ValuesMut;
use proptest::prelude::*;
use std::collections::HashMap;

const FRAMES: &[u8] = include_bytes!("../../../../tests/data/codecs/frames.bin");
const INDEX: &str = include_str!("../../../../tests/data/codecs/frames.txt");

/// A frame that another library compressed.
struct Stored {
    name: &'static str,
    dtype: Dtype,
    shape: FrameShape,
    codec: Codec,
    payload: &'static [u8],
}

/// All of them; what else is in the files is not.
fn stored() -> impl Iterator<Item = Stored> {
    INDEX.lines().filter_map(|line| {
        let (name, place) = line.split_once(' ').unwrap();
        let (frame, codec) = name.split_once('.').unwrap();
        let (dtype, shape) = frame.split_once('-').unwrap();
        Some(Stored {
            name,
            dtype: dtype.parse().unwrap(),
            shape: shape.parse().unwrap(),
            codec: codec.rsplit('.').next()?.parse().ok()?,
            payload: at(place),
        })
    })
}

fn at(place: &str) -> &'static [u8] {
    let (offset, bytes) = place.split_once(' ').unwrap();
    let (offset, bytes): (usize, usize) = (offset.parse().unwrap(), bytes.parse().unwrap());
    &FRAMES[offset..offset + bytes]
}

/// The pixels that `make.py` computes.
fn pixels(dtype: Dtype, shape: FrameShape) -> Vec<u8> {
    let (h, w) = (shape.height as i64, shape.width as i64);
    let place = |k: i64| (k / w, k % w);
    (0..h * w)
        .flat_map(|k| {
            let (y, x) = place(k);
            let hill =
                100 - ((2 * y - h).pow(2) + (2 * x - w).pow(2)) * 100 / (h.pow(2) + w.pow(2));
            let noise = (((k * 2_654_435_761) % (1 << 32)) >> 26) - 58;
            let counts = hill.max(30) - 30 + noise.max(0);
            match dtype {
                Dtype::U8 => vec![counts as u8],
                Dtype::I16 => (counts as i16 * 7 - 40).to_le_bytes().to_vec(),
                Dtype::U32 => (counts as u32 * 40503).to_le_bytes().to_vec(),
                Dtype::F64 => (counts as f64 * 0.25 - 3.0).to_le_bytes().to_vec(),
                other => panic!("{other}"),
            }
        })
        .collect()
}

fn decode<'a>(
    stored: &Stored,
    payload: &[u8],
    scratch: &'a mut Scratch,
) -> Result<&'a [u8], Damage> {
    let decoded = scratch.decode(stored.codec, payload, stored.dtype, stored.shape);
    match decoded.map(drop) {
        Ok(()) => Ok(&scratch.pixels),
        Err(Rejection::Undecodable { damage, .. }) => Err(damage),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn frames_that_other_libraries_compressed_are_read() {
    let mut scratch = Scratch::default();
    let mut seen = std::collections::BTreeMap::new();
    for stored in stored().filter(|stored| stored.codec != Codec::Jpeg) {
        let decoded = decode(&stored, stored.payload, &mut scratch);
        assert_eq!(
            decoded,
            Ok(&*pixels(stored.dtype, stored.shape)),
            "{}",
            stored.name
        );
        *seen.entry(stored.codec.name()).or_insert(0) += 1;
    }
    // 4 dtypes in 3 shapes; two kinds of bslz4; four codecs in blosc, with three shuffles.
    let expected = [
        ("blosc", 144),
        ("bslz4", 24),
        ("lz4", 12),
        ("lz4hdf5", 12),
        ("zlib", 12),
    ];
    assert_eq!(seen, expected.into_iter().collect());
}

#[test]
fn a_jpeg_image_differs_from_pils_by_rounding_alone() {
    let mut scratch = Scratch::default();
    let raw = |name: &str| {
        let line = INDEX
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}.raw ")));
        at(line.unwrap())
    };
    let images: Vec<_> = stored()
        .filter(|stored| stored.codec == Codec::Jpeg)
        .collect();
    assert_eq!(images.len(), 3);
    for stored in images {
        let decoded = decode(&stored, stored.payload, &mut scratch).unwrap();
        let apart = decoded
            .iter()
            .zip(raw(stored.name))
            .map(|(a, b)| a.abs_diff(*b));
        assert!(apart.max() <= Some(1), "{}", stored.name);
    }
}

#[test]
fn a_payload_that_was_cut_is_refused() {
    let mut scratch = Scratch::default();
    for stored in stored().filter(|stored| stored.shape.height < 60) {
        for end in 0..stored.payload.len() {
            let cut = decode(&stored, &stored.payload[..end], &mut scratch);
            assert!(cut.is_err(), "{}, {end} bytes", stored.name);
            assert!(scratch.pixels().is_empty());
        }
    }
}

#[test]
fn an_image_that_ends_early_shows_no_other_frame() {
    let mut used = Scratch::default();
    for stored in stored().filter(|stored| stored.codec == Codec::Jpeg) {
        let mut refused = 0;
        for end in 300..stored.payload.len() - 2 {
            let ended = [&stored.payload[..end], &[0xff, 0xd9]].concat();
            decode(&stored, stored.payload, &mut used).unwrap();
            let mut fresh = Scratch::default();
            let [used, fresh] =
                [&mut used, &mut fresh].map(|scratch| decode(&stored, &ended, scratch));
            assert_eq!(used, fresh, "{}, {end} bytes", stored.name);
            refused += usize::from(fresh.is_err());
        }
        assert!(refused > 20, "{}: {refused}", stored.name);
    }
}

#[test]
fn a_payload_of_another_frame_is_refused() {
    let mut scratch = Scratch::default();
    for mut stored in stored() {
        let FrameShape { height, width } = stored.shape;
        for (height, width) in [(height + 1, width), (height - 1, width), (1, 1)] {
            stored.shape = FrameShape { height, width };
            let refused = decode(&stored, stored.payload, &mut scratch);
            assert!(refused.is_err(), "{} as {}", stored.name, stored.shape);
        }
    }
}

#[test]
fn bytes_behind_a_frame_are_refused() {
    let mut scratch = Scratch::default();
    for stored in stored().filter(|stored| !matches!(stored.codec, Codec::Lz4 | Codec::Jpeg)) {
        let longer = [stored.payload, &[0; 3]].concat();
        let refused = decode(&stored, &longer, &mut scratch);
        assert_eq!(refused, Err(Damage::Behind(3)), "{}", stored.name);
    }
}

#[test]
fn a_number_in_a_payload_takes_no_memory() {
    let shape = FrameShape {
        height: 8,
        width: 8,
    };
    let most = u32::MAX.to_be_bytes();
    let mut blosc = [vec![2, 1, 0, 2], vec![255; 12]].concat();
    let mut payloads = vec![
        (Codec::Lz4, [vec![0x1f, 0, 1, 0], vec![255; 5000]].concat()),
        (
            Codec::Lz4Hdf5,
            [&[0, 0, 0, 0][..], &128_u32.to_be_bytes(), &most, &most].concat(),
        ),
        (
            Codec::Bslz4,
            [
                &[0, 0, 0, 0][..],
                &128_u32.to_be_bytes(),
                &[0x7f, 255, 255, 240],
                &most,
            ]
            .concat(),
        ),
        (Codec::Bslz4, most.to_vec()),
        (Codec::Blosc, blosc.clone()),
    ];
    // The sizes fit, but the blocks do not.
    blosc[4..16].copy_from_slice(&[128, 0, 0, 0, 255, 255, 255, 127, 24, 0, 0, 0]);
    blosc.extend([16, 0, 0, 0, 255, 255, 255, 127]);
    payloads.push((Codec::Blosc, blosc));
    for (codec, payload) in payloads {
        let mut scratch = Scratch::default();
        assert!(
            scratch.decode(codec, &payload, Dtype::U16, shape).is_err(),
            "{codec}"
        );
        assert!(
            scratch.pixels.capacity() + scratch.block.capacity() <= 4 * 128,
            "{codec}"
        );
    }
}

#[test]
fn a_frame_is_decoded_as_its_headers_say() {
    let stored = stored()
        .find(|stored| stored.name == "int16-23x41.bslz4")
        .unwrap();
    let decoder = Decoder::new(Dtype::U8, stored.shape);
    let mut scratch = Scratch::default();
    let mut kind = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let headers: HashMap<_, _> = pairs.collect();
        match decoder.decode(stored.payload, &headers, &mut scratch) {
            Ok(pixels) => {
                let mut row = vec![0.0; pixels.len()];
                pixels
                    .write_to(ValuesMut::F32(&mut row), &crate::BadPixels::off())
                    .unwrap();
                let expected = self::pixels(Dtype::I16, stored.shape);
                let (expected, _) = expected.as_chunks::<2>();
                let same = row
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| *a == f32::from(i16::from_le_bytes(*b)));
                assert!(same);
                "read".to_owned()
            }
            Err(rejection) => format!("{}: {rejection}", rejection.kind()),
        }
    };
    assert_eq!(
        kind(&[("x-codec", "bslz4"), ("x-frame-dtype", "int16")]),
        "read"
    );
    assert_eq!(
        kind(&[
            ("X-Codec", " BSLZ4 "),
            ("x-frame-dtype", "Int16"),
            ("x-frame-shape", "23x41")
        ]),
        "read"
    );
    let unknown = kind(&[("x-codec", "lzma")]);
    assert_eq!(
        unknown,
        "unknown_codec: header x-codec is 'lzma': use one of none, lz4, lz4hdf5, bslz4, blosc, zlib, jpeg"
    );
    let other_dtype = kind(&[("x-codec", "bslz4")]);
    assert!(
        other_dtype.starts_with("undecodable: the payload of "),
        "{other_dtype}"
    );
    assert!(
        other_dtype.contains("is no 23x41 uint8 frame compressed with bslz4: "),
        "{other_dtype}"
    );
    let shape = kind(&[("x-codec", "bslz4"), ("x-frame-shape", "41x23")]);
    assert!(shape.starts_with("wrong_shape: "), "{shape}");
    for none in ["none", "NONE", " "] {
        let plain = kind(&[("x-codec", none), ("x-frame-dtype", "int16")]);
        assert!(
            plain.contains("if the frame is compressed, name its codec in x-codec"),
            "{plain}"
        );
    }
}

#[test]
fn names_can_be_read_again_and_all_are_listed() {
    let names: Vec<_> = Codec::ALLOWED.split(", ").collect();
    assert_eq!(names[0], "none");
    for (codec, name) in Codec::ALL.into_iter().zip(&names[1..]) {
        assert_eq!(codec.to_string(), *name);
        assert_eq!(name.to_uppercase().parse(), Ok(codec));
    }
    assert!("none".parse::<Codec>().is_err());
}

proptest! {
    #[test]
    fn damage_is_found_or_gives_a_frame(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all: Vec<_> = stored().collect();
        let stored = which.get(&all);
        let mut payload = stored.payload.to_vec();
        for (place, byte) in changes {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        let mut scratch = Scratch::default();
        let size = stored.shape.bytes(stored.dtype).unwrap();
        match decode(stored, &payload, &mut scratch) {
            Ok(pixels) => prop_assert_eq!(pixels.len(), size),
            Err(damage) => prop_assert!(!damage.to_string().contains("panicked"), "{}", stored.name),
        }
        // What was left behind does not show in the next frame.
        if stored.codec != Codec::Jpeg {
            let whole = decode(stored, stored.payload, &mut scratch);
            prop_assert_eq!(whole, Ok(&*pixels(stored.dtype, stored.shape)));
        }
    }

    #[test]
    fn shuffled_pixels_come_back(pixels in prop::collection::vec(any::<[u64; 8]>(), 1..20), bits in any::<bool>()) {
        let pixels: Vec<u8> = pixels.into_iter().flatten().flat_map(u64::to_le_bytes).collect();
        for size in [1, 2, 4, 8] {
            let elements = pixels.len() / size;
            let mut shuffled = vec![0; pixels.len()];
            for (k, byte) in pixels.iter().enumerate() {
                let (element, part) = (k / size, k % size);
                if !bits {
                    shuffled[part * elements + element] = *byte;
                    continue;
                }
                for bit in 0..8 {
                    let plane = (8 * part + bit) * elements / 8;
                    shuffled[plane + element / 8] |= (byte >> bit & 1) << (element % 8);
                }
            }
            let mut back = vec![0; pixels.len()];
            if bits {
                shuffle::bits_back(&shuffled, size, &mut back).unwrap();
            } else {
                shuffle::bytes_back(&shuffled, size, &mut back);
            }
            prop_assert_eq!(&back, &pixels, "{} bytes", size);
        }
    }
}
