//! From the bytes of a monitor update to a complete value.
//!
//! An update holds only what the server marks as changed; the rest is filled in from the update before it. So every
//! update is decoded, also one that is then lost because the program is slow: otherwise the next one would be filled
//! in from a value that is too old.
//!
//! At every connection the prior value is forgotten. Some servers send a first update with nothing marked; filled
//! in from the last connection, it would be the last frame once more.

use std::io::Cursor;
use std::sync::Arc;

use epics_pva_rs::proto::{BitSet, ByteOrder};
use epics_pva_rs::pvdata::encode::{
    decode_pv_field_with_bitset, default_value_for, fill_unmarked_from_prior,
};
use epics_pva_rs::pvdata::{FieldDesc, PvField};

/// A complete value, and what the update that completed it said.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// All fields.
    pub(crate) value: Arc<PvField>,
    /// The server marks the field `value` as changed.
    pub(crate) value_marked: bool,
    /// The server says that it has left updates out before this one. Not every server says so.
    pub(crate) overrun: bool,
    /// The first update of a connection.
    pub(crate) first: bool,
}

impl Change {
    /// This update, the marks of an older one that it replaces included.
    pub(crate) fn in_place_of(self, older: &Self) -> Self {
        Self {
            value_marked: self.value_marked || older.value_marked,
            overrun: self.overrun || older.overrun,
            first: self.first || older.first,
            ..self
        }
    }
}

/// Decodes the updates of one PV, in their order.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    prior: Option<Arc<PvField>>,
}

impl Decoder {
    /// Forgets the prior value.
    pub(crate) fn connected(&mut self) {
        self.prior = None;
    }

    /// Decodes `body`: changed set, values, overrun set.
    ///
    /// # Errors
    /// What is wrong with the bytes. The updates after it cannot be completed until the next connection.
    pub(crate) fn decode(
        &mut self,
        structure: &FieldDesc,
        body: &[u8],
        order: ByteOrder,
    ) -> Result<Change, String> {
        let mut bytes = Cursor::new(body);
        let wrong = |part: &str, error: &dyn std::fmt::Display| {
            crate::field::clean(&format!("{part}: {error}"))
        };
        let changed = BitSet::decode(&mut bytes, order).map_err(|e| wrong("changed set", &e))?;
        let sparse = decode_pv_field_with_bitset(structure, &changed, 0, &mut bytes, order)
            .map_err(|e| wrong("values", &e))?;
        let overrun = BitSet::decode(&mut bytes, order).map_err(|e| wrong("overrun set", &e))?;
        let first = self.prior.is_none();
        let value = match self.prior.take() {
            Some(prior) => fill_unmarked_from_prior(structure, &changed, 0, sparse, &prior),
            None => {
                let default = default_value_for(structure);
                fill_unmarked_from_prior(structure, &changed, 0, sparse, &default)
            }
        };
        let value = Arc::new(value);
        self.prior = Some(Arc::clone(&value));
        let marked = |bit| changed.get(bit);
        Ok(Change {
            value,
            // Bit 0 is the whole structure.
            value_marked: marked(0) || structure.bit_for_path("value").is_some_and(marked),
            overrun: !overrun.is_empty(),
            first,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use epics_pva_rs::pvdata::encode::encode_pv_field_with_bitset;
    use epics_pva_rs::pvdata::{PvStructure, ScalarType, ScalarValue};

    /// Two integers, `value` and `other`: bits 1 and 2.
    fn structure() -> FieldDesc {
        let integer = || FieldDesc::Scalar(ScalarType::Int);
        FieldDesc::Structure {
            struct_id: String::new(),
            fields: vec![("value".into(), integer()), ("other".into(), integer())],
        }
    }

    fn body(marked: &[usize], overrun: &[usize], value: i32, other: i32) -> Vec<u8> {
        let set = |bits: &[usize]| {
            let mut set = BitSet::new();
            bits.iter().for_each(|&bit| set.set(bit));
            set
        };
        let mut fields = PvStructure::new("");
        fields.set("value", PvField::Scalar(ScalarValue::Int(value)));
        fields.set("other", PvField::Scalar(ScalarValue::Int(other)));
        let (changed, order) = (set(marked), ByteOrder::Little);
        let mut bytes = Vec::new();
        bytes.extend(changed.encode(order));
        let value = PvField::Structure(fields);
        encode_pv_field_with_bitset(&value, &structure(), &changed, 0, order, &mut bytes);
        bytes.extend(set(overrun).encode(order));
        bytes
    }

    fn decode(decoder: &mut Decoder, body: &[u8]) -> (i64, i64, Change) {
        let change = decoder
            .decode(&structure(), body, ByteOrder::Little)
            .unwrap();
        let fields = crate::field::structure(Some(&change.value)).unwrap();
        let integer = |name| crate::field::integer(fields.get_field(name)).unwrap();
        (integer("value"), integer("other"), change)
    }

    #[test]
    fn unmarked_fields_are_filled_in_until_the_next_connection() {
        let mut decoder = Decoder::default();
        let (value, other, change) = decode(&mut decoder, &body(&[0], &[], 1, 2));
        assert_eq!((value, other), (1, 2));
        assert!(change.first && change.value_marked && !change.overrun);
        let (value, other, change) = decode(&mut decoder, &body(&[2], &[1], 7, 3));
        assert_eq!((value, other), (1, 3));
        assert!(!change.first && !change.value_marked && change.overrun);
        let (value, other, change) = decode(&mut decoder, &body(&[1], &[], 4, 7));
        assert_eq!((value, other), (4, 3));
        assert!(change.value_marked);
        decoder.connected();
        let (value, other, change) = decode(&mut decoder, &body(&[], &[], 7, 7));
        assert_eq!((value, other), (0, 0));
        assert!(change.first && !change.value_marked);
    }

    #[test]
    fn bytes_that_end_early_are_refused_with_the_part() {
        let whole = body(&[0], &[1], 1, 2);
        for (bytes, part) in [
            (0, "changed set"),
            (4, "values"),
            (whole.len() - 1, "overrun set"),
        ] {
            let body = whole.get(..bytes).unwrap();
            let error = Decoder::default()
                .decode(&structure(), body, ByteOrder::Little)
                .unwrap_err();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
