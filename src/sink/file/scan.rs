//! One file: which row a frame has, and what of it is there.
//!
//! A result goes to the row of its frame as it comes, so the outputs of a frame may come in different read batches. What the
//! system refuses to write is written again, to the same place, when the message comes again.

use super::layout::{About, Column, Contents, Frame, Layout};
use super::name;
use super::picture;
use super::room::{self, NoRoom};
use super::settings::MOST_OUTPUTS;
use crate::sink::mosaic::Recipe;
use crate::sink::result::Received;
use rust_hdf5::Hdf5Error;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Something with a file failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The system or the library refused it.
    #[error("cannot {doing} {}: {source}", path.display())]
    Failed {
        doing: &'static str,
        path: PathBuf,
        source: Hdf5Error,
    },
    /// It was not tried.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Whether a result is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It is in the file, and safe after the next `finish`.
    Written,
    /// It was there.
    Duplicate,
    /// The file cannot take it.
    Unfit(String),
}

/// A frame's row.
#[derive(Clone, Copy, Debug)]
struct Row {
    index: u64,
    /// A bit for each output that this process has written.
    there: u32,
}

/// A file that grows. See the module's essay.
pub(super) struct ScanFile {
    partial: PathBuf,
    about: About,
    columns: Vec<Column>,
    /// `None` before the first write of a file from before, and if an output could not be added.
    layout: Option<Layout>,
    rows: HashMap<(u64, Option<i64>), Row>,
    /// The frames of rows that are not finished.
    new: Vec<Frame>,
    /// The rows that got a result since the last `finish`, and which.
    touched: Vec<((u64, Option<i64>), u32)>,
    /// Rows that are finished.
    finished: u64,
}

impl ScanFile {
    /// A new file in `folder`.
    pub(super) fn create(folder: &Path, start: i64, about: About) -> Result<Self, FileError> {
        let stem = name::stem(&about.pv, start, about.scan.as_deref());
        let (partial, _) = name::free(folder, &stem);
        let layout = create(&partial, &about).map_err(|source| FileError::Failed {
            doing: "create",
            path: partial.clone(),
            source,
        })?;
        Ok(Self {
            partial,
            about,
            columns: Vec::new(),
            layout: Some(layout),
            rows: HashMap::new(),
            new: Vec::new(),
            touched: Vec::new(),
            finished: 0,
        })
    }

    /// A file of an earlier process.
    pub(super) fn of(partial: PathBuf) -> Result<Self, FileError> {
        let mut file = Self {
            partial,
            about: About::default(),
            columns: Vec::new(),
            layout: None,
            rows: HashMap::new(),
            new: Vec::new(),
            touched: Vec::new(),
            finished: 0,
        };
        file.heal()?;
        Ok(file)
    }

