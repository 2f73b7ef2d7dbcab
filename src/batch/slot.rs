//! One batch's staging memory, and who is in it.

use crate::engine::lane::Work;
use crate::engine::{Batch, BatchDimension, Engine, EngineError, HostBuffer, Session, StageTimes};
use crate::frame::{Pixels, Rejection};
use crate::ledger::Ticket;

/// Room for one batch: input rows, output rows, and the tickets of the frames in them.
///
/// Row `k` of the input, row `k` of every output and ticket `k` belong to one frame.
pub struct Slot {
    input: HostBuffer,
    row: usize,
    outputs: Vec<Output>,
    tickets: Vec<Ticket>,
    capacity: usize,
    batch: BatchDimension,
}

struct Output {
    buffer: HostBuffer,
    row: usize,
}

impl Slot {
    /// A slot for batches of up to `capacity` frames, in memory of the engine's own kind.
    ///
    /// # Errors
    /// [`EngineError::Memory`] when the memory cannot be had.
    pub fn new(engine: &dyn Engine, capacity: usize) -> Result<Self, EngineError> {
        let spec = engine.model();
        // A model with a fixed batch runs all its rows, however few frames there are.
        let rows = spec.batch.rows(capacity).max(capacity);
        let row = spec.input.elements();
        let outputs = spec
            .outputs
            .iter()
            .map(|output| {
                let row = output.elements();
                let buffer = engine.allocate(rows * row)?;
                Ok(Output { buffer, row })
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(Self {
            input: engine.allocate(rows * row)?,
            row,
            outputs,
            tickets: Vec::with_capacity(capacity),
            capacity,
            batch: spec.batch,
        })
    }

    /// A slot with no room at all: what a returned lease leaves behind.
    pub(super) fn vacant() -> Self {
        Self {
            input: Box::new(Vec::new()),
            row: 0,
            outputs: Vec::new(),
            tickets: Vec::new(),
            capacity: 0,
            batch: BatchDimension::Dynamic,
        }
    }

    /// Converts `pixels` straight into the next free row, for the holder of `ticket`.
    ///
    /// # Errors
    /// A [`Rejection`] if the frame is not of the model's size; the slot is then as before.
    pub fn push(&mut self, ticket: Ticket, pixels: &Pixels<'_>) -> Result<(), Rejection> {
        let from = self.tickets.len() * self.row;
        let row = self
            .input
            .values_mut()
            .get_mut(from..from + self.row)
            .unwrap_or_default();
        pixels.write_to(row)?;
        self.tickets.push(ticket);
        Ok(())
    }

    /// The tickets of the frames in this slot, in row order.
    #[must_use]
    pub fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// Frames in this slot.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.tickets.len()
    }

    /// Frames that this slot has room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Rows that a run of this slot computes beyond its frames.
    #[must_use]
    pub fn padding(&self) -> usize {
        self.batch.rows(self.frames()).saturating_sub(self.frames())
    }

    /// Row `frame` of output `output`, as the engine left it; `None` past the frames in the slot.
    #[must_use]
    pub fn result(&self, output: usize, frame: usize) -> Option<&[f32]> {
        let Output { buffer, row } = self.outputs.get(output)?;
        if frame >= self.frames() {
            return None;
        }
        buffer.values().get(frame * row..(frame + 1) * row)
    }

    /// Empties the slot for its next batch.
    pub fn clear(&mut self) {
        self.tickets.clear();
    }
}

impl Work for Slot {
    fn run(&mut self, session: &mut dyn Session) -> Result<StageTimes, EngineError> {
        let frames = self.frames();
        let rows = self.batch.rows(frames);
        let used = frames * self.row;
        let input = self
            .input
            .values_mut()
            .get_mut(..rows * self.row)
            .unwrap_or_default();
        // Padding is zeros, not an earlier batch's frames: what is computed depends on this batch alone.
        input.iter_mut().skip(used).for_each(|value| *value = 0.0);
        session.run(Batch {
            rows,
            input,
            outputs: self
                .outputs
                .iter_mut()
                .map(|Output { buffer, row }| {
                    buffer
                        .values_mut()
                        .get_mut(..rows * *row)
                        .unwrap_or_default()
                })
                .collect(),
        })
    }
}
