//! What a frame costs on its way in and out, against the cost of merely moving its bytes.
//!
//! Two floors are measured beside the conversion to `f32`: `memcpy`, which reads and writes the
//! payload as it is, and `fill`, which writes a row of `f32` (twice an int16 payload) and reads
//! nothing. `cached` uses one payload and one row over and over, which shows the arithmetic;
//! `streamed` goes round many, as a read batch does, which shows the memory.
//!
//!     cargo bench --bench frame

use std::collections::HashMap;
use std::hint::black_box;

use beamflow::frame::{
    Decoder, Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, OutputSize,
};
use beamflow::values::{Values, ValuesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;

const PIXELS: usize = 512 * 512;
const SHAPE: FrameShape = FrameShape {
    height: 512,
    width: 512,
};

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}

/// Decode and convert: payload to row, per pixel type; throughput in payload bytes.
fn frame_in(criterion: &mut Criterion) {
    moved(criterion, "in_512x512_cached", 1, &Dtype::ALL);
    // 32 MiB of payloads, 64 MiB of rows: beyond most last-level caches.
    moved(criterion, "in_512x512_streamed", 64, &[Dtype::I16]);
}

fn moved(criterion: &mut Criterion, name: &str, frames: usize, dtypes: &[Dtype]) {
    let mut group = criterion.benchmark_group(name);
    let headers = HashMap::from([("x-txn-id".to_owned(), "scan7/42".to_owned())]);
    let bytes = PIXELS * Dtype::I16.size();
    let payloads = vec![payload(bytes); frames];
    let mut copies = vec![vec![0u8; bytes]; frames];
    let mut rows = vec![vec![0.0f32; PIXELS]; frames];
    let mut halves = vec![vec![f16::ZERO; PIXELS]; frames];

    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("floor_memcpy_int16", |bencher| {
        let mut round = payloads.iter().cycle();
        let mut turn = (0..frames).cycle();
        bencher.iter(|| {
            let to = turn.next().and_then(|at| copies.get_mut(at));
            for (to, from) in to.into_iter().zip(round.next()) {
                black_box(to).copy_from_slice(black_box(from));
            }
        });
    });
    group.bench_function("floor_fill", |bencher| {
        let mut turn = (0..frames).cycle();
        bencher.iter(|| {
            if let Some(row) = turn.next().and_then(|at| rows.get_mut(at)) {
                black_box(row).fill(black_box(1.0));
            }
        });
    });
    for &dtype in dtypes {
        let payloads = vec![payload(PIXELS * dtype.size()); frames];
        let decoder = Decoder::new(dtype, SHAPE);
        group.throughput(Throughput::Bytes((PIXELS * dtype.size()) as u64));
        group.bench_function(dtype.name(), |bencher| {
            let mut round = payloads.iter().cycle();
            let mut turn = (0..frames).cycle();
            bencher.iter(|| {
                let row = turn.next().and_then(|at| rows.get_mut(at));
                row.into_iter().zip(round.next()).all(|(row, payload)| {
                    let pixels = decoder.decode(black_box(payload), &headers);
                    pixels
                        .is_ok_and(|pixels| pixels.write_to(ValuesMut::F32(black_box(row))).is_ok())
                })
            });
        });
        group.bench_function(format!("{}_to_f16", dtype.name()), |bencher| {
            let mut round = payloads.iter().cycle();
            let mut turn = (0..frames).cycle();
            bencher.iter(|| {
                let row = turn.next().and_then(|at| halves.get_mut(at));
                row.into_iter().zip(round.next()).all(|(row, payload)| {
                    let pixels = decoder.decode(black_box(payload), &headers);
                    pixels
                        .is_ok_and(|pixels| pixels.write_to(ValuesMut::F16(black_box(row))).is_ok())
                })
            });
        });
    }
    group.finish();
}

/// Telling what a payload is, without touching its pixels: the fixed cost per datum.
fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode_only");
    let none = HashMap::from([("x-txn-id".to_owned(), "scan7/42".to_owned())]);
    let named = HashMap::from([
        ("x-frame-dtype".to_owned(), "int16".to_owned()),
        ("x-frame-shape".to_owned(), "512x512".to_owned()),
    ]);
    let decoder = Decoder::new(Dtype::I16, SHAPE);
    let raw = payload(PIXELS * Dtype::I16.size());
    let mut npy =
        b"\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (512, 512), }"
            .to_vec();
    npy.resize(127, b' ');
    npy.push(b'\n');
    npy.extend(&raw);
    for (name, payload, headers) in [
        ("raw", &raw, &none),
        ("raw_with_headers", &raw, &named),
        ("npy", &npy, &none),
    ] {
        assert!(
            decoder.decode(payload, headers).is_ok(),
            "{name}: the bench measures a rejection"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| decoder.decode(black_box(payload), black_box(headers)));
        });
    }
    group.finish();
}

/// Row to message: the default crop, and the whole output; throughput in message bytes.
fn result_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("out_of_512x512");
    let row: Vec<f32> = (0..PIXELS).map(|at| at as f32 * 0.25 - 20_000.0).collect();
    let centre = OutputSize::Size {
        width: 64,
        height: 64,
    };
    for (name, size, dtype) in [
        ("float32_64x64", centre, OutputDtype::Float32),
        ("float32_full", OutputSize::Full, OutputDtype::Float32),
        ("int16_full", OutputSize::Full, OutputDtype::Int16),
    ] {
        let Ok(envelope) = Envelope::new(
            &[1, SHAPE.height, SHAPE.width],
            size,
            dtype,
            OutputFormat::Npy,
        ) else {
            continue;
        };
        group.throughput(Throughput::Bytes(envelope.encoded_len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| envelope.encode(Values::F32(black_box(&row))))
        });
    }
    group.finish();
}

criterion_group!(benches, frame_in, headers, result_out);
criterion_main!(benches);
