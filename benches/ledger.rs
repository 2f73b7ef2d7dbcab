//! Cost of the ledger per frame: entering, settling and answering a read batch; closing batches.

use beamflow::inference::batch::Fill;
use beamflow::inference::ledger::{Arrival, Ledger, Outcome};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tokio::time::Instant;

const FRAMES: usize = 500;

fn ledger(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.bench_function("enter, settle, finish a read batch", |b| {
        b.iter(|| {
            let mut ledger = Ledger::default();
            let tickets: Vec<_> = (0..FRAMES)
                .map(|_| ledger.enter(String::new(), Vec::new(), Arrival::now()))
                .collect();
            for ticket in tickets {
                black_box(ledger.settle(ticket, Outcome::Done(Default::default())));
            }
            black_box(ledger.finish())
        });
    });
    group.finish();
}

fn fill(c: &mut Criterion) {
    let mut group = c.benchmark_group("fill");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let now = Instant::now();
    group.bench_function("frames into a batch", |b| {
        b.iter(|| {
            let mut fill = Fill::opened(now, FRAMES, Some(Duration::from_millis(100)));
            while !black_box(&mut fill).add() {}
        });
    });
    group.finish();
}

criterion_group!(benches, ledger, fill);
criterion_main!(benches);
