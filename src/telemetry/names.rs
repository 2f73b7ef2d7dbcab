//! The names and help texts of all metrics. A test compares the README's table with them.
//!
//! Base units; a counter gets its `_total`, a build its `_info`, from the encoder. All begin with `PREFIX`.

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Before every name.
pub(crate) const PREFIX: &str = "beamflow";

/// A metric's name and what it says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    name: &'static str,
    help: &'static str,
}

const fn name(name: &'static str, help: &'static str) -> Name {
    Name { name, help }
}

pub(crate) const BUILD: Name = name("build", "The program");
pub(crate) const ENGINE_READY: Name = name(
    "engine_ready",
    "1 while the frames of all models are answered",
);
pub(crate) const READ_BATCHES: Name = name("read_batches", "Read batches answered");
pub(crate) const FRAMES_RECEIVED: Name = name("frames_received", "Datums that came in");
pub(crate) const RECEIVED_BYTES: Name = name("received_bytes", "Payloads of datums that came in");
pub(crate) const SENT_BYTES: Name = name("sent_bytes", "Payloads of messages in answers");
pub(crate) const FRAME_LATENCY_SECONDS: Name = name(
    "frame_latency_seconds",
    "From a datum's event time to its answer",
);
pub(crate) const FRAMES_COMPLETED: Name = name("frames_completed", "Datums by outcome");
pub(crate) const FRAMES_REJECTED: Name = name(
    "frames_rejected",
    "Frames that are wrong in themselves, by reason",
);
pub(crate) const FRAMES_WITH_BAD_PIXELS: Name = name(
    "frames_with_bad_pixels",
    "Frames in which bad pixels were replaced",
);
pub(crate) const BAD_PIXELS: Name = name(
    "bad_pixels",
    "Pixels that were replaced because of their value, without those of the mask",
);
pub(crate) const RESULTS_NOT_FINITE: Name = name(
    "results_not_finite",
    "Frames with results that have NaN or infinite values",
);
pub(crate) const MODEL_FRAMES: Name = name("model_frames", "Answered frames by model and outcome");
pub(crate) const BACKLOG_FULL: Name = name(
    "backlog_full",
    "Frames for which the backlog of their model had no room, so that all waited",
);
pub(crate) const FRAMES_UNLISTED: Name = name(
    "frames_unlisted",
    "Frames for the default model whose header no route lists",
);
pub(crate) const DELIVERIES_EXHAUSTED: Name = name(
    "deliveries_exhausted",
    "Frames that failed in their last delivery, by reason",
);
pub(crate) const RESPONSES_REPLACED: Name = name(
    "responses_replaced",
    "Responses that the host replaced, by reason",
);
pub(crate) const FRAME_GAPS: Name = name("frame_gaps", "Frame numbers that were left out upstream");
pub(crate) const FRAME_GAPS_FILLED: Name = name(
    "frame_gaps_filled",
    "Frames that came after their numbers had been counted as left out",
);
pub(crate) const BATCHES: Name = name(
    "batches",
    "Batches computed, by mode and by why they closed",
);
pub(crate) const BATCH_FRAMES: Name = name("batch_frames", "Frames in a batch");
pub(crate) const BATCH_PADDING_FRAMES: Name = name(
    "batch_padding_frames",
    "Rows computed beyond the frames of a batch",
);
pub(crate) const BATCHES_RETRIED: Name = name("batches_retried", "Batches run a second time");
pub(crate) const LANES_REPLACED: Name = name("lanes_replaced", "Lanes given up because they hung");
pub(crate) const ENGINE_ERRORS: Name =
    name("engine_errors", "Runs of a batch that failed, by kind");
pub(crate) const HANDLER_DURATION_SECONDS: Name = name(
    "handler_duration_seconds",
    "From a read batch's first datum to its answer",
);
pub(crate) const READ_BATCH_FRAMES: Name = name("read_batch_frames", "Datums in a read batch");
pub(crate) const STAGE_DURATION_SECONDS: Name =
    name("stage_duration_seconds", "Time of a batch, by stage");
