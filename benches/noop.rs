//! The upper limit: a map on the SDK's own server that does nothing, a batch map or, with `--unary`, a unary one.
//! `beamflow bench --peer` compares a sidecar with it.
//!
//! `cargo build --release --example noop`
//!
//! By default each datum is answered with its own payload, as the SDK's echo does. `--reply BYTES` returns only
//! its first BYTES bytes, for a comparison with results of that size.

use clap::Parser;
use numaflow::batchmap::{BatchMapper, BatchResponse, Datum, Message, Server};
use numaflow::map;
use numaflow::shared::ServerExtras;
use std::error::Error;
use std::path::PathBuf;
use tokio::sync::mpsc;

const MAX_MESSAGE_SIZE: usize = 64 << 20;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    sock_path: PathBuf,
    #[arg(long)]
    server_info_path: PathBuf,
    #[arg(long)]
    reply: Option<usize>,
    #[arg(long)]
    unary: bool,
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

#[tonic::async_trait]
impl map::Mapper for NoOp {
    async fn map(&self, mut request: map::MapRequest) -> Vec<map::Message> {
        request.value.truncate(self.reply);
        vec![map::Message::new(request.value).with_keys(request.keys)]
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let no_op = NoOp {
        reply: args.reply.unwrap_or(usize::MAX),
    };
    if args.unary {
        return map::Server::new(no_op)
            .with_socket_file(&args.sock_path)
            .with_server_info_file(&args.server_info_path)
            .with_max_message_size(MAX_MESSAGE_SIZE)
            .start()
            .await;
    }
    Server::new(no_op)
        .with_socket_file(&args.sock_path)
        .with_server_info_file(&args.server_info_path)
        .with_max_message_size(MAX_MESSAGE_SIZE)
        .start()
        .await
}
