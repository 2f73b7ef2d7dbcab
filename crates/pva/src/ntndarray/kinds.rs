//! Names and numbers of pixel types: those of pvData, and those of areaDetector.

use beamflow_frame::Dtype;
use epics_pva_rs::pvdata::ScalarType;

/// The pixel type that pvData's `kind` is. 64-bit integers, booleans and texts are none.
pub(super) fn dtype(kind: ScalarType) -> Option<Dtype> {
    Some(match kind {
        ScalarType::Byte => Dtype::I8,
        ScalarType::Short => Dtype::I16,
        ScalarType::Int => Dtype::I32,
        ScalarType::UByte => Dtype::U8,
        ScalarType::UShort => Dtype::U16,
        ScalarType::UInt => Dtype::U32,
        ScalarType::Float => Dtype::F32,
        ScalarType::Double => Dtype::F64,
        ScalarType::Boolean | ScalarType::Long | ScalarType::ULong | ScalarType::String => {
            return None;
        }
    })
}

/// The number of a pixel type in pvData (`ScalarType` of `pvIntrospect.h`).
pub(super) fn number(dtype: Dtype) -> i32 {
    match dtype {
        Dtype::I8 => 1,
        Dtype::I16 => 2,
        Dtype::I32 => 3,
        Dtype::U8 => 5,
        Dtype::U16 => 6,
        Dtype::U32 => 7,
        Dtype::F32 => 9,
        Dtype::F64 => 10,
    }
}

/// A type by its number, with its bytes; the ones that no frame may have included, so that they can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A type that a frame may have.
    Pixel(Dtype),
    /// `int64` or `uint64`.
    Wide(&'static str),
}

impl Kind {
    /// By pvData's numbers.
    pub(super) fn pvdata(number: i64) -> Option<Self> {
        match number {
            4 => Some(Self::Wide("int64")),
            8 => Some(Self::Wide("uint64")),
            _ => {
                let is = |dtype: &Dtype| i64::from(self::number(*dtype)) == number;
                Dtype::ALL.into_iter().find(is).map(Self::Pixel)
            }
        }
    }

    /// By areaDetector's numbers (`NDDataType_t` of `NDArray.h`).
    pub(super) fn area_detector(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::Pixel(Dtype::I8),
            1 => Self::Pixel(Dtype::U8),
            2 => Self::Pixel(Dtype::I16),
            3 => Self::Pixel(Dtype::U16),
            4 => Self::Pixel(Dtype::I32),
            5 => Self::Pixel(Dtype::U32),
            6 => Self::Wide("int64"),
            7 => Self::Wide("uint64"),
            8 => Self::Pixel(Dtype::F32),
            9 => Self::Pixel(Dtype::F64),
            _ => return None,
        })
    }

    /// Bytes in a pixel.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Pixel(dtype) => dtype.size(),
            Self::Wide(_) => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_type_has_its_number_in_pvdata() {
        for kind in [
            ScalarType::Byte,
            ScalarType::Short,
            ScalarType::Int,
            ScalarType::UByte,
            ScalarType::UShort,
            ScalarType::UInt,
            ScalarType::Float,
            ScalarType::Double,
        ] {
            let dtype = dtype(kind).unwrap();
            assert_eq!(number(dtype), kind as i32);
            assert_eq!(Kind::pvdata(kind as i64), Some(Kind::Pixel(dtype)));
            assert_eq!(kind.element_size(), dtype.size());
        }
        assert_eq!(
            Kind::pvdata(ScalarType::Long as i64),
            Some(Kind::Wide("int64"))
        );
        assert_eq!(
            Kind::pvdata(ScalarType::ULong as i64),
            Some(Kind::Wide("uint64"))
        );
        for number in [-1, 0, 11, i64::MAX] {
            assert_eq!(Kind::pvdata(number), None);
        }
    }
}
