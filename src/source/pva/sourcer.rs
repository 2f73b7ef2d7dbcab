//! The SDK's `Sourcer` on the backlog, and the tasks that fill it.
//!
//! A frame's pixels are copied once, from the client's buffer into the message. Nothing waits for Numaflow: when it is slow,
//! the oldest unread frame goes.

use super::backlog::{Backlog, BacklogLimits, Books, Delivery};
use super::datum::Frame;
use super::identity::Identity;
use super::pv::Pv;
use super::settings::Settings;
use super::tally::Tally;
use crate::frame::headers;
use crate::pva::Monitor;
use crate::source::exchange::{Exchange, Supply};
use crate::telemetry::newest::Newest;
use numaflow::source::{Message, NackOffset, Offset, SourceReadRequest, Sourcer};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// After so long without an event, open gaps are certain.
const QUIET: Duration = Duration::from_secs(1);

/// PVs as a source; clones share their state.
#[derive(Clone)]
pub(crate) struct PvaSource(Arc<Shared>);

struct Shared {
    pvs: Vec<Pv>,
    backlog: Mutex<Backlog<Frame>>,
    exchange: Exchange,
    /// The process ends: the PVs are not followed any more.
    shutdown: CancellationToken,
    /// From a frame's event time to its first delivery, in seconds.
    ages: Histogram,
}

impl PvaSource {
    /// A source of the PVs in `settings`; nothing is connected yet. `process` is a random number.
    pub(crate) fn new(settings: Settings, process: u64, shutdown: CancellationToken) -> Self {
        let Settings {
            pvs,
            common,
            limits,
            linger,
        } = settings;
        let pv = |(index, pv)| Pv::new(pv, &common, index, process);
        Self(Arc::new(Shared {
            pvs: (0..).zip(pvs).map(pv).collect(),
            backlog: Mutex::new(Backlog::new(limits)),
            exchange: Exchange::new(linger, shutdown.clone()),
            shutdown,
            ages: Histogram::new(exponential_buckets(1e-3, 2.0, 16)),
        }))
    }

    /// Follows every PV, each in a task of its own, until the process ends.
    pub(crate) fn follow(&self) {
        for (index, pv) in self.0.pvs.iter().enumerate() {
            let monitor = Monitor::new(pv.monitor());
            tokio::spawn(follow(Arc::clone(&self.0), index, monitor));
        }
    }

    /// What has happened to each PV.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        self.0.pvs.iter().map(Pv::tally).collect()
    }

    /// The newest frame of PV number `pv`, for the status page.
    pub(crate) fn shown(&self, pv: usize) -> Option<&Newest> {
        self.0.pvs.get(pv).map(Pv::shown)
    }

    /// From a frame's event time to its first delivery, in seconds.
    pub(crate) fn ages(&self) -> Histogram {
        self.0.ages.clone()
    }

    /// How much is kept.
    pub(crate) fn limits(&self) -> BacklogLimits {
        self.0.backlog.lock().limits()
    }

    /// Frames by state.
    pub(crate) fn books(&self) -> Books {
        self.0.backlog.lock().books()
    }
}

async fn follow(shared: Arc<Shared>, index: usize, mut monitor: Monitor) {
    let Some(pv) = shared.pvs.get(index) else {
        return;
    };
    loop {
        let event = tokio::select! {
            event = timeout(QUIET, monitor.next()) => event,
            () = shared.shutdown.cancelled() => return,
        };
        match event {
            Ok(event) => {
                if pv.event(event, now(), &shared.backlog) {
                    shared.exchange.changed();
                }
            }
            Err(_) => pv.settle(),
        }
    }
}

/// Now, in ns since 1970.
fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Supply for Shared {
    type Id = Identity;
    type Taken = Delivery<Frame>;

    fn take(&self, at: Instant, most: usize) -> Vec<(Identity, Delivery<Frame>)> {
        let taken = self.backlog.lock().take(at, most);
        let now = SystemTime::now();
        for delivery in taken.iter().filter(|delivery| delivery.count == 1) {
            // A detector whose clock is ahead gives 0.
            let age = now.duration_since(delivery.frame.event_time);
            self.ages.observe(age.unwrap_or_default().as_secs_f64());
        }
        let with_identity = |delivery: Delivery<Frame>| (delivery.identity, delivery);
        taken.into_iter().map(with_identity).collect()
    }

    fn message(&self, taken: Delivery<Frame>) -> Message {
        message(taken)
    }

    fn next(&self) -> Option<Instant> {
        self.backlog.lock().next()
    }

    fn id(&self, offset: &Offset) -> Option<Identity> {
        Identity::from_bytes(&offset.offset)
    }

    fn ack(&self, id: Option<Identity>) -> bool {
        let mut backlog = self.backlog.lock();
        match id {
            Some(identity) => backlog.ack(identity),
            None => {
                backlog.unknown_ack();
                false
            }
        }
    }

    fn nack(&self, id: Identity, now: Instant, delay: Duration) {
        self.backlog.lock().nack(id, now, delay);
    }

    fn give_back(&self, ids: &[Identity]) {
        self.backlog.lock().give_back(ids);
    }
}

fn message(delivery: Delivery<Frame>) -> Message {
    let Delivery {
        identity,
        frame,
        count,
    } = delivery;
    let mut headers = frame.headers.clone();
    if count > 1 {
        headers.insert(headers::DELIVERY.to_owned(), count.to_string());
    }
    Message {
        value: frame.pixels.to_vec(),
        offset: Offset {
            offset: identity.to_bytes(),
            partition_id: frame.partition,
        },
        event_time: frame.event_time.into(),
        keys: Vec::new(),
        headers,
        user_metadata: None,
    }
}

#[async_trait::async_trait]
impl Sourcer for PvaSource {
    async fn read(&self, request: SourceReadRequest, transmitter: Sender<Message>) {
        let source = &*self.0;
        source.exchange.read(source, &request, &transmitter).await;
    }

    async fn ack(&self, offsets: Vec<Offset>) {
        self.0.exchange.ack(&*self.0, &offsets);
    }

    async fn nack(&self, offsets: Vec<NackOffset>) {
        self.0.exchange.nack(&*self.0, &offsets);
    }

    async fn pending(&self) -> Option<usize> {
        usize::try_from(self.books().pending()).ok()
    }

    async fn active_partitions(&self) -> Option<Vec<i32>> {
        let all = 0..i32::try_from(self.0.pvs.len()).unwrap_or(i32::MAX);
        Some(all.collect())
    }
}
