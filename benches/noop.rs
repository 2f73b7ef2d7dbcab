//! The upper limit: a batch map on the SDK's own server that does nothing. `beamflow bench --peer` compares a
//! sidecar with it.
//!
//! `cargo build --release --example noop`
//!
//! By default each datum is answered with its own payload, as the SDK's echo does. `--reply BYTES` returns only
//! its first BYTES bytes, for a comparison with results of that size.

use clap::Parser;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum, Message, Server};
use numaflow::shared::ServerExtras;
use std::error::Error;
use std::path::PathBuf;
use tokio::sync::mpsc;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    sock_path: PathBuf,
    #[arg(long)]
    server_info_path: PathBuf,
    #[arg(long)]
    reply: Option<usize>,
}

struct NoOp {
    reply: usize,
}

#[tonic::async_trait]
impl BatchMapper for NoOp {
    async fn batchmap(&self, mut datums: mpsc::Receiver<Datum>) -> Vec<BatchResponse> {
        let mut responses = Vec::new();
        while let Some(mut datum) = datums.recv().await {
            datum.value.truncate(self.reply);
            let mut response = BatchResponse::from_id(datum.id);
            response.append(Message::new(datum.value).with_keys(datum.keys));
            responses.push(response);
        }
        responses
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    Server::new(NoOp {
        reply: args.reply.unwrap_or(usize::MAX),
    })
    .with_socket_file(&args.sock_path)
    .with_server_info_file(&args.server_info_path)
    .with_max_message_size(64 * 1024 * 1024)
    .start()
    .await
}
