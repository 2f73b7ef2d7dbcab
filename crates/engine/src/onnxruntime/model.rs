//! What a model takes and gives, as onnxruntime reads and computes it.

use crate::onnx::suitability::{self, Declared, Found, Observed};
use crate::onnx::trial::{self, Chosen, Trial};
use crate::{Cause, EngineOptions, ModelSpec};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions};
use ort::value::{Outlet, TensorElementType, TensorRef, ValueType};
use parking_lot::Mutex;
use rten::Dimension;

/// What sessions share.
pub(super) struct Loaded {
    pub(super) spec: ModelSpec,
    /// The shape of a frame in the model's own order of axes.
    pub(super) frame: Vec<usize>,
    /// The shapes of a row of each output in the model's own order of axes.
    pub(super) results: Vec<Vec<usize>>,
}

/// Reads the input from the model, and the outputs from a trial run.
pub(super) fn check(
    session: &Mutex<ort::session::Session>,
    options: &EngineOptions,
) -> Result<Loaded, Cause> {
    let (declared, names) = {
        let session = session.lock();
        let declared = session.inputs().iter().map(declared).collect();
        let names: Vec<_> = session
            .outputs()
            .iter()
            .map(|o| o.name().to_owned())
            .collect();
        (declared, names)
    };
    let input = suitability::input(declared)?;
    let run = TrialRun {
        session,
        input: &input.tensor.name,
        frame: &input.frame,
        names: &names,
    };
    let Chosen { outputs, batch, .. } = trial::choose(&run, &names, &input, options)?;
    let results = outputs.iter().map(|output| output.frame.clone()).collect();
    Ok(Loaded {
        spec: ModelSpec {
            input: input.tensor,
            outputs: outputs.into_iter().map(|output| output.tensor).collect(),
            batch,
        },
        frame: input.frame,
        results,
    })
}

fn declared(input: &Outlet) -> Declared {
    let shape = match input.dtype() {
        ValueType::Tensor {
            shape,
            dimension_symbols,
            ..
        } => {
            let symbols = dimension_symbols.iter();
            let dims = shape.iter().zip(symbols).map(|(n, symbol)| {
                usize::try_from(*n)
                    .map_or_else(|_| Dimension::Symbolic(symbol.clone()), Dimension::Fixed)
            });
            Some(dims.collect())
        }
        _ => None,
    };
    Declared {
        name: input.name().to_owned(),
        element: found(input.dtype()),
        shape,
    }
}

fn found(kind: &ValueType) -> Found {
    match kind {
        ValueType::Tensor {
            ty: TensorElementType::Float32,
            ..
        } => Found::Float32,
        ValueType::Tensor { ty, .. } => Found::Other(format!("{ty:?}").to_lowercase()),
        other => Found::Other(other.to_string()),
    }
}

/// The options of runs that compute only the outputs with these names.
pub(super) fn selected<'a>(
    names: impl Iterator<Item = &'a str>,
) -> ort::Result<RunOptions<HasSelectedOutputs>> {
    let selector = names.fold(OutputSelector::no_default(), OutputSelector::with);
    Ok(RunOptions::new()?.with_outputs(selector))
}

/// The model in a trial run.
struct TrialRun<'a> {
    session: &'a Mutex<ort::session::Session>,
    input: &'a str,
    frame: &'a [usize],
    names: &'a [String],
}

impl Trial for TrialRun<'_> {
    fn run(&self, outputs: &[usize], rows: usize, zeros: &[f32]) -> Result<Vec<Observed>, Cause> {
        let mut shape = vec![rows];
        shape.extend(self.frame);
        let names = outputs.iter().filter_map(|place| self.names.get(*place));
        let names: Vec<_> = names.map(String::as_str).collect();
        let mut session = self.session.lock();
        let options = selected(names.iter().copied()).map_err(Cause::of)?;
        let tensor = TensorRef::from_array_view((shape, zeros)).map_err(Cause::of)?;
        let inputs = ort::inputs![self.input => tensor];
        let results = session
            .run_with_options(inputs, &options)
            .map_err(Cause::of)?;
        let observed = |name: &&str| {
            let value = results
                .get(*name)
                .ok_or_else(|| Cause::from(format!("onnxruntime returned no output {name}")))?;
            let shape = match value.dtype() {
                ValueType::Tensor { shape, .. } => shape.iter(),
                _ => [].iter(),
            };
            Ok(Observed {
                element: found(value.dtype()),
                shape: shape.map(|n| usize::try_from(*n).unwrap_or(0)).collect(),
            })
        };
        names.iter().map(observed).collect()
    }
}
