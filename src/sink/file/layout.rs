//! The datasets of a file.
//!
//! ```text
//! /entry            NXentry   pv, scan, series_start_ns, start_time, end_time, model, model_version,
//!                           engine, program_name, program_version
//! /entry/data       NXdata    @signal: the first output
//!     OUTPUT                  (n, h, w) float32, a chunk for each frame; NaN where a result has not come
//!     frame_id                (n) int64, the frame's number
//!     frame_time              (n) float64, s since 1970 UTC; NaN unknown
//!     frame_time_ns           (n) int64, the same in ns, exact; -1 unknown
//!     probe_position_y_m, probe_position_x_m   (n) float64; NaN unknown
//! ```
//!
//! The names of the positions are those that ptychodus and DashPVA read. The file is written as one writer with many readers
//! (SWMR): readers can open it while it grows, and every flushed row survives a kill. The ordinary way of writing HDF5 leaves
//! nothing after a kill. A row is there when its number is there: numbers are written last.

use crate::frame::FrameShape;
use rust_hdf5::Hdf5Error;
use rust_hdf5::swmr::{SwmrFileReader, SwmrFileWriter};
use rust_hdf5::types::H5Type;
use std::path::Path;

/// The group of the datasets.
const DATA: &str = "/entry/data";
/// Rows in a chunk of the columns.
const COLUMN_CHUNK: u64 = 1_024;
/// What an unknown time is in ns.
const NO_TIME: i64 = -1;

/// What a file is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) pv: String,
    pub(super) scan: Option<String>,
    /// What the source calls the series, in ns since 1970.
    pub(super) series_start: Option<i64>,
    pub(super) model: String,
    pub(super) version: String,
    /// What ran the model for the first result, and in which precision.
    pub(super) engine: Option<String>,
}

/// One output: its name, and the shape of its results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) output: String,
    pub(super) shape: FrameShape,
}

/// What the columns have of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) number: u64,
    /// In ns since 1970.
    pub(super) time: Option<i64>,
    /// In metres.
    pub(super) y: Option<f64>,
    pub(super) x: Option<f64>,
}

/// A file that was written before, as it is after a kill.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) about: About,
    pub(super) columns: Vec<Column>,
    /// Number and time of each row.
    pub(super) rows: Vec<(u64, Option<i64>)>,
}

/// The dataset of an output.
#[derive(Clone, Copy)]
struct Images {
    index: usize,
    shape: FrameShape,
    /// Rows that it has. It must never be made shorter: that would remove rows.
    rows: u64,
}

/// The open file.
pub(super) struct Layout {
    writer: SwmrFileWriter,
    /// One for each output.
    images: Vec<Images>,
    number: usize,
    time: usize,
    nanoseconds: usize,
    y: usize,
    x: usize,
}

impl Layout {
    /// Creates a file without outputs and rows.
    pub(super) fn create(path: &Path, about: &About) -> Result<Self, Hdf5Error> {
        let mut writer = SwmrFileWriter::create(path)?;
        writer.create_group("/", "entry")?;
        writer.create_group("/entry", "data")?;
        for (group, class) in [("/entry", "NXentry"), (DATA, "NXdata")] {
            writer.set_group_attr_string(group, "NX_class", class)?;
        }
        writer.set_group_attr_string("/", "default", "entry")?;
        writer.set_group_attr_string("/entry", "default", "data")?;
        let start = about.series_start.map(|start| start.to_string());
        for (name, value) in [
            ("pv", Some(about.pv.as_str())),
            ("scan", about.scan.as_deref()),
            ("series_start_ns", start.as_deref()),
            ("model", Some(&about.model)),
            ("model_version", Some(&about.version)),
            ("engine", about.engine.as_deref()),
            ("program_name", Some("beamflow")),
            ("program_version", Some(env!("CARGO_PKG_VERSION"))),
            ("start_time", Some(&now())),
        ] {
            if let Some(value) = value {
                writer.set_group_attr_string("/entry", name, value)?;
            }
        }
        let mut column = |name, datatype, units: Option<&str>| {
            let (none, any, chunk) = ([0], [None], [COLUMN_CHUNK]);
            let index =
                writer.create_grid_dataset_with_max(name, datatype, &none, &any, &chunk, None)?;
            if let Some(units) = units {
                writer.set_dataset_attr_string(index, "units", units)?;
            }
            writer.assign_dataset_to_group(DATA, index)?;
            Ok::<_, Hdf5Error>(index)
        };
        let number = column("frame_id", i64::hdf5_type(), None)?;
        let time = column("frame_time", f64::hdf5_type(), Some("s"))?;
        let nanoseconds = column("frame_time_ns", i64::hdf5_type(), Some("ns"))?;
        let y = column("probe_position_y_m", f64::hdf5_type(), Some("m"))?;
        let x = column("probe_position_x_m", f64::hdf5_type(), Some("m"))?;
        writer.start_swmr()?;
        Ok(Self {
            writer,
            images: Vec::new(),
            number,
            time,
            nanoseconds,
            y,
            x,
        })
    }

