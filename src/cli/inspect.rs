//! `beamflow inspect`.

use super::gpu::EngineArgs;
use clap::Args;

/// Flags of `beamflow inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The model: .engine, .plan, .trt, .onnx, or sim:….
    #[arg(value_name = "FILE")]
    pub model: String,

    /// How the engine is run.
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Prints JSON instead.
    #[arg(long)]
    pub json: bool,
}
