//! What servers send, field by field.

use std::sync::Arc;

use beamflow_frame::{Codec, Dtype, FrameShape};
use epics_pva_rs::pvdata::{PvField, PvStructure, ScalarValue, TypedScalarArray, VariantValue};

use super::*;
use crate::change::Change;

const SHAPE: FrameShape = FrameShape {
    height: 2,
    width: 4,
};

/// An NTNDArray with nothing but a `value` and sizes of dimensions, as some servers have it.
fn structure(array: TypedScalarArray, sizes: &[i64]) -> PvStructure {
    let mut root = PvStructure::new("epics:nt/NTNDArray:1.0");
    let value = PvField::Union {
        // Of no meaning: the server's order of the members is its own.
        selector: 3,
        variant_name: "someValue".to_owned(),
        value: Box::new(PvField::ScalarArrayTyped(array)),
    };
    root.set("value", value);
    let dimension = |size: &i64| {
        let mut dimension = PvStructure::new("dimension_t");
        dimension.set("size", PvField::Scalar(ScalarValue::Long(*size)));
        Some(dimension)
    };
    let dimensions = sizes.iter().map(dimension).collect();
    root.set("dimension", PvField::StructureArray(dimensions));
    root
}

fn bytes(count: usize) -> TypedScalarArray {
    TypedScalarArray::UByte(vec![1; count].into())
}

/// Eight bytes that are said to be `codec`, of pixels that are said to be `parameters`.
fn compressed(codec: &str, parameters: Option<ScalarValue>, uncompressed: i64) -> PvStructure {
    let mut root = structure(bytes(8), &[4, 2]);
    let parameters = parameters.map_or_else(VariantValue::null, VariantValue::scalar);
    let mut fields = PvStructure::new("codec_t");
    fields.set("name", PvField::Scalar(ScalarValue::String(codec.into())));
    fields.set("parameters", PvField::Variant(Box::new(parameters)));
    root.set("codec", PvField::Structure(fields));
    root.set(
        "uncompressedSize",
        PvField::Scalar(ScalarValue::Long(uncompressed)),
    );
    root
}

fn change(root: PvStructure) -> Change {
    Change {
        value: Arc::new(PvField::Structure(root)),
        value_marked: true,
        overrun: false,
        first: false,
    }
}

fn content(root: PvStructure) -> Content {
    read(&change(root), &ReadOptions::default()).content
}

fn dtype(root: PvStructure) -> Dtype {
    match content(root) {
        Content::Image(image) => image.dtype,
        other => panic!("{other:?}"),
    }
}

