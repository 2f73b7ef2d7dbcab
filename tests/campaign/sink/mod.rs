//! The campaign of the sink: updates of a PV go through a real source, a real map and a real `pva-sink` with a mosaic, each a
//! process of its own. The detector loses, repeats, swaps and renumbers frames, and sends some without a position, some far
//! away, and some that the map rejects; numa gives frames back after they were written; source, map, sink and numa are killed
//! at any time.
//!
//! What is checked whenever all is quiet: the books of source, map and sink balance, each by itself and with each other. Every
//! distinct result that the sink got in this life is posted once, every other is counted as a duplicate, every frame is in the
//! mosaic once or counted with its reason, and dead letters are counted. A sink that was killed counts from 0. Frames that a
//! killed source held are lost, and missing at the sink.
//!
//! `CAMPAIGN_SINK_UPDATES=280000 cargo test --features pva --test campaign -- sink:: --nocapture`

/// What the sink got, and what it may say.
mod account;
/// The PV, and what was posted.
mod detector;
/// Numa between the parts: one read batch at a time.
mod numa;
/// The processes.
mod part;

use crate::setting;
use account::Account;
use detector::{Detector, PV};
use numa::Numa;
use part::Part;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use std::time::Duration;

const SHORT: usize = 8_000;

/// Updates between two checks of everything.
const CHECK_EVERY: u64 = 1_000;

/// Longer than any step takes.
const NEVER: Duration = Duration::from_secs(120);

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Incident {
    Nothing,
    /// The ids begin at 1 again.
    Reset,
    SourceKilled,
    MapKilled,
    SinkKilled,
    NumaKilled,
}

/// A number from `least` to `most`.
fn number(chance: &mut ChaCha8Rng, least: u64, most: u64) -> u64 {
    least + chance.next_u64() % (most - least + 1)
}

struct Campaign {
    /// For what happens to the detector and the parts: the same in every campaign of a seed.
    steps: ChaCha8Rng,
    /// For numa: which frames it gets depends on the timing.
    reads: ChaCha8Rng,
    detector: Detector,
    source: Part,
    map: Part,
    sink: Part,
    numa: Numa,
    account: Account,
}

impl Campaign {
    async fn start(seed: u64) -> Self {
        let detector = Detector::start();
        let address = detector.address();
        let source_flags = [
            &["--input-channel", PV, "--server", &address][..],
            &["--position-x", "PositionX", "--position-y", "PositionY"],
            // What a killed numa had in hand comes again soon.
            &["--linger", "off", "--ack-timeout", "300ms"],
            &["--server-queue-size", "300"],
        ]
        .concat();
        let map_flags = [
            "--model-path",
            "sim:size=8x8,outputs=2,error-every=53",
            "--on-invalid",
            "tag:bad",
            "--output-size",
            "full",
        ];
        let sink_flags = [
            &["--bind", "127.0.0.1", "--tcp-port", "0", "--udp-port", "0"][..],
            &["--outputs", "output_0,output_1", "--mosaic"],
            &["--phase-output", "output_0"],
            &["--amplitude-output", "output_1"],
            &["--pixel-size", "1e-8", "--canvas", "512"],
        ]
        .concat();
        let source = Part::start("pva-source", &source_flags);
        let map = Part::start("", &map_flags);
        let sink = Part::start("pva-sink", &sink_flags);
        let (source, map, sink) = tokio::join!(source, map, sink);
        let numa = Numa::connect(&source, &map, &sink).await;
        let mut campaign = Self {
            steps: ChaCha8Rng::seed_from_u64(seed),
            reads: ChaCha8Rng::seed_from_u64(!seed),
            detector,
            source,
            map,
            sink,
            numa,
            account: Account::default(),
        };
        campaign.begin().await;
        campaign
    }

    /// A source that has just started: it is connected, and has the first update of its life.
    async fn begin(&mut self) {
        let is_connected = |stats: &Value| {
            let pv = &stats["pvs"][0];
            pv["peer"].is_string() && pv["updates"].as_u64() > Some(0)
        };
        self.source.until(is_connected).await;
        self.one().await;
    }

    /// Posts one frame, and waits until the source has it: it is the first that a new series or connection is known by.
    async fn one(&mut self) {
        self.detector.post();
        self.settle().await;
    }

    /// Waits until the source has what was posted last. The server and the client may leave updates out, but never the last.
    async fn settle(&mut self) {
        // A late frame would be the last one, and would hide the loss of the one that overtook it.
        self.detector.post();
        let last = self.detector.last();
        self.source
            .until(|stats| stats["pvs"][0]["newest"]["number"] == last)
            .await;
    }

