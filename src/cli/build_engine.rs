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

    /// The engine file. A description of it is written to the same folder, with .json at the end of its name.
    #[arg(
        short,
        long,
        value_name = "FILE",
        required_unless_present = "engine_cache"
    )]
    pub(crate) output: Option<PathBuf>,

    /// The cache of a sidecar with --device cuda, instead of a file: the engine is built there unless it is there
    /// already, and opened once. Give --precision, --bsz-size and --devices as to the sidecar.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["output", "batch", "compute_capability"])]
    pub(crate) engine_cache: Option<PathBuf>,

    /// With --engine-cache: frames per batch, as the sidecar's.
    #[arg(long, default_value = "8", value_name = "FRAMES", value_parser = whole_number_or_auto::<1, 4096>, requires = "engine_cache")]
    pub(crate) bsz_size: OrAuto,

    /// With --engine-cache: the GPUs that the sidecar is to use.
    #[arg(
        long,
        default_value = "0",
        value_name = "NUMBERS",
        requires = "engine_cache"
    )]
    pub(crate) devices: DeviceSelection,

    /// The rows of a run: a number, or least:best:most. Default: as the model says, or 8 where it leaves them open.
    #[arg(long, value_name = "ROWS")]
    pub(crate) batch: Option<BatchRequest>,

    /// fp16: weights, input and most operations in half precision; sensitive operations and the results stay single.
    #[arg(long, value_enum, default_value = "fp32", value_name = "PRECISION")]
    pub(crate) precision: Precision,

    /// The compute capability of the GPU that will run it, where there is none here: 7.5, 8.0, 8.6, 8.9, 12.0 or
    /// 12.1 (TensorRT-RTX only).
    #[arg(long, value_name = "MAJOR.MINOR")]
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
