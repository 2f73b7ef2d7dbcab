//! A trial of a model before it serves: at the sizes that will run, with rows that differ.
//!
//! The result of a frame must not depend on the other frames of its batch. Most models keep this by construction; one that
//! normalises over the batch axis, or that was exported in training mode, does not, and nothing in its file says so. So the
//! same rows are run in two orders and beside other rows, and the results are compared. Nor does a file say whether short
//! batches run: a model may reshape its batch to a fixed number of rows. So short batches are run, too.

use crate::{Batch, Engine, EngineError, HostBuffer, OutputRows, Place, Session};
use beamflow_frame::values::{Element, Values, ValuesMut};
use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How much a result may change with its neighbours, relative to its largest value: other places and batch shapes round
/// otherwise.
const TOLERANCE: f32 = 1e-3;
/// The same where values are in half precision, which has 11 binary digits.
const HALF_TOLERANCE: f32 = 1e-2;
/// The least scale of a result, relative to the largest value of its output in the trial. Below it a difference is rounding.
const LEAST_SCALE: f32 = 1e-3;

/// What a trial found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Whether batches that are not full can be run as they are. If not, they must be padded.
    pub short_batches: bool,
}

/// Why a model cannot serve.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrialError {
    /// A full batch does not run.
    #[error("a trial run of {rows} frames failed: {source}")]
    Failed {
        /// The size of the batch.
        rows: usize,
        /// What the engine said.
        source: EngineError,
    },
    /// The result of a frame depends on the other frames of its batch.
    #[error(
        "the model mixes the frames of a batch: in a trial, its output {output} for a frame changed by {} % with the \
         other frames of the batch", percent(*.change)
    )]
    Mixes {
        /// The name of the output.
        output: String,
        /// The largest change, relative to the largest value of the result.
        change: f32,
    },
}

fn percent(change: f32) -> String {
    format!("{:.2}", f64::from(change) * 100.0)
}

/// Tries the model with batches of up to `rows` rows, in a session of its own, which is closed again. With `mixing` a model
/// that mixes the rows of a batch is accepted. An engine that needs no warm-up is not tried.
///
/// # Errors
/// [`TrialError`]
pub fn trial(engine: &dyn Engine, rows: usize, mixing: bool) -> Result<Trial, TrialError> {
    if !engine.needs_warm_up() {
        return Ok(Trial {
            short_batches: true,
        });
    }
    let batch = engine.model().batch;
    let full = batch.rows(rows);
    let failed = |source| TrialError::Failed { rows: full, source };
    let place = Place {
        lane: 0,
        device: 0,
        rows,
        cuda_graphs: true,
    };
    let mut session = engine.open_session(place).map_err(failed)?;
    let mut runs = Runs {
        engine,
        session: session.as_mut(),
    };
    let frames: Vec<usize> = (0..full).collect();
    let first = runs.run(&frames).map_err(failed)?;

    let mut changed = None;
    let mut compare = |order: &[usize], results: &Results<'_>| {
        let change = first.change(&frames, results, order);
        if change.as_ref().map(|(_, c)| *c) > changed.as_ref().map(|(_, c): &(String, f32)| *c) {
            changed = change;
        }
    };
    if full > 1 {
        // The same frames in the opposite order; then the first frame at its place beside others.
        let backwards: Vec<usize> = frames.iter().rev().copied().collect();
        compare(&backwards, &runs.run(&backwards).map_err(failed)?);
        let others: Vec<usize> = (0..full)
            .map(|k| if k == 0 { 0 } else { full + k })
            .collect();
        compare(&others, &runs.run(&others).map_err(failed)?);
    }
    let mut short_batches = true;
    for short in [batch.least(), full - 1] {
        if short == 0 || short >= full || !batch.allows(short) {
            continue;
        }
        let some = frames.get(..short).unwrap_or_default();
        match runs.run(some) {
            Ok(results) => compare(some, &results),
            Err(error) if error.is_fatal() => return Err(failed(error)),
            Err(error) => {
                tracing::info!(
                    rows = short,
                    %error,
                    "The model does not run short batches: they are padded to {full} frames."
                );
                short_batches = false;
                break;
            }
        }
    }
    let tolerance = tolerance(engine);
    match changed.filter(|(_, change)| *change > tolerance) {
        Some((output, change)) if mixing => tracing::warn!(
            output,
            change = percent(change),
            "The model mixes the frames of a batch: results depend on the neighbours of a frame, by this many percent."
        ),
        Some((output, change)) => return Err(TrialError::Mixes { output, change }),
        None => {}
    }
    Ok(Trial { short_batches })
}

