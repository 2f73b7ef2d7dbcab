//! Results of an endless scan, as a map gives them, for benches of sinks.

use beamflow::frame::headers;
use beamflow::vertex::client::Datum;
use numaflow::proto::metadata::{KeyValueGroup, Metadata};
use std::collections::HashMap;

const SIDE: usize = 64;
/// Scan points in a row, 6 pixels apart.
const ROW: u64 = 100;
/// Points of the scan.
const SCAN: u64 = ROW * ROW;
#[allow(dead_code, reason = "each example uses a part of it")]
pub const PIXEL: f64 = 8e-9;

/// A `.npy` file of an image.
fn npy(values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({SIDE}, {SIDE}), }}");
    let mut file = b"\x93NUMPY\x01\x00v\x00".to_vec();
    file.extend(format!("{header:<117}\n").bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

/// A result of a frame of an endless scan.
pub fn result(frame: u64, output: &str, started: i64, payload: &[u8]) -> Datum {
    let point = frame % SCAN;
    let metres = |step: u64| (step as f64 * 6.0 * PIXEL).to_string();
    let time = started + (frame * 1_000_000).cast_signed();
    let mut datum = Datum::new(format!("{frame}-{output}"), payload.to_vec());
    for (name, value) in [
        (headers::TXN_ID, (frame + 1).to_string()),
        (headers::PV, "pva:image".to_owned()),
        (headers::SERIES_START, started.to_string()),
        (headers::FRAME_TIME, time.to_string()),
        (headers::POSITION_X, metres(point % ROW)),
        (headers::POSITION_Y, metres(point / ROW)),
    ] {
        datum = datum.with_header(name, value);
    }
    let entry = |(key, value): (&str, &str)| (key.to_owned(), value.as_bytes().to_vec());
    let notes = [("output", output), ("model", "bench"), ("version", "1")];
    let group = KeyValueGroup {
        key_value: notes.map(entry).into(),
    };
    datum.metadata = Some(Metadata {
        user_metadata: HashMap::from([("beamflow".to_owned(), group)]),
        ..Metadata::default()
    });
    datum
}

/// An image, as `.npy`.
pub fn payload() -> Vec<u8> {
    let values: Vec<f32> = (0..SIDE * SIDE).map(|k| (k as f32 * 0.01).sin()).collect();
    npy(&values)
}
