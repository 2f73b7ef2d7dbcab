//! Memory per frame: allocations and bytes, compared with a handler that does nothing.
//!
//! Both handlers are called as the server calls them, with datums that already exist. What remains is the
//! handlers' own use: a response, a message and the payload of a result for the handler that does nothing, and
//! in addition what the sidecar needs. A second copy of the pixels would show as bytes of a frame's size.
//!
//! `cargo bench --bench allocations`

use beamflow::app::map::Sidecar;
use beamflow::cli;
use beamflow::config::Config;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum, Message};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::HashMap;
use std::error::Error;
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const FRAMES: usize = 512;
/// A result of 64 × 64 float32 values with its npy header.
const RESULT: usize = 128 + 64 * 64 * 4;

struct NoOp;

#[tonic::async_trait]
impl BatchMapper for NoOp {
    async fn batchmap(&self, mut datums: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        let mut responses = Vec::new();
        while let Some(datum) = datums.recv().await {
            let mut response = BatchResponse::from_id(datum.id);
            response.append(Message::new(vec![0; RESULT]).with_keys(datum.keys));
            responses.push(response);
        }
        responses
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!("  frame      handler  allocations/frame  bytes/frame  of a frame's bytes");
    for side in [128, 512, 1024] {
        runtime.block_on(measure("no-op", &NoOp, side));
        let flags = [
            "--model-path",
            &format!("sim:size={side}x{side}"),
            "--batch-timeout",
            "10s",
        ];
        let reading = cli::read(flags.map(Into::into), |_| None)?;
        let sidecar = Sidecar::load(&Config::try_from(reading.cli.serve)?)?;
        runtime.block_on(measure("beamflow", sidecar.handler.as_ref(), side));
    }
    Ok(())
}

async fn measure(name: &str, handler: &dyn BatchMapper, side: usize) {
    // The first call fills the buffers that are kept between calls.
    let _ = call(handler, side).await;
    let (allocations, bytes) = call(handler, side).await;
    let frame = side * side * 2;
    println!(
        "  {:<9}  {name:<8} {:>17.1}  {:>11.0}  {:>18.3}",
        format!("{side}x{side}"),
        allocations as f64 / FRAMES as f64,
        bytes as f64 / FRAMES as f64,
        bytes as f64 / (FRAMES * frame) as f64,
    );
}

async fn call(handler: &dyn BatchMapper, side: usize) -> (usize, usize) {
    let (send, receive) = mpsc::channel(FRAMES);
    for n in 0..FRAMES {
        let headers = HashMap::from([("x-txn-id".to_owned(), n.to_string())]);
        let datum = Datum {
            keys: Vec::new(),
            value: vec![0; side * side * 2],
            watermark: Default::default(),
            event_time: Default::default(),
            id: n.to_string(),
            headers,
        };
        if send.send(datum).await.is_err() {
            break;
        }
    }
    drop(send);
    let region = Region::new(ALLOCATOR);
    let responses = handler.batchmap(receive).await;
    let change = region.change();
    assert_eq!(responses.len(), FRAMES);
    (change.allocations, change.bytes_allocated)
}
