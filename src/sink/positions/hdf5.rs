//! HDF5 with the datasets of ptychodus' products, which DashPVA reads too.

use super::file::{BadContent, columns};
use super::{MAX_BYTES, Metres};
use rust_hdf5::H5File;
use std::path::Path;

/// The rows of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Metres>, BadContent> {
    let file = H5File::open(path).map_err(BadContent::Hdf5)?;
    let y = column(&file, "probe_position_y_m")?;
    let x = column(&file, "probe_position_x_m")?;
    columns(&y, &x)
}

fn column(file: &H5File, name: &'static str) -> Result<Vec<f64>, BadContent> {
    let failed = |source| BadContent::Dataset {
        dataset: name,
        source,
    };
    let dataset = file.dataset(name).map_err(failed)?;
    let shape = dataset.shape();
    let [rows] = shape.as_slice() else {
        return Err(BadContent::Shape {
            array: name.to_owned(),
            shape: format!("{shape:?}"),
            dtype: format!("{} bytes each", dataset.element_size()),
            bytes: dataset
                .total_elements()
                .saturating_mul(dataset.element_size()),
            wanted: "one column",
        });
    };
    // The shape is the file's word: it may be larger than what is stored.
    if *rows as u64 > MAX_BYTES / size_of::<f64>() as u64 {
        return Err(BadContent::TooLarge);
    }
    dataset.read_numeric_as::<f64>().map_err(failed)
}