    pub(super) fn about(&self) -> &About {
        &self.about
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    fn folder(&self) -> &Path {
        self.partial.parent().unwrap_or(Path::new("."))
    }

    /// Rows, those that are not finished included.
    pub(super) fn rows(&self) -> u64 {
        self.finished + self.new.len() as u64
    }

    /// Whether the frame of a result has a row.
    pub(super) fn has(&self, received: &Received) -> bool {
        let identity = &received.identity;
        self.rows.contains_key(&(identity.number, identity.time))
    }

    /// Writes a result to the row of its frame.
    pub(super) fn put(&mut self, received: &Received) -> Result<Put, FileError> {
        self.open()?;
        let column = match self.column(received)? {
            Ok(column) => column,
            Err(unfit) => return Ok(Put::Unfit(unfit)),
        };
        let (identity, bit) = (&received.identity, 1 << column);
        let key = (identity.number, identity.time);
        let row = self.rows.get(&key).copied().unwrap_or(Row {
            index: self.rows(),
            there: 0,
        });
        if row.there & bit != 0 {
            return Ok(Put::Duplicate);
        }
        let values = &received.image.values;
        if let Some(layout) = &mut self.layout {
            let put = layout.put(row.index, column, values);
            put.map_err(|source| self.error("write", source))?;
        }
        if row.index == self.rows() {
            self.new.push(Frame {
                number: identity.number,
                time: identity.time,
                y: received.position_y,
                x: received.position_x,
            });
        }
        let there = row.there | bit;
        self.rows.insert(key, Row { there, ..row });
        self.touched.push((key, bit));
        Ok(Put::Written)
    }

    /// The place of a result's output, which the file gets if it does not have it; or why it does not.
    fn column(&mut self, received: &Received) -> Result<Result<usize, String>, FileError> {
        let (output, shape) = (&received.identity.output, received.image.shape);
        let known = self.columns.iter().position(|c| *c.output == **output);
        if let Some((index, column)) = known.and_then(|at| Some((at, self.columns.get(at)?))) {
            return Ok(if column.shape == shape {
                Ok(index)
            } else {
                let before = column.shape;
                Err(format!(
                    "its shape is {shape}, and those before have {before}"
                ))
            });
        }
        if self.columns.len() >= MOST_OUTPUTS {
            return Ok(Err(format!(
                "the file has {MOST_OUTPUTS} outputs, which is the most"
            )));
        }
        self.finish()?;
        // A dataset can be added only while the file is not open for readers.
        let layout = self.layout.take();
        let closed = layout.map_or(Ok(()), Layout::close);
        closed.map_err(|source| self.error("close", source))?;
        self.columns.push(Column {
            output: output.to_string(),
            shape,
        });
        let resumed = Layout::resume(&self.partial, &self.columns, self.finished);
        self.layout = Some(resumed.map_err(|source| {
            self.columns.pop();
            self.error("add an output to", source)
        })?);
        Ok(Ok(self.columns.len() - 1))
    }

    /// Makes everything that was written safe. If that fails, all of it counts as not written.
    pub(super) fn finish(&mut self) -> Result<(), FileError> {
        let (first, rows) = (self.finished, self.rows());
        if self.touched.is_empty() {
            return Ok(());
        }
        let Some(layout) = &mut self.layout else {
            return Ok(());
        };
        let finished = layout.finish(first, &self.new, rows);
        let touched = std::mem::take(&mut self.touched);
        if let Err(source) = finished {
            for (key, bit) in touched {
                if let Some(row) = self.rows.get_mut(&key) {
                    row.there &= !bit;
                }
            }
            return Err(self.error("write", source));
        }
        self.new.clear();
        self.finished = rows;
        Ok(())
    }

    /// Completes the file: it gets its mosaic, if there is a recipe, and its name. Takes as long as the solver.
    pub(super) fn close(&mut self, recipe: Option<&Recipe>) -> Result<PathBuf, FileError> {
        room::check(self.folder(), 0)?;
        self.open()?;
        self.finish()?;
        let layout = self.layout.take();
        let closed = layout.map_or(Ok(()), Layout::close);
        closed.map_err(|source| self.error("close", source))?;
        if let Some(recipe) = recipe {
            self.add_mosaic(recipe)?;
        }
        let complete = name::complete(&self.partial).unwrap_or_else(|| self.partial.clone());
        let renamed = File::open(&self.partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&self.partial, &complete));
        renamed.map_err(|source| self.error("complete", source.into()))?;
        Ok(complete)
    }

    fn add_mosaic(&self, recipe: &Recipe) -> Result<(), FileError> {
        let failed = |source| self.error("add a mosaic to", source);
        if picture::is_in(&self.partial).map_err(failed)? {
            return Ok(());
        }
        let picture = picture::make(&self.partial, &self.columns, recipe).map_err(failed)?;
        let Some(picture) = picture else {
            tracing::warn!(
                path = %self.partial.display(),
                "The file gets no mosaic: no result could be placed. Do the frames have positions, and has the model the outputs \
                 of --phase-output and --amplitude-output?"
            );
            return Ok(());
        };
        let bytes = picture.phase.len() * 2 * size_of::<f32>();
        room::check(self.folder(), bytes as u64)?;
        picture::add(&self.partial, &picture, recipe).map_err(failed)
    }

    /// Opens the file if it is not open: repaired, and read again.
    fn open(&mut self) -> Result<(), FileError> {
        if self.layout.is_some() {
            return Ok(());
        }
        if !self.partial.exists() {
            // Somebody has removed it, as the log had asked. What it had is gone.
            let layout = create(&self.partial, &self.about);
            self.columns.clear();
            self.rows.clear();
            self.new.clear();
            self.finished = 0;
            self.layout = Some(layout.map_err(|source| self.error("create", source))?);
            return Ok(());
        }
        self.heal()?;
        let layout = Layout::resume(&self.partial, &self.columns, self.finished);
        self.layout = Some(layout.map_err(|source| self.error("open", source))?);
        Ok(())
    }

    fn heal(&mut self) -> Result<(), FileError> {
        let healed = Layout::heal(&self.partial);
        let Contents {
            about,
            columns,
            rows,
        } = healed.map_err(|source| self.error("repair", source))?;
        self.about = about;
        self.columns = columns;
        self.new.clear();
        self.finished = rows.len() as u64;
        let rows = (0..).zip(rows);
        self.rows = rows
            .map(|(index, key)| (key, Row { index, there: 0 }))
            .collect();
        Ok(())
    }

    fn error(&self, doing: &'static str, source: Hdf5Error) -> FileError {
        FileError::Failed {
            doing,
            path: self.partial.clone(),
            source,
        }
    }
}

/// Creates a file without rows. It gets its name when it is one that can be repaired after a kill.
fn create(partial: &Path, about: &About) -> Result<Layout, Hdf5Error> {
    let new = name::new(partial).unwrap_or_else(|| partial.to_owned());
    let created = Layout::create(&new, about).and_then(|layout| {
        std::fs::rename(&new, partial)?;
        Ok(layout)
    });
    if created.is_err() {
        let _ = std::fs::remove_file(&new); // there may be none
    }
    created
}
