//! The mosaic of a file: made from its rows when they are all there, and added to it.
//!
//! ```text
//! /entry/mosaic     NXdata: pixel_size_m, origin_x_m, origin_y_m (the middle of the pixel [0, 0]), placed, missing, …
//!     phase, amplitude        (H, W) float32; NaN where nothing lies
//! ```

use super::layout::{Column, dataset, inside};
use crate::frame::FrameShape;
use crate::sink::mosaic::{Part, Picture, Recipe, Whole, final_picture};
use crate::sink::positions::Metres;
use rust_hdf5::Hdf5Error;
use rust_hdf5::swmr::{SwmrFileReader, SwmrFileWriter};
use std::path::Path;
use std::sync::Arc;

/// The group of the mosaic.
const GROUP: &str = "/entry/mosaic";

/// The final picture of the results in a file; `None` if none has a place.
pub(super) fn make(
    path: &Path,
    columns: &[Column],
    recipe: &Recipe,
) -> Result<Option<Arc<Picture>>, Hdf5Error> {
    let mut reader = SwmrFileReader::open(path)?;
    let numbers: Vec<i64> = reader.read_dataset(&inside("frame_id"))?;
    let times: Vec<i64> = reader.read_dataset(&inside("frame_time_ns"))?;
    let y: Vec<f64> = reader.read_dataset(&inside("probe_position_y_m"))?;
    let x: Vec<f64> = reader.read_dataset(&inside("probe_position_x_m"))?;
    let first = numbers.iter().copied().min().unwrap_or_default() as u64;
    let parts = columns.iter().filter_map(|column| {
        let part = recipe.part(&column.output)?;
        Some((part, inside(&dataset(&column.output)), column.shape))
    });
    let parts: Vec<(Part, String, FrameShape)> = parts.collect();
    let rows = numbers.iter().zip(times).zip(y.iter().zip(x)).zip(0_u64..);
    let results = rows.flat_map(|(row, index)| parts.iter().map(move |part| (row, index, part)));
    let results = results.filter_map(|(((number, time), (y, x)), row, (part, name, shape))| {
        let counts = [1, shape.height as u64, shape.width as u64];
        let values: Vec<f32> = match reader.read_slice(name, &[row, 0, 0], &counts) {
            Ok(values) => values,
            Err(error) => return Some(Err(error)),
        };
        // It has not come.
        if values.iter().all(|value| value.is_nan()) {
            return None;
        }
        let known = |value: f64| value.is_finite().then_some(value);
        let number = *number as u64;
        let headers = Metres::of(known(x), known(*y));
        Some(Ok(Whole {
            number,
            time: Some(time),
            part: *part,
            position: recipe.positions.of(headers, number, first),
            shape: (shape.height, shape.width),
            values,
        }))
    });
    final_picture(recipe.canvas.clone(), results)
}

/// Adds a picture to a file that is closed.
pub(super) fn add(path: &Path, picture: &Picture, recipe: &Recipe) -> Result<(), Hdf5Error> {
    let mut writer = SwmrFileWriter::open_append(path)?;
    writer.create_group("/entry", "mosaic")?;
    writer.set_group_attr_string(GROUP, "NX_class", "NXdata")?;
    writer.set_group_attr_string(GROUP, "signal", "phase")?;
    let amplitude = recipe.amplitude.as_ref().map(|_| &picture.amplitude);
    let parts = [("phase", Some(&picture.phase)), ("amplitude", amplitude)];
    for (name, values) in parts {
        if let Some(values) = values {
            let shape = [values.nrows() as u64, values.ncols() as u64];
            let values: Vec<f32> = values.iter().copied().collect();
            let index = writer.write_dataset(name, &shape, &values)?;
            writer.assign_dataset_to_group(GROUP, index)?;
        }
    }
    let (x, y) = picture.origin;
    for (name, value) in [
        ("pixel_size_m", picture.pixel_size),
        ("origin_x_m", x),
        ("origin_y_m", y),
    ] {
        writer.set_group_attr_numeric(GROUP, name, &value)?;
    }
    for (name, count) in [
        ("placed", picture.placed),
        ("unlevelled", picture.unlevelled),
        ("missing", picture.missing),
        ("unpositioned", picture.unpositioned),
        ("outside", picture.outside),
        ("kept_every", picture.kept_every),
    ] {
        writer.set_group_attr_numeric(GROUP, name, &count)?;
    }
    writer.close()
}

/// Whether a file has a picture already: an earlier process may have ended just after it was added.
pub(super) fn is_in(path: &Path) -> Result<bool, Hdf5Error> {
    Ok(SwmrFileReader::open(path)?.has_group(GROUP))
}
