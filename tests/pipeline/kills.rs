use super::rig::{AtOnce, By, Numbers, Program, Rig, finish, number_of, settings};
use beamflow::vertex::MapMode;
use beamflow::vertex::client::pipeline::{Report, Settings, Until};
use numaflow::batchmap::Message;
use numaflow::sink::{Response, SinkRequest};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The messages of one run.
const MESSAGES: u64 = 300;
/// Those that come only when the part that was killed is started again: so no run ends before.
const LAST: u64 = 50;

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Source,
    Map,
    Sink,
    Numa,
}

/// Who saw a message.
type Told = mpsc::UnboundedSender<Part>;

/// The programs, and what they saw.
struct Stage {
    rig: Rig,
    map_mode: MapMode,
    source: Numbers,
    written: Arc<Mutex<BTreeSet<u64>>>,
    tell: Told,
}

impl Stage {
    fn new(map_mode: MapMode) -> (Self, mpsc::UnboundedReceiver<Part>) {
        let (tell, told) = mpsc::unbounded_channel();
        let stage = Self {
            rig: Rig::new(),
            map_mode,
            source: Numbers::new(MESSAGES - LAST),
            written: Arc::default(),
            tell,
        };
        (stage, told)
    }

    /// The rest of the messages comes.
    fn release(&self) {
        self.source
            .stock(|stock| stock.waiting.extend(MESSAGES - LAST..MESSAGES));
    }

    /// Starts a part, again too.
    fn start(&self, part: Part) -> Program {
        let tell = self.tell.clone();
        match part {
            Part::Source | Part::Numa => self.rig.source_host(&self.source),
            Part::Map => {
                let echo = AtOnce(move |datum: &numaflow::batchmap::Datum| {
                    let _ = tell.send(Part::Map);
                    vec![Message::new(datum.value.clone())]
                });
                self.rig.map_as(self.map_mode, echo)
            }
            Part::Sink => {
                let written = Arc::clone(&self.written);
                let sink = By(move |request: &SinkRequest| {
                    written.lock().unwrap().insert(number_of(request));
                    let _ = tell.send(Part::Sink);
                    Response::ok(request.id.clone())
                });
                self.rig.sink("sink", sink)
            }
        }
    }

    /// Nothing is lost: each message was written, and acked once.
    fn check(&self, report: &Report, context: &str) {
        assert!(report.is_balanced(), "{context}: {report:?}");
        assert_eq!(
            self.written.lock().unwrap().len() as u64,
            MESSAGES,
            "{context}"
        );
        let mut acked = self.source.stock(|stock| stock.acked.clone());
        acked.sort_unstable();
        assert_eq!(acked, (0..MESSAGES).collect::<Vec<_>>(), "{context}");
    }
}

/// Waits until the map and the sink have seen `count` messages together.
async fn seen(told: &mut mpsc::UnboundedReceiver<Part>, count: u64) {
    for _ in 0..count {
        told.recv().await.unwrap();
    }
}

/// One run in which a part is killed at a random point, and started again.
async fn kill(part: Part, map_mode: MapMode, seed: u64) {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let (stage, mut told) = Stage::new(map_mode);
    let mut source = stage.start(Part::Source);
    let mut map = stage.start(Part::Map);
    let mut sink = stage.start(Part::Sink);
    let settings = Settings {
        read_ahead: 1 + (chance.next_u64() % 3) as usize,
        restarts: 5,
        until: Until::Acked(MESSAGES),
        ..settings()
    };
    let at = 1 + chance.next_u64() % (MESSAGES - LAST - 1);
    let context = format!("{part:?}, {map_mode:?}, seed {seed}, at {at}");
    let mut pipeline = stage.rig.pipeline(settings);
    let stop = CancellationToken::new();
    if part == Part::Numa {
        tokio::select! {
            biased;
            () = seen(&mut told, at) => {}
            ended = pipeline.run(&stop) => panic!("{context}: {ended:?}"),
        }
        stage.release();
        // Acks that were on their way may have arrived, uncounted.
        pipeline.set_until(Until::Idle);
        // The source goes on. What numa had in hand comes again when its acks are overdue; a read that was on its way too.
        let overdue = async {
            loop {
                stage.source.give_back();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let report = tokio::select! {
            report = finish(&mut pipeline) => report.unwrap(),
            () = overdue => unreachable!("it never ends"),
        };
        assert!(report.returned > 0, "{context}: {report:?}");
        stage.check(&report, &context);
        return;
    }
    let running = tokio::spawn(async move {
        let result = finish(&mut pipeline).await;
        (result, pipeline.report())
    });
    seen(&mut told, at).await;
    let killed = match part {
        Part::Source | Part::Numa => &mut source,
        Part::Map => &mut map,
        Part::Sink => &mut sink,
    };
    std::mem::take(killed).kill().await;
    if part == Part::Source {
        stage.source.give_back();
    }
    *killed = stage.start(part);
    stage.release();
    let (result, report) = running.await.unwrap();
    result.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.restarts > 0, "{context}: {report:?}");
    stage.check(&report, &context);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_part_is_killed() {
    for seed in 0..4 {
        for part in [Part::Source, Part::Map, Part::Sink] {
            for map_mode in [MapMode::Batch, MapMode::Unary] {
                kill(part, map_mode, seed).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_numa_is_killed() {
    for seed in 10..14 {
        for map_mode in [MapMode::Batch, MapMode::Unary] {
            kill(Part::Numa, map_mode, seed).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_restarts_a_lost_part_is_named_and_its_batch_nacked() {
    for (part, name) in [(Part::Map, "map: "), (Part::Sink, "sink: ")] {
        let (stage, mut told) = Stage::new(MapMode::Batch);
        let _source = stage.start(Part::Source);
        let map = stage.start(Part::Map);
        let sink = stage.start(Part::Sink);
        let settings = Settings {
            until: Until::Acked(MESSAGES),
            ..settings()
        };
        let mut pipeline = stage.rig.pipeline(settings);
        let running = tokio::spawn(async move {
            let result = finish(&mut pipeline).await;
            (result, pipeline.report())
        });
        seen(&mut told, 100).await;
        match part {
            Part::Map => map.kill().await,
            _ => sink.kill().await,
        }
        stage.release();
        let (result, report) = running.await.unwrap();
        let error = result.unwrap_err();
        assert!(error.is_loss(), "{error}");
        assert!(error.to_string().starts_with(name), "{error}");
        assert!(report.is_balanced());
        let nacked = stage.source.stock(|stock| stock.nacked.len() as u64);
        assert_eq!((report.in_hand, report.returned), (0, nacked));
    }
}

#[tokio::test]
async fn a_part_that_is_not_there_is_an_error_with_its_path() {
    let rig = Rig::new();
    let source = Numbers::new(1);
    let _source = rig.source(&source);
    let mut map = rig.address("map");
    map.ready_within = Duration::from_millis(50);
    let error = finish(&mut rig.pipeline(settings()).with_map(map)).await;
    let text = error.unwrap_err().to_string();
    assert!(
        text.starts_with("map: ") && text.contains("map-info"),
        "{text}"
    );
}