fn tolerance(engine: &dyn Engine) -> f32 {
    let model = engine.model();
    let mut tensors = std::iter::once(&model.input).chain(&model.outputs);
    if tensors.any(|tensor| tensor.element == Element::F16) {
        HALF_TOLERANCE
    } else {
        TOLERANCE
    }
}

/// A session, and what it is run with.
struct Runs<'a> {
    engine: &'a dyn Engine,
    session: &'a mut dyn Session,
}

/// The rows of every output.
struct Results<'a> {
    outputs: Vec<(&'a str, usize, HostBuffer)>,
}

impl<'a> Runs<'a> {
    /// Runs the frames with these numbers.
    fn run(&mut self, frames: &[usize]) -> Result<Results<'a>, EngineError> {
        let (engine, rows) = (self.engine, frames.len());
        let model = engine.model();
        let row = model.input.elements();
        let mut input = engine.allocate(model.input.element, rows * row)?;
        for (place, number) in frames.iter().enumerate() {
            if let Some(row) = input.values_mut().get(place * row..(place + 1) * row) {
                expose(*number, row);
            }
        }
        let outputs = model.outputs.iter().map(|output| {
            let values = output.elements();
            let buffer = engine.allocate(output.element, rows * values)?;
            Ok((output.name.as_str(), values, buffer))
        });
        let mut outputs = outputs.collect::<Result<Vec<_>, EngineError>>()?;
        self.session.run(Batch {
            rows,
            input: input.values(),
            outputs: outputs
                .iter_mut()
                .map(|(_, values, buffer)| OutputRows::whole(buffer.values_mut(), *values))
                .collect(),
        })?;
        Ok(Results { outputs })
    }
}

/// Writes frame `number`: counts that no other frame has, at a brightness between 1 and 1,000 of its own.
fn expose(number: usize, row: ValuesMut<'_>) {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    // Bright and dim frames beside each other: what is normalised over the batch shows.
    let brightness = match number % 5 {
        0 => 1.0,
        1 => 1000.0,
        2 => 30.0,
        3 => 300.0,
        _ => 3.0,
    };
    let mut count = || 1.0 + brightness * (random.next_u32() >> 8) as f32 / (1 << 24) as f32;
    match row {
        ValuesMut::F32(row) => row.fill_with(count),
        ValuesMut::F16(row) => row.fill_with(|| f16::from_f32(count())),
    }
}

impl Results<'_> {
    /// The output that differs most between two runs for a frame that is in both, and by how much, relative to the largest
    /// value of its row; `None` if no frame is in both.
    fn change(
        &self,
        frames: &[usize],
        other: &Results<'_>,
        others: &[usize],
    ) -> Option<(String, f32)> {
        let mut largest = None;
        for ((name, values, ours), (_, _, theirs)) in self.outputs.iter().zip(&other.outputs) {
            let least = LEAST_SCALE * largest_value(&ours.values().to_single());
            for (place, number) in frames.iter().enumerate() {
                let Some(at) = others.iter().position(|other| other == number) else {
                    continue;
                };
                let row = |buffer: &HostBuffer, place: usize| {
                    let values = buffer.values().get(place * values..(place + 1) * values);
                    values.map(Values::to_single).unwrap_or_default()
                };
                let change = relative_change(&row(ours, place), &row(theirs, at), least);
                if largest.as_ref().is_none_or(|(_, most)| change > *most) {
                    largest = Some(((*name).to_owned(), change));
                }
            }
        }
        largest
    }
}