    fn incident(&mut self) -> Incident {
        match number(&mut self.steps, 1, 1_000) {
            1..=15 => Incident::Reset,
            16..=30 => Incident::SourceKilled,
            31..=50 => Incident::MapKilled,
            51..=70 => Incident::SinkKilled,
            71..=120 => Incident::NumaKilled,
            _ => Incident::Nothing,
        }
    }

    async fn step(&mut self) {
        let incident = self.incident();
        self.account.happened(incident);
        for _ in 0..number(&mut self.steps, 0, 60) {
            self.update();
        }
        // Where in the turn a part is killed.
        let moment = Duration::from_micros(number(&mut self.steps, 0, 6_000));
        match incident {
            Incident::Nothing => self.turn().await,
            Incident::Reset => {
                self.reset().await;
            }
            Incident::NumaKilled => {
                tokio::select! {
                    _ = self.numa.turn(&mut self.reads, &mut self.account) => {}
                    () = tokio::time::sleep(moment) => {}
                }
                self.reconnect().await;
            }
            Incident::SourceKilled | Incident::MapKilled | Incident::SinkKilled => {
                // What the next source finds at the PV is the highest id.
                self.detector.post();
                let part = match incident {
                    Incident::SourceKilled => &mut self.source,
                    Incident::MapKilled => &mut self.map,
                    _ => &mut self.sink,
                };
                let turn = self.numa.turn(&mut self.reads, &mut self.account);
                let killing = async {
                    tokio::time::sleep(moment).await;
                    part.kill().await;
                };
                // The turn ends, or fails as its part is gone.
                let (_, ()) = tokio::join!(turn, killing);
                part.start_again().await;
                match incident {
                    Incident::SourceKilled => self.begin().await,
                    Incident::MapKilled => self.account.new_map(),
                    _ => self.account.new_sink(),
                }
                self.reconnect().await;
            }
        }
    }

    /// The ids begin at 1 again.
    async fn reset(&mut self) {
        // Its last id is not one that the new series has soon.
        while self.detector.last() < 10 {
            self.detector.post();
        }
        self.settle().await;
        // Those of the old series are delivered: a frame that comes after the new series has begun is another story.
        self.drain().await;
        self.detector.reset();
        self.one().await;
    }

    /// A sink that sees a series from its first frame on counts every frame that is missing.
    async fn check_missing(&mut self) {
        self.sink.kill().await;
        self.sink.start_again().await;
        self.account.new_sink();
        self.reconnect().await;
        self.reset().await;
        for _ in 0..10 {
            for _ in 0..50 {
                self.update();
            }
            self.turn().await;
        }
        self.check().await;
        let missing = self.account.missing();
        assert!(missing > 0, "no frame was lost");
        // Gaps are certain when nothing has come for a while.
        self.sink.until(|stats| stats["missing"] == missing).await;
    }

    /// Numa is gone, and comes back.
    async fn reconnect(&mut self) {
        self.numa = Numa::connect(&self.source, &self.map, &self.sink).await;
    }

    /// One update of the PV.
    fn update(&mut self) {
        match number(&mut self.steps, 1, 100) {
            1..=3 => self.detector.lose(),
            4..=6 => self.detector.repeat(),
            7..=9 => self.detector.swap(),
            _ => self.detector.post(),
        }
    }

    /// One read batch.
    async fn turn(&mut self) {
        let turn = self.numa.turn(&mut self.reads, &mut self.account).await;
        turn.expect("all parts are there");
    }

    /// Takes everything that the source still has.
    async fn drain(&mut self) -> Value {
        let begun = std::time::Instant::now();
        loop {
            let stats = self.source.stats().await;
            let waits = |name: &str| stats[name].as_u64().unwrap() > 0;
            if !["unread", "unacked", "waiting"].into_iter().any(waits) {
                return stats;
            }
            assert!(begun.elapsed() < NEVER, "frames are not delivered: {stats}");
            self.turn().await;
        }
    }

    /// Takes everything, and compares.
    async fn check(&mut self) {
        self.settle().await;
        let source = self.drain().await;
        let (map, sink) = (self.map.metrics().await, self.sink.stats().await);
        self.account.check_source(&source);
        self.account.check_map(&map);
        self.account.check_sink(&sink, &self.detector);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_result_is_posted_and_placed_once_or_counted_under_faults() {
    let (updates, seed) = (
        setting("CAMPAIGN_SINK_UPDATES", SHORT),
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
    campaign.check_missing().await;
    println!(
        "campaign of the sink, seed {seed}: {} updates, {} s\n{}",
        campaign.detector.updates(),
        begun.elapsed().as_secs(),
        campaign.account.summary()
    );
    let Campaign {
        source,
        map,
        sink,
        numa,
        account,
        ..
    } = campaign;
    drop(numa);
    for part in [source, map, sink] {
        part.stop().await;
    }
    // A campaign without faults proves nothing.
    account.check_happened();
}