fn refusal(root: PvStructure) -> Refusal {
    match content(root) {
        Content::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_structure_with_the_least_fields_is_read() {
    let update = read(
        &change(structure(bytes(8), &[4, 2])),
        &ReadOptions::default(),
    );
    assert_eq!(
        (update.unique_id, update.time_stamp, update.data_time_stamp),
        (None, 0, 0)
    );
    let image = Image {
        pixels: vec![1; 8].into(),
        dtype: Dtype::U8,
        shape: SHAPE,
        codec: None,
    };
    assert_eq!(update.content, Content::Image(image));
}

#[test]
fn what_has_no_pixels_is_idle() {
    let mut null = structure(bytes(8), &[4, 2]);
    let union = PvField::Union {
        selector: -1,
        variant_name: String::new(),
        value: Box::new(PvField::Null),
    };
    null.set("value", union);
    let mut any = structure(bytes(8), &[4, 2]);
    any.set("value", PvField::Variant(Box::new(VariantValue::null())));
    let mut dimensionless = structure(bytes(8), &[]);
    dimensionless.set("dimension", PvField::Null);
    for idle in [
        null,
        any,
        dimensionless,
        structure(bytes(8), &[]),
        structure(bytes(0), &[4, 2]),
        structure(bytes(0), &[4, 0]),
    ] {
        assert_eq!(content(idle), Content::Idle);
    }
}

#[test]
fn an_unmarked_value_is_metadata_unless_it_is_the_first() {
    let unmarked = |first| Change {
        value_marked: false,
        first,
        ..change(structure(bytes(8), &[4, 2]))
    };
    let content = |first| read(&unmarked(first), &ReadOptions::default()).content;
    assert_eq!(content(false), Content::Metadata);
    assert!(matches!(content(true), Content::Image(_)));
}

#[test]
fn the_original_type_is_an_integer_of_any_width() {
    for parameters in [
        ScalarValue::Byte(6),
        ScalarValue::Short(6),
        ScalarValue::Int(6),
        ScalarValue::UByte(6),
        ScalarValue::UShort(6),
        ScalarValue::UInt(6),
        ScalarValue::ULong(6),
        ScalarValue::Long(6),
    ] {
        assert_eq!(dtype(compressed("lz4", Some(parameters), 16)), Dtype::U16);
    }
}

/// NDPluginPvxs before ADCore 3.15 sent areaDetector's numbers, as a `long`.
#[test]
fn a_long_is_in_area_detectors_numbering() {
    for (number, dtype_of, size) in [
        (0, Dtype::I8, 8),
        (1, Dtype::U8, 8),
        (2, Dtype::I16, 16),
        (3, Dtype::U16, 16),
        (4, Dtype::I32, 32),
        (5, Dtype::U32, 32),
        (8, Dtype::F32, 32),
        (9, Dtype::F64, 64),
    ] {
        let parameters = Some(ScalarValue::Long(number));
        assert_eq!(
            dtype(compressed("bslz4", parameters.clone(), size)),
            dtype_of
        );
        // Without a size the width of the number decides.
        assert_eq!(dtype(compressed("bslz4", parameters, 0)), dtype_of);
    }
}

#[test]
fn the_size_decides_between_the_numberings() {
    // 9 is float32 in pvData's numbering and float64 in areaDetector's.
    assert_eq!(
        dtype(compressed("lz4", Some(ScalarValue::Int(9)), 32)),
        Dtype::F32
    );
    assert_eq!(
        dtype(compressed("lz4", Some(ScalarValue::Int(9)), 64)),
        Dtype::F64
    );
    assert_eq!(
        dtype(compressed("lz4", Some(ScalarValue::Long(9)), 32)),
        Dtype::F32
    );
    assert_eq!(
        dtype(compressed("lz4", Some(ScalarValue::Int(9)), 0)),
        Dtype::F32
    );
}

#[test]
fn a_type_that_is_not_said_is_not_guessed() {
    for parameters in [
        None,
        Some(ScalarValue::Int(77)),
        Some(ScalarValue::Double(6.0)),
    ] {
        let refused = refusal(compressed("lz4", parameters, 16));
        assert!(matches!(refused, Refusal::Original { .. }), "{refused}");
    }
    let refused = refusal(compressed("lz4", Some(ScalarValue::Int(6)), 17));
    assert!(
        matches!(refused, Refusal::Original { size: 17, .. }),
        "{refused}"
    );
    // JPEG is of bytes.
    assert_eq!(dtype(compressed("jpeg", None, 8)), Dtype::U8);
    let refused = refusal(compressed("zlib", Some(ScalarValue::Int(8)), 64));
    assert_eq!(refused, Refusal::Dtype { name: "uint64" });
}

#[test]
fn as_many_bytes_are_passed_on_as_the_size_says() {
    let sized = |size: i64| {
        let mut root = compressed("blosc", Some(ScalarValue::Int(5)), 8);
        root.set("compressedSize", PvField::Scalar(ScalarValue::Long(size)));
        root
    };
    // 0: the server has not set it.
    for (size, passed_on) in [(0, 8), (3, 3), (8, 8)] {
        let Content::Image(image) = content(sized(size)) else {
            panic!("{size}")
        };
        assert_eq!(
            (image.pixels.len(), image.codec),
            (passed_on, Some(Codec::Blosc))
        );
    }
    for given in [-1, 9, i64::MAX] {
        let found = 8;
        assert_eq!(
            refusal(sized(given)),
            Refusal::CompressedSize { given, found }
        );
    }
}

#[test]
fn compressed_pixels_are_bytes() {
    let mut root = compressed("lz4", Some(ScalarValue::Int(6)), 16);
    let words = TypedScalarArray::UShort(vec![0; 8].into());
    root.set("value", PvField::ScalarArrayTyped(words));
    let (codec, name) = ("lz4", "uint16");
    assert_eq!(refusal(root), Refusal::NoBytes { codec, name });
}

#[test]
fn sizes_are_compared_with_the_limit_and_do_not_wrap() {
    let limit = ReadOptions::default().max_bytes;
    for sizes in [[1 << 20, 65], [i64::MAX, i64::MAX], [1 << 32, 1 << 32]] {
        let refused = refusal(structure(bytes(8), &sizes));
        assert!(
            matches!(refused, Refusal::TooLarge { limit: of, .. } if of == limit),
            "{refused}"
        );
    }
    let mut bomb = compressed("zlib", Some(ScalarValue::Int(10)), 0);
    let large = structure(bytes(8), &[1 << 20, 9]);
    bomb.set("dimension", large.get_field("dimension").unwrap().clone());
    assert!(matches!(refusal(bomb), Refusal::TooLarge { .. }));
}

#[test]
fn other_shapes_than_an_image_are_refused() {
    for (sizes, printed) in [
        (&[8][..], "8"),
        (&[4, 2, 1], "4 x 2 x 1"),
        (&[-4, 2], "-4 x 2"),
    ] {
        let dimensions = printed.to_owned();
        assert_eq!(
            refusal(structure(bytes(8), sizes)),
            Refusal::Dimensions { dimensions }
        );
    }
    let (shape, found) = (SHAPE, 9);
    assert_eq!(
        refusal(structure(bytes(9), &[4, 2])),
        Refusal::Pixels { shape, found }
    );
    let texts = TypedScalarArray::Boolean(vec![true; 8].into());
    assert_eq!(
        refusal(structure(texts, &[4, 2])),
        Refusal::Dtype { name: "bool" }
    );
}

#[test]
fn one_channel_is_read_whatever_it_is_called() {
    let mode = |mode: i32| {
        let mut root = structure(bytes(8), &[4, 2]);
        let mut attribute = PvStructure::new("");
        attribute.set(
            "name",
            PvField::Scalar(ScalarValue::String("ColorMode".into())),
        );
        let value = VariantValue::scalar(ScalarValue::Int(mode));
        attribute.set("value", PvField::Variant(Box::new(value)));
        root.set(
            "attribute",
            PvField::StructureArray(vec![None, Some(attribute)]),
        );
        root
    };
    // Mono and Bayer.
    assert_eq!([dtype(mode(0)), dtype(mode(1))], [Dtype::U8; 2]);
    for color_mode in 2..=7 {
        let refused = refusal(mode(color_mode));
        let color_mode = color_mode.into();
        assert_eq!(refused, Refusal::Color { color_mode });
    }
}

#[test]
fn a_value_that_is_no_ntndarray_is_refused_with_the_field() {
    let mut scalar = PvStructure::new("epics:nt/NTScalar:1.0");
    assert_eq!(
        refusal(scalar.clone()),
        Refusal::NoNtNdArray { field: "value" }
    );
    scalar.set("value", PvField::Scalar(ScalarValue::Double(1.0)));
    assert_eq!(refusal(scalar), Refusal::NoNtNdArray { field: "value" });
    let mut unsized_dimension = structure(bytes(8), &[4, 2]);
    let dimension = vec![Some(PvStructure::new("")); 2];
    unsized_dimension.set("dimension", PvField::StructureArray(dimension));
    let field = "dimension.size";
    assert_eq!(refusal(unsized_dimension), Refusal::NoNtNdArray { field });
}

#[test]
fn a_refusal_names_what_to_do() {
    let refused = refusal(compressed("lz4", None, 16)).to_string();
    assert_eq!(
        refused,
        "codec.parameters is no integer and uncompressedSize 16, which is no pixel type for 2x4: \
         the server must set codec.parameters to pvData's number of the original type (uint16: 6)"
    );
}
