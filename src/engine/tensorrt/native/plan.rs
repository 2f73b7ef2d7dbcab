//! An engine file opened: runtime, engine and execution contexts, together, on one thread.

use super::kernels::Kernels;
use super::messages;
use crate::engine::{BatchDimension, ModelSpec, TensorSpec};
use crate::values::Element;
use trtx::trtx_sys::Dims64;
use trtx::{
    CudaEngine, DataType, ExecutionContext, Runtime, TensorFormat, TensorIOMode, TensorLocation,
};

/// Rows that are tried one by one when looking for a batch that an engine takes; beyond it powers of two.
const SMALL_BATCHES: i64 = 64;
/// The most rows that are tried.
const LARGEST_BATCH: i64 = 65_536;

/// An opened engine file.
///
/// The fields are in the order in which TensorRT wants them gone: the binding's lifetimes are the logger's, so nothing
/// but this order keeps a context from outliving its engine.
pub struct Plan {
    /// For full batches. Its shape is set once: a graph captured from a context is void when the shape changes.
    pub full: ExecutionContext<'static>,
    /// For short batches, where the engine leaves the rows of a run open.
    pub short: Option<ExecutionContext<'static>>,
    kernels: Kernels,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
}

impl Plan {
    /// Opens `file`, on the GPU whose context is current on this thread. `known` are kernels compiled for it before.
    /// An error is the reason.
    pub fn open(file: &[u8], known: Option<&[u8]>) -> Result<Self, String> {
        messages::forget();
        let explain = |error: trtx::Error| messages::explain(error);
        let mut runtime = Runtime::new(messages::logger()?).map_err(explain)?;
        let mut engine = runtime.deserialize_cuda_engine(file).map_err(explain)?;
        let kernels = Kernels::new(&mut engine, known).map_err(explain)?;
        let full = kernels.context(&mut engine).map_err(explain)?;
        let mut inputs = engine.input_tensor_names().map_err(explain)?;
        let shape = inputs.next().map(|input| engine.tensor_shape(&input));
        let open_rows = shape.is_some_and(|shape| shape.is_ok_and(|s| s.first() == Some(&-1)));
        drop(inputs);
        let short = open_rows.then(|| kernels.context(&mut engine)).transpose();
        Ok(Self {
            full,
            short: short.map_err(explain)?,
            kernels,
            engine,
            _runtime: runtime,
        })
    }

    /// The kernels compiled so far, to be given to the next that opens the file.
    pub fn kernels(&self) -> Option<Vec<u8>> {
        self.kernels.save()
    }

    /// The engine's tensors and batch dimension, if frames can be run through it; else why not. `best` is the
    /// batch it was tuned for, if that is known.
    pub fn spec(&mut self, best: Option<usize>) -> Result<ModelSpec, String> {
        let names: Vec<String> = self
            .engine
            .io_tensor_names()
            .map_err(|error| error.to_string())?
            .collect();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for name in names {
            let (kind, rows, tensor) = self.tensor(name)?;
            match kind {
                TensorIOMode::kINPUT => inputs.push((rows, tensor)),
                _ => outputs.push((rows, tensor)),
            }
        }
        let Ok([(rows, input)]) = <[_; 1]>::try_from(inputs) else {
            return Err("an engine for frames has exactly one input".to_owned());
        };
        if outputs.is_empty() {
            return Err("it has no output".to_owned());
        }
        if let Some((other, output)) = outputs.iter().find(|(other, _)| *other != rows) {
            return Err(format!(
                "its input has {rows} rows and its output {output} {other}: the first dimension of both must be the batch"
            ));
        }
        let batch = match usize::try_from(rows) {
            Ok(rows) => BatchDimension::Static(rows),
            Err(_) => self.profile(&input, best)?,
        };
        Ok(ModelSpec {
            input,
            outputs: outputs.into_iter().map(|(_, output)| output).collect(),
            batch,
        })
    }

