//! The staging memory of one batch, and the tickets of its frames.

use crate::engine::{
    Batch, BatchDimension, Engine, EngineError, HostBuffer, OutputRows, Session, StageTimes,
};
use crate::frame::values::{Values, ValuesMut};
use crate::frame::{BadPixels, Pixels, Rejection};
use crate::inference::lane::Work;
use crate::inference::ledger::Ticket;
use std::ops::Range;

/// Room for one batch: input rows, output rows, and the tickets of the frames in them.
///
/// Row `k` of the input, row `k` of every output and ticket `k` belong to one frame.
pub(crate) struct Slot {
    input: HostBuffer,
    row: usize,
    outputs: Vec<Output>,
    tickets: Vec<Ticket>,
    /// The number of the frame that was pushed last.
    number: Option<u64>,
    capacity: usize,
    batch: BatchDimension,
}

struct Output {
    buffer: HostBuffer,
    row: usize,
    wanted: Range<usize>,
}

impl Slot {
    /// A slot for batches of up to `capacity` frames, in memory of the engine's own kind. Without `short_batches` a batch that
    /// is not full is padded to a full one. `wanted` is the part of a row that will be read, for each output of the model; for
    /// outputs beyond its end, none.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when the memory cannot be allocated.
    pub(crate) fn new(
        engine: &dyn Engine,
        capacity: usize,
        short_batches: bool,
        wanted: &[Range<usize>],
    ) -> Result<Self, EngineError> {
        let spec = engine.model();
        // A model with a fixed batch runs all its rows, however few frames there are.
        let rows = spec.batch.rows(capacity).max(capacity);
        let wanted = wanted.iter().cloned().chain(std::iter::repeat(0..0));
        let outputs = spec
            .outputs
            .iter()
            .zip(wanted)
            .map(|(output, wanted)| {
                let row = output.elements();
                let buffer = engine.allocate(output.element, rows * row)?;
                Ok(Output {
                    buffer,
                    row,
                    wanted,
                })
            })
            .collect::<Result<_, EngineError>>()?;
        let row = spec.input.elements();
        Ok(Self {
            input: engine.allocate(spec.input.element, rows * row)?,
            row,
            outputs,
            tickets: Vec::with_capacity(capacity),
            number: None,
            capacity,
            batch: if short_batches {
                spec.batch
            } else {
                BatchDimension::Static(rows)
            },
        })
    }

    /// A slot with no room at all: what a returned lease leaves behind.
    pub(super) fn vacant() -> Self {
        Self {
            input: Box::new(Vec::<f32>::new()),
            row: 0,
            outputs: Vec::new(),
            tickets: Vec::new(),
            number: None,
            capacity: 0,
            batch: BatchDimension::Dynamic,
        }
    }

    /// Converts `pixels` straight into the next free row, for the holder of `ticket`. Returns the number of bad pixels.
    ///
    /// # Errors
    /// A [`Rejection`] if the frame is not of the model's size, a pixel beyond its range, or too many are bad; the slot then
    /// has the frames it had before.
    pub(crate) fn push(
        &mut self,
        ticket: Ticket,
        pixels: &Pixels<'_>,
        bad: &BadPixels,
    ) -> Result<usize, Rejection> {
        let from = self.tickets.len() * self.row;
        let row = self.input.values_mut().get(from..from + self.row);
        // A full slot has no row left; the collector never pushes into one.
        let found = pixels.write_to(row.unwrap_or(ValuesMut::F32(&mut [])), bad)?;
        self.tickets.push(ticket);
        Ok(found)
    }

    /// Notes the number of the frame that was pushed last.
    pub(crate) fn number_last(&mut self, number: Option<u64>) {
        self.number = number;
    }

    /// The frame that was pushed last: its row, and its number if it has one. None in an empty slot.
    #[must_use]
    pub(crate) fn last(&self) -> Option<(usize, Option<u64>)> {
        Some((self.frames().checked_sub(1)?, self.number))
    }

    /// Row `frame` of the input, as the model sees it.
    #[must_use]
    pub(crate) fn input(&self, frame: usize) -> Option<Values<'_>> {
        let row = frame * self.row..(frame + 1) * self.row;
        self.input.values().get(row)
    }

    /// The tickets of the frames in this slot, in row order.
    #[must_use]
    pub(crate) fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// Frames in this slot.
    #[must_use]
    pub(crate) fn frames(&self) -> usize {
        self.tickets.len()
    }

    /// Frames that this slot has room for.
    #[must_use]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Rows that a run of this slot computes beyond its frames.
    #[must_use]
    pub(crate) fn padding(&self) -> usize {
        self.batch.rows(self.frames()).saturating_sub(self.frames())
    }

    /// Row `frame` of output `output`, as the engine left it: the wanted part is the result. `None` past the
    /// frames in the slot.
    #[must_use]
    pub(crate) fn result(&self, output: usize, frame: usize) -> Option<Values<'_>> {
        let Output { buffer, row, .. } = self.outputs.get(output)?;
        if frame >= self.frames() {
            return None;
        }
        buffer.values().get(frame * row..(frame + 1) * row)
    }

    /// Empties the slot for its next batch.
    pub(crate) fn clear(&mut self) {
        self.tickets.clear();
        self.number = None;
    }
}

impl Work for Slot {
    fn frames(&self) -> usize {
        self.frames()
    }

    fn run(&mut self, session: &mut dyn Session) -> Result<StageTimes, EngineError> {
        let frames = self.frames();
        let rows = self.batch.rows(frames);
        // Padding is zeros, not an earlier batch's frames: what is computed depends on this batch alone.
        let padding = frames * self.row..rows * self.row;
        if let Some(padding) = self.input.values_mut().get(padding) {
            padding.clear();
        }
        let short = || EngineError::Run(format!("a slot has no room for {rows} rows").into());
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for output in &mut self.outputs {
            let values = output.buffer.values_mut().get(0..rows * output.row);
            outputs.push(OutputRows {
                values: values.ok_or_else(short)?,
                wanted: output.wanted.clone(),
            });
        }
        session.run(Batch {
            rows,
            input: self
                .input
                .values()
                .get(0..rows * self.row)
                .ok_or_else(short)?,
            outputs,
        })
    }
}
