//! The trial run: what a model gives for frames of zeros, and which of its outputs are sent on.
//!
//! The shapes that a file declares for its outputs are not used, because they may be missing or wrong. Only the outputs
//! that are wanted must be results per frame, and only they are computed.

use super::suitability::{self, Input, Observed, Output};
use crate::{BatchDimension, Cause, EngineOptions};

/// The rows of a trial run without a given batch size. Two, because an output without a batch dimension often begins
/// with a 1; and one, because some models take no more.
const TRIED: [usize; 2] = [2, 1];

/// Runs some of a model's outputs, by their places, on a number of rows of zeros.
pub(crate) trait Trial {
    fn run(&self, outputs: &[usize], rows: usize, zeros: &[f32]) -> Result<Vec<Observed>, Cause>;
}

/// The outputs to compute.
pub(crate) struct Chosen {
    /// Their places among the model's outputs, in the model's order.
    pub(crate) places: Vec<usize>,
    /// What they are.
    pub(crate) outputs: Vec<Output>,
    /// The model's batch dimension: one row, if it declares any number but takes no more than one.
    pub(crate) batch: BatchDimension,
}

/// Why no outputs were chosen.
enum Refusal {
    /// The run failed.
    Failed(Cause),
    /// The run gave something that is not a result per frame.
    Unfit(Cause),
}

/// Chooses the outputs of a model, of which `names` are all, by a trial run.
///
/// # Errors
/// The output or the run, what is wrong with it, and the outputs to choose instead with `--output`, if there are some.
pub(crate) fn choose(
    model: &impl Trial,
    names: &[String],
    input: &Input,
    options: &EngineOptions,
) -> Result<Chosen, Cause> {
    if names.is_empty() {
        return Err("it has no output".into());
    }
    let (tried, is_asked) = match (input.batch, options.rows) {
        (BatchDimension::Dynamic, None) => (TRIED.to_vec(), false),
        (batch, asked) => (vec![batch.rows(asked.unwrap_or(1))], asked.is_some()),
    };
    let mut failed = None;
    for rows in tried.iter().copied() {
        let run = Run {
            model,
            names,
            input,
            rows,
            zeros: zeros(input, rows)?,
        };
        match run.choose(&options.outputs) {
            Ok((places, outputs)) => {
                let batch = match failed {
                    Some(_) => BatchDimension::Static(rows),
                    None => input.batch,
                };
                return Ok(Chosen {
                    places,
                    outputs,
                    batch,
                });
            }
            Err(Refusal::Unfit(cause)) => return Err(failed.unwrap_or(cause)),
            Err(Refusal::Failed(cause)) => {
                failed.get_or_insert(cause);
            }
        }
    }
    let cause = failed.unwrap_or_else(|| "it cannot run".into());
    // A batch size that was asked for, and that the model cannot take.
    let is_larger = is_asked && input.batch == BatchDimension::Dynamic && tried != [1];
    let one = is_larger.then(|| EngineOptions {
        rows: Some(1),
        ..options.clone()
    });
    match one.map(|one| choose(model, names, input, &one)) {
        Some(Ok(_)) => {
            let words = format!("{cause}; it takes one frame at a time: use --bsz-size 1");
            Err(cause.in_words(words))
        }
        _ => Err(cause),
    }
}

/// `rows` frames of zeros.
fn zeros(input: &Input, rows: usize) -> Result<Vec<f32>, Cause> {
    let mut zeros = Vec::new();
    let values = rows.checked_mul(input.tensor.elements());
    // `suitability::input` checks that two rows can be addressed; more may be asked for.
    zeros
        .try_reserve_exact(values.unwrap_or(usize::MAX))
        .map_err(|error| {
            let words = format!("{rows} frames of it do not fit into memory: {error}");
            Cause::of(error).in_words(words)
        })?;
    zeros.resize(values.unwrap_or_default(), 0.0_f32);
    Ok(zeros)
}

/// A trial run with a number of rows.
struct Run<'a, T> {
    model: &'a T,
    names: &'a [String],
    input: &'a Input,
    rows: usize,
    zeros: Vec<f32>,
}

impl<T: Trial> Run<'_, T> {
    /// The wanted outputs. If the model lacks one of them, all that could be wanted, so that a message can list them.
    fn choose(&self, wanted: &[String]) -> Result<(Vec<usize>, Vec<Output>), Refusal> {
        let places = 0..self.names.len();
        let lacks_one = wanted.iter().any(|name| !self.names.contains(name));
        if lacks_one {
            let (places, outputs): (Vec<_>, Vec<_>) = self.fit(places.clone()).into_iter().unzip();
            if !outputs.is_empty() {
                return Ok((places, outputs));
            }
        }
        let is_wanted = |place: &usize| {
            let name = self.names.get(*place);
            wanted.is_empty() || lacks_one || name.is_some_and(|name| wanted.contains(name))
        };
        let chosen: Vec<usize> = places.clone().filter(is_wanted).collect();
        let others = |unfit: &[usize]| self.instead(places.clone().filter(|p| !unfit.contains(p)));
        let observed = self.run(&chosen).map_err(|cause| {
            // Any of them may be the one that fails.
            let hint = if self.names.len() > 1 {
                others(&[])
            } else {
                String::new()
            };
            let words = format!("{cause}{hint}");
            Refusal::Failed(cause.in_words(words))
        })?;
        let mut outputs = Vec::with_capacity(chosen.len());
        for (place, observed) in chosen.iter().zip(observed) {
            match self.check(*place, observed) {
                Ok(output) => outputs.push(output),
                Err(words) => {
                    let words = words + &others(&[*place]);
                    return Err(Refusal::Unfit(words.into()));
                }
            }
        }
        Ok((chosen, outputs))
    }

    fn run(&self, outputs: &[usize]) -> Result<Vec<Observed>, Cause> {
        let rows = self.rows;
        self.model.run(outputs, rows, &self.zeros).map_err(|cause| {
            let plural = if rows == 1 { "" } else { "s" };
            let words = format!("a trial run of {rows} frame{plural} of zeros failed: {cause}");
            cause.in_words(words)
        })
    }

    fn check(&self, place: usize, observed: Observed) -> Result<Output, String> {
        let name = self.names.get(place).map_or("", String::as_str);
        suitability::output(name, observed, self.rows, self.input.is_channel_last())
    }

    /// The outputs among `places` that are results per frame, each run alone.
    fn fit(&self, places: impl Iterator<Item = usize>) -> Vec<(usize, Output)> {
        places
            .filter_map(|place| {
                let observed = self.run(&[place]).ok()?.pop()?;
                Some((place, self.check(place, observed).ok()?))
            })
            .collect()
    }

    /// A hint at the outputs among `places` that can be chosen; empty if there are none.
    fn instead(&self, places: impl Iterator<Item = usize>) -> String {
        let fit = self.fit(places);
        let fit: Vec<_> = fit.iter().map(|(_, o)| o.tensor.name.as_str()).collect();
        if fit.is_empty() {
            return String::new();
        }
        format!(
            "; choose the outputs to send with --output: {}",
            fit.join(", ")
        )
    }
}
