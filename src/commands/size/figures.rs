//! The formulas of sizing: plain arithmetic on what is given, with units in the fields' names.
//!
//! Nothing here is measured or assumed about a device: the time of a batch is given. What is taken from Numaflow and
//! JetStream is in the constants.

use crate::config::memory;
use crate::engine::options::Precision;
use crate::engine::{BatchDimension, ModelSpec, TensorSpec};
use crate::frame::values::Element;
use crate::frame::{Dtype, Envelope, FrameShape};
use crate::inference::schedule::depth;
use serde::Serialize;
use std::time::Duration;

/// Bytes kept free in a JetStream message for what is around the payload: id, keys, headers, metadata.
pub(crate) const AROUND_PAYLOAD: usize = 1024;

/// Bytes of frames that one read of JetStream may fetch. It fetches `readBatchSize` messages, whatever their size, and NATS ends
/// the connection of a client for which more than 64 MiB wait.
pub(crate) const LARGEST_READ: usize = 32 << 20;

/// What is given, the rate aside.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// Height and width of a frame.
    pub(crate) shape: FrameShape,
    /// Its pixels' dtype.
    pub(crate) dtype: Dtype,
    /// Frames per batch.
    pub(crate) batch_size: usize,
    /// How long a device takes for a batch.
    pub(crate) batch_time: Duration,
    /// `limits.readTimeout` of the vertex: a read batch is what arrives within it.
    pub(crate) read_timeout: Duration,
    /// How long numa takes to hand a batch to the sidecar, where that is known.
    pub(crate) collection_time: Option<Duration>,
    /// Results per frame.
    pub(crate) outputs: usize,
    /// How a result is cut and written.
    pub(crate) envelope: Envelope,
    /// `limits.readBatchSize` of the vertex, where it is known; the least that will do if not.
    pub(crate) read_batch: Option<usize>,
    /// The model's precision: what an input value takes in a slot.
    pub(crate) precision: Precision,
    /// Devices in each replica.
    pub(crate) devices_per_replica: usize,
    /// The largest part of the time, up to 1, for which a device may be busy.
    pub(crate) utilization: f64,
    /// The largest message that JetStream takes, in bytes.
    pub(crate) max_payload_bytes: usize,
}

/// Frames and results as messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Messages {
    /// Payload of a frame: height × width × bytes of a pixel.
    pub(crate) frame_bytes: usize,
    /// Payload of one result: height × width × bytes of a value, and the `.npy` header.
    pub(crate) result_bytes: usize,
    /// Results per frame, one message each.
    pub(crate) results_per_frame: usize,
    /// The largest message that JetStream takes.
    pub(crate) max_payload_bytes: usize,
    /// Whether a frame and [`AROUND_PAYLOAD`] fit into that.
    pub(crate) frame_fits: bool,
    /// Whether a result and [`AROUND_PAYLOAD`] fit into that.
    pub(crate) result_fits: bool,
}

/// What one rate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Sizing {
    /// Frames per second, all replicas together.
    pub(crate) frames_per_second: f64,
    /// Into the vertex, in bytes per second: frames/s × frame bytes.
    pub(crate) bytes_in_per_second: f64,
    /// Out of the vertex, in bytes per second: frames/s × results per frame × result bytes.
    pub(crate) bytes_out_per_second: f64,
    /// Batches per second: frames/s ÷ batch size.
    pub(crate) batches_per_second: f64,
    /// How long a batch takes to arrive at the vertex, in seconds: batch size ÷ frames/s.
    pub(crate) arrival_seconds: f64,
    /// Devices that are busy all the time: batch time ÷ arrival time.
    pub(crate) device_load: f64,
    /// Devices needed: device load ÷ utilization, rounded up.
    pub(crate) devices: usize,
    /// Replicas needed: devices ÷ devices per replica, rounded up; where the collection time is given, at least
    /// collection time ÷ arrival time ÷ utilization, rounded up, for numa hands over one batch at a time.
    pub(crate) replicas: usize,
    /// The part of the time that a device is then busy: device load ÷ (replicas × devices per replica).
    pub(crate) utilization: f64,
    /// Batch time ÷ collection time; where that is not given, ÷ the time in which a batch arrives at one replica
    /// (arrival time × replicas).
    pub(crate) inference_to_collection: f64,
    /// `--pipeline-depth`: what a depth that follows the measured times would come to, [`depth::suited`].
    pub(crate) pipeline_depth: usize,
    /// `limits.readBatchSize`, at least: (depth + 1) × batch size.
    pub(crate) read_batch_size: usize,
    /// `limits.readBatchSize` as it is given, or the least.
    pub(crate) read_batch: usize,
    /// `limits.concurrency` in streaming mode, at least: 2 × read batch, and (depth + 1) × batch size. Below, numa waits at the
    /// end of each read batch.
    pub(crate) concurrency: usize,
    /// What numa holds in streaming mode, in bytes: 2 × concurrency × frame bytes, and a read batch's results.
    pub(crate) numa_bytes: usize,
    /// Host memory of a replica's slots, in bytes: (depth + 1) × a batch's input and whole outputs.
    pub(crate) slots_bytes: usize,
    /// Host memory of a read batch's results, in bytes, if none has left: each leaves when its batch is done.
    /// read batch × results per frame × result bytes.
    pub(crate) answer_bytes: usize,
    /// `resources.limits.memory` of a replica's sidecar, at least, in bytes: the program, slots and [`memory::of_read_batch`]. What
    /// the model takes comes on top.
    pub(crate) memory_bytes: usize,
    /// The buffer before the vertex, in bytes per minute of backlog and stream replica: 60 s × bytes in/s.
    pub(crate) frames_backlog_bytes_per_minute: f64,
    /// The buffer behind the vertex, likewise: 60 s × bytes out/s.
    pub(crate) results_backlog_bytes_per_minute: f64,
    /// Frames that a replica's read batch holds: the read batch, or what arrives within the read time-out.
    pub(crate) frames_in_read_batch: usize,
    /// How long a read batch takes to gather at one replica, in seconds: its frames × replicas ÷ frames/s,
    /// the read time-out at most.
    pub(crate) gather_seconds: f64,
    /// How long it is computed, in seconds: rounds of as many batches as there are devices (and depth) × batch time.
    pub(crate) compute_seconds: f64,
    /// The age of a read batch's oldest frame when it is answered, in seconds, at least: gather + collection time of
    /// the first batch, where that is given + compute. What the buffer and gRPC take comes on top.
    pub(crate) latency_seconds: f64,
}

