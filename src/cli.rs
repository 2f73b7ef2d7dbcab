//! The command line: flags, environment variables, help texts.
//!
//! The flags are those of the Python sidecars that this program replaces, so that a pod spec written for
//! them works unchanged. Values are checked one by one here, and together in `crate::config`; a
//! mistake becomes one line by way of `crate::usage`.

/// The flags that say how an engine is run.
mod gpu;
/// Numbers, times and answers as text.
mod parse;

pub use gpu::{EngineArgs, GpuArgs};
pub use parse::{AddressOrOff, TimeOrOff, time, time_or_off, whole_number, whole_number_or_auto};

use crate::bench::BenchArgs;
use crate::bench_engine::BenchEngineArgs;
use crate::build_engine::BuildEngineArgs;
use crate::config::{LogFormat, Mode, OnFailure, OnInvalid, OrAuto};
use crate::demo::DemoArgs;
use crate::frame::{Dtype, OutputDtype, OutputFormat, OutputSize};
use crate::inspect::InspectArgs;
use crate::send::SendArgs;
use crate::simulated_source::SimulateSourceArgs;
use crate::sizing::SizeArgs;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand};
use parse::{address_or_off, on_failure, on_invalid};
use std::path::PathBuf;
use std::time::Duration;

/// Runs detector frames through a neural network, in batches, as a Numaflow batch-map sidecar.
///
/// Without a command it serves: it loads the model, warms it up, listens on the socket and answers
/// every datum of every read batch with exactly one response. Every flag can be given as
/// the environment variable named beside it; the flag wins.
///
/// Exit codes: 0 after a drained SIGTERM, 64 for a mistake in a flag, 1 for anything else.
#[derive(Debug, Parser)]
#[command(name = "beamflow", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags for serving.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program can do besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulates a scan, reconstructs it through a sidecar in all three modes, and draws the result.
    Demo(DemoArgs),
    /// Drives a running sidecar as Numaflow would, with frames from a file or the simulator.
    Send(SendArgs),
    /// Builds a TensorRT engine from an .onnx model.
    BuildEngine(BuildEngineArgs),
    /// Prints a model's tensors, shapes, batch range, memory and version.
    Inspect(InspectArgs),
    /// Measures how fast a sidecar is, driven over its socket as Numaflow does, against other programs if named.
    Bench(BenchArgs),
    /// Measures how fast an engine is by itself, without sockets, for 1 lane and more.
    BenchEngine(BenchEngineArgs),
    /// Serves simulated frames as a Numaflow source, so that a pipeline runs without a beamline.
    SimulateSource(SimulateSourceArgs),
    /// Tells what a frame size, a rate and a batch's time ask for: devices, settings, memory, bytes.
    Size(SizeArgs),
}

