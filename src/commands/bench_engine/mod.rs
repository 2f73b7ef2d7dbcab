//! `beamflow bench-engine`: how fast an engine is by itself, so that a user sees how near the sidecar runs to it.
//!
//! For 1 lane, 2 lanes, … each lane runs batch after batch on a session of its own, in a slot of its own, as in the
//! sidecar but without sockets, frames or answers. Converting frames is measured by itself: in the sidecar the
//! collector does it while the lanes are at work.

/// The figures, as a table and as JSON.
mod figures;

pub(crate) use figures::{EngineBench, Percentiles, Run};

use crate::cli::BenchEngineArgs;
use crate::commands::table;
use crate::engine::room::lanes_on;
use crate::engine::{self, Engine, EngineError, Place, StageTimes, warm_up};
use crate::frame::{
    BadPixels, Decoder, Dtype, Envelope, FrameShape, OutputDtype, OutputFormat, Scratch,
};
use crate::inference::batch::slot::Slot;
use crate::inference::lane::Work;
use crate::inference::ledger::{Arrival, Ledger};
use crate::inference::model::OrAuto;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// Why the bench broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchEngineError {
    /// The engine did not load or run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model is not one for frames.
    #[error("the model {model} cannot be measured with frames: {reason}")]
    Unsuitable { model: String, reason: String },
    /// The figures cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A lane's thread died.
    #[error("a lane panicked: {0}")]
    Panicked(String),
}

/// Measures, prints the table, writes the JSON.
///
/// # Errors
/// [`BenchEngineError`].
pub(crate) fn run(args: &BenchEngineArgs) -> Result<(), BenchEngineError> {
    let bench = measure(args)?;
    println!(
        "\n  {}\n  {} frames a batch, {} batches a lane\n",
        bench.engine, bench.batch, bench.batches_per_lane
    );
    println!("{}", table::render(&figures::rows(&bench)));
    if let Some(path) = &args.json {
        serde_json::to_vec_pretty(&bench)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(path, text))
            .map_err(|source| BenchEngineError::Write {
                path: path.clone(),
                source,
            })?;
    }
    Ok(())
}

fn measure(args: &BenchEngineArgs) -> Result<EngineBench, BenchEngineError> {
    // Once for all rounds: TensorRT-RTX compiles kernels when an engine is loaded.
    let engine = engine::load(&args.model, &args.engine.options(args.bsz_size))?;
    // With and without graphs; an engine that has none needs no second round.
    let rounds: &[Option<bool>] = match (engine.has_cuda_graphs(), args.engine.no_cuda_graphs) {
        (false, _) => &[None],
        (true, true) => &[Some(false)],
        (true, false) => &[Some(true), Some(false)],
    };
    let batch = match args.bsz_size {
        OrAuto::Auto => engine.model().batch.best(),
        OrAuto::Exactly(frames) => frames,
    };
    if engine.model().batch.most().is_some_and(|most| batch > most) {
        return Err(BenchEngineError::Unsuitable {
            model: args.model.clone(),
            reason: format!(
                "--bsz-size is {batch}, and its batch is {}",
                engine.model().batch
            ),
        });
    }
    let description = engine.description();
    let load = Load::new(args, engine, batch)?;
    let mut runs = Vec::new();
    for cuda_graphs in rounds {
        for lanes in 1..=args.lanes {
            runs.push(load.run(lanes, *cuda_graphs)?);
        }
    }
    Ok(EngineBench {
        engine: description,
        batch,
        batches_per_lane: args.batches,
        runs,
    })
}

/// What every lane runs.
struct Load {
    engine: Arc<dyn Engine>,
    decoder: Decoder,
    wanted: Vec<std::ops::Range<usize>>,
    payload: Vec<u8>,
    batch: usize,
    batches: usize,
}

/// The times of one lane's batches.
#[derive(Default)]
struct Times {
    convert: Vec<Duration>,
    stages: Vec<StageTimes>,
    begun: Option<Instant>,
    ended: Option<Instant>,
}

impl Load {
    fn new(
        args: &BenchEngineArgs,
        engine: Arc<dyn Engine>,
        batch: usize,
    ) -> Result<Self, BenchEngineError> {
        let unsuitable = |reason: String| BenchEngineError::Unsuitable {
            model: args.model.clone(),
            reason,
        };
        let model = engine.model();
        let &[.., height, width] = model.input.shape.as_slice() else {
            return Err(unsuitable(format!("its input {} is no image", model.input)));
        };
        let shape = FrameShape { height, width };
        let (dtype, format) = (OutputDtype::Float32, OutputFormat::Raw);
        let wanted = model
            .outputs
            .iter()
            .map(|output| Envelope::new(&output.shape, args.output_size, dtype, format))
            .map(|envelope| envelope.map(|envelope| envelope.wanted()))
            .collect::<Result<_, _>>()
            .map_err(|error| unsuitable(error.to_string()))?;
        // Counts as a detector gives them: no two neighbours alike, none beyond half precision's exact integers.
        let counts = (0..height * width).map(|k| (k % 1009) as i16);
        Ok(Self {
            decoder: Decoder::new(Dtype::I16, shape),
            payload: counts.flat_map(i16::to_le_bytes).collect(),
            wanted,
            batch,
            batches: args.batches,
            engine,
        })
    }