impl Given {
    /// Frames and results as messages.
    #[must_use]
    pub(crate) fn messages(&self) -> Messages {
        let frame_bytes = self.shape.bytes(self.dtype).unwrap_or(usize::MAX);
        let result_bytes = self.envelope.encoded_len();
        let fits =
            |payload: usize| payload.saturating_add(AROUND_PAYLOAD) <= self.max_payload_bytes;
        Messages {
            frame_bytes,
            result_bytes,
            results_per_frame: self.outputs,
            max_payload_bytes: self.max_payload_bytes,
            frame_fits: fits(frame_bytes),
            result_fits: fits(result_bytes),
        }
    }

    /// The model that these frames are for: its outputs are as large as its input, before they are cut.
    #[must_use]
    pub(crate) fn model(&self) -> ModelSpec {
        let tensor = |name: &str, element| TensorSpec {
            name: name.to_owned(),
            shape: vec![1, self.shape.height, self.shape.width],
            element,
        };
        ModelSpec {
            input: tensor(
                "frames",
                match self.precision {
                    Precision::Fp32 | Precision::Tf32 => Element::F32,
                    Precision::Fp16 => Element::F16,
                },
            ),
            outputs: vec![tensor("result", Element::F32); self.outputs],
            batch: BatchDimension::Dynamic,
        }
    }

    /// What `fps` frames per second ask for.
    #[must_use]
    pub(crate) fn at(&self, fps: f64) -> Sizing {
        let messages = self.messages();
        let result_bytes = messages
            .results_per_frame
            .saturating_mul(messages.result_bytes);
        let bytes_in_per_second = fps * messages.frame_bytes as f64;
        let bytes_out_per_second = fps * result_bytes as f64;
        let batch_size = self.batch_size as f64;
        let batch_time = self.batch_time.as_secs_f64();

        let arrival_seconds = batch_size / fps;
        let device_load = batch_time / arrival_seconds;
        let devices = whole(device_load / self.utilization);
        let collection = self.collection_time.map(|time| time.as_secs_f64());
        let streams = collection.map(|time| whole(time / arrival_seconds / self.utilization));
        let replicas = devices
            .div_ceil(self.devices_per_replica)
            .max(streams.unwrap_or(1));
        let devices_there = replicas.saturating_mul(self.devices_per_replica);

        let inference_to_collection =
            batch_time / collection.unwrap_or(arrival_seconds * replicas as f64);
        let pipeline_depth = depth::suited(inference_to_collection);
        let slots = pipeline_depth + 1;
        let read_batch_size = slots * self.batch_size;
        let read_batch = self.read_batch.unwrap_or(read_batch_size);
        let concurrency = read_batch.saturating_mul(2).max(read_batch_size);
        let slots_bytes = self
            .model()
            .batch_bytes(self.batch_size)
            .saturating_mul(slots);

        let fps_of_replica = fps / replicas as f64;
        let in_time = (fps_of_replica * self.read_timeout.as_secs_f64()) as usize;
        let frames_in_read_batch = read_batch.min(in_time.max(1));
        let gather_seconds =
            (frames_in_read_batch as f64 / fps_of_replica).min(self.read_timeout.as_secs_f64());
        let rounds = frames_in_read_batch
            .div_ceil(self.batch_size)
            .div_ceil(self.devices_per_replica.min(pipeline_depth));
        let compute_seconds = rounds as f64 * batch_time;
        Sizing {
            frames_per_second: fps,
            bytes_in_per_second,
            bytes_out_per_second,
            batches_per_second: fps / batch_size,
            arrival_seconds,
            device_load,
            devices,
            replicas,
            utilization: device_load / devices_there as f64,
            inference_to_collection,
            pipeline_depth,
            read_batch_size,
            read_batch,
            concurrency,
            numa_bytes: concurrency
                .saturating_mul(2)
                .saturating_mul(messages.frame_bytes)
                .saturating_add(read_batch.saturating_mul(result_bytes)),
            slots_bytes,
            answer_bytes: read_batch.saturating_mul(result_bytes),
            memory_bytes: [
                memory::PROGRAM,
                slots_bytes,
                memory::of_read_batch(read_batch, messages.frame_bytes, result_bytes),
            ]
            .into_iter()
            .fold(0, usize::saturating_add),
            frames_backlog_bytes_per_minute: 60.0 * bytes_in_per_second,
            results_backlog_bytes_per_minute: 60.0 * bytes_out_per_second,
            frames_in_read_batch,
            gather_seconds,
            compute_seconds,
            latency_seconds: gather_seconds + collection.unwrap_or(0.0) + compute_seconds,
        }
    }
}

/// Rounded up, at least 1; a hair above a whole number is that number, for 0.3 ÷ 0.1 is not 3 here.
fn whole(devices: f64) -> usize {
    // `as` saturates.
    ((devices - 1e-9).ceil() as usize).max(1)
}

#[cfg(test)]
mod tests;
