//! Tests of the reader.

use super::*;
use crate::npy::fixture;

/// A version 1 file with the given dict and no data.
fn file(dict: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(dict.len()).unwrap().to_le_bytes());
    bytes.extend(dict.as_bytes());
    bytes
}

fn image(dict: &str) -> Result<Option<FrameShape>, &'static str> {
    Array::read(&file(dict))
        .map(|array| array.image)
        .map_err(|rejection| rejection.kind())
}

#[test]
fn numpys_files_are_read_in_all_three_versions() {
    let version_1 = fixture();
    let array = Array::read(&version_1).unwrap();
    assert_eq!(array.dtype, Dtype::I16);
    assert_eq!(
        array.image,
        Some(FrameShape {
            height: 2,
            width: 3
        })
    );
    assert_eq!(array.shape, "(2, 3)");
    assert_eq!((array.header_len, array.data), (128, &version_1[128..]));
    for version in [2, 3] {
        // The length field has two bytes more, so numpy pads with two spaces fewer.
        let mut file = version_1.clone();
        file.splice(6..10, [version, 0, 0x74, 0, 0, 0]);
        file.splice(125..127, []);
        assert_eq!(Array::read(&file), Ok(array), "version {version}");
    }
}

#[test]
fn order_spacing_and_quotes_of_the_dict_are_free() {
    let shape = Ok(Some(FrameShape {
        height: 2,
        width: 3,
    }));
    assert_eq!(
        image(r#"{"shape":(2,3),"fortran_order":False,"descr":"<i2"}"#),
        shape
    );
    assert_eq!(
        image("\t{ 'shape' : ( 2 , 3 , ) , 'descr':'<i2','fortran_order': False , }\n\n"),
        shape
    );
}

#[test]
fn leading_ones_are_squeezed_and_stacks_are_no_image() {
    let shaped = |shape: &str| {
        image(&format!(
            "{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}"
        ))
    };
    let two_by_three = Ok(Some(FrameShape {
        height: 2,
        width: 3,
    }));
    for shape in ["(2, 3)", "(1, 2, 3)", "(1, 1, 1, 2, 3)"] {
        assert_eq!(shaped(shape), two_by_three, "{shape}");
    }
    for shape in [
        "()",
        "(6,)",
        "(2, 2, 3)",
        "(2, 1, 2, 3)",
        "(1, 2, 1, 2, 3)",
        "(0, 2, 3)",
    ] {
        assert_eq!(shaped(shape), Ok(None), "{shape}");
    }
    for shape in [
        "(6)", "(,)", "(2,,3)", "(2 3)", "(2, 3", "[2, 3]", "(-2, 3)", "(2.0, 3)", "6", "None",
    ] {
        assert_eq!(shaped(shape), Err("bad_npy"), "{shape}");
    }
    let absurd = FrameShape {
        height: usize::MAX,
        width: usize::MAX,
    };
    assert_eq!(
        shaped("(18446744073709551615, 999999999999999999999999)"),
        Ok(Some(absurd))
    );
    assert_eq!(absurd.pixels(), None);
}

#[test]
fn garbage_is_refused_with_the_reason() {
    let good = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }";
    assert!(image(good).is_ok());
    for end in 0..good.len() {
        assert_eq!(
            image(good.get(..end).unwrap()),
            Err("bad_npy"),
            "{end} characters"
        );
    }
    for (dict, told) in [
        (
            "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }",
            "ascontiguousarray",
        ),
        (
            "{'descr': '<i2', 'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }",
            "twice",
        ),
        (
            "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), 'x': 1}",
            "unknown entry 'x'",
        ),
        ("{'descr': '<i2', 'shape': (2, 3), }", "lacks"),
        (
            "{'descr': '<i2', 'fortran_order': 0, 'shape': (2, 3), }",
            "not the dict",
        ),
        (
            "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), } 1",
            "not the dict",
        ),
        ("__import__('os').abort()", "not the dict"),
    ] {
        let rejection = Array::read(&file(dict)).unwrap_err();
        assert_eq!(rejection.kind(), "bad_npy", "{dict}");
        assert!(rejection.to_string().contains(told), "{rejection}");
    }
    let mut latin_1 = file(good);
    latin_1[20] = 0xE9;
    assert!(
        Array::read(&latin_1)
            .unwrap_err()
            .to_string()
            .contains("not text")
    );
    for (at, value) in [(6, 0), (6, 4), (7, 1)] {
        let mut version = file(good);
        version[at] = value;
        assert!(
            Array::read(&version)
                .unwrap_err()
                .to_string()
                .contains("version")
        );
    }
}

#[test]
fn other_element_types_are_refused_with_a_remedy() {
    for (descr, remedy) in [
        ("'>i2'", "little-endian"),
        ("'>f4'", "big-endian"),
        ("'<i8'", "astype('int32')"),
        ("'<u8'", "astype('uint32')"),
        ("'<c8'", "complex"),
        ("[('a', '<i2')]", "structured"),
        ("('<i2', (2,))", "structured"),
        ("'|b1'", "astype"),
        ("'<f2'", "astype"),
        ("'|O'", "astype"),
    ] {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2, 3), }}");
        let rejection = Array::read(&file(&dict)).unwrap_err();
        assert_eq!(rejection.kind(), "unknown_dtype", "{descr}");
        assert!(rejection.to_string().contains(remedy), "{rejection}");
    }
}

#[test]
fn a_header_longer_than_the_payload_allocates_nothing() {
    let mut file = b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'".to_vec();
    let expected = 12 + u32::MAX as usize;
    assert_eq!(
        Array::read(&file),
        Err(Rejection::NpyTruncated {
            bytes: 20,
            expected
        })
    );
    file.truncate(11);
    assert_eq!(
        Array::read(&file),
        Err(Rejection::NpyTruncated {
            bytes: 11,
            expected: 12
        })
    );
    file.truncate(7);
    assert_eq!(
        Array::read(&file),
        Err(Rejection::NpyTruncated {
            bytes: 7,
            expected: 10
        })
    );
}
