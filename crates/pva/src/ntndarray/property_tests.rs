//! No bytes and no value cause a panic.

use std::io::Cursor;
use std::sync::Arc;

use epics_pva_rs::nt::nd_array::nt_nd_array_desc;
use epics_pva_rs::proto::{BitSet, ByteOrder};
use epics_pva_rs::pvdata::encode::{decode_type_desc, encode_pv_field};
use epics_pva_rs::pvdata::{
    FieldDesc, PvField, PvStructure, ScalarValue, TypedScalarArray, VariantValue,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::change::{Change, Decoder};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn options() -> ReadOptions {
    ReadOptions {
        max_bytes: 1 << 20,
        attributes: vec!["name".to_owned(), String::new()],
    }
}

/// Decodes and reads `bodies` as updates of one connection. What an image says of itself must hold.
fn follow(structure: &FieldDesc, bodies: &[Vec<u8>], order: ByteOrder) {
    let mut decoder = Decoder::default();
    for body in bodies {
        if let Ok(change) = decoder.decode(structure, body, order) {
            check(&read(&change, &options()));
        }
    }
}

fn check(update: &Update) {
    for (_, attribute) in &update.attributes {
        let text = attribute.to_string();
        assert!(text.chars().all(|character| !character.is_control()));
        assert!(!matches!(attribute, Attribute::Text(text) if text.len() > 256));
    }
    match &update.content {
        Content::Image(image) => {
            let size = image.uncompressed_size().unwrap();
            assert!(size <= options().max_bytes);
            assert!(image.codec.is_some() || image.pixels.len() == size);
        }
        Content::Refused(refusal) => {
            assert!(!refusal.to_string().chars().any(char::is_control));
        }
        Content::Idle | Content::Metadata => {}
    }
}

/// A whole update of an image with an attribute.
fn whole(codec: Option<Codec>, order: ByteOrder) -> Vec<u8> {
    let image = NewImage {
        image: Image {
            pixels: vec![5; 24].into(),
            dtype: Dtype::U16,
            shape: FrameShape {
                height: 3,
                width: 4,
            },
            codec,
        },
        unique_id: 1,
        data_time_stamp: 2,
        attributes: vec![("name".to_owned(), Attribute::Text("a text".to_owned()))],
    };
    let mut bytes = Vec::new();
    let mut changed = BitSet::new();
    changed.set(0);
    bytes.extend(changed.encode(order));
    encode_pv_field(
        &value(&image, 3).unwrap(),
        &nt_nd_array_desc(),
        order,
        &mut bytes,
    );
    bytes.extend(BitSet::new().encode(order));
    bytes
}

fn scalar() -> impl Strategy<Value = ScalarValue> {
    let number = prop_oneof![any::<i64>(), -2..12_i64];
    prop_oneof![
        number.clone().prop_map(ScalarValue::Long),
        number.prop_map(|number| ScalarValue::Int(number as i32)),
        any::<u64>().prop_map(ScalarValue::ULong),
        any::<f64>().prop_map(ScalarValue::Double),
        any::<bool>().prop_map(ScalarValue::Boolean),
        prop_oneof!["", "lz4", "jpeg", "name", "ColorMode", "\\PC*"]
            .prop_map(|text| ScalarValue::String(text.into())),
        vec(any::<u8>(), 0..400).prop_map(|bytes| ScalarValue::String(bytes.into())),
    ]
}

fn array() -> impl Strategy<Value = TypedScalarArray> {
    let count = prop_oneof![Just(0_usize), Just(8), 0..40_usize];
    (count, 0..6).prop_map(|(count, kind)| match kind {
        0 => TypedScalarArray::UByte(vec![1; count].into()),
        1 => TypedScalarArray::Short(vec![-1; count].into()),
        2 => TypedScalarArray::ULong(vec![1; count].into()),
        3 => TypedScalarArray::Double(vec![f64::NAN; count].into()),
        4 => TypedScalarArray::Boolean(vec![true; count].into()),
        _ => TypedScalarArray::Float(vec![0.5; count].into()),
    })
}

/// Names that an NTNDArray has, at any place.
fn structure(field: impl Strategy<Value = PvField>) -> impl Strategy<Value = PvStructure> {
    let name = prop::sample::select(vec![
        "value",
        "codec",
        "name",
        "parameters",
        "compressedSize",
        "uncompressedSize",
        "uniqueId",
        "dataTimeStamp",
        "timeStamp",
        "secondsPastEpoch",
        "nanoseconds",
        "dimension",
        "size",
        "attribute",
    ]);
    vec((name, field), 0..8).prop_map(|fields| {
        let mut structure = PvStructure::new("");
        for (name, field) in fields {
            structure.set(name, field);
        }
        structure
    })
}

fn field() -> impl Strategy<Value = PvField> {
    let leaf = prop_oneof![
        Just(PvField::Null),
        scalar().prop_map(PvField::Scalar),
        array().prop_map(PvField::ScalarArrayTyped),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            structure(inner.clone()).prop_map(PvField::Structure),
            vec(prop::option::of(structure(inner.clone())), 0..4).prop_map(PvField::StructureArray),
            (-2..3, inner.clone()).prop_map(|(selector, value)| PvField::Union {
                selector,
                variant_name: "ubyteValue".to_owned(),
                value: Box::new(value),
            }),
            inner.prop_map(|value| {
                let desc = value.wire_descriptor();
                PvField::Variant(Box::new(VariantValue { desc, value }))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bodies in vec(vec(any::<u8>(), 0..200), 1..4)) {
        for order in ORDERS {
            follow(&nt_nd_array_desc(), &bodies, order);
        }
    }

    #[test]
    fn a_damaged_update_is_decoded_without_a_panic(
        codec in prop::option::of(prop::sample::select(Codec::ALL.to_vec())),
        damages in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        for order in ORDERS {
            let intact = whole(codec, order);
            let mut damaged = intact.clone();
            for (place, byte) in &damages {
                let place = place.index(damaged.len());
                damaged[place] = *byte;
            }
            let cut = intact[..end.index(intact.len())].to_vec();
            follow(&nt_nd_array_desc(), &[intact.clone(), damaged, cut, intact], order);
        }
    }

    #[test]
    fn any_structure_is_followed_without_a_panic(
        structure in vec(any::<u8>(), 0..100),
        body in vec(any::<u8>(), 0..200),
    ) {
        for order in ORDERS {
            if let Ok(structure) = decode_type_desc(&mut Cursor::new(&structure[..]), order) {
                follow(&structure, &[body.clone(), body.clone()], order);
            }
        }
    }

    #[test]
    fn any_value_is_read_without_a_panic(
        root in prop_oneof![structure(field()).prop_map(PvField::Structure), field()],
        value_marked in any::<bool>(),
        first in any::<bool>(),
    ) {
        let value = Arc::new(root);
        check(&read(&Change { value, value_marked, overrun: false, first }, &options()));
    }
}
