//! The sizing table: quantities as rows, rates as columns, and beside them how they come about.

use super::figures::{AROUND_PAYLOAD, Given, LARGEST_READ, Messages, Sizing};
use crate::commands::table;
use crate::config::memory;
use bytesize::ByteSize;
use serde::Serialize;
use std::fmt::Write;

/// The table and what is to be done about what does not fit.
#[must_use]
pub(crate) fn text(given: &Given, sizings: &[Sizing]) -> String {
    let messages = given.messages();
    let mut text = heading(given, &messages);
    text.push('\n');
    text += &table::render_with_remarks(&rows(given, &messages, sizings));
    let notes = notes(given, &messages, sizings);
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        let _ = writeln!(text, "  {note}");
    }
    text
}

/// The same as JSON, with the units in the names.
#[must_use]
pub(crate) fn json(given: &Given, sizings: &[Sizing]) -> String {
    #[derive(Serialize)]
    struct Report<'a> {
        frame_size: String,
        frame_dtype: String,
        batch_size: usize,
        batch_seconds: f64,
        collection_seconds: Option<f64>,
        devices_per_replica: usize,
        utilization_at_most: f64,
        messages: Messages,
        rates: &'a [Sizing],
        notes: Vec<String>,
    }
    let messages = given.messages();
    let report = Report {
        frame_size: given.shape.to_string(),
        frame_dtype: given.dtype.to_string(),
        batch_size: given.batch_size,
        batch_seconds: given.batch_time.as_secs_f64(),
        collection_seconds: given.collection_time.map(|time| time.as_secs_f64()),
        devices_per_replica: given.devices_per_replica,
        utilization_at_most: given.utilization,
        messages,
        rates: sizings,
        notes: notes(given, &messages, sizings),
    };
    // What is written are numbers and texts; it cannot fail.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

/// What does not fit, one sentence each.
#[must_use]
pub(crate) fn notes(given: &Given, messages: &Messages, sizings: &[Sizing]) -> Vec<String> {
    let mut notes = Vec::new();
    let sides = [
        ("Frames", messages.frame_bytes, messages.frame_fits),
        ("Results", messages.result_bytes, messages.result_fits),
    ];
    for (what, payload, fits) in sides {
        if !fits {
            notes.push(format!(
                "{what} do not fit into JetStream's messages: {} and {} for headers are more than max_payload, {}. Raise max_payload, or use a MonoVertex, which has no buffer.",
                bytes(payload),
                bytes(AROUND_PAYLOAD),
                bytes(messages.max_payload_bytes),
            ));
        }
    }
    let mut reads: Vec<_> = sizings.iter().map(|sizing| sizing.read_batch).collect();
    reads.sort_unstable();
    reads.dedup();
    for frames in reads {
        let read = frames.saturating_mul(messages.frame_bytes);
        if read > LARGEST_READ {
            notes.push(format!(
                "A read batch of {frames} frames is {}, more than {}: JetStream closes connections for which more than 64 MiB wait. Lower limits.readBatchSize to {}, with --bsz-size and --pipeline-depth that fit, compress the frames, or use a MonoVertex.",
                bytes(read),
                bytes(LARGEST_READ),
                (LARGEST_READ / messages.frame_bytes.max(1)).max(1),
            ));
        }
    }
    for sizing in sizings {
        if sizing.frames_in_read_batch < sizing.read_batch {
            notes.push(format!(
                "At {} frames/s read batches hold {} frames, not {}: no more arrive within limits.readTimeout, {:?}.",
                rate(sizing.frames_per_second),
                sizing.frames_in_read_batch,
                sizing.read_batch,
                given.read_timeout,
            ));
        }
    }
    notes
}

fn heading(given: &Given, messages: &Messages) -> String {
    format!(
        "Frames of {} {}, {} each; {} × {} as results.\nA device takes {} for a batch of {}, and may be busy {:.0} % of the time.\n",
        given.shape,
        given.dtype,
        bytes(messages.frame_bytes),
        given.outputs,
        bytes(messages.result_bytes),
        humantime::format_duration(given.batch_time),
        given.batch_size,
        given.utilization * 100.0,
    )
}

