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
