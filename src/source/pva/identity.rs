//! The identity of a frame: the offset that Numaflow gets.
//!
//! PV, uniqueId and both time stamps. It is the same in every pod on purpose: pods of one replica overlap in a roll-out, and
//! JetStream drops a message whose offset it has stored within its window for duplicates. uniqueId alone is no identity: it
//! starts again at every scan, and some drivers never change it.
//!
//! Of a PV whose time stamps do not move, a frame has an identity of this process alone: a random number and a count.

/// See the module's essay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// The number of the PV in the list of PVs.
    pub(crate) pv: u32,
    /// `uniqueId`, or this process's random number.
    pub(crate) unique_id: i64,
    /// `timeStamp` in ns since 1970, or a count.
    pub(crate) time_stamp: i64,
    /// `dataTimeStamp` in ns since 1970, or [`LOCAL`].
    pub(crate) data_time_stamp: i64,
}

/// In place of `dataTimeStamp`: the identity is one of this process.
const LOCAL: i64 = i64::MIN;

impl Identity {
    /// Bytes of an offset.
    pub(crate) const BYTES: usize = 28;

    /// An identity of this process: `process` tells it from others, `count` from its other frames.
    pub(crate) const fn local(pv: u32, process: u64, count: u64) -> Self {
        Self {
            pv,
            unique_id: process.cast_signed(),
            time_stamp: count.cast_signed(),
            data_time_stamp: LOCAL,
        }
    }

    /// As the offset of a message.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend(self.pv.to_be_bytes());
        for part in [self.unique_id, self.time_stamp, self.data_time_stamp] {
            bytes.extend(part.to_be_bytes());
        }
        bytes
    }

    /// The identity in an offset; `None` if the offset is not one of a PVA source.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pv, parts) = bytes.split_first_chunk()?;
        let (parts, []) = parts.as_chunks() else {
            return None;
        };
        let [unique_id, time_stamp, data_time_stamp] = parts else {
            return None;
        };
        Some(Self {
            pv: u32::from_be_bytes(*pv),
            unique_id: i64::from_be_bytes(*unique_id),
            time_stamp: i64::from_be_bytes(*time_stamp),
            data_time_stamp: i64::from_be_bytes(*data_time_stamp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_as_the_identity_that_wrote_it() {
        let stamped = Identity {
            pv: 3,
            unique_id: -7,
            time_stamp: 1_790_000_000_000_000_000,
            data_time_stamp: 0,
        };
        for identity in [stamped, Identity::local(0, u64::MAX, 12)] {
            let bytes = identity.to_bytes();
            assert_eq!(bytes.len(), Identity::BYTES);
            assert_eq!(Identity::from_bytes(&bytes), Some(identity));
            assert_eq!(Identity::from_bytes(&bytes[1..]), None);
            assert_eq!(Identity::from_bytes(&[&bytes[..], &[0]].concat()), None);
        }
        assert_eq!(Identity::from_bytes(b"1790000000000000-12"), None);
    }
}
