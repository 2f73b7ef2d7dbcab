//! numpy's files: an array of n × 2, y and x; or an archive with that array alone, or with one array for each coordinate.

use super::file::{BadContent, columns, rows};
use super::{MAX_BYTES, Metres};
use crate::frame::{Dtype, npy};
use std::io::{Cursor, Read};

/// The names of the coordinates in a file: ptychodus', then those of plain scripts.
const PAIRS: [(&str, &str); 2] = [("probe_position_y_m", "probe_position_x_m"), ("y", "x")];

/// The rows of a `.npy` file.
pub(super) fn array(bytes: &[u8]) -> Result<Vec<Metres>, BadContent> {
    let array = read("of the file", bytes)?;
    let values = array.values("n × 2, y and x,", |axes| matches!(axes, [_, 2]))?;
    let (pairs, _) = values.as_chunks();
    rows(pairs.iter().map(|[y, x]| (*y, *x)))
}

/// The rows of a `.npz` file.
pub(super) fn archive(bytes: &[u8]) -> Result<Vec<Metres>, BadContent> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    let names = archive.file_names();
    let names: Vec<String> = names
        .map(|name| Ok(name?.into_owned()))
        .collect::<Result<_, zip::result::ZipError>>()?;
    let known = |name: &str| names.iter().any(|known| known == &format!("{name}.npy"));
    for (y, x) in PAIRS {
        if known(y) && known(x) {
            let y = column(y, &unpack(&mut archive, &format!("{y}.npy"))?)?;
            let x = column(x, &unpack(&mut archive, &format!("{x}.npy"))?)?;
            return columns(&y, &x);
        }
    }
    match names.as_slice() {
        [only] => array(&unpack(&mut archive, only)?),
        _ => Err(BadContent::Arrays {
            found: found(&names),
        }),
    }
}

/// Some of the names in an archive, for a message.
fn found(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let plain = |name: &String| {
        let name = name.trim_end_matches(".npy");
        name.chars()
            .take(40)
            .map(|c| if c.is_control() { '?' } else { c })
            .collect::<String>()
    };
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(plain).collect();
    if names.len() > SHOWN {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// One file of the archive, uncompressed. What its header says about its size is not believed.
fn unpack(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, BadContent> {
    let file = archive.by_name(name)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(BadContent::Unpack)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(BadContent::TooLarge);
    }
    Ok(bytes)
}

fn column(name: &str, bytes: &[u8]) -> Result<Vec<f64>, BadContent> {
    read(name, bytes)?.values("one column", |axes| axes.len() == 1)
}

struct Named<'a> {
    name: &'a str,
    array: npy::Array<'a>,
}

fn read<'a>(name: &'a str, bytes: &'a [u8]) -> Result<Named<'a>, BadContent> {
    let array = npy::Array::read(bytes).map_err(|source| BadContent::Npy {
        array: name.to_owned(),
        source,
    })?;
    Ok(Named { name, array })
}

impl Named<'_> {
    /// The numbers, if `fits` says that the shape is the wanted one and all are there.
    fn values(
        &self,
        wanted: &'static str,
        fits: impl Fn(&[usize]) -> bool,
    ) -> Result<Vec<f64>, BadContent> {
        let axes = self.array.axes();
        let elements = axes
            .iter()
            .try_fold(1_usize, |product, axis| product.checked_mul(*axis));
        let size = self.array.dtype.size();
        let complete = elements.and_then(|n| n.checked_mul(size)) == Some(self.array.data.len());
        let values: Option<Vec<f64>> = match self.array.dtype {
            Dtype::F64 => Some(doubles(self.array.data)),
            Dtype::F32 => self
                .array
                .floats()
                .map(|v| v.into_iter().map(f64::from).collect()),
            _ => None,
        };
        let values = values.filter(|_| complete && fits(&axes));
        values.ok_or_else(|| BadContent::Shape {
            array: self.name.to_owned(),
            shape: self.array.shape.to_owned(),
            dtype: self.array.dtype.to_string(),
            bytes: self.array.data.len(),
            wanted,
        })
    }
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let (values, _) = bytes.as_chunks();
    values.iter().copied().map(f64::from_le_bytes).collect()
}
