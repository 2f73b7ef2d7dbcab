//! The flags for serving, and the configuration made from them.

use super::gpu::GpuArgs;
use super::log::LogArgs;
use super::parse::{
    AddressOrOff, NumberOrOff, RuleOrOff, TimeOrOff, address_or_off, bad_pixels, batch_size,
    decoders, deliveries, on_failure, on_invalid, on_nonfinite, time, time_or_off, whole_number,
    whole_number_or_auto,
};
use crate::config::parse::decoders_in_force;
use crate::config::{self, Config, ConfigError, SettingsError, models};
use crate::frame::{BadPixelFill, BadPixelLimit, Dtype, OutputDtype, OutputFormat, OutputSize};
use crate::inference::model::{self, BadPixelSettings, Limits, ModelSettings, OrAuto, Priority};
use crate::inference::policy::{OnFailure, OnInvalid, OnNonfinite};
use crate::inference::schedule::Mode;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The flags for serving, in the groups of `--help`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// The model, and how frames become batches.
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The engine and the GPUs.
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    /// Frames and results.
    #[command(flatten)]
    pub(crate) frames: FrameArgs,
    /// Responses for frames without a result.
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// The connection to numa.
    #[command(flatten)]
    pub(crate) numaflow: NumaflowArgs,
    /// Logs and metrics.
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

/// The model, and how frames become batches.
#[derive(Args, Debug)]
#[command(next_help_heading = "Model and batches", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct ModelArgs {
    /// When batches are computed.
    #[arg(long, env = "MODE", value_enum, default_value = "pipelined")]
    pub(crate) mode: Mode,

    /// The model: .onnx runs on the CPU by default; .engine, .plan and .trt run with TensorRT;
    /// sim:compute=2ms,h2d=0.3ms,… is a simulated device for tests and sizing.
    #[arg(
        long,
        env = "MODEL_PATH",
        default_value = "/opt/app/model_512_fp16.trt",
        value_name = "PATH"
    )]
    pub(crate) model_path: String,

    /// A YAML file that describes several models, and which frames each computes; the flags of a model are then the values
    /// of the fields that are not in it. Not together with --model-path.
    #[arg(
        long,
        env = "MODELS",
        value_name = "FILE",
        conflicts_with = "model_path"
    )]
    pub(crate) models: Option<PathBuf>,

    /// Frames per batch; auto: the engine's best batch, or the largest that fits into the GPU's memory.
    #[arg(long, alias = "bsz_size", env = "BATCH_SIZE", default_value = "8", value_name = "FRAMES", value_parser = batch_size)]
    pub(crate) bsz_size: OrAuto,

    /// Batches in flight in pipelined and in streaming mode. Set limits.readBatchSize of the vertex, in streaming mode
    /// limits.concurrency, to at least (depth + 1) × bsz-size.
    /// auto: starts at 3 and follows the measured ratio of inference to collection time, between 1 and 8.
    #[arg(long, env = "PIPELINE_DEPTH", default_value = "3", value_name = "BATCHES", value_parser = whole_number_or_auto::<1, 64>)]
    pub(crate) pipeline_depth: OrAuto,

    /// Batches in flight in concurrent mode.
    #[arg(long, env = "MAX_CONCURRENT_BATCHES", default_value = "4", value_name = "BATCHES", value_parser = whole_number::<1, 64>)]
    pub(crate) max_concurrent_batches: usize,

    /// How long a batch's oldest frame waits for the batch to fill before the batch is computed short; off: until the
    /// read batch ends, and a stalled stream keeps its slot. Not used in streaming mode.
    #[arg(long, env = "BATCH_TIMEOUT", default_value = "100ms", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) batch_timeout: TimeOrOff,

    /// How long a frame waits for others while a device has nothing to do, in streaming mode. The fuller the batch, the
    /// shorter. off: not at all. If not given: off, or half the time of a batch where the engine's batch is fixed.
    #[arg(long, env = "BATCH_WAIT", value_name = "TIME", value_parser = time_or_off)]
    pub(crate) batch_wait: Option<TimeOrOff>,

    /// Serves a model even if the result of a frame depends on the other frames of its batch. If not given, such a model is
    /// refused at the start.
    #[arg(long, env = "ALLOW_MIXED_ROWS")]
    pub(crate) allow_mixed_rows: bool,

    /// How long a lane may take for one batch; after that, the batch's frames fail and the lane is replaced.
    #[arg(long, env = "INFERENCE_TIMEOUT", default_value = "30s", value_name = "TIME", value_parser = time)]
    pub(crate) inference_timeout: Duration,
}