    fn run(&self, lanes: usize, cuda_graphs: Option<bool>) -> Result<Run, BenchEngineError> {
        let devices = self.engine.devices().len();
        let places = (0..devices).flat_map(|device| {
            (0..lanes_on(device, devices, lanes)).map(move |lane| (device, lane * devices + device))
        });
        let ready = Barrier::new(lanes);
        let lanes_times: Vec<Result<Times, _>> = std::thread::scope(|scope| {
            let threads: Vec<_> = places
                .map(|(device, lane)| {
                    let ready = &ready;
                    let place = Place {
                        lane,
                        device,
                        rows: self.batch,
                        cuda_graphs: cuda_graphs.unwrap_or_default(),
                    };
                    scope.spawn(move || self.lane(place, ready))
                })
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(times) => times,
                Err(panic) => Err(BenchEngineError::Panicked(
                    crate::telemetry::panic::message(panic.as_ref()),
                )),
            };
            threads.into_iter().map(join).collect()
        });
        let mut all = Times::default();
        for times in lanes_times {
            let times = times?;
            all.convert.extend(times.convert);
            all.stages.extend(times.stages);
            // From the lanes' own clocks: this thread may be kept waiting while they work.
            all.begun = match (all.begun, times.begun) {
                (Some(first), Some(begun)) => Some(first.min(begun)),
                (first, begun) => first.or(begun),
            };
            all.ended = all.ended.max(times.ended);
        }
        let elapsed = all
            .begun
            .zip(all.ended)
            .map_or(Duration::ZERO, |(begun, ended)| {
                ended.saturating_duration_since(begun)
            });
        let elapsed = elapsed.as_secs_f64();
        let batches_per_second = all.stages.len() as f64 / elapsed.max(1e-9);
        let stage =
            |of: fn(&StageTimes) -> Duration| Percentiles::of(all.stages.iter().map(of).collect());
        Ok(Run {
            lanes,
            cuda_graphs,
            batches_per_second,
            frames_per_second: batches_per_second * self.batch as f64,
            convert: Percentiles::of(all.convert),
            copy_in: stage(|times| times.copy_in),
            compute: stage(|times| times.compute),
            copy_out: stage(|times| times.copy_out),
        })
    }

    /// One lane's work. It always passes `ready`, so that no lane waits for it without end.
    fn lane(&self, place: Place, ready: &Barrier) -> Result<Times, BenchEngineError> {
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(place)));
        ready.wait();
        let prepared = prepared.unwrap_or_else(|panic| {
            Err(BenchEngineError::Panicked(
                crate::telemetry::panic::message(panic.as_ref()),
            ))
        });
        let (mut session, mut slot, mut times) = prepared?;
        times.begun = Some(Instant::now());
        for _ in 0..self.batches {
            times.stages.push(slot.run(session.as_mut())?);
        }
        times.ended = Some(Instant::now());
        Ok(times)
    }

    /// A warm session, and a slot full of frames, converted several times over.
    fn prepare(
        &self,
        place: Place,
    ) -> Result<(Box<dyn engine::Session>, Slot, Times), BenchEngineError> {
        let mut session = self.engine.open_session(place)?;
        if self.engine.needs_warm_up() {
            warm_up(self.engine.as_ref(), session.as_mut(), self.batch)?;
        }
        let mut slot = Slot::new(self.engine.as_ref(), self.batch, true, &self.wanted)?;
        let mut times = Times::default();
        for _ in 0..self.batches.min(100) {
            let mut ledger = Ledger::default();
            slot.clear();
            let begun = Instant::now();
            for frame in 0..self.batch {
                let ticket = ledger.enter(frame.to_string(), Vec::new(), Arrival::now());
                self.decoder
                    .decode(&self.payload, &HashMap::new(), &mut Scratch::default())
                    .and_then(|pixels| slot.push(ticket, &pixels, &BadPixels::default()))
                    .map_err(|rejection| BenchEngineError::Unsuitable {
                        model: self.engine.description(),
                        reason: rejection.to_string(),
                    })?;
            }
            times.convert.push(begun.elapsed());
        }
        Ok((session, slot, times))
    }
}
