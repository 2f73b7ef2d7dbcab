//! The campaign of the PVA source: updates of a PV go through a real source process to a reader while the detector loses,
//! repeats, swaps and renumbers frames, connections break, the reader nacks and is killed in mid-read, and the source is
//! killed.
//!
//! What is checked whenever all is quiet, and in part at every message: the books of the source balance; every frame that was
//! posted is delivered, or counted as dropped or missing; pixels and headers are those that were posted; a frame comes
//! again only after a nack or after its reader was lost, and never after its ack. Only a source that is killed loses frames
//! without a count: those that it held.
//!
//! `CAMPAIGN_UPDATES=1000000 cargo test --release --features pva --test campaign -- source --nocapture`

/// What the reader got, and what it may get.
mod account;
/// The PV, and what was posted.
mod detector;
/// The source's process, and what it says of itself.
mod process;

use crate::setting;
use account::Account;
use detector::Detector;
use process::{Process, Stats};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

const SHORT: usize = 20_000;

/// Updates between two checks of everything.
const CHECK_EVERY: u64 = 2_000;

/// Frames that the source keeps unread: fewer than a burst, so that some are dropped.
const QUEUE: usize = 100;

/// Longer than any step takes.
const NEVER: Duration = Duration::from_secs(120);

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Incident {
    /// A read, with acks and nacks.
    Read,
    /// More frames than the source keeps.
    Burst,
    /// The reader goes in mid-read.
    ReaderKilled,
    /// The detector's server goes and comes back.
    Disconnect,
    /// The ids begin at 1 again.
    Reset,
    /// SIGKILL for the source.
    SourceKilled,
}

/// A number from `least` to `most`.
fn number(chance: &mut ChaCha8Rng, least: u64, most: u64) -> u64 {
    least + chance.next_u64() % (most - least + 1)
}

struct Campaign {
    /// For what happens to the detector and the source: the same in every campaign of a seed.
    steps: ChaCha8Rng,
    /// For the reader: which frames it gets depends on the timing.
    reads: ChaCha8Rng,
    detector: Detector,
    process: Process,
    account: Account,
    lives: u64,
}

impl Campaign {
    async fn start(seed: u64) -> Self {
        let detector = Detector::start();
        let process = Process::start(&detector.address(), QUEUE).await;
        let mut campaign = Self {
            steps: ChaCha8Rng::seed_from_u64(seed),
            reads: ChaCha8Rng::seed_from_u64(!seed),
            detector,
            process,
            account: Account::default(),
            lives: 1,
        };
        campaign.begin().await;
        campaign
    }

    /// A source that has just started: what it has before the first frame of this life is not of this life.
    async fn begin(&mut self) {
        let stats = self.process.connected(0).await;
        self.account.new_life(stats.pv("frames"));
        self.detector.new_life();
        self.one().await;
    }

    /// Posts one frame, and waits until the source has it: it is the first that a new series or connection is known by.
    async fn one(&mut self) {
        self.detector.post(&mut self.account);
        self.settle().await;
    }

    /// Waits until the source has what was posted last. The server and the client may leave updates out, but never the last.
    async fn settle(&mut self) {
        // A late frame would be the last one, and would hide the loss of the one that overtook it.
        self.detector.post(&mut self.account);
        let last = self.detector.last();
        self.process
            .until(|stats| stats.newest() == Some(last))
            .await;
    }

    fn incident(&mut self) -> Incident {
        match number(&mut self.steps, 1, 1_000) {
            1..=5 => Incident::SourceKilled,
            6..=15 => Incident::Disconnect,
            16..=25 => Incident::Reset,
            26..=75 => Incident::ReaderKilled,
            76..=90 => Incident::Burst,
            _ => Incident::Read,
        }
    }

