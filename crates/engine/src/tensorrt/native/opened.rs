//! An engine file, opened on one thread: its tensors, and the batches that it takes.

use super::kernels::Kernels;
use super::messages;
use crate::{BatchDimension, Cause, ModelSpec, TensorSpec};
use beamflow_frame::values::Element;
use trtx::trtx_sys::Dims64;
use trtx::{CudaEngine, DataType, Runtime, TensorFormat, TensorIOMode, TensorLocation};

/// The search for a batch size that an engine accepts tries every number up to this one, and above it every 64th.
const SMALL_BATCHES: i64 = 1024;
/// The largest batch size that the search tries.
const LARGEST_BATCH: i64 = 65_536;

/// An engine file, opened on the GPU whose context was current.
///
/// Field order is drop order: the engine must be dropped before the runtime, and everything that the engine made before
/// the engine. The compiler does not check this, because the binding's lifetimes are those of the logger.
pub(crate) struct OpenedFile {
    pub(crate) engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
}

impl OpenedFile {
    /// Opens `file`. The error is the reason of the failure.
    pub(crate) fn open(file: &[u8]) -> Result<Self, Cause> {
        messages::forget();
        let explain = messages::explain;
        let mut runtime = Runtime::new(messages::logger()?).map_err(explain)?;
        let engine = runtime.deserialize_cuda_engine(file).map_err(explain)?;
        Ok(Self {
            engine,
            _runtime: runtime,
        })
    }

    /// The shape of a batch of `rows` rows of the tensor `name`, in the engine's own order of axes; `None` if the
    /// engine's batch is fixed.
    pub(crate) fn open_shape(&self, name: &str, rows: i64) -> Result<Option<Dims64>, trtx::Error> {
        let mut shape = self.engine.tensor_shape(name)?;
        Ok(match shape.first_mut() {
            Some(first) if *first == -1 => {
                *first = rows;
                Some(Dims64::from_slice(&shape))
            }
            _ => None,
        })
    }

    /// The engine's tensors and batch dimension. The error is the reason why frames cannot be run through the engine.
    /// `described` is the batch dimension in the description of the file, if there is one.
    pub(crate) fn spec(&mut self, described: Option<BatchDimension>) -> Result<ModelSpec, Cause> {
        let names: Vec<String> = self.engine.io_tensor_names().map_err(Cause::of)?.collect();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for name in names {
            let (kind, rows, tensor) = self.tensor(name)?;
            match kind {
                TensorIOMode::kINPUT => inputs.push((rows, tensor)),
                _ => outputs.push((rows, tensor)),
            }
        }
        let Ok([(rows, input)]) = <[_; 1]>::try_from(inputs) else {
            return Err("it must have exactly one input".into());
        };
        if outputs.is_empty() {
            return Err("it has no output".into());
        }
        if let Some((other, output)) = outputs.iter().find(|(other, _)| *other != rows) {
            return Err(format!(
                "its input has {rows} rows, but its output {output} has {other}: the first dimension of both must be the batch"
            ).into());
        }
        let batch = match usize::try_from(rows) {
            Ok(rows) => BatchDimension::Static(rows),
            Err(_) => match described {
                Some(described) => described,
                None => self.profile(&input)?,
            },
        };
        Ok(ModelSpec {
            input,
            outputs: outputs.into_iter().map(|(_, output)| output).collect(),
            batch,
        }
        .with_channel_first())
    }

    /// A tensor's direction, its batch dimension (-1 if dynamic), and the tensor for one frame.
    fn tensor(&self, name: String) -> Result<(TensorIOMode, i64, TensorSpec), Cause> {
        let said = |error: trtx::Error| {
            let words = format!("its tensor {name}: {error}");
            Cause::of(error).in_words(words)
        };
        let engine = &self.engine;
        let element = match engine.tensor_data_type(&name).map_err(said)? {
            DataType::kFLOAT => Element::F32,
            DataType::kHALF => Element::F16,
            other => {
                return Err(
                    format!("its tensor {name} is {other:?}, but must be f32 or f16").into(),
                );
            }
        };
        if engine.tensor_format(&name).map_err(said)? != TensorFormat::kLINEAR {
            return Err(format!("its tensor {name} is not in linear (row-major) format").into());
        }
        if engine.tensor_location(&name).map_err(said)? != TensorLocation::kDEVICE {
            return Err(format!("its tensor {name} is not in the GPU's memory").into());
        }
        let shape = engine.tensor_shape(&name).map_err(said)?;
        let fixed = |n: &i64| usize::try_from(*n).ok().filter(|n| *n > 0);
        let parts = shape.split_first().and_then(|(rows, frame)| {
            let frame: Option<Vec<usize>> = frame.iter().map(fixed).collect();
            Some((*rows, frame?)).filter(|(rows, _)| *rows != 0)
        });
        let Some((rows, frame)) = parts else {
            return Err(format!(
                "its tensor {name} is {shape:?}: every dimension except the first must be fixed and above 0"
            ).into());
        };
        let kind = engine.tensor_io_mode(&name).map_err(said)?;
        let tensor = TensorSpec {
            name,
            shape: frame,
            element,
        };
        Ok((kind, rows, tensor))
    }

    /// The numbers of rows that the engine's optimization profile allows. The binding has no function that returns
    /// them, so they are found by trial: a profile is a range, and a context refuses a shape outside it.
    fn profile(&mut self, input: &TensorSpec) -> Result<BatchDimension, Cause> {
        let kernels = Kernels::uncompiled(&mut self.engine).map_err(messages::explain)?;
        let mut context = kernels
            .context(&mut self.engine)
            .map_err(messages::explain)?;
        let mut takes = |rows: i64| {
            let shape = self.open_shape(&input.name, rows).ok().flatten();
            shape.is_some_and(|shape| context.set_input_shape(&input.name, &shape).is_ok())
        };
        let candidates =
            (1..=SMALL_BATCHES).chain((SMALL_BATCHES..=LARGEST_BATCH).step_by(64).skip(1));
        let Some(inside) = candidates.into_iter().find(|rows| takes(*rows)) else {
            return Err(
                "found no batch size that its optimization profile allows: build it with beamflow build-engine, which \
                 writes the batch sizes next to it"
                    .into(),
            );
        };
        let least = edge(inside, 0, &mut takes);
        let most = edge(inside, LARGEST_BATCH + 1, &mut takes);
        messages::forget();
        let (least, most) = (least.unsigned_abs() as usize, most.unsigned_abs() as usize);
        Ok(BatchDimension::within(least, most, most))
    }
}

/// The last number that `takes` accepts on the way from `inside`, which it accepts, to `outside`, which it does not.
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