/// Frames and results.
#[derive(Args, Debug)]
#[command(next_help_heading = "Frames and results", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct FrameArgs {
    /// The dtype of raw frames: uint8, int8, uint16, int16, uint32, int32, float32 or float64. The header
    /// x-frame-dtype overrides it; .npy frames contain their own.
    #[arg(
        long,
        env = "FRAME_DTYPE",
        default_value = "int16",
        value_name = "DTYPE"
    )]
    pub(crate) frame_dtype: Dtype,

    /// Compressed frames that are decoded at once, each on a core of its own; auto: as many as the container may use cores,
    /// up to 8.
    #[arg(long, env = "DECODERS", default_value = "auto", value_name = "FRAMES", value_parser = decoders)]
    pub(crate) decoders: OrAuto,

    /// Which values mark a bad pixel: max, the largest value of an unsigned integer dtype; negative; above=N; several of
    /// these, separated by commas; nan, none of these. NaN and infinities always do. off: no pixel is bad, and a frame
    /// with NaN or infinities is rejected.
    #[arg(long, env = "BAD_PIXELS", default_value = "max", value_name = "RULE", value_parser = bad_pixels)]
    pub(crate) bad_pixels: RuleOrOff,

    /// What a bad pixel becomes: 0, or the median of its neighbours.
    #[arg(
        long,
        env = "BAD_PIXEL_FILL",
        default_value = "0",
        value_name = "0|median"
    )]
    pub(crate) bad_pixel_fill: BadPixelFill,

    /// How many pixels of a frame may be bad by their value, as a number or in percent. A frame with more is rejected.
    #[arg(
        long,
        env = "MAX_BAD_PIXELS",
        default_value = "50%",
        value_name = "PIXELS"
    )]
    pub(crate) max_bad_pixels: BadPixelLimit,

    /// A .npy image of bool or uint8, of the size of a frame: pixels that are not 0 in it are bad in every frame, and are
    /// not counted.
    #[arg(long, env = "MASK_PATH", value_name = "FILE")]
    pub(crate) mask: Option<PathBuf>,

    /// The part of each output that is sent, cropped around its centre; full: the whole output.
    #[arg(
        long,
        env = "OUTPUT_SIZE",
        default_value = "64x64",
        value_name = "WIDTHxHEIGHT"
    )]
    pub(crate) output_size: OutputSize,

    /// The names of the outputs to send, separated by commas or repeated; if not given, all outputs of the model. If
    /// there are several, each is sent as one message, tagged with its name.
    #[arg(
        long = "output",
        env = "OUTPUT_NAMES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(crate) outputs: Vec<String>,

    /// The dtype of results: float32, or int16, which truncates towards zero as the old sidecars did.
    #[arg(
        long,
        env = "OUTPUT_DTYPE",
        default_value = "float32",
        value_name = "DTYPE"
    )]
    pub(crate) output_dtype: OutputDtype,

    /// The format of results: npy includes dtype and shape and is read with numpy.load; raw has only the little-endian
    /// values.
    #[arg(
        long,
        env = "OUTPUT_FORMAT",
        default_value = "npy",
        value_name = "FORMAT"
    )]
    pub(crate) output_format: OutputFormat,
}

/// Responses for frames without a result.
#[derive(Args, Debug)]
#[command(next_help_heading = "When something is wrong", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct PolicyArgs {
    /// The response to an invalid frame: drop, or tag:NAME to forward the original payload with that tag (dead letter).
    #[arg(long, env = "ON_INVALID", default_value = "drop", value_name = "drop|tag:NAME", value_parser = on_invalid)]
    pub(crate) on_invalid: OnInvalid,

    /// The response to a frame whose results contain NaN or infinities: send, drop, or tag:NAME to send the results with
    /// that tag. If not given: send, or drop with --output-dtype int16, which has no such values.
    #[arg(long, env = "ON_NONFINITE", value_name = "send|drop|tag:NAME", value_parser = on_nonfinite)]
    pub(crate) on_nonfinite: Option<OnNonfinite>,

    /// The response to a frame on which the engine failed twice, or that timed out: nack (delivered again; needs
    /// Numaflow ≥ 1.8.2), fail (delivered again by the vertex's retryStrategy; needs Numaflow after 1.8.3), drop, or abort
    /// (the process exits with code 1, and the whole read batch is delivered again).
    #[arg(long, env = "ON_FAILURE", default_value = "nack", value_name = "nack|fail|drop|abort", value_parser = on_failure)]
    pub(crate) on_failure: OnFailure,

    /// How often a frame that fails is delivered, with --on-failure nack: 1 s after the first delivery, then after twice the
    /// time, up to 60 s. After the last one it is answered like an invalid frame: with the tag of --on-invalid, or dropped.
    /// off: without end.
    #[arg(long, env = "MAX_DELIVERIES", default_value = "5", value_name = "DELIVERIES", value_parser = deliveries)]
    pub(crate) max_deliveries: NumberOrOff,
}

