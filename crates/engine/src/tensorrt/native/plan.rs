//! An opened engine file: runtime, engine and execution contexts, on one thread.

use super::kernels::Kernels;
use super::messages;
use crate::{BatchDimension, Cause, ModelSpec, TensorSpec};
use beamflow_frame::values::Element;
use cudarc::driver::CudaStream;
use trtx::trtx_sys::Dims64;
use trtx::{
    CudaEngine, DataType, ExecutionContext, Runtime, TensorFormat, TensorIOMode, TensorLocation,
};

/// The search for a batch size that an engine accepts tries every number up to this one, then powers of two.
const SMALL_BATCHES: i64 = 64;
/// The largest batch size that the search tries.
const LARGEST_BATCH: i64 = 65_536;

/// An opened engine file.
///
/// Field order is drop order: contexts must be dropped before the engine, and the engine before the runtime. The
/// compiler does not check this, because the binding's lifetimes are those of the logger.
pub(crate) struct Plan {
    /// For full batches, and for short batches while `short` is `None`.
    full: Context,
    /// For short batches, if full ones are launched as a graph: a graph becomes invalid when its context's shape
    /// changes.
    short: Option<Context>,
    kernels: Kernels,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
}

/// An execution context and the number of rows it is set to.
struct Context {
    context: ExecutionContext<'static>,
    /// `None` if the engine's batch dimension is static.
    rows: Option<usize>,
    /// The shape of a frame, in the engine's own order of axes.
    frame: Vec<i64>,
}

impl Plan {
    /// Opens `file` on the GPU whose context is current on this thread. `known` are kernels that were compiled for this
    /// file before. The error is the reason of the failure.
    pub(crate) fn open(file: &[u8], known: Option<&[u8]>) -> Result<Self, Cause> {
        messages::forget();
        let explain = messages::explain;
        let mut runtime = Runtime::new(messages::logger()?).map_err(explain)?;
        let mut engine = runtime.deserialize_cuda_engine(file).map_err(explain)?;
        let kernels = Kernels::new(&mut engine, known).map_err(explain)?;
        let context = kernels.context(&mut engine).map_err(explain)?;
        let mut inputs = engine.input_tensor_names().map_err(explain)?;
        let shape = inputs.next().map(|input| engine.tensor_shape(&input));
        let shape = shape.and_then(Result::ok).unwrap_or_default();
        let is_open = shape.first() == Some(&-1);
        let frame = shape.get(1..).unwrap_or_default().to_vec();
        drop(inputs);
        Ok(Self {
            full: Context {
                context,
                rows: is_open.then_some(0),
                frame,
            },
            short: None,
            kernels,
            engine,
            _runtime: runtime,
        })
    }

    /// Creates a separate context for short batches, if the engine's batch dimension is dynamic. Its tensors are at
    /// `addresses`.
    ///
    /// # Safety
    /// The conditions of [`Plan::place`].
    pub(crate) unsafe fn part_short_batches(
        &mut self,
        addresses: &[(&str, u64)],
    ) -> Result<(), trtx::Error> {
        if self.full.rows.is_some() {
            let context = self.kernels.context(&mut self.engine)?;
            let mut short = Context {
                context,
                rows: Some(0),
                frame: self.full.frame.clone(),
            };
            // SAFETY: the caller guarantees it.
            unsafe { short.place(addresses) }?;
            self.short = Some(short);
        }
        Ok(())
    }

    /// Sets the addresses of the tensors in device memory, by name.
    ///
    /// # Safety
    /// Each address must have room for the largest batch that is ever enqueued, for as long as this plan lives.
    pub(crate) unsafe fn place(&mut self, addresses: &[(&str, u64)]) -> Result<(), trtx::Error> {
        // SAFETY: the caller guarantees it.
        unsafe { self.full.place(addresses) }
    }

