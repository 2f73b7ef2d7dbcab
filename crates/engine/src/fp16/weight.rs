//! Weights: float32 tensors that the model holds, and their half copies.

use super::error::HalfError;
use super::proto::{FLOAT16, Tensor};
use super::summary::Summary;
use half::f16;
use std::num::FpCategory;

/// A float32 tensor of the model.
pub(crate) struct Weight {
    tensor: Tensor,
    unfit: bool,
    /// Whether a reader needs the tensor in single.
    pub single: bool,
    /// The half copy, made when it is first needed.
    pub half: Option<Tensor>,
}

impl Weight {
    /// Makes a weight from a float32 tensor.
    ///
    /// # Errors
    /// [`HalfError::TensorLength`] if the size of its data does not match its shape.
    pub(crate) fn new(tensor: Tensor) -> Result<Self, HalfError> {
        let raw = tensor.raw_data().len();
        let held = raw.saturating_add(tensor.float_data.len().saturating_mul(4));
        let declared = tensor.dims.iter().try_fold(4_usize, |bytes, n| {
            bytes.checked_mul(usize::try_from(*n).ok()?)
        });
        if declared != Some(held) {
            return Err(HalfError::TensorLength {
                tensor: tensor.name().to_owned(),
                shape: tensor.dims,
                held,
            });
        }
        let nonzero = || values(&tensor).filter(|value| *value != 0.0);
        let vanishes = nonzero().next().is_some()
            && nonzero().all(|value| f16::from_f32(value).to_f32() == 0.0);
        let overflows = values(&tensor).any(overflows);
        Ok(Self {
            tensor,
            unfit: vanishes || overflows,
            single: false,
            half: None,
        })
    }

    /// Whether half cannot hold the weight: all nonzero values would become 0, or some values are outside the range.
    pub(crate) fn is_unfit_for_half(&self) -> bool {
        self.unfit
    }

    /// The float32 tensor.
    pub(crate) fn into_single(self) -> Tensor {
        self.tensor
    }

    /// Makes the half copy. Values are rounded to the nearest half.
    ///
    /// # Errors
    /// [`HalfError::WeightTooLarge`] if a finite value is outside the range of half. Infinite values stay infinite.
    pub(crate) fn halve(&mut self, name: String, summary: &mut Summary) -> Result<(), HalfError> {
        let mut bytes = Vec::new();
        for value in values(&self.tensor) {
            if overflows(value) {
                return Err(HalfError::WeightTooLarge {
                    tensor: self.tensor.name().to_owned(),
                    value,
                });
            }
            let rounded = f16::from_f32(value);
            match rounded.classify() {
                FpCategory::Zero if value != 0.0 => summary.underflowed += 1,
                FpCategory::Subnormal => summary.subnormal += 1,
                _ => {}
            }
            summary.values += 1;
            bytes.extend(rounded.to_le_bytes());
        }
        summary.weights += 1;
        self.half = Some(Tensor {
            dims: self.tensor.dims.clone(),
            data_type: Some(FLOAT16),
            name: Some(name),
            raw_data: Some(bytes),
            doc_string: self.tensor.doc_string.clone(),
            metadata_props: self.tensor.metadata_props.clone(),
            ..Tensor::default()
        });
        Ok(())
    }
}

/// Whether a finite value is outside the range of half.
fn overflows(value: f32) -> bool {
    value.is_finite() && value.abs() > f16::MAX.to_f32()
}

/// The values of a float32 tensor, from whichever of the two fields holds them.
fn values(tensor: &Tensor) -> impl Iterator<Item = f32> {
    let (raw, _) = tensor.raw_data().as_chunks();
    let raw = raw.iter().map(|bytes| f32::from_le_bytes(*bytes));
    raw.chain(tensor.float_data.iter().copied())
}