/// The connection to numa.
#[derive(Args, Debug)]
#[command(next_help_heading = "Numaflow", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct NumaflowArgs {
    /// The Unix socket that numa connects to. In streaming mode the default is /var/run/numaflow/map.sock.
    #[arg(long, env = "SOCK_PATH", default_value = numaflow::batchmap::SOCK_ADDR, value_name = "PATH")]
    #[arg(default_value_if("mode", "streaming", numaflow::map::SOCK_ADDR))]
    pub(crate) sock_path: PathBuf,

    /// The server-info file, through which numa finds the socket; written last.
    #[arg(long, env = "SERVER_INFO_PATH", default_value = numaflow::batchmap::SERVER_INFO_FILE, value_name = "PATH")]
    pub(crate) server_info_path: PathBuf,

    /// Unused; accepted so that pod specs of the Python sidecars work unchanged. This program queues frames in a ring
    /// of slots, one more than batches may be in flight.
    #[arg(long, env = "PVA_QUEUE_SIZE", value_name = "ANY")]
    pub(crate) queue_size: Option<String>,
}

/// Logs and metrics.
#[derive(Args, Debug)]
#[command(next_help_heading = "Logs and metrics", mut_args = |arg| arg.hide_env_values(true))]
pub(crate) struct TelemetryArgs {
    /// The address for metrics, stats and health over HTTP, as ADDRESS:PORT; [::] is every address, IPv4 and IPv6; off: no
    /// HTTP. Frames are served even if another process has the port.
    #[arg(
        long,
        env = "HTTP_ADDRESS",
        default_value = "[::]:9100",
        value_name = "ADDRESS",
        value_parser = address_or_off
    )]
    pub(crate) http_address: AddressOrOff,

    /// The status page shows numbers only, no frames.
    #[arg(long, env = "NO_PICTURES")]
    pub(crate) no_pictures: bool,

    /// The log.
    #[command(flatten)]
    pub(crate) log: LogArgs,

    /// Checks the settings, prints each with its origin, and exits.
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl TryFrom<ServeArgs> for Config {
    type Error = SettingsError;

    /// Destructures all flags by name, so that the program does not compile if a new flag is forgotten here.
    fn try_from(args: ServeArgs) -> Result<Self, SettingsError> {
        let ServeArgs {
            model,
            gpu: GpuArgs { engine, balance },
            frames,
            policy,
            numaflow,
            telemetry,
        } = args;
        let ModelArgs {
            mode,
            model_path,
            models,
            bsz_size,
            pipeline_depth,
            max_concurrent_batches,
            batch_timeout,
            batch_wait,
            allow_mixed_rows,
            inference_timeout,
        } = model;
        let FrameArgs {
            frame_dtype,
            decoders,
            bad_pixels,
            bad_pixel_fill,
            max_bad_pixels,
            mask,
            output_size,
            outputs,
            output_dtype,
            output_format,
        } = frames;
        let PolicyArgs {
            on_invalid,
            on_nonfinite,
            on_failure,
            max_deliveries,
        } = policy;
        let NumaflowArgs {
            sock_path,
            server_info_path,
            queue_size: _,
        } = numaflow;
        let TelemetryArgs {
            http_address,
            no_pictures,
            log: _,
            print_config: _,
        } = telemetry;
        if sock_path == server_info_path {
            return Err(ConfigError {
                flag: "--server-info-path",
                given: server_info_path.display().to_string(),
                reason: "use a path other than that of --sock-path".to_owned(),
            }
            .into());
        }
        let model = ModelSettings {
            name: model::DEFAULT.to_owned(),
            path: model_path,
            engine: engine.options(bsz_size),
            balance,
            batch_size: bsz_size,
            frame_dtype,
            bad_pixels: BadPixelSettings {
                rule: bad_pixels.0,
                fill: bad_pixel_fill,
                limit: max_bad_pixels,
                mask,
            },
            outputs,
            output_size,
            output_dtype,
            output_format,
            decoders: decoders_in_force(decoders),
            limits: Limits {
                batch_timeout: batch_timeout.0,
                inference_timeout,
            },
            mixing: allow_mixed_rows,
            priority: Priority::default(),
            backlog: model::BACKLOG,
        };
        let read = |path: PathBuf| models::read(&path, &model);
        let models_file = models.map(read).transpose()?;
        config::check_nonfinite(on_nonfinite.as_ref(), &model, models_file.as_ref())?;
        Ok(Self {
            mode,
            model,
            models_file,
            pipeline_depth,
            batch_wait: batch_wait.map(|wait| wait.0.unwrap_or_default()),
            max_concurrent_batches,
            on_invalid,
            on_nonfinite,
            on_failure,
            max_deliveries: max_deliveries.0,
            http_address: http_address.0,
            no_pictures,
            sock_path,
            server_info_path,
        })
    }
}
