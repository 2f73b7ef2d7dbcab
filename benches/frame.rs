//! Cost of a frame without its pixels: decoding a payload's header, and packing a result.
//!
//! `conversion.rs` measures the pixels.
//!
//!     cargo bench --bench frame

use std::collections::HashMap;
use std::hint::black_box;

use beamflow::frame::values::Values;
use beamflow::frame::{
    Decoder, Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, OutputSize, Scratch,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

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

/// Decodes a payload without touching its pixels: the fixed cost per datum.
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
    let mut scratch = Scratch::default();
    for (name, payload, headers) in [
        ("raw", &raw, &none),
        ("raw_with_headers", &raw, &named),
        ("npy", &npy, &none),
    ] {
        assert!(
            decoder.decode(payload, headers, &mut scratch).is_ok(),
            "{name}: the bench measures a rejection"
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                decoder
                    .decode(black_box(payload), black_box(headers), &mut scratch)
                    .is_ok()
            });
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

criterion_group!(benches, headers, result_out);
criterion_main!(benches);