pub(crate) const LOG_LINES_DROPPED: Name = name(
    "log_lines_dropped",
    "Log lines that were not written in time",
);
pub(crate) const ENGINE_INFO: Name = name("engine_info", "The engine; always 1");
pub(crate) const ENGINE_LOAD_SECONDS: Name =
    name("engine_load_seconds", "How long the start took, by phase");
pub(crate) const LANE_BUSY_SECONDS: Name = name(
    "lane_busy_seconds",
    "How long a lane was at work, by its place on its device",
);
pub(crate) const IDLE_WHILE_QUEUED_SECONDS: Name = name(
    "idle_while_queued_seconds",
    "How long a lane was idle while a batch waited for one",
);
pub(crate) const MODEL_READY: Name = name("model_ready", "Whether the model has a lane");
pub(crate) const DEVICES_LOST: Name = name("devices_lost", "Devices that have no lane any more");
pub(crate) const SLOTS_IN_USE: Name =
    name("slots_in_use", "Slots that are being filled or computed");
pub(crate) const PIPELINE_DEPTH: Name = name(
    "pipeline_depth",
    "Batches that may be in flight in pipelined and in streaming mode",
);
pub(crate) const BATCH_SIZE: Name = name("batch_size", "Frames that a full batch holds");
pub(crate) const READ_BATCH_FRAMES_NEEDED: Name = name(
    "read_batch_frames_needed",
    "Datums that a read batch must hold for every slot to be used",
);

/// Metrics of the PVA source.
#[cfg(feature = "pva")]
mod source {
    use super::{Name, name};

    pub(crate) const SOURCE_CONNECTED: Name =
        name("source_connected", "1 while the PV is connected");
    pub(crate) const SOURCE_CONNECTIONS: Name = name("source_connections", "Connections to the PV");
    pub(crate) const SOURCE_UPDATES: Name = name(
        "source_updates",
        "Updates of the PV: frames and skipped ones",
    );
    pub(crate) const SOURCE_FRAMES: Name = name("source_frames", "Frames taken in");
    pub(crate) const SOURCE_BYTES: Name =
        name("source_bytes", "Bytes of frames, as they are sent on");
    pub(crate) const SOURCE_UNCOMPRESSED_BYTES: Name = name(
        "source_uncompressed_bytes",
        "Bytes of the same frames as raw pixels",
    );
    pub(crate) const SOURCE_SKIPPED: Name =
        name("source_skipped", "Updates that are no frames, by reason");
    pub(crate) const SOURCE_GAP_FRAMES: Name = name(
        "source_gap_frames",
        "Frames that are missing, by who lost them",
    );
    pub(crate) const SOURCE_GAP_FRAMES_FILLED: Name = name(
        "source_gap_frames_filled",
        "Frames that came after they had been counted as missing",
    );
    pub(crate) const SOURCE_LATE: Name =
        name("source_late", "Frames that were overtaken by another");
    pub(crate) const SOURCE_SERIES: Name =
        name("source_series", "Series of frames that have begun");
    pub(crate) const SOURCE_LEFT_OUT: Name = name(
        "source_left_out",
        "Updates left out for lack of room, by the server (if it says so) or by this client",
    );
    pub(crate) const SOURCE_DROPPED: Name =
        name("source_dropped", "Frames that were not read in time");
    pub(crate) const SOURCE_POSITIONS_MISSING: Name = name(
        "source_positions_missing",
        "Positions that are missing or no numbers",
    );
    pub(crate) const SOURCE_EVENT_TIMES: Name = name(
        "source_event_times",
        "Frames by what their event time is made from",
    );
    pub(crate) const SOURCE_MONITOR_RESTARTS: Name = name(
        "source_monitor_restarts",
        "Monitors that were started again, by reason",
    );
    pub(crate) const SOURCE_SECONDS_SINCE_FRAME: Name =
        name("source_seconds_since_frame", "Time since the last frame");
    pub(crate) const SOURCE_FRAME_AGE: Name = name(
        "source_frame_age_seconds",
        "Time from a frame's event time to its first delivery",
    );
    pub(crate) const SOURCE_UNREAD: Name = name("source_unread", "Frames that are not read yet");
    pub(crate) const SOURCE_UNREAD_LIMIT: Name =
        name("source_unread_limit", "Unread frames that may be kept");
    pub(crate) const SOURCE_UNACKED: Name =
        name("source_unacked", "Frames that are read and not acked");
    pub(crate) const SOURCE_WAITING: Name =
        name("source_waiting", "Frames that wait to be delivered again");
    pub(crate) const SOURCE_BUFFER_BYTES: Name =
        name("source_buffer_bytes", "Bytes of all frames that are kept");
    pub(crate) const SOURCE_BUFFER_LIMIT: Name = name(
        "source_buffer_limit_bytes",
        "Bytes of all frames that may be kept",
    );
    pub(crate) const SOURCE_ACKED: Name = name("source_acked", "Frames acked");
    pub(crate) const SOURCE_NACKED: Name = name("source_nacked", "Nacks of frames");
    pub(crate) const SOURCE_DELIVERED_AGAIN: Name = name(
        "source_delivered_again",
        "Deliveries of frames after the first",
    );
    pub(crate) const SOURCE_UNKNOWN_ACKS: Name =
        name("source_unknown_acks", "Acks of frames that are not here");
}
#[cfg(feature = "pva")]
pub(crate) use source::*;

