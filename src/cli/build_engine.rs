//! `beamflow build-engine`.

use super::parse::whole_number_or_auto;
use crate::engine::options::{DeviceSelection, Precision};
use crate::engine::tensorrt::request::{BatchRequest, ComputeCapability};
use crate::inference::model::OrAuto;
use clap::Args;
use std::path::PathBuf;

/// Flags of `beamflow build-engine`.
#[derive(Args, Debug)]
pub struct BuildEngineArgs {
    /// The .onnx model.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,

    /// The engine file to write. Its description is written to the same folder, with .json appended to the file name.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "engine_cache"
    )]
    pub(crate) output: Option<PathBuf>,

    /// Instead of a file: the engine cache of a sidecar with --device cuda. The engine is built into the cache, unless
    /// it is already there, and opened once. Use the same --precision, --bsz-size and --devices as for the sidecar. With
    /// --compute-capability no GPU is used and the engine is not opened: the first sidecar on a card compiles its kernels.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "batch"])]
    pub(crate) engine_cache: Option<PathBuf>,

    /// With --engine-cache: frames per batch, as for the sidecar.
    #[arg(long, default_value = "8", value_name = "FRAMES", value_parser = whole_number_or_auto::<1, 4096>, requires = "engine_cache")]
    pub(crate) bsz_size: OrAuto,

    /// With --engine-cache: the GPUs that the sidecar uses.
    #[arg(
        long,
        default_value = "0",
        value_name = "NUMBERS",
        requires = "engine_cache"
    )]
    pub(crate) devices: DeviceSelection,

    /// Rows per run: a number, or least:best:most. Default: the model's batch size, or 8 if that is dynamic.
    #[arg(long, value_name = "ROWS")]
    pub(crate) batch: Option<BatchRequest>,

    /// fp16: weights, input and most operations in half precision; sensitive operations and results in single
    /// precision.
    #[arg(long, value_enum, default_value = "fp32", value_name = "PRECISION")]
    pub(crate) precision: Precision,

    /// The compute capability of the target GPU, if the target is not a GPU of this machine: 7.5, 8.0, 8.6, 8.9, 12.0
    /// or 12.1 (TensorRT-RTX only: TensorRT builds for a GPU of this machine).
    #[arg(long, value_name = "MAJOR.MINOR", conflicts_with = "devices")]
    pub(crate) compute_capability: Option<ComputeCapability>,

    /// The folder with the TensorRT libraries; if not given, the system's library path is searched.
    #[arg(
        long,
        env = "TENSORRT_PATH",
        value_name = "FOLDER",
        hide_env_values = true
    )]
    pub(crate) tensorrt_path: Option<PathBuf>,
}