    /// A tensor, its direction, and its rows (-1 where they are open).
    fn tensor(&self, name: String) -> Result<(TensorIOMode, i64, TensorSpec), String> {
        let said = |error: trtx::Error| format!("its tensor {name}: {error}");
        let engine = &self.engine;
        let element = match engine.tensor_data_type(&name).map_err(said)? {
            DataType::kFLOAT => Element::F32,
            DataType::kHALF => Element::F16,
            other => {
                return Err(format!(
                    "its tensor {name} is {other:?}; f32 or f16 is needed"
                ));
            }
        };
        if engine.tensor_format(&name).map_err(said)? != TensorFormat::kLINEAR {
            return Err(format!(
                "its tensor {name} is not in linear (row-major) format"
            ));
        }
        if engine.tensor_location(&name).map_err(said)? != TensorLocation::kDEVICE {
            return Err(format!(
                "its tensor {name} does not lie in the GPU's memory"
            ));
        }
        let shape = engine.tensor_shape(&name).map_err(said)?;
        let fixed = |n: &i64| usize::try_from(*n).ok().filter(|n| *n > 0);
        let parts = shape.split_first().and_then(|(rows, frame)| {
            let frame: Option<Vec<usize>> = frame.iter().map(fixed).collect();
            Some((*rows, frame?)).filter(|(rows, _)| *rows != 0)
        });
        let Some((rows, frame)) = parts else {
            return Err(format!(
                "its tensor {name} is {shape:?}: every dimension but the first must be fixed and above 0"
            ));
        };
        let kind = engine.tensor_io_mode(&name).map_err(said)?;
        let tensor = TensorSpec {
            name,
            shape: frame,
            element,
        };
        Ok((kind, rows, tensor))
    }

    /// The rows that the engine's optimization profile allows. The binding cannot ask for them, so they are found by
    /// trying: a profile is a range, and a context refuses a shape outside of it.
    fn profile(
        &mut self,
        input: &TensorSpec,
        best: Option<usize>,
    ) -> Result<BatchDimension, String> {
        let mut takes = |rows: i64| set_rows(&mut self.full, input, rows).is_ok();
        let candidates = (1..=SMALL_BATCHES).chain(
            std::iter::successors(Some(2 * SMALL_BATCHES), |n| Some(n * 2))
                .take_while(|n| *n <= LARGEST_BATCH),
        );
        let Some(inside) = candidates.into_iter().find(|rows| takes(*rows)) else {
            return Err(
                "no batch size could be found that its optimization profile takes".to_owned(),
            );
        };
        let least = edge(inside, 0, &mut takes);
        let most = edge(inside, LARGEST_BATCH + 1, &mut takes);
        messages::forget();
        let (least, most) = (least.unsigned_abs() as usize, most.unsigned_abs() as usize);
        let best = best.unwrap_or(most).clamp(least, most);
        Ok(BatchDimension::within(least, best, most))
    }

    /// Sets the rows of full batches, once, where the engine leaves them open.
    pub fn set_full_rows(&mut self, input: &TensorSpec, rows: usize) -> Result<(), trtx::Error> {
        if self.short.is_none() {
            return Ok(());
        }
        set_rows(&mut self.full, input, rows as i64)
    }
}

/// Sets the rows of a context's next run.
pub fn set_rows(
    context: &mut ExecutionContext<'_>,
    input: &TensorSpec,
    rows: i64,
) -> Result<(), trtx::Error> {
    let frame = input.shape.iter().map(|n| *n as i64);
    let dims: Vec<i64> = std::iter::once(rows).chain(frame).collect();
    context.set_input_shape(&input.name, &Dims64::from_slice(&dims))
}

/// The last number that `takes` takes, from `inside`, which it takes, towards `outside`, which it does not.
fn edge(mut inside: i64, mut outside: i64, takes: &mut impl FnMut(i64) -> bool) -> i64 {
    while (outside - inside).abs() > 1 {
        let middle = i64::midpoint(inside, outside);
        if takes(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edges_of_a_profile_are_found() {
        for (least, most) in [(1, 1), (4, 16), (1, LARGEST_BATCH), (64, 64)] {
            let mut takes = |rows: i64| (least..=most).contains(&rows);
            let inside = i64::midpoint(least, most);
            assert_eq!(edge(inside, 0, &mut takes), least);
            assert_eq!(edge(inside, LARGEST_BATCH + 1, &mut takes), most);
        }
    }
}