/// Metrics of the PVA sink.
#[cfg(feature = "pva")]
mod sink {
    use super::{Name, name};

    pub(crate) const SINK_RESULTS: Name = name(
        "sink_results",
        "Messages that are results, those that came before included",
    );
    pub(crate) const SINK_DUPLICATES: Name =
        name("sink_duplicates", "Results that had come before");
    pub(crate) const SINK_OTHER_MODELS: Name = name(
        "sink_other_models",
        "Results of an output and a frame that another model had given; they are posted",
    );
    pub(crate) const SINK_NO_RESULTS: Name =
        name("sink_no_results", "Messages that are no results, by reason");
    pub(crate) const SINK_FRAMES: Name =
        name("sink_frames", "Frames of which at least one result came");
    pub(crate) const SINK_GAP_FRAMES: Name = name(
        "sink_gap_frames",
        "Frames that are missing among those that came",
    );
    pub(crate) const SINK_GAP_FRAMES_FILLED: Name = name(
        "sink_gap_frames_filled",
        "Frames that came after they had been counted as missing",
    );
    pub(crate) const SINK_SERIES: Name = name("sink_series", "Series of frames that have begun");
    pub(crate) const SINK_OVER: Name = name(
        "sink_over",
        "Results of series that were over; they are posted",
    );
    pub(crate) const SINK_UNSERVED: Name =
        name("sink_unserved", "Results of outputs that have no PV");
    pub(crate) const SINK_ROUNDED: Name = name(
        "sink_rounded",
        "Results whose values were rounded to float32",
    );
    pub(crate) const SINK_POSTED: Name = name("sink_posted", "Results posted to the PV");
    pub(crate) const SINK_SUPERSEDED: Name = name(
        "sink_superseded",
        "Results not posted, because a newer one came before the next post was allowed",
    );
    pub(crate) const SINK_LATE: Name = name(
        "sink_late",
        "Results not posted, because later ones were posted already",
    );
    pub(crate) const SINK_REFUSED: Name =
        name("sink_refused", "Results that the server of the PVs refused");
    pub(crate) const SINK_NONFINITE: Name = name(
        "sink_nonfinite",
        "Results with values that are no finite numbers",
    );
    pub(crate) const SINK_HELD: Name = name("sink_held", "Results that are held back");
    pub(crate) const SINK_SECONDS_SINCE_RESULT: Name = name(
        "sink_seconds_since_result",
        "Time since the last result was posted",
    );
    pub(crate) const SINK_LATENCY_SECONDS: Name = name(
        "sink_latency_seconds",
        "From a frame's time to the post of its result",
    );
    pub(crate) const SINK_MOSAIC_PLACED: Name =
        name("sink_mosaic_placed", "Frames placed in the mosaic");
    pub(crate) const SINK_MOSAIC_LEFT_OUT: Name = name(
        "sink_mosaic_left_out",
        "Frames and patches not placed in the mosaic, by reason",
    );
    pub(crate) const SINK_MOSAIC_UNLEVELLED: Name = name(
        "sink_mosaic_unlevelled",
        "Frames placed in the mosaic without their amplitude",
    );
    pub(crate) const SINK_MOSAIC_PICTURES: Name =
        name("sink_mosaic_pictures", "Pictures of the mosaic posted");
    pub(crate) const SINK_MOSAIC_SOLVED: Name =
        name("sink_mosaic_solved", "Final pictures made by the solver");
    pub(crate) const SINK_MOSAIC_UNSOLVED: Name =
        name("sink_mosaic_unsolved", "Series that got no final picture");
    pub(crate) const SINK_MOSAIC_BYTES: Name = name(
        "sink_mosaic_bytes",
        "Bytes of the mosaic: its canvas, and the patches kept for the final picture",
    );
    pub(crate) const SINK_CLIENTS: Name =
        name("sink_clients", "Clients that are connected to the PVs");
}
#[cfg(feature = "pva")]
pub(crate) use sink::*;

