//! The live mosaic: the results of one scan as one picture, while the scan runs.
//!
//! ```text
//!  patches ──▶ pairs ──▶ state: grid ▶ mosaic::online ──▶ picture, when asked for
//!              phase +        │ end of the series          ▲
//!              amplitude      └──▶ job (a thread) ──▶ solved ┘
//! ```
//!
//! - `patch`: one output of one frame, and which frame it is;
//! - `pairs`: phase and amplitude of a frame, brought together;
//! - `recipe`: which outputs and positions it is made of;
//! - `whole`: the mosaic of a scan whose results are all there;
//! - `settings`: what is set, and the file of weights;
//! - `state`: the mosaic of the running series, and the counts;
//! - `picture`: what viewers get;
//! - `drawn`: the same as PNGs;
//! - `live`: the same for async code: placing, pictures and the final solve on blocking threads.
//!
//! What always holds:
//!
//! 1. A patch is placed by the position of its own frame. One without a position is counted and not placed.
//! 2. A frame is placed once, whatever comes twice, and in whatever order.
//! 3. Only the running series is shown: what belongs to an earlier one is counted and dropped, and a final picture of an earlier
//!    one does not replace a newer one.
//! 4. Memory is bounded: the canvas, the kept patches (twice while a final picture is made), and the halves that wait.
//! 5. Every patch is dropped and counted, or waits for its other half, or is part of a frame; every frame is placed or counted by
//!    the reason why not.
//!
//! One `State` is for one PV: series are compared by their ordinals.

/// Pictures as PNGs.
mod drawn;
/// For async code.
mod live;
/// Phase and amplitude of a frame.
mod pairs;
/// One output of one frame.
mod patch;
/// What viewers get.
mod picture;
/// What it is made of.
mod recipe;
/// What is set.
mod settings;
/// The mosaic of the running series.
mod state;
/// The mosaic of a scan whose results are all there.
#[cfg(feature = "hdf5")]
mod whole;

pub(crate) use crate::lab::picture::ScaledImage;
pub(crate) use drawn::{Draft, Drawn};
pub(crate) use live::Live;
pub(crate) use patch::{Part, Patch};
pub(crate) use picture::Picture;
pub(crate) use recipe::Recipe;
pub(crate) use settings::{Settings, WeightsFile};
pub(crate) use state::Tally;
#[cfg(feature = "hdf5")]
pub(crate) use whole::{Whole, final_picture};
