//! From a value to an [`Update`].

use beamflow_frame::{Codec, Dtype, FrameShape};
use bytes::Bytes;
use epics_pva_rs::pvdata::{
    PvArray, PvField, PvStructure, ScalarType, ScalarValue, TypedScalarArray,
};

use super::kinds::{self, Kind};
use super::{Attribute, Content, Image, ReadOptions, Refusal, Update};
use crate::change::Change;
use crate::field;

/// Reads one update. What is wrong with the image is in [`Update::content`]; the other fields are read in any case,
/// so that a frame that is refused is not missed as well.
pub(crate) fn read(change: &Change, options: &ReadOptions) -> Update {
    let nothing = PvStructure::new("");
    let root = field::structure(Some(&change.value)).unwrap_or(&nothing);
    let wanted = |name: &String| {
        let value = attribute(root, name)?;
        Some((name.clone(), value))
    };
    Update {
        unique_id: field::integer(root.get_field("uniqueId")),
        time_stamp: field::nanoseconds(root.get_field("timeStamp")),
        data_time_stamp: field::nanoseconds(root.get_field("dataTimeStamp")),
        attributes: options.attributes.iter().filter_map(wanted).collect(),
        value_marked: change.value_marked,
        first: change.first,
        overrun: change.overrun,
        lost_in_client: 0,
        content: content(root, change, options).unwrap_or_else(Content::Refused),
    }
}

fn content(root: &PvStructure, change: &Change, options: &ReadOptions) -> Result<Content, Refusal> {
    let missing = |field| Refusal::NoNtNdArray { field };
    let value = root.get_field("value").ok_or(missing("value"))?;
    let array = match value.deref_selected() {
        PvField::ScalarArrayTyped(array) => array,
        PvField::Union { .. } | PvField::Variant(_) | PvField::Null => return Ok(Content::Idle),
        _ => return Err(missing("value")),
    };
    let dimensions = dimensions(root)?;
    if array.is_empty() || dimensions.is_empty() || dimensions.contains(&0) {
        return Ok(Content::Idle);
    }
    if !change.value_marked && !change.first {
        return Ok(Content::Metadata);
    }
    let shape = shape(root, &dimensions)?;
    image(root, array, shape, options.max_bytes).map(Content::Image)
}

/// The sizes of the dimensions, x first.
fn dimensions(root: &PvStructure) -> Result<Vec<i64>, Refusal> {
    // More than any image has: an array of thousands need not be kept.
    const MOST: usize = 10;
    let sizes = field::structures(root.get_field("dimension")).take(MOST);
    let sizes = sizes.map(|dimension| field::integer(dimension.get_field("size")));
    let sizes: Option<Vec<i64>> = sizes.collect();
    sizes.ok_or(Refusal::NoNtNdArray {
        field: "dimension.size",
    })
}

fn shape(root: &PvStructure, dimensions: &[i64]) -> Result<FrameShape, Refusal> {
    // 0 is mono, 1 is Bayer: one channel each.
    if let Some(Attribute::Integer(color_mode)) = attribute(root, "ColorMode")
        && !(0..=1).contains(&color_mode)
    {
        return Err(Refusal::Color { color_mode });
    }
    let extent = |size: i64| usize::try_from(size).ok();
    match *dimensions {
        [width, height] => extent(width).zip(extent(height)),
        _ => None,
    }
    .map(|(width, height)| FrameShape { height, width })
    .ok_or_else(|| {
        let sizes: Vec<String> = dimensions.iter().map(i64::to_string).collect();
        let dimensions = sizes.join(" x ");
        Refusal::Dimensions { dimensions }
    })
}

fn image(
    root: &PvStructure,
    array: &TypedScalarArray,
    shape: FrameShape,
    limit: usize,
) -> Result<Image, Refusal> {
    let codec = field::structure(root.get_field("codec"));
    let name = codec.and_then(|codec| field::text(codec.get_field("name")));
    let name = name.unwrap_or_default();
    match name.parse::<Codec>() {
        Ok(codec) => compressed(root, array, shape, codec, limit),
        Err(_) if name.is_empty() || shape.pixels() == Some(array.len()) => {
            raw(array, shape, limit)
        }
        Err(_) => Err(Refusal::Codec { name }),
    }
}

fn raw(array: &TypedScalarArray, shape: FrameShape, limit: usize) -> Result<Image, Refusal> {
    let kind = array.scalar_type();
    let dtype = kinds::dtype(kind).ok_or(Refusal::Dtype { name: name(kind) })?;
    fits(shape, dtype, limit)?;
    let found = array.len();
    let pixels = little_endian(array).filter(|_| shape.pixels() == Some(found));
    Ok(Image {
        pixels: pixels.ok_or(Refusal::Pixels { shape, found })?,
        dtype,
        shape,
        codec: None,
    })
}