/// Metrics of the file sink.
#[cfg(feature = "hdf5")]
mod file {
    use super::{Name, name};

    pub(crate) const FILE_RESULTS: Name = name(
        "file_results",
        "Messages that are results, those that came before included",
    );
    pub(crate) const FILE_WRITTEN: Name = name("file_written", "Results in a file, flushed");
    pub(crate) const FILE_DUPLICATES: Name =
        name("file_duplicates", "Results that were in a file already");
    pub(crate) const FILE_LATE: Name = name(
        "file_late",
        "Results not written, because the file of their series was complete",
    );
    pub(crate) const FILE_OTHER_OUTPUTS: Name = name(
        "file_other_outputs",
        "Results not written, because --outputs does not name their output",
    );
    pub(crate) const FILE_UNFIT: Name = name(
        "file_unfit",
        "Results not written: another shape than those before, or more than 16 outputs",
    );
    pub(crate) const FILE_FAILED: Name = name(
        "file_failed",
        "Results that could not be written; Numaflow sends them again",
    );
    pub(crate) const FILE_ROUNDED: Name = name(
        "file_rounded",
        "Results whose values were rounded to float32",
    );
    pub(crate) const FILE_NO_RESULTS: Name =
        name("file_no_results", "Messages that are no results, by reason");
    pub(crate) const FILE_FRAMES: Name =
        name("file_frames", "Frames of which at least one result came");
    pub(crate) const FILE_GAP_FRAMES: Name = name(
        "file_gap_frames",
        "Frames that are missing among those that came",
    );
    pub(crate) const FILE_GAP_FRAMES_FILLED: Name = name(
        "file_gap_frames_filled",
        "Frames that came after they had been counted as missing",
    );
    pub(crate) const FILE_COMPLETED: Name = name("file_completed", "Files that are complete");
    pub(crate) const FILE_OPEN: Name = name("file_open", "Files that grow");
    pub(crate) const FILE_OPEN_ROWS: Name = name("file_open_rows", "Frames in the files that grow");
}
#[cfg(feature = "hdf5")]
pub(crate) use file::*;

impl Name {
    /// Registers `metric` under this name.
    #[allow(clippy::disallowed_methods, reason = "the one way to register")]
    pub(crate) fn register(
        self,
        registry: &mut Registry,
        metric: impl prometheus_client::registry::Metric,
    ) {
        registry.register(self.name, self.help, metric);
    }

    /// Begins a metric of this name that is read when it is asked for.
    pub(crate) fn encode<'e>(
        self,
        encoder: &'e mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'e>, std::fmt::Error> {
        encoder.encode_descriptor(self.name, self.help, None, kind)
    }
}