/// The largest finite magnitude.
fn largest_value(values: &[f32]) -> f32 {
    let finite = values.iter().filter(|value| value.is_finite());
    finite.fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()))
}

/// The largest difference of two rows, relative to the largest value of the first, or to `least` if that is larger. Values that
/// are not finite must be the same.
fn relative_change(first: &[f32], second: &[f32], least: f32) -> f32 {
    let scale = largest_value(first).max(least);
    let difference = |(a, b): (&f32, &f32)| {
        let same = a == b || a.is_nan() && b.is_nan();
        if same {
            0.0
        } else if a.is_finite() && b.is_finite() {
            (a - b).abs() / scale
        } else {
            f32::INFINITY
        }
    };
    first.iter().zip(second).map(difference).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;

    /// A small model of tests/data/models; each takes frames of 4 × 4.
    fn model(name: &str) -> std::sync::Arc<dyn Engine> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/models");
        crate::load(&format!("{folder}/{name}"), &EngineOptions::default()).unwrap()
    }

    #[test]
    fn a_model_that_mixes_the_rows_of_a_batch_is_refused() {
        for name in ["batch_max.onnx", "batch_mean.onnx", "cumulative.onnx"] {
            let engine = model(name);
            let error = trial(engine.as_ref(), 8, false).unwrap_err();
            let TrialError::Mixes { output, change } = &error else {
                panic!("{name}: {error}")
            };
            assert_eq!(output, "y");
            assert!(*change > 0.1, "{name}: {change}");
            assert!(
                error.to_string().contains(" % with the other frames"),
                "{error}"
            );
            // A batch of one frame has nothing to mix, and a flag accepts the rest.
            assert_eq!(trial(engine.as_ref(), 1, false).unwrap(), SHORT);
            assert_eq!(trial(engine.as_ref(), 8, true).unwrap(), SHORT);
        }
    }

    const SHORT: Trial = Trial {
        short_batches: true,
    };

    #[test]
    fn a_model_that_keeps_rows_apart_is_accepted() {
        for rows in [1, 2, 5, 8] {
            assert_eq!(
                trial(model("log.onnx").as_ref(), rows, false).unwrap(),
                SHORT
            );
        }
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/ptychonn_64.onnx");
        let own = crate::load(own, &EngineOptions::default()).unwrap();
        assert_eq!(trial(own.as_ref(), 3, false).unwrap(), SHORT);
    }

    #[test]
    fn a_model_that_runs_pairs_only_gets_its_short_batches_padded() {
        let found = trial(model("pairs.onnx").as_ref(), 8, false).unwrap();
        assert!(!found.short_batches);
    }

    #[test]
    fn a_batch_that_does_not_run_is_refused_with_its_size() {
        let error = trial(model("pairs.onnx").as_ref(), 7, false).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("a trial run of 7 frames failed: "),
            "{error}"
        );
    }

    #[test]
    fn a_change_is_relative_to_the_largest_value() {
        assert_eq!(relative_change(&[0.0, 100.0], &[1.0, 100.0], 0.0), 0.01);
        assert_eq!(
            relative_change(&[f32::NAN, 1.0], &[f32::NAN, 1.0], 0.0),
            0.0
        );
        assert_eq!(
            relative_change(&[f32::INFINITY, 1.0], &[0.0, 1.0], 0.0),
            f32::INFINITY
        );
        // What is left of a difference of large values is rounding.
        assert!(relative_change(&[1e-9, 0.0], &[-1e-9, 0.0], 0.1) < TOLERANCE);
    }
}