    /// Repairs a file that was not closed, and reads what is in it.
    pub(super) fn heal(path: &Path) -> Result<Contents, Hdf5Error> {
        SwmrFileWriter::open_append(path)?.close()?;
        let mut reader = SwmrFileReader::open(path)?;
        let names = reader.group_attr_names("/entry")?;
        let mut note = |name: &str| {
            let there = names.iter().any(|there| there == name);
            let value = there.then(|| reader.group_attr_string("/entry", name));
            value.transpose()
        };
        let about = About {
            pv: note("pv")?.unwrap_or_default(),
            scan: note("scan")?,
            series_start: note("series_start_ns")?.and_then(|start| start.parse().ok()),
            model: note("model")?.unwrap_or_default(),
            version: note("model_version")?.unwrap_or_default(),
            engine: note("engine")?,
        };
        let mut columns = Vec::new();
        for name in reader.dataset_names() {
            let shape = reader.dataset_shape(&name)?;
            if let [_, height, width] = *shape.as_slice() {
                columns.push(Column {
                    output: reader.dataset_attr_string(&name, "output")?,
                    shape: FrameShape {
                        height: height as usize,
                        width: width as usize,
                    },
                });
            }
        }
        let numbers: Vec<i64> = reader.read_dataset(&inside("frame_id"))?;
        let times: Vec<i64> = reader.read_dataset(&inside("frame_time_ns"))?;
        let time = |time: i64| (time != NO_TIME).then_some(time);
        let rows = numbers.iter().zip(times);
        Ok(Contents {
            about,
            columns,
            rows: rows
                .map(|(number, ns)| (*number as u64, time(ns)))
                .collect(),
        })
    }

    /// Opens a file of `rows` rows that was closed or repaired, to go on. Outputs that it does not have are added.
    pub(super) fn resume(path: &Path, columns: &[Column], rows: u64) -> Result<Self, Hdf5Error> {
        let mut writer = SwmrFileWriter::open_append(path)?;
        let mut images = Vec::new();
        for column in columns {
            let known = writer.dataset_index(&inside(&dataset(&column.output)));
            images.push(match known {
                Some(index) => Images {
                    index,
                    shape: column.shape,
                    rows,
                },
                None => image(&mut writer, column)?,
            });
        }
        if let Some(first) = columns.first() {
            writer.set_group_attr_string(DATA, "signal", &dataset(&first.output))?;
        }
        let index = |name: &str| {
            let index = writer.dataset_index(&inside(name));
            index.ok_or_else(|| Hdf5Error::NotFound(name.to_owned()))
        };
        let [number, time, nanoseconds, y, x] = [
            index("frame_id")?,
            index("frame_time")?,
            index("frame_time_ns")?,
            index("probe_position_y_m")?,
            index("probe_position_x_m")?,
        ];
        writer.start_swmr()?;
        Ok(Self {
            writer,
            images,
            number,
            time,
            nanoseconds,
            y,
            x,
        })
    }