fn rows(given: &Given, messages: &Messages, sizings: &[Sizing]) -> Vec<Vec<String>> {
    let row = |label: &str, value: &dyn Fn(&Sizing) -> String, how: String| {
        let values = sizings.iter().map(value);
        std::iter::once(label.to_owned())
            .chain(values)
            .chain([how])
            .collect::<Vec<_>>()
    };
    let batch = given.batch_size;
    let results = format!("{} × {}", given.outputs, bytes(messages.result_bytes));
    let slot = bytes(given.model().batch_bytes(batch));
    vec![
        row("frames/s", &|s| rate(s.frames_per_second), String::new()),
        row(
            "frames in",
            &|s| per_second(s.bytes_in_per_second),
            format!("frames/s × {}", bytes(messages.frame_bytes)),
        ),
        row(
            "results out",
            &|s| per_second(s.bytes_out_per_second),
            format!("frames/s × {results}"),
        ),
        row(
            "batches/s",
            &|s| format!("{:.1}", s.batches_per_second),
            format!("frames/s ÷ {batch}"),
        ),
        row(
            "a batch arrives in",
            &|s| time(s.arrival_seconds),
            format!("{batch} ÷ frames/s"),
        ),
        row(
            "devices kept busy",
            &|s| format!("{:.2}", s.device_load),
            "a batch's time ÷ the time it takes to arrive".into(),
        ),
        row(
            "devices needed",
            &|s| s.devices.to_string(),
            format!("devices kept busy ÷ {:.2}, rounded up", given.utilization),
        ),
        row(
            "replicas",
            &|s| s.replicas.to_string(),
            match given.collection_time {
                Some(time) => format!(
                    "devices ÷ {} in each, or {} of collection ÷ a batch's arrival ÷ {:.2}: the larger, rounded up",
                    given.devices_per_replica,
                    humantime::format_duration(time),
                    given.utilization,
                ),
                None => format!(
                    "devices ÷ {} in each, rounded up",
                    given.devices_per_replica
                ),
            },
        ),
        row(
            "busy",
            &|s| format!("{:.0} %", s.utilization * 100.0),
            "devices kept busy ÷ devices in all replicas".into(),
        ),
        row(
            "--pipeline-depth",
            &|s| s.pipeline_depth.to_string(),
            match given.collection_time {
                Some(time) => format!(
                    "a batch's time ÷ {} of collection, × 1.25, rounded up; 8 at most",
                    humantime::format_duration(time)
                ),
                None => {
                    "a batch's time ÷ its arrival at one replica, × 1.25, rounded up; 8 at most"
                        .into()
                }
            },
        ),
        row(
            "limits.readBatchSize ≥",
            &|s| s.read_batch_size.to_string(),
            format!(
                "(depth + 1) × {batch}; more is better: devices wait while a read batch begins"
            ),
        ),
        row(
            "limits.concurrency ≥",
            &|s| s.concurrency.to_string(),
            "in streaming mode: 2 × readBatchSize, and NUMAFLOW_READ_AHEAD on a MonoVertex".into(),
        ),
        row(
            "memory of numa ≥",
            &|s| bytes(s.numa_bytes),
            format!(
                "per replica in streaming mode: 2 × concurrency × {}, readBatchSize × {results}",
                bytes(messages.frame_bytes)
            ),
        ),
        row(
            "memory of slots",
            &|s| bytes(s.slots_bytes),
            format!("per replica: (depth + 1) × {slot}"),
        ),
        row(
            "memory of answers",
            &|s| bytes(s.answer_bytes),
            format!("per replica at most: readBatchSize × {results}"),
        ),
        row(
            "memory limit ≥",
            &|s| bytes(s.memory_bytes),
            format!(
                "per replica: slots, answers, 2 × readBatchSize × {}, {}; and what the model takes",
                bytes(messages.frame_bytes),
                bytes(memory::PROGRAM),
            ),
        ),
        row(
            "backlog of frames",
            &|s| bytes(s.frames_backlog_bytes_per_minute as usize),
            "per minute and stream replica: 60 s × frames in".into(),
        ),
        row(
            "backlog of results",
            &|s| bytes(s.results_backlog_bytes_per_minute as usize),
            "per minute and stream replica: 60 s × results out".into(),
        ),
        row(
            "oldest frame's age ≥",
            &|s| time(s.latency_seconds),
            match given.collection_time {
                Some(time) => format!(
                    "when answered: a read batch's time to gather + {} for its first batch + to compute",
                    humantime::format_duration(time)
                ),
                None => "when answered: a read batch's time to gather + to compute".into(),
            },
        ),
    ]
}

fn rate(per_second: f64) -> String {
    format!("{per_second}")
}

fn bytes(count: usize) -> String {
    ByteSize(count as u64).to_string()
}

fn per_second(count: f64) -> String {
    // `as` saturates.
    format!("{}/s", ByteSize(count as u64))
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}