    async fn step(&mut self) {
        let incident = self.incident();
        self.account.happened(incident);
        let updates = match incident {
            Incident::Burst => 3 * QUEUE as u64,
            _ => number(&mut self.steps, 0, 60),
        };
        for _ in 0..updates {
            self.update();
        }
        match incident {
            Incident::Read | Incident::Burst => self.read().await,
            Incident::ReaderKilled => self.kill_reader().await,
            Incident::Disconnect => {
                self.settle().await;
                let missed = number(&mut self.steps, 0, 5);
                self.detector.stop();
                let stats = self.process.lost().await;
                self.detector.restart(missed);
                self.process.connected(stats.pv("updates")).await;
                self.one().await;
            }
            Incident::Reset => {
                // Its last id is not one that the new series has soon.
                while self.detector.last() < 10 {
                    self.detector.post(&mut self.account);
                }
                self.settle().await;
                self.detector.reset();
                self.one().await;
            }
            Incident::SourceKilled => {
                // What the next source finds at the PV is the highest id.
                self.detector.post(&mut self.account);
                if number(&mut self.steps, 0, 1) == 1 {
                    self.process.begin_read().await;
                }
                self.process = self.process.replaced().await;
                self.lives += 1;
                self.begin().await;
            }
        }
    }

    /// One update of the PV.
    fn update(&mut self) {
        match number(&mut self.steps, 1, 100) {
            1..=3 => self.detector.lose(),
            4..=6 => self.detector.repeat(),
            7..=9 => self.detector.swap(&mut self.account),
            _ => self.detector.post(&mut self.account),
        }
    }

    /// One read; most frames are acked, some nacked, at once or with a delay.
    async fn read(&mut self) {
        let count = number(&mut self.reads, 1, 100) as usize;
        let messages = self.process.read(count).await;
        let mut acks = Vec::new();
        let mut nacks = Vec::new();
        for message in messages {
            self.account.delivered(&message);
            match number(&mut self.reads, 1, 100) {
                1..=3 => {
                    let delay = number(&mut self.reads, 0, 20);
                    let delay = (delay > 5).then(|| Duration::from_millis(delay));
                    nacks.push((message.offset, delay));
                }
                _ => acks.push(message.offset),
            }
        }
        // In any order.
        for k in (1..acks.len()).rev() {
            let other = number(&mut self.reads, 0, k as u64) as usize;
            acks.swap(k, other);
        }
        self.account.nacked(&nacks);
        self.process.nack(nacks).await;
        self.account.acked(&acks);
        self.process.ack(acks).await;
    }

    async fn kill_reader(&mut self) {
        self.process.begin_read().await;
        self.process.reconnect().await;
        self.account.reader_lost();
    }

    /// Takes everything that the source still has, and compares.
    async fn check(&mut self) {
        self.settle().await;
        let begun = std::time::Instant::now();
        loop {
            let stats = self.process.stats().await;
            if stats.pending() == 0 {
                break;
            }
            assert!(
                begun.elapsed() < NEVER,
                "frames are not delivered: {stats:?}"
            );
            self.read().await;
        }
        // A gap is certain, and counted, when no late frame can fill it any more.
        let adds_up = |stats: &Stats| self.account.adds_up(stats, &self.detector);
        let stats = self.process.until(adds_up).await;
        stats.check_books();
        self.account.check(&stats);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_of_a_pv_is_delivered_or_counted_under_faults() {
    let (updates, seed) = (
        setting("CAMPAIGN_UPDATES", SHORT),
        setting("CAMPAIGN_SEED", 1),
    );
    let begun = std::time::Instant::now();
    let mut campaign = Campaign::start(seed as u64).await;
    let mut checked = 0;
    while campaign.detector.updates() < updates as u64 {
        campaign.step().await;
        if campaign.detector.updates() >= checked + CHECK_EVERY {
            campaign.check().await;
            checked = campaign.detector.updates();
        }
    }
    campaign.check().await;
    println!(
        "campaign of the source, seed {seed}: {} updates, {} lives, {} s\n{}",
        campaign.detector.updates(),
        campaign.lives,
        begun.elapsed().as_secs(),
        campaign.account.summary()
    );
    campaign.process.stop().await;
    // A campaign without faults proves nothing.
    campaign.account.check_incidents();
}