    /// Writes the result of a row: `column` is the place of its output.
    pub(super) fn put(&mut self, row: u64, column: usize, values: &[f32]) -> Result<(), Hdf5Error> {
        self.lengthen(column, row + 1)?;
        let Some(images) = self.images.get(column) else {
            let error = format!("there is no output {column}");
            return Err(Hdf5Error::InvalidState(error));
        };
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.writer
            .write_chunk_at(images.index, &[row, 0, 0], &bytes)
    }

    /// Makes the dataset of an output at least `rows` rows long.
    fn lengthen(&mut self, column: usize, rows: u64) -> Result<(), Hdf5Error> {
        if let Some(images) = self.images.get_mut(column)
            && images.rows < rows
        {
            let FrameShape { height, width } = images.shape;
            let dims = [rows, height as u64, width as u64];
            self.writer.set_extent(images.index, &dims)?;
            images.rows = rows;
        }
        Ok(())
    }

    /// Writes what is known of the frames of new rows, from row `first` on, and makes everything visible. `rows` is how many
    /// rows there are then.
    pub(super) fn finish(
        &mut self,
        first: u64,
        frames: &[Frame],
        rows: u64,
    ) -> Result<(), Hdf5Error> {
        for column in 0..self.images.len() {
            // An output that has come of none of the last rows is as long as the others.
            self.lengthen(column, rows)?;
        }
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let seconds = |time: Option<i64>| known(time.map(|time| time as f64 / 1e9));
        self.column(self.time, first, frames, |f| seconds(f.time).to_le_bytes())?;
        self.column(self.y, first, frames, |f| known(f.y).to_le_bytes())?;
        self.column(self.x, first, frames, |f| known(f.x).to_le_bytes())?;
        self.column(self.nanoseconds, first, frames, |f| {
            f.time.unwrap_or(NO_TIME).to_le_bytes()
        })?;
        self.column(self.number, first, frames, |f| {
            (f.number as i64).to_le_bytes()
        })?;
        self.writer.flush()
    }

    fn column(
        &mut self,
        index: usize,
        first: u64,
        frames: &[Frame],
        value: impl Fn(&Frame) -> [u8; 8],
    ) -> Result<(), Hdf5Error> {
        let count = frames.len() as u64;
        if count == 0 {
            return Ok(());
        }
        let bytes: Vec<u8> = frames.iter().flat_map(value).collect();
        self.writer.set_extent(index, &[first + count])?;
        self.writer.write_slice(index, &[first], &[count], &bytes)
    }

    /// Closes the file.
    pub(super) fn close(mut self) -> Result<(), Hdf5Error> {
        self.writer
            .set_group_attr_string("/entry", "end_time", &now())?;
        self.writer.close()
    }
}

/// Creates the dataset of an output, without rows.
fn image(writer: &mut SwmrFileWriter, column: &Column) -> Result<Images, Hdf5Error> {
    let (height, width) = (column.shape.height as u64, column.shape.width as u64);
    let index = writer.create_grid_dataset_with_max(
        &dataset(&column.output),
        f32::hdf5_type(),
        &[0, height, width],
        &[None, Some(height), Some(width)],
        &[1, height, width],
        None,
    )?;
    writer.set_dataset_fill_value(index, &f32::NAN)?;
    writer.set_dataset_attr_string(index, "output", &column.output)?;
    writer.assign_dataset_to_group(DATA, index)?;
    Ok(Images {
        index,
        shape: column.shape,
        rows: 0,
    })
}

/// The name of an output's dataset: a path separator is not part of a name.
pub(super) fn dataset(output: &str) -> String {
    output.replace('/', "-")
}

/// The path of a dataset as the reader has it.
pub(super) fn inside(name: &str) -> String {
    format!("{}/{name}", DATA.trim_start_matches('/'))
}

/// Now, as ISO 8601 has it.
fn now() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}
