//! Zlib streams (RFC 1950).

use super::{Damage, end};
use flate2::{Decompress, FlushDecompress, Status};

/// A decoder that keeps its memory between streams.
#[derive(Default)]
pub(super) struct Inflater(Option<Box<Decompress>>);

impl Inflater {
    /// One stream that fills `to`.
    pub(super) fn stream(&mut self, payload: &[u8], to: &mut [u8]) -> Result<(), Damage> {
        let needs = to.len();
        let zlib = self
            .0
            .get_or_insert_with(|| Box::new(Decompress::new(true)));
        zlib.reset(true);
        let status = zlib.decompress(payload, to, FlushDecompress::Finish);
        let (read, has) = (zlib.total_in() as usize, zlib.total_out() as usize);
        match status {
            Ok(Status::StreamEnd) if has < needs => Err(Damage::Short { has, needs }),
            Ok(Status::StreamEnd) => end(payload.get(read..).unwrap_or_default()),
            Ok(Status::Ok | Status::BufError) if has == needs && read < payload.len() => {
                Err(Damage::Long { needs })
            }
            Ok(Status::Ok | Status::BufError) => Err(Damage::Ends),
            Err(_) => Err(Damage::Invalid(
                "it is no zlib stream, or its checksum differs",
            )),
        }
    }
}
