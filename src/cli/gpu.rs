//! Flags of the engine: flags shared by several commands, and flags of the sidecar alone.

use crate::engine::EngineOptions;
use crate::engine::options::{DeviceKind, DeviceSelection, Precision};
use crate::inference::lane::Balance;
use crate::inference::model::OrAuto;
use clap::Args;
use std::path::PathBuf;

/// The flags of an engine.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GPU", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct EngineArgs {
    /// Where .onnx models run: cpu, in pure Rust; onnxruntime, on the CPU, with its library (ORT_DYLIB_PATH);
    /// onnxruntime-cuda, on a GPU, with the same library and nothing to build; or cuda, with a TensorRT engine that is built
    /// at start and cached.
    #[arg(
        long,
        env = "DEVICE",
        value_enum,
        default_value = "cpu",
        value_name = "DEVICE"
    )]
    pub(crate) device: DeviceKind,

    /// The GPUs to use: numbers, separated by commas, or all.
    #[arg(long, env = "DEVICES", default_value = "0", value_name = "NUMBERS")]
    pub(crate) devices: DeviceSelection,

    /// The precision of .onnx models on a GPU. tf32 rounds the factors of products to 10 bits. fp16 also halves the bytes
    /// copied to the GPU; sensitive operations and results stay in single precision.
    #[arg(
        long,
        env = "PRECISION",
        value_enum,
        default_value = "fp32",
        value_name = "PRECISION"
    )]
    pub(crate) precision: Precision,

    /// Lanes wait for the GPU by spinning instead of sleeping: a little faster, but each lane occupies a CPU core.
    #[arg(long, env = "SPIN")]
    pub(crate) spin: bool,

    /// Launches every batch without a CUDA graph, even if one can be captured.
    #[arg(long, env = "NO_CUDA_GRAPHS")]
    pub(crate) no_cuda_graphs: bool,

    /// The folder for engines built from .onnx.
    #[arg(
        long,
        env = "ENGINE_CACHE",
        default_value = "/var/cache/beamflow",
        value_name = "FOLDER"
    )]
    pub(crate) engine_cache: PathBuf,

    /// The folder with the TensorRT libraries; if not given, the system's library path is searched.
    #[arg(long, env = "TENSORRT_PATH", value_name = "FOLDER")]
    pub(crate) tensorrt_path: Option<PathBuf>,
}

/// The flags of an engine in a sidecar.
#[derive(Args, Debug)]
#[command(next_help_heading = "GPU", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct GpuArgs {
    /// The flags of the engine itself.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// How batches are distributed over several GPUs: to the GPU with the fewest batches, or to each in turn.
    #[arg(
        long,
        env = "BALANCE",
        value_enum,
        default_value = "queue-depth",
        value_name = "POLICY"
    )]
    pub(crate) balance: Balance,
}

impl EngineArgs {
    /// The options of the engine, for batches of `rows` rows.
    #[must_use]
    pub(crate) fn options(&self, rows: OrAuto) -> EngineOptions {
        let Self {
            device,
            devices,
            precision,
            spin,
            no_cuda_graphs,
            engine_cache,
            tensorrt_path,
        } = self.clone();
        EngineOptions {
            device,
            devices,
            spin,
            cuda_graphs: !no_cuda_graphs,
            rows: rows.exactly(),
            outputs: Vec::new(),
            precision,
            cache: engine_cache,
            cache_needed: false,
            library_path: tensorrt_path,
        }
    }
}
