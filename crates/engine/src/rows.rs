//! The rows of a batch, and the host memory that holds them.
//!
//! A row holds the values of one frame for one tensor. Rows are contiguous in a buffer that is reused for many batches.
//! The engine chooses the kind of memory (page-locked for a GPU). The model defines the type of the values.

use super::{EngineError, ModelSpec};
use crate::Cause;
use beamflow_frame::values::{Element, Values, ValuesMut};
use half::f16;
use std::ops::Range;

/// Host memory for values that outlives a batch and may be page-locked.
pub trait HostMemory: Send {
    /// The values.
    fn values(&self) -> Values<'_>;
    /// The values, for writing.
    fn values_mut(&mut self) -> ValuesMut<'_>;
}

/// [`HostMemory`] of any engine.
pub type HostBuffer = Box<dyn HostMemory>;

impl HostMemory for Vec<f32> {
    fn values(&self) -> Values<'_> {
        Values::F32(self)
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        ValuesMut::F32(self)
    }
}

impl HostMemory for Vec<f16> {
    fn values(&self) -> Values<'_> {
        Values::F16(self)
    }

    fn values_mut(&mut self) -> ValuesMut<'_> {
        ValuesMut::F16(self)
    }
}

/// Ordinary memory for `elements` values, zeroed.
///
/// # Errors
/// [`EngineError::Memory`] if the memory cannot be allocated.
pub fn ordinary_memory(element: Element, elements: usize) -> Result<HostBuffer, EngineError> {
    fn zeros<T: Clone>(zero: T, elements: usize) -> Result<Vec<T>, EngineError> {
        let bytes = elements.saturating_mul(size_of::<T>());
        let refused = |reason: Cause| EngineError::Memory { bytes, reason };
        let mut values = Vec::new();
        values
            .try_reserve_exact(elements)
            .map_err(|error| refused(Cause::of(error)))?;
        values.resize(elements, zero);
        Ok(values)
    }
    Ok(match element {
        Element::F32 => Box::new(zeros(0.0_f32, elements)?),
        Element::F16 => Box::new(zeros(f16::ZERO, elements)?),
    })
}

/// One batch, as it is passed to a session.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Rows to compute: the frames in the batch, and padding if the model needs more rows.
    pub rows: usize,
    /// `rows × model.input.elements()` values.
    pub input: Values<'a>,
    /// The outputs, in the model's order.
    pub outputs: Vec<OutputRows<'a>>,
}

/// Room for the rows of one output.
#[derive(Debug)]
pub struct OutputRows<'a> {
    /// `rows × output.elements()` values.
    pub values: ValuesMut<'a>,
    /// The part of each row that will be read. An engine need not write the rest.
    pub wanted: Range<usize>,
}

impl<'a> OutputRows<'a> {
    /// Room for rows of `row` values, all of which will be read.
    #[must_use]
    pub const fn whole(values: ValuesMut<'a>, row: usize) -> Self {
        Self {
            values,
            wanted: 0..row,
        }
    }
}

impl Batch<'_> {
    /// Checks every length and type against `model`, so that an engine may rely on them.
    ///
    /// # Errors
    /// [`EngineError::Run`] naming the tensor, what it is and what it should be.
    pub fn check(&self, model: &ModelSpec) -> Result<(), EngineError> {
        if !model.batch.allows(self.rows) {
            return Err(EngineError::Run(
                format!(
                    "a batch of {} rows, but the model's batch dimension is {}",
                    self.rows, model.batch
                )
                .into(),
            ));
        }
        if self.outputs.len() != model.outputs.len() {
            return Err(EngineError::Run(
                format!(
                    "room for {} outputs, but the model has {}",
                    self.outputs.len(),
                    model.outputs.len()
                )
                .into(),
            ));
        }
        let given = std::iter::once((self.input.len(), self.input.element(), 0)).chain(
            self.outputs
                .iter()
                .map(|o| (o.values.len(), o.values.element(), o.wanted.end)),
        );
        let tensors = std::iter::once(&model.input).chain(&model.outputs);
        for (tensor, (values, element, wanted)) in tensors.zip(given) {
            if tensor.elements().checked_mul(self.rows) != Some(values)
                || element != tensor.element
                || wanted > tensor.elements()
            {
                return Err(EngineError::Run(
                    format!(
                        "{values} {element} values for {} rows of {tensor}, but a row has {} of {}",
                        self.rows,
                        tensor.elements(),
                        tensor.element
                    )
                    .into(),
                ));
            }
        }
        Ok(())
    }
}