/// The flags for serving.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// When batches are computed.
    #[arg(
        long,
        env = "MODE",
        value_enum,
        default_value = "pipelined",
        help_heading = "Model and batches",
        hide_env_values = true
    )]
    pub mode: Mode,

    /// The model: .onnx runs on the CPU; .engine, .plan and .trt are TensorRT's; sim:compute=2ms,h2d=0.3ms,…
    /// is a simulated device for tests and sizing.
    #[arg(
        long,
        env = "MODEL_PATH",
        default_value = "/opt/app/model_512_fp16.trt",
        value_name = "PATH",
        help_heading = "Model and batches",
        hide_env_values = true
    )]
    pub model_path: String,

    /// Frames per batch; auto: what the engine is best at, or the most that fits into the GPU's memory.
    #[arg(long, alias = "bsz_size", env = "BATCH_SIZE", default_value = "8", value_name = "FRAMES", value_parser = whole_number_or_auto::<1, 4096>, help_heading = "Model and batches", hide_env_values = true)]
    pub bsz_size: OrAuto,

    /// Batches in flight in pipelined mode. Set limits.readBatchSize of the vertex to at least (depth + 1) × bsz-size.
    /// auto: starts at 3 and follows the measured ratio of inference to collection time, between 1 and 8.
    #[arg(long, env = "PIPELINE_DEPTH", default_value = "3", value_name = "BATCHES", value_parser = whole_number_or_auto::<1, 64>, help_heading = "Model and batches", hide_env_values = true)]
    pub pipeline_depth: OrAuto,

    /// Batches in flight in concurrent mode.
    #[arg(long, env = "MAX_CONCURRENT_BATCHES", default_value = "4", value_name = "BATCHES", value_parser = whole_number::<1, 64>, help_heading = "Model and batches", hide_env_values = true)]
    pub max_concurrent_batches: usize,

    /// How long a batch's oldest frame waits for the batch to fill before it is computed short; off: until the read batch ends, and a stream that stalls holds its slot.
    #[arg(long, env = "BATCH_TIMEOUT", default_value = "100ms", value_name = "TIME", value_parser = time_or_off, help_heading = "Model and batches", hide_env_values = true)]
    pub batch_timeout: TimeOrOff,

    /// How long a lane may take over one batch; then its frames have failed and the lane is replaced.
    #[arg(long, env = "INFERENCE_TIMEOUT", default_value = "30s", value_name = "TIME", value_parser = time, help_heading = "Model and batches", hide_env_values = true)]
    pub inference_timeout: Duration,

    /// How an engine is run.
    #[command(flatten)]
    pub gpu: GpuArgs,

    /// The dtype of raw frames: uint8, int8, uint16, int16, uint32, int32, float32 or float64. The header
    /// x-frame-dtype overrides it; .npy frames say their own.
    #[arg(
        long,
        env = "FRAME_DTYPE",
        default_value = "int16",
        value_name = "DTYPE",
        help_heading = "Frames and results",
        hide_env_values = true
    )]
    pub frame_dtype: Dtype,

    /// The part of each output that is sent on, cut from its centre; full for all of it.
    #[arg(
        long,
        env = "OUTPUT_SIZE",
        default_value = "64x64",
        value_name = "WIDTHxHEIGHT",
        help_heading = "Frames and results",
        hide_env_values = true
    )]
    pub output_size: OutputSize,

    /// The outputs to send on, by name, comma-separated or repeated; all of the model's if not given. Several
    /// outputs are several messages, each tagged with its name.
    #[arg(
        long = "output",
        env = "OUTPUT_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Frames and results",
        hide_env_values = true
    )]
    pub outputs: Vec<String>,

    /// The dtype of results: float32, or int16, which truncates towards zero as the old sidecars did.
    #[arg(
        long,
        env = "OUTPUT_DTYPE",
        default_value = "float32",
        value_name = "DTYPE",
        help_heading = "Frames and results",
        hide_env_values = true
    )]
    pub output_dtype: OutputDtype,

    /// The format of results: npy carries dtype and shape and is read with numpy.load; raw is the bare little-endian values.
    #[arg(
        long,
        env = "OUTPUT_FORMAT",
        default_value = "npy",
        value_name = "FORMAT",
        help_heading = "Frames and results",
        hide_env_values = true
    )]
    pub output_format: OutputFormat,

    /// What is answered for a frame that is wrong in itself: drop, or tag:NAME to forward the original payload with
    /// that tag (dead letter).
    #[arg(long, env = "ON_INVALID", default_value = "drop", value_name = "drop|tag:NAME", value_parser = on_invalid, help_heading = "When something is wrong", hide_env_values = true)]
    pub on_invalid: OnInvalid,

    /// What is answered for a frame that the engine failed twice, or that timed out: nack (delivered again; needs Numaflow ≥ 1.8.2), drop,
    /// or abort (the process ends with code 1, and the whole read batch is delivered again).
    #[arg(long, env = "ON_FAILURE", default_value = "nack", value_name = "nack|drop|abort", value_parser = on_failure, help_heading = "When something is wrong", hide_env_values = true)]
    pub on_failure: OnFailure,

    /// The Unix socket that numa connects to.
    #[arg(long, env = "SOCK_PATH", default_value = numaflow::batchmap::SOCK_ADDR, value_name = "PATH", help_heading = "Numaflow", hide_env_values = true)]
    pub sock_path: PathBuf,

    /// The file that tells numa of the socket; written last.
    #[arg(long, env = "SERVER_INFO_PATH", default_value = numaflow::batchmap::SERVER_INFO_FILE, value_name = "PATH", help_heading = "Numaflow", hide_env_values = true)]
    pub server_info_path: PathBuf,

    /// Unused. Accepted so that pod specs of the Python sidecars work unchanged; here the queue is the ring of
    /// slots: one batch more than may be in flight.
    #[arg(
        long,
        env = "PVA_QUEUE_SIZE",
        value_name = "ANY",
        help_heading = "Numaflow",
        hide_env_values = true
    )]
    pub queue_size: Option<String>,

    /// Where metrics, stats and health are served over HTTP, as ADDRESS:PORT; off: nowhere.
    #[arg(
        long,
        env = "HTTP_ADDRESS",
        default_value = "0.0.0.0:9100",
        value_name = "ADDRESS",
        value_parser = address_or_off,
        help_heading = "Logs and metrics",
        hide_env_values = true
    )]
    pub http_address: AddressOrOff,

    /// The status page shows no frames: whoever reaches the HTTP address sees numbers only.
    #[arg(long, env = "NO_PICTURES", value_parser = FalseyValueParser::new(), help_heading = "Logs and metrics", hide_env_values = true)]
    pub no_pictures: bool,

    /// How log lines look.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Logs and metrics",
        hide_env_values = true
    )]
    pub log_format: LogFormat,

    /// Logs more. RUST_LOG, where set, decides instead (for example RUST_LOG=beamflow=debug).
    #[arg(long, env = "DEBUG", value_parser = FalseyValueParser::new(), help_heading = "Logs and metrics", hide_env_values = true)]
    pub debug: bool,

    /// Checks the settings, prints them with where each came from, and ends.
    #[arg(long, help_heading = "Logs and metrics")]
    pub print_config: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_spec_of_the_python_sidecars_works_unchanged() {
        let cli = Cli::try_parse_from([
            "beamflow",
            "--mode",
            "concurrent",
            "--bsz_size",
            "16",
            "--queue-size",
            "300",
            "--pipeline-depth",
            "4",
            "--max-concurrent-batches",
            "2",
            "--output-size",
            "64x32",
        ])
        .unwrap();
        assert_eq!(cli.serve.mode, Mode::Concurrent);
        assert_eq!(cli.serve.bsz_size, OrAuto::Exactly(16));
        assert_eq!(
            cli.serve.output_size,
            OutputSize::Size {
                width: 64,
                height: 32
            }
        );
    }

    #[test]
    fn a_value_out_of_bounds_says_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--bsz-size", "0", "auto or a whole number from 1 to 4096"),
            ("--devices", "0,0", "each once"),
            ("--pipeline-depth", "65", "from 1 to 64"),
            ("--batch-timeout", "10", "or off"),
            ("--inference-timeout", "0s", "greater than none"),
            ("--on-invalid", "tag:", "tag:NAME"),
            ("--on-failure", "retry", "nack, drop and abort"),
        ] {
            let error = Cli::try_parse_from(["beamflow", flag, value]).unwrap_err();
            assert!(error.to_string().contains(allowed), "{error}");
        }
    }
}
