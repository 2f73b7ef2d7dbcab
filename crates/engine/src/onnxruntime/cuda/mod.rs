//! `.onnx` files on NVIDIA GPUs with onnxruntime's CUDA execution provider.
//!
//! A GPU path that needs no engine to be built, on every card that CUDA and cuDNN run on. The model is tried on the CPU
//! first, so what is said of a model that cannot take frames is the same as for the CPU.
//!
//! What always holds:
//! - everything a session uses (onnxruntime's session, stream, tensors, graph) is created and dropped on its lane's
//!   thread;
//! - every run computes a full batch: cuDNN searches anew for each shape, so short batches are padded;
//! - without TF32 unless the precision is `Precision::Tf32`.

/// What is missing when the provider cannot be used.
mod missing;
/// A lane's session.
mod session;

use super::model::Loaded;
use super::{Tried, try_on_cpu};
use crate::cuda::gpu::{self, Gpu};
use crate::options::Precision;
use crate::room::DeviceMemory;
use crate::{Cause, Engine, EngineError, EngineOptions, HostBuffer, ModelSpec, Place, Session};
use beamflow_frame::values::Element;
use ort::environment::Environment;
use parking_lot::Mutex;
use session::{CudaSession, SessionOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loaded `.onnx` file. See the module documentation.
pub(crate) struct OnnxRuntimeCudaEngine {
    path: PathBuf,
    environment: Environment,
    gpus: Vec<Gpu>,
    model: Arc<Loaded>,
    /// The model in half precision; `None`: as it is in the file.
    half: Option<Vec<u8>>,
    options: SessionOptions,
    /// For each GPU: held while a session opens, because a graph cannot be captured while another session allocates on
    /// the same GPU.
    opening: Vec<Mutex<()>>,
    /// The rows of a batch that was measured, and the memory that a session with it takes on each GPU, in bytes.
    measured: Mutex<Option<(usize, Vec<usize>)>>,
    /// Whether the log already says how batches are launched.
    told: AtomicBool,
}

impl OnnxRuntimeCudaEngine {
    /// Opens the library and the GPUs, tries the file at `path` on the CPU, and opens a session on every GPU.
    ///
    /// # Errors
    /// [`EngineError::NoEngine`] if the driver, a GPU, the library or its CUDA provider is missing; otherwise those of the
    /// engine on the CPU.
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let none = |reason: Cause| EngineError::NoEngine {
            path: path.to_owned(),
            reason,
        };
        let gpus = gpu::open(&options.devices).map_err(|error| none(Cause::of(error)))?;
        let Tried {
            environment,
            mut model,
            ..
        } = try_on_cpu(path, options)?;
        missing::check(&environment).map_err(none)?;
        let half = match options.precision {
            Precision::Fp32 | Precision::Tf32 => None,
            Precision::Fp16 => {
                let half = half(path)?;
                model.spec.input.element = Element::F16;
                Some(half)
            }
        };
        let engine = Self {
            path: path.to_owned(),
            environment,
            opening: gpus.iter().map(|_| Mutex::default()).collect(),
            gpus,
            model: Arc::new(model),
            half,
            options: SessionOptions {
                spin: options.spin,
                cuda_graphs: options.cuda_graphs,
                precision: options.precision,
            },
            measured: Mutex::default(),
            told: AtomicBool::new(false),
        };
        // What a GPU refuses is said now, and the memory is known before the lanes open.
        engine.measure(engine.model.spec.batch.rows(options.rows.unwrap_or(1)))?;
        Ok(engine)
    }

    fn session(&self, place: Place) -> Result<CudaSession, EngineError> {
        let there = self
            .gpus
            .get(place.device)
            .zip(self.opening.get(place.device));
        let (gpu, opening) = there.ok_or_else(|| EngineError::Session {
            lane: place.lane,
            reason: format!("there is no device {}", place.device).into(),
        })?;
        let _opening = opening.lock();
        CudaSession::open(self, gpu, place)
    }

    /// The memory that a session with batches of `rows` rows takes on each GPU, in bytes.
    fn measure(&self, rows: usize) -> Result<Vec<usize>, EngineError> {
        let mut measured = self.measured.lock();
        match &*measured {
            Some((known, taken)) if *known == rows => return Ok(taken.clone()),
            _ => {}
        }
        let gpus = self.gpus.iter().enumerate();
        let taken = gpus.map(|(device, gpu)| {
            gpu::taken_by_session(gpu, |lane| {
                self.session(Place {
                    lane,
                    device,
                    rows,
                    cuda_graphs: self.options.cuda_graphs,
                })
            })
        });
        let taken = taken.collect::<Result<Vec<_>, _>>()?;
        *measured = Some((rows, taken.clone()));
        Ok(taken)
    }
}

/// The model at `path` in half precision.
fn half(path: &Path) -> Result<Vec<u8>, EngineError> {
    let fail = |reason: Cause| EngineError::Load {
        path: path.to_owned(),
        reason,
    };
    let file = std::fs::read(path).map_err(|error| fail(Cause::of(error)))?;
    let half = crate::fp16::to_half(&file).map_err(|error| fail(Cause::of(error)))?;
    tracing::info!("{}", half.summary);
    Ok(half.model)
}

impl Engine for OnnxRuntimeCudaEngine {
    fn model(&self) -> &ModelSpec {
        &self.model.spec
    }

    fn description(&self) -> String {
        let gpus: Vec<_> = self.gpus.iter().map(Gpu::describe).collect();
        format!(
            "ONNX in {} on {} (onnxruntime), {}",
            self.options.precision,
            gpus.join(", "),
            self.path.display()
        )
    }

    fn devices(&self) -> Vec<String> {
        self.gpus.iter().map(|gpu| gpu.name.clone()).collect()
    }

    fn has_cuda_graphs(&self) -> bool {
        true
    }

    /// False, because opening a session already runs batches.
    fn needs_warm_up(&self) -> bool {
        false
    }

    /// False: a kernel that hangs blocks the first launch of kernels that are loaded later.
    fn pads_short_batches(&self) -> bool {
        true
    }

    fn replaces_hung_sessions(&self) -> bool {
        false
    }

    fn memory(&self, rows: usize) -> Result<Option<Vec<DeviceMemory>>, EngineError> {
        let taken = self.measure(self.model.spec.batch.rows(rows))?;
        let gpus = self.gpus.iter().zip(taken);
        gpus.map(|(gpu, per_lane)| {
            Ok(DeviceMemory {
                device: gpu.name.clone(),
                free: gpu.free_memory()?,
                per_lane,
            })
        })
        .collect::<Result<_, _>>()
        .map(Some)
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        let session = self.session(place)?;
        let first = !self.told.swap(true, Ordering::Relaxed);
        session.tell(
            place.lane,
            self.options.cuda_graphs && place.cuda_graphs,
            first,
        );
        Ok(Box::new(session))
    }

    fn allocate(&self, element: Element, elements: usize) -> Result<HostBuffer, EngineError> {
        gpu::page_locked(&self.gpus, element, elements)
    }
}
