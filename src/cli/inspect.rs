//! `beamflow inspect`.

use super::gpu::EngineArgs;
use clap::Args;

/// Flags of `beamflow inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The model: .engine, .plan, .trt, .onnx, or sim:….
    #[arg(value_name = "FILE")]
    pub(crate) model: String,

    /// Prints JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,

    // Last: arguments after it would be listed under its heading.
    /// Options of the engine.
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}
