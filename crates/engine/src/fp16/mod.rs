//! Rewrites ONNX models to compute in half precision (float16).
//!
//! TensorRT computes in the types that the model declares, so an engine with half precision needs a model with half
//! precision. [`to_half`](crate::fp16::to_half) makes one from a model with single precision (float32). In this module,
//! "half" means float16 and "single" means float32.
//!
//! - The inputs become half, so a frame takes half as many bytes on its way to the device. The outputs stay single.
//! - Convolutions and matrix products, nearly all the work, compute in half.
//! - Operators whose sums, powers or quotients leave the range of half or lose too many digits in half (sums, means,
//!   norms, exponentials, divisions, …) stay single. So does every operator that this module does not know.
//! - All other operators (additions, activations, slices, …) take the type of their inputs, and single if the inputs
//!   are mixed. So a value that was computed in single is not rounded before the next convolution.
//!
//! What always holds:
//!
//! 1. A value is converted only if its type is not the type needed, and at most once.
//! 2. No weight overflows: a weight outside the range of half is an error that names it. Weights that lose digits or
//!    become 0 are counted. An operator that takes the type of its inputs stays single if one of its constants would
//!    become 0 or overflow. So an epsilon still protects its division.
//! 3. Weights that an operator needs in single are not rounded: they are kept in addition to their half copy.
//! 4. Integers, booleans, strings and shapes do not change. Neither does the model's metadata.
//! 5. A model that cannot be rewritten with certainty is refused, and the error names the reason: control flow,
//!    functions, quantised and sparse models, weights in other files, results of unknown type.
//!
//! A model does not show how large its values become. The sum of a convolution, a product, or a sum in single that the
//! next convolution needs may exceed 65504, the largest half, and is then infinite. Compare the engine's results with
//! those of single precision.
//!
//! ```
//! use beamflow_engine::fp16::{HalfError, to_half};
//!
//! assert!(matches!(to_half(b"not a model"), Err(HalfError::NotAModel(_))));
//! ```

/// Why a model cannot be rewritten.
mod error;
/// Rewrites the graph: its inputs, weights and outputs.
mod graph;
/// Rewrites the nodes.
mod node;
/// Which operators compute in half, and which do not.
mod operator;
/// The messages of onnx.proto.
pub(crate) mod proto;
/// Rewrites a whole model.
mod rewrite;
/// Counts of what a rewriting changed.
mod summary;
#[cfg(test)]
mod tests;
/// The values that a model's names stand for.
mod value;
/// Weights and their half copies.
mod weight;

pub use error::HalfError;
pub use rewrite::{Converted, has_side_files, to_half};
pub use summary::Summary;