fn compressed(
    root: &PvStructure,
    array: &TypedScalarArray,
    shape: FrameShape,
    codec: Codec,
    limit: usize,
) -> Result<Image, Refusal> {
    let bytes = match array {
        TypedScalarArray::UByte(_) | TypedScalarArray::Byte(_) => little_endian(array),
        _ => None,
    };
    let bytes = bytes.ok_or(Refusal::NoBytes {
        codec: codec.name(),
        name: name(array.scalar_type()),
    })?;
    let dtype = original(root, shape, codec)?;
    fits(shape, dtype, limit)?;
    let found = bytes.len();
    // Not every server sets it.
    let given = field::integer(root.get_field("compressedSize")).unwrap_or(0);
    let size = usize::try_from(given).ok().filter(|&size| size <= found);
    let pixels = match size.ok_or(Refusal::CompressedSize { given, found })? {
        0 => bytes,
        size => bytes.slice(..size),
    };
    Ok(Image {
        pixels,
        dtype,
        shape,
        codec: Some(codec),
    })
}

/// The type of the pixels before they were compressed.
fn original(root: &PvStructure, shape: FrameShape, codec: Codec) -> Result<Dtype, Refusal> {
    let structure = field::structure(root.get_field("codec"));
    let parameters = structure.and_then(|codec| codec.get_field("parameters"));
    let given = field::integer(parameters);
    let by_pvdata = given.and_then(Kind::pvdata);
    let by_area_detector = given.and_then(Kind::area_detector);
    // Before ADCore 3.15, NDPluginPvxs sent a `long` in areaDetector's numbering.
    let candidates = match field::scalar(parameters) {
        Some(ScalarValue::Long(_)) => [by_area_detector, by_pvdata],
        _ => [by_pvdata, by_area_detector],
    };
    let size = field::integer(root.get_field("uncompressedSize")).unwrap_or(0);
    // 0: not every server sets it.
    let of_this_size = |kind: &Kind| {
        let bytes = shape
            .pixels()
            .and_then(|pixels| pixels.checked_mul(kind.size()));
        size == 0 || bytes.and_then(|bytes| i64::try_from(bytes).ok()) == Some(size)
    };
    match candidates.into_iter().flatten().find(of_this_size) {
        Some(Kind::Pixel(dtype)) => Ok(dtype),
        Some(Kind::Wide(name)) => Err(Refusal::Dtype { name }),
        // JPEG has no other type.
        None if codec == Codec::Jpeg && given.is_none() => Ok(Dtype::U8),
        None => Err(Refusal::Original {
            given: given.map_or_else(|| "no integer".to_owned(), |given| given.to_string()),
            size,
            shape,
        }),
    }
}

fn fits(shape: FrameShape, dtype: Dtype, limit: usize) -> Result<(), Refusal> {
    match shape.bytes(dtype) {
        Some(bytes) if bytes <= limit => Ok(()),
        _ => Err(Refusal::TooLarge {
            shape,
            dtype,
            limit,
        }),
    }
}

/// The elements as little-endian bytes; nothing for booleans and texts. Bytes are borrowed and not copied.
fn little_endian(array: &TypedScalarArray) -> Option<Bytes> {
    macro_rules! copied {
        ($elements:expr) => {{
            let mut bytes = vec![0; size_of_val($elements.as_slice())];
            for (to, from) in bytes.as_chunks_mut().0.iter_mut().zip($elements.iter()) {
                *to = from.to_le_bytes();
            }
            Bytes::from(bytes)
        }};
    }
    Some(match array {
        TypedScalarArray::UByte(elements) => Bytes::from_owner(PvArray::clone(elements)),
        TypedScalarArray::Byte(elements) => copied!(elements),
        TypedScalarArray::Short(elements) => copied!(elements),
        TypedScalarArray::UShort(elements) => copied!(elements),
        TypedScalarArray::Int(elements) => copied!(elements),
        TypedScalarArray::UInt(elements) => copied!(elements),
        TypedScalarArray::Float(elements) => copied!(elements),
        TypedScalarArray::Double(elements) => copied!(elements),
        TypedScalarArray::Long(elements) => copied!(elements),
        TypedScalarArray::ULong(elements) => copied!(elements),
        TypedScalarArray::Boolean(_) | TypedScalarArray::String(_) => return None,
    })
}

fn name(kind: ScalarType) -> &'static str {
    match kinds::dtype(kind) {
        Some(dtype) => dtype.name(),
        None => match kind {
            ScalarType::Long => "int64",
            ScalarType::ULong => "uint64",
            ScalarType::Boolean => "bool",
            _ => "text",
        },
    }
}

/// The value of the NDAttribute `name`. One that is no scalar is left out.
fn attribute(root: &PvStructure, name: &str) -> Option<Attribute> {
    let is = |attribute: &&PvStructure| match field::scalar(attribute.get_field("name")) {
        Some(ScalarValue::String(text)) => text == name,
        _ => false,
    };
    let found = field::structures(root.get_field("attribute")).find(is)?;
    let value = found.get_field("value");
    if let Some(integer) = field::integer(value) {
        return Some(Attribute::Integer(integer));
    }
    Some(match field::scalar(value)? {
        ScalarValue::Boolean(value) => Attribute::Integer((*value).into()),
        ScalarValue::Float(value) => Attribute::Number((*value).into()),
        ScalarValue::Double(value) => Attribute::Number(*value),
        ScalarValue::ULong(value) => Attribute::Number(*value as f64),
        _ => Attribute::Text(field::text(value)?),
    })
}
