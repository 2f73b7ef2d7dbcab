//! ONNX models rewritten to compute in half precision (float16).
//!
//! TensorRT computes in the types that the model declares, so an engine of half precision needs a model of
//! half precision. [`to_half`](crate::fp16::to_half) makes one from a model of single precision (float32):
//!
//! - The inputs become half, so frames take half the bytes on their way to the device. The outputs stay
//!   single.
//! - Convolutions and matrix products, nearly all the work, compute in half.
//! - Operators whose sums, powers or quotients leave half's range or lose its few digits (sums, means, norms,
//!   exponentials, divisions, …) stay single, and so does every operator that is not known here.
//! - All others (additions, activations, slices, …) take the type of what they are given, single where it is
//!   mixed: what was computed in single is not rounded before the next convolution.
//!
//! What always holds:
//!
//! 1. A value is converted only where its type on hand is not the one needed, and at most once.
//! 2. No weight overflows: one beyond half's range is an error that names it. Weights that lose digits or
//!    become 0 are counted. An operator that only follows its input, and has a constant that would become 0 or
//!    overflow, stays single: an epsilon keeps guarding its division.
//! 3. Weights that an operator needs in single are not rounded: they are kept beside their half copy.
//! 4. Integers, truth values, texts and shapes pass untouched, and so does what the model says about itself.
//! 5. What cannot be rewritten with certainty is refused by name: control flow, functions, quantised and
//!    sparse models, weights in other files, results whose type is not known.
//!
//! What cannot be seen in a model is how large its values become: a convolution's sum, a product, or a sum in
//! single that the next convolution needs may be beyond 65504, the largest half, and is infinite then. Compare
//! the engine's results with those of single precision.
//!
//! ```
//! use beamflow_engine::fp16::{HalfError, to_half};
//!
//! assert!(matches!(to_half(b"not a model"), Err(HalfError::NotAModel(_))));
//! ```

/// What a model cannot be rewritten for.
mod error;
/// The rewriting of the graph: its inputs, weights and outputs.
mod graph;
/// The rewriting of its nodes.
mod node;
/// Which operators compute in half, and which do not.
mod operator;
/// The messages of onnx.proto.
mod proto;
/// The rewriting of a whole model.
mod rewrite;
/// What was done, for people.
mod summary;
#[cfg(test)]
mod tests;
/// What the names of a model stand for.
mod value;
/// Weights and their half copies.
mod weight;

pub use error::HalfError;
pub use rewrite::{Converted, has_side_files, to_half};
pub use summary::Summary;
