//! From a [`NewImage`] to a value, with every field that viewers read.
//!
//! c2dataviewer skips an image whose `uniqueId` or `timeStamp` is that of the one before, and Phoebus needs an
//! integer in `codec.parameters`, compressed or not, and all fields of a dimension.

use std::sync::Arc;

use beamflow_frame::Dtype;
use bytes::Bytes;
use epics_pva_rs::nt::nd_array::{
    NdArrayBuffer, NdAttribute, NdCodec, NdDimension, NdTimeStamp, NtNdArray, nt_nd_array_value,
};
use epics_pva_rs::pvdata::{PvArray, PvField, ScalarValue, VariantValue};

use super::{Attribute, Image, kinds};

/// An image to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct NewImage {
    /// Its pixels. Those with a codec are served as they are.
    pub image: Image,
    /// Its number. Some viewers skip an image with the number of the one before.
    pub unique_id: i32,
    /// When the detector took it, in ns since 1970.
    pub data_time_stamp: i64,
    /// NDAttributes, by name. `ColorMode` is set to 0 unless it is among them.
    pub attributes: Vec<(String, Attribute)>,
}

/// Why an image cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// A dimension exceeds the `int` that it is in an NTNDArray.
    #[error("{0} pixels are too many in one dimension: at most 2147483647 can be sent")]
    Dimension(usize),
    /// Not as many bytes as shape and type need.
    #[error("{found} bytes of pixels do not fill {shape} {dtype}")]
    Pixels {
        /// The shape.
        shape: beamflow_frame::FrameShape,
        /// The type of the pixels.
        dtype: Dtype,
        /// The bytes.
        found: usize,
    },
}

/// An NTNDArray as an areaDetector plugin has it before its first frame: a null union, and no dimensions.
pub(crate) fn empty() -> PvField {
    let mut value = nt_nd_array_value(&NtNdArray {
        value: NdArrayBuffer::UByte(PvArray::from(Vec::new())),
        codec: codec("", Dtype::U8),
        compressed_size: 0,
        uncompressed_size: 0,
        unique_id: 0,
        data_time_stamp: NdTimeStamp::default(),
        alarm: Default::default(),
        time_stamp: NdTimeStamp::default(),
        dimension: Vec::new(),
        attribute: Vec::new(),
    });
    if let PvField::Structure(structure) = &mut value {
        let null = PvField::Union {
            selector: -1,
            variant_name: String::new(),
            value: Box::new(PvField::Null),
        };
        structure.set("value", null);
    }
    value
}

/// The NTNDArray of `new`, posted at `time_stamp` in ns since 1970.
pub(crate) fn value(new: &NewImage, time_stamp: i64) -> Result<PvField, Unwritable> {
    let Image {
        pixels,
        dtype,
        shape,
        codec: compression,
    } = &new.image;
    let wrong = Unwritable::Pixels {
        shape: *shape,
        dtype: *dtype,
        found: pixels.len(),
    };
    let size = |bytes: usize| i64::try_from(bytes).ok();
    let uncompressed = new.image.uncompressed_size();
    if compression.is_none() && uncompressed != Some(pixels.len()) {
        return Err(wrong);
    }
    let (Some(compressed_size), Some(uncompressed_size)) =
        (size(pixels.len()), uncompressed.and_then(size))
    else {
        return Err(wrong);
    };
    let time_stamp = time(time_stamp);
    let attributes = new.attributes.iter();
    let attributes = attributes.map(|(name, value)| attribute(name, value, &time_stamp));
    let mono = Attribute::Integer(0);
    let has_mode = new.attributes.iter().any(|(name, _)| name == "ColorMode");
    let mode = (!has_mode).then(|| attribute("ColorMode", &mono, &time_stamp));
    Ok(nt_nd_array_value(&NtNdArray {
        value: match compression {
            None => buffer(pixels, *dtype),
            Some(_) => NdArrayBuffer::UByte(bytes(pixels)),
        },
        codec: codec(compression.map_or("", |codec| codec.name()), *dtype),
        compressed_size,
        uncompressed_size,
        unique_id: new.unique_id,
        data_time_stamp: time(new.data_time_stamp),
        alarm: Default::default(),
        time_stamp: time_stamp.clone(),
        dimension: vec![dimension(shape.width)?, dimension(shape.height)?],
        attribute: mode.into_iter().chain(attributes).collect(),
    }))
}

fn dimension(size: usize) -> Result<NdDimension, Unwritable> {
    let size = i32::try_from(size).map_err(|_| Unwritable::Dimension(size))?;
    Ok(NdDimension {
        size,
        offset: 0,
        full_size: size,
        binning: 1,
        reverse: false,
    })
}

fn codec(name: &str, dtype: Dtype) -> NdCodec {
    let parameters = VariantValue::scalar(ScalarValue::Int(kinds::number(dtype)));
    NdCodec {
        name: name.to_owned(),
        parameters: Some(parameters),
    }
}

fn attribute(name: &str, value: &Attribute, time_stamp: &NdTimeStamp) -> NdAttribute {
    let value = match value {
        // areaDetector's own attributes are `int`s.
        Attribute::Integer(value) => match i32::try_from(*value) {
            Ok(value) => ScalarValue::Int(value),
            Err(_) => ScalarValue::Long(*value),
        },
        Attribute::Number(value) => ScalarValue::Double(*value),
        Attribute::Text(text) => ScalarValue::String(text.as_str().into()),
    };
    NdAttribute {
        time_stamp: time_stamp.clone(),
        descriptor: name.to_owned(),
        // NDAttrSourceDriver
        source_type: 0,
        source: "beamflow".to_owned(),
        ..NdAttribute::scalar(name, value)
    }
}

pub(crate) fn time(nanoseconds: i64) -> NdTimeStamp {
    const SECOND: i64 = 1_000_000_000;
    NdTimeStamp {
        seconds_past_epoch: nanoseconds.div_euclid(SECOND),
        // Below 10⁹.
        nanoseconds: nanoseconds.rem_euclid(SECOND) as i32,
        user_tag: 0,
    }
}

/// The bytes themselves, not copied.
fn bytes(pixels: &Bytes) -> PvArray<u8> {
    PvArray::from_owner(Arc::new(pixels.clone()))
}

fn buffer(pixels: &Bytes, dtype: Dtype) -> NdArrayBuffer {
    macro_rules! elements {
        ($element:ty) => {
            pixels
                .as_chunks()
                .0
                .iter()
                .map(|bytes| <$element>::from_le_bytes(*bytes))
                .collect()
        };
    }
    match dtype {
        Dtype::U8 => NdArrayBuffer::UByte(bytes(pixels)),
        Dtype::I8 => NdArrayBuffer::Byte(elements!(i8)),
        Dtype::U16 => NdArrayBuffer::UShort(elements!(u16)),
        Dtype::I16 => NdArrayBuffer::Short(elements!(i16)),
        Dtype::U32 => NdArrayBuffer::UInt(elements!(u32)),
        Dtype::I32 => NdArrayBuffer::Int(elements!(i32)),
        Dtype::F32 => NdArrayBuffer::Float(elements!(f32)),
        Dtype::F64 => NdArrayBuffer::Double(elements!(f64)),
    }
}
