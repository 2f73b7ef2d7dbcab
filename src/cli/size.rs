//! `beamflow size`.

use super::parse::{bytes, rate, time, whole_number};
use crate::engine::options::Precision;
use crate::frame::{BadValue, Dtype, FrameShape, OutputDtype, OutputFormat, OutputSize};
use clap::Args;
use std::time::Duration;

/// Flags of `beamflow size`.
#[derive(Args, Debug)]
pub struct SizeArgs {
    /// Frames per second, all replicas together; several values, separated by commas, become columns.
    #[arg(long, required = true, value_name = "RATE", value_delimiter = ',', value_parser = rate)]
    pub(crate) fps: Vec<f64>,

    /// How long a device takes for a batch, copies included: 1 ÷ the batches/s of bench-engine.
    #[arg(long, required = true, value_name = "TIME", value_parser = time)]
    pub(crate) batch_time: Duration,

    /// How long numa takes to hand over a batch to a sidecar: collection_ms ÷ batches of the sidecar's log. If not
    /// given, batches are assumed to arrive at the detector's rate, which is slower and needs less depth.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) collection_time: Option<Duration>,

    /// limits.readTimeout of the vertex: how long numa waits for a read batch to fill. The default is Numaflow's.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = time)]
    pub(crate) read_timeout: Duration,

    /// limits.readBatchSize of the vertex, for the memory figures; if not given, the smallest sufficient value.
    #[arg(long, value_name = "DATUMS", value_parser = whole_number::<1, 100_000>)]
    pub(crate) read_batch: Option<usize>,

    /// Frames per batch, as in --batch-time.
    #[arg(long, default_value = "8", value_name = "FRAMES", value_parser = whole_number::<1, 4096>)]
    pub(crate) bsz_size: usize,

    /// The frames' size in pixels. The model's outputs are assumed to have the same size.
    #[arg(long, default_value = "512x512", value_name = "HEIGHTxWIDTH", value_parser = frame_size)]
    pub(crate) frame_size: FrameShape,

    /// The dtype of the frames.
    #[arg(long, default_value = "int16", value_name = "DTYPE")]
    pub(crate) frame_dtype: Dtype,

    /// Results per frame: the number of outputs that are sent.
    #[arg(long, default_value = "2", value_name = "RESULTS", value_parser = whole_number::<1, 100>)]
    pub(crate) outputs: usize,

    /// The part of each output that is sent, cropped around its centre; full: the whole output.
    #[arg(long, default_value = "64x64", value_name = "WIDTHxHEIGHT")]
    pub(crate) output_size: OutputSize,

    /// The dtype of results: float32 or int16.
    #[arg(long, default_value = "float32", value_name = "DTYPE")]
    pub(crate) output_dtype: OutputDtype,

    /// The format of results: npy or raw.
    #[arg(long, default_value = "npy", value_name = "FORMAT")]
    pub(crate) output_format: OutputFormat,

    /// The model's precision. With fp16 the model's input takes half the memory.
    #[arg(long, value_enum, default_value = "fp32", value_name = "PRECISION")]
    pub(crate) precision: Precision,

    /// Devices in each replica.
    #[arg(long, default_value = "1", value_name = "DEVICES", value_parser = whole_number::<1, 8>)]
    pub(crate) devices_per_replica: usize,

    /// The share of the time that a device may be busy, in percent; the rest is reserve.
    #[arg(long, default_value = "80", value_name = "PERCENT", value_parser = whole_number::<1, 100>)]
    pub(crate) utilization: usize,

    /// JetStream's largest message (max_payload), in bytes, KiB or MiB.
    #[arg(long, default_value = "1MiB", value_name = "BYTES", value_parser = bytes)]
    pub(crate) max_payload: usize,

    /// Prints JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads a frame size of at most 65536 × 65536 pixels, so that no figure overflows.
fn frame_size(text: &str) -> Result<FrameShape, BadValue> {
    text.parse()
        .ok()
        .filter(|shape: &FrameShape| shape.height.max(shape.width) <= 1 << 16)
        .ok_or_else(|| BadValue::new(text, "HEIGHTxWIDTH, such as 512x512, up to 65536x65536"))
}
