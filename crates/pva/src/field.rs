//! Reading fields of values that another program made: what is missing or of another type is no error.

use epics_pva_rs::pvdata::{PvField, PvStructure, ScalarValue};

/// The most bytes of a text that are kept.
const MOST_TEXT: usize = 256;

/// The structure that `field` is.
pub(crate) fn structure(field: Option<&PvField>) -> Option<&PvStructure> {
    match field?.deref_selected() {
        PvField::Structure(structure) => Some(structure),
        _ => None,
    }
}

/// The elements of the array of structures that `field` is; none if it is no such array. Null elements are left out.
pub(crate) fn structures(field: Option<&PvField>) -> impl Iterator<Item = &PvStructure> {
    let elements = match field {
        Some(PvField::StructureArray(elements)) => elements.as_slice(),
        _ => &[],
    };
    elements.iter().flatten()
}

/// The scalar that `field` is, also inside of a union or an any.
pub(crate) fn scalar(field: Option<&PvField>) -> Option<&ScalarValue> {
    match field?.deref_selected() {
        PvField::Scalar(value) => Some(value),
        _ => None,
    }
}

/// An integer of any width; nothing if it exceeds `i64`.
pub(crate) fn integer(field: Option<&PvField>) -> Option<i64> {
    match *scalar(field)? {
        ScalarValue::Byte(value) => Some(value.into()),
        ScalarValue::Short(value) => Some(value.into()),
        ScalarValue::Int(value) => Some(value.into()),
        ScalarValue::Long(value) => Some(value),
        ScalarValue::UByte(value) => Some(value.into()),
        ScalarValue::UShort(value) => Some(value.into()),
        ScalarValue::UInt(value) => Some(value.into()),
        ScalarValue::ULong(value) => value.try_into().ok(),
        _ => None,
    }
}

/// A text as [`clean`] leaves it.
pub(crate) fn text(field: Option<&PvField>) -> Option<String> {
    match scalar(field)? {
        ScalarValue::String(value) => Some(clean(&value.as_str_lossy())),
        _ => None,
    }
}

/// Nanoseconds since 1970 of a `time_t`; 0 where it is missing or exceeds `i64`.
pub(crate) fn nanoseconds(field: Option<&PvField>) -> i64 {
    let time = || {
        let time = structure(field)?;
        let seconds = integer(time.get_field("secondsPastEpoch"))?;
        let nanoseconds = integer(time.get_field("nanoseconds"))?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
    };
    time().unwrap_or(0)
}

/// `text` without control characters, cut to 256 bytes: it ends up in headers, labels and logs.
pub(crate) fn clean(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > MOST_TEXT {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_width_are_read() {
        for value in [
            ScalarValue::Byte(7),
            ScalarValue::Short(7),
            ScalarValue::Int(7),
            ScalarValue::Long(7),
            ScalarValue::UByte(7),
            ScalarValue::UShort(7),
            ScalarValue::UInt(7),
            ScalarValue::ULong(7),
        ] {
            assert_eq!(integer(Some(&PvField::Scalar(value))), Some(7));
        }
        for value in [ScalarValue::ULong(u64::MAX), ScalarValue::Double(7.0)] {
            assert_eq!(integer(Some(&PvField::Scalar(value))), None);
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_has_no_controls() {
        assert_eq!(clean("a\r\nb\u{7f}\u{9b}c"), "abc");
        assert_eq!(clean(&"é".repeat(200)).len(), 256);
        assert_eq!(clean(&format!("x{}", "é".repeat(200))).len(), 255);
    }

    #[test]
    fn a_time_that_exceeds_the_range_is_zero() {
        let time = |seconds| {
            let mut time = PvStructure::new("time_t");
            time.set(
                "secondsPastEpoch",
                PvField::Scalar(ScalarValue::Long(seconds)),
            );
            time.set("nanoseconds", PvField::Scalar(ScalarValue::Int(5)));
            nanoseconds(Some(&PvField::Structure(time)))
        };
        assert_eq!(time(2), 2_000_000_005);
        assert_eq!(time(i64::MAX), 0);
        assert_eq!(nanoseconds(None), 0);
    }
}
