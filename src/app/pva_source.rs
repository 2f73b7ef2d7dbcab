//! A detector's PVs as a Numaflow source: from the flags to the drained stop.
//!
//! The process serves numa whether or not a PV is there: a detector that is off is no fault of the pod. The state of the PVs is
//! in the metrics, on the status page and in the log.

use super::signals;
use super::source::{SourceError, serve};
use crate::cli::PvaSourceArgs;
use crate::config::memory::Limit;
use crate::source::pva::settings::Settings;
use crate::source::pva::sourcer::PvaSource;
use crate::status::http;
use crate::status::source::SourceStatus;
use bytesize::ByteSize;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the program takes beside the frames that it keeps.
const BESIDE: usize = 200 << 20;

/// Follows the PVs and serves their frames; returns after SIGTERM.
///
/// # Errors
/// [`SourceError`].
pub(crate) async fn run(args: PvaSourceArgs) -> Result<(), SourceError> {
    let settings = Settings::try_from(&args)?;
    check_memory(settings.limits.bytes);
    let shutdown = CancellationToken::new();
    signals::watch(shutdown.clone()).map_err(|source| SourceError::System {
        doing: "listen for signals",
        source,
    })?;
    let source = PvaSource::new(settings, RandomState::new().hash_one(0), shutdown.clone());
    let status = Arc::new(SourceStatus::new(source.clone()));
    if let Some(address) = args.http_address.0 {
        let served = http::serve(address, Arc::clone(&status)).await;
        served.map_err(|source| SourceError::Http { address, source })?;
    }
    tokio::spawn(async move { status.watch().await });
    source.follow();
    let paths = (args.sock_path.as_path(), args.server_info_path.as_path());
    let of = source.clone();
    let unacked = move || of.books().unacked;
    let report_of = |text: &str| report(&source, text);
    let served = serve(paths, &source, &shutdown, unacked, report_of).await;
    report(&source, "The source has ended.");
    served
}

/// Warns if the frames that may be kept do not fit below the memory limit.
fn check_memory(queue: usize) {
    let Some(limit) = Limit::tightest() else {
        return;
    };
    if queue.saturating_add(BESIDE) > limit.left() {
        tracing::warn!(
            "--queue-bytes {} and {} for the program may exceed {limit}, and the kernel would end the process: lower \
             --queue-bytes, or raise the limit.",
            ByteSize(queue as u64),
            ByteSize(BESIDE as u64)
        );
    }
}

fn report(source: &PvaSource, text: &str) {
    for tally in source.tallies() {
        let total = |counted: &crate::source::pva::tally::Counted| counted.values().sum::<u64>();
        tracing::info!(
            pv = tally.pv,
            peer = tally.peer.as_deref().unwrap_or("none"),
            updates = tally.updates,
            frames = tally.frames,
            skipped = total(&tally.skipped),
            missing = total(&tally.gap_frames) - tally.gap_frames_filled,
            dropped = tally.dropped,
            "{text}"
        );
    }
    let books = source.books();
    tracing::info!(
        taken = books.taken,
        acked = books.acked,
        nacked = books.nacked,
        again = books.again,
        dropped = books.dropped,
        pending = books.pending(),
        bytes = %ByteSize(books.bytes),
        "{text}"
    );
}
