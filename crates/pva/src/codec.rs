//! Stub.
#![allow(missing_docs)]
use beamflow_frame::BadValue;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec { Lz4, Lz4Hdf5, Bslz4, Blosc, Zlib, Jpeg }
impl Codec {
    pub const ALL: [Self; 6] = [Self::Lz4, Self::Lz4Hdf5, Self::Bslz4, Self::Blosc, Self::Zlib, Self::Jpeg];
    pub const fn name(self) -> &'static str { match self { Self::Lz4 => "lz4", Self::Lz4Hdf5 => "lz4hdf5", Self::Bslz4 => "bslz4", Self::Blosc => "blosc", Self::Zlib => "zlib", Self::Jpeg => "jpeg" } }
}
impl std::str::FromStr for Codec { type Err = BadValue; fn from_str(t: &str) -> Result<Self, BadValue> { Self::ALL.into_iter().find(|c| c.name() == t).ok_or_else(|| BadValue::new(t, "x")) } }