    /// Enqueues the computation of a full batch of `rows` rows on `stream`.
    ///
    /// # Safety
    /// The stream must belong to the context that was current when the plan was opened, and outlive the enqueued work.
    pub(crate) unsafe fn enqueue_full(
        &mut self,
        input: &TensorSpec,
        rows: usize,
        stream: &CudaStream,
    ) -> Result<(), trtx::Error> {
        // SAFETY: the caller guarantees it.
        unsafe { self.full.enqueue(input, rows, stream) }
    }

    /// Enqueues the computation of a short batch of `rows` rows on `stream`.
    ///
    /// # Safety
    /// The conditions of [`Plan::enqueue_full`].
    pub(crate) unsafe fn enqueue_short(
        &mut self,
        input: &TensorSpec,
        rows: usize,
        stream: &CudaStream,
    ) -> Result<(), trtx::Error> {
        let context = self.short.as_mut().unwrap_or(&mut self.full);
        // SAFETY: the caller guarantees it.
        unsafe { context.enqueue(input, rows, stream) }
    }

    /// The kernels compiled so far, to pass to the next [`Plan::open`] of the file.
    pub(crate) fn kernels(&self) -> Option<Vec<u8>> {
        self.kernels.save()
    }

    /// The engine's tensors and batch dimension. The error is the reason why frames cannot be run through the engine.
    /// `best` is the batch size that the engine was tuned for, if known.
    pub(crate) fn spec(&mut self, best: Option<usize>) -> Result<ModelSpec, Cause> {
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
            Err(_) => self.profile(&input, best)?,
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
    fn profile(
        &mut self,
        input: &TensorSpec,
        best: Option<usize>,
    ) -> Result<BatchDimension, Cause> {
        let full = &mut self.full;
        let mut takes = |rows: i64| {
            let rows = usize::try_from(rows).unwrap_or_default();
            full.set_rows(input, rows).is_ok()
        };
        let candidates = (1..=SMALL_BATCHES).chain(
            std::iter::successors(Some(2 * SMALL_BATCHES), |n| Some(n * 2))
                .take_while(|n| *n <= LARGEST_BATCH),
        );
        let Some(inside) = candidates.into_iter().find(|rows| takes(*rows)) else {
            return Err("found no batch size that its optimization profile allows".into());
        };
        let least = edge(inside, 0, &mut takes);
        let most = edge(inside, LARGEST_BATCH + 1, &mut takes);
        messages::forget();
        let (least, most) = (least.unsigned_abs() as usize, most.unsigned_abs() as usize);
        let best = best.unwrap_or(most).clamp(least, most);
        Ok(BatchDimension::within(least, best, most))
    }
}

impl Context {
    /// See [`Plan::place`].
    unsafe fn place(&mut self, addresses: &[(&str, u64)]) -> Result<(), trtx::Error> {
        for (name, address) in addresses {
            // SAFETY: the caller guarantees that the address has room for the largest batch.
            unsafe {
                self.context
                    .set_tensor_address(name, *address as *mut std::ffi::c_void)
            }?;
        }
        Ok(())
    }

    fn set_rows(&mut self, input: &TensorSpec, rows: usize) -> Result<(), trtx::Error> {
        if self.rows.is_some_and(|set| set != rows) {
            let frame = self.frame.iter().copied();
            let dims: Vec<i64> = std::iter::once(rows as i64).chain(frame).collect();
            self.context
                .set_input_shape(&input.name, &Dims64::from_slice(&dims))?;
            self.rows = Some(rows);
        }
        Ok(())
    }

    /// See [`Plan::enqueue_full`].
    unsafe fn enqueue(
        &mut self,
        input: &TensorSpec,
        rows: usize,
        stream: &CudaStream,
    ) -> Result<(), trtx::Error> {
        self.set_rows(input, rows)?;
        // SAFETY: the caller guarantees it.
        unsafe { self.context.enqueue_v3(stream.cu_stream().cast()) }
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
