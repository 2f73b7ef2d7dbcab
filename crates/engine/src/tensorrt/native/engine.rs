//! A loaded engine file: its GPUs, its tensors, and the device memory that a session takes.

use super::cards;
use super::kept::KeptKernels;
use super::library::{self, FLAVOUR, Version};
use super::opened::OpenedFile;
use super::session::{SessionOptions, TensorRtSession};
use crate::cuda::gpu::{self, Gpu};
use crate::room::DeviceMemory;
use crate::tensorrt::description::{Description, OpenedOn};
use crate::{BatchDimension, Cause, content, heap, onnx};
use crate::{Engine, EngineError, EngineOptions, HostBuffer, ModelSpec, Place, Session};
use beamflow_frame::values::Element;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loaded engine file. See the module documentation.
pub(crate) struct TensorRtEngine {
    path: PathBuf,
    file: Arc<[u8]>,
    version: Version,
    gpus: Vec<Gpu>,
    model: Arc<ModelSpec>,
    session_options: SessionOptions,
    /// For each GPU: kernels that sessions have compiled, for the next sessions. The lock is held while a session opens,
    /// because a graph cannot be captured while another session allocates on the same GPU.
    kernels: Vec<Mutex<KeptKernels>>,
    /// For each GPU: the memory that a session takes in addition to its batch's rows, in bytes.
    overhead: Vec<usize>,
    description: Option<Description>,
    /// Whether the log already says how batches are launched.
    told: AtomicBool,
}

/// What a file is that is certainly no engine, and the remedy.
fn not_an_engine(file: &[u8]) -> Option<String> {
    if onnx::is_model(file) {
        let words = "it is an ONNX model: give it a name that ends in .onnx, or build an engine from it with beamflow \
                     build-engine";
        return Some(words.to_owned());
    }
    if content::is_engine(file) {
        return None;
    }
    content::marked(file)
}

impl TensorRtEngine {
    /// Opens the file at `path` once on every selected GPU, to read its tensors and to measure its memory.
    pub(crate) fn load(path: &Path, options: &EngineOptions) -> Result<Self, EngineError> {
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        if path.is_dir() {
            return Err(fail(content::of_folder(path).into()));
        }
        let file = std::fs::read(path).map_err(|error| fail(Cause::of(error)))?;
        if let Some(what) = not_an_engine(&file) {
            return Err(fail(what.into()));
        }
        let description = Description::read(path, &file).map_err(|reason| fail(reason.into()))?;
        Self::open(path, file, description, options)
    }

    /// Like `load`, for a file whose content is already in memory. `path` is its name.
    pub(crate) fn open(
        path: &Path,
        file: Vec<u8>,
        description: Option<Description>,
        options: &EngineOptions,
    ) -> Result<Self, EngineError> {
        let missing = |missing: library::Missing| EngineError::NoEngine {
            path: path.to_owned(),
            reason: Cause::of(missing),
        };
        let fail = |reason: Cause| EngineError::Load {
            path: path.to_owned(),
            reason,
        };
        let gpus = gpu::open(&options.devices).map_err(|none| missing(none.into()))?;
        let version = library::load(options.library_path.as_deref()).map_err(missing)?;
        cards::check_driver().map_err(missing)?;
        if let Some(other) = description.as_ref().and_then(|d| mismatch(d, version)) {
            return Err(fail(other.into()));
        }
        let described = description.as_ref().map(|d| d.model.batch);
        let mut engine = Self {
            path: path.to_owned(),
            model: Arc::new(read(&gpus, &file, described, path)?),
            file: file.into(),
            version,
            gpus,
            session_options: SessionOptions {
                spin: options.spin,
                cuda_graphs: options.cuda_graphs,
            },
            kernels: Vec::new(),
            overhead: Vec::new(),
            description,
            told: AtomicBool::new(false),
        };
        let models: Vec<_> = engine.gpus.iter().map(|gpu| gpu.model.clone()).collect();
        for (device, model) in models.iter().enumerate() {
            // Sequentially, so that each GPU reuses the kernels that were compiled for an earlier one of its kind.
            let kept = KeptKernels::read(path, model);
            engine.kernels.push(Mutex::new(kept));
            let overhead = engine.measure(device)?;
            engine.overhead.push(overhead);
        }
        Ok(engine)
    }

    /// The memory that a session on GPU `device` takes in addition to its batch's rows, in bytes.
    fn measure(&self, device: usize) -> Result<usize, EngineError> {
        let Some(gpu) = self.gpus.get(device) else {
            return Ok(0);
        };
        let rows = self.model.batch.least();
        let open = |lane| {
            self.session(Place {
                lane,
                device,
                rows,
                cuda_graphs: true,
            })
        };
        let taken = gpu::taken_by_session(gpu, open)?;
        Ok(taken.saturating_sub(self.model.batch_bytes(rows)))
    }

    fn session(&self, place: Place) -> Result<TensorRtSession, EngineError> {
        let there = self
            .gpus
            .get(place.device)
            .zip(self.kernels.get(place.device));
        let (gpu, kernels) = there.ok_or_else(|| EngineError::Session {
            lane: place.lane,
            reason: format!("there is no device {}", place.device).into(),
        })?;
        let mut kernels = kernels.lock();
        let (file, model) = (&self.file, &self.model);
        let options = SessionOptions {
            cuda_graphs: self.session_options.cuda_graphs && place.cuda_graphs,
            ..self.session_options
        };
        let session = TensorRtSession::open(gpu, file, model, place, options, kernels.known())?;
        if session
            .kernels()
            .is_some_and(|compiled| kernels.keep(compiled))
        {
            // Compiling takes hundreds of megabytes, and this process may serve for weeks.
            heap::give_back();
        }
        Ok(session)
    }

    /// The description next to the file.
    pub(crate) fn into_description(self) -> Option<Description> {
        self.description
    }

    /// The library, such as `TensorRT-RTX 1.7.1`.
    pub(crate) fn library(&self) -> String {
        format!("{FLAVOUR} {}", self.version)
    }

    /// The GPUs it was opened on, with the memory that a lane takes.
    pub(crate) fn opened_on(&self) -> Result<Vec<OpenedOn>, EngineError> {
        let memory = self.memory(self.model.batch.best())?.unwrap_or_default();
        let opened = |(gpu, memory): (&Gpu, DeviceMemory)| OpenedOn {
            device: gpu.describe(),
            free: memory.free,
            per_lane: memory.per_lane,
        };
        Ok(self.gpus.iter().zip(memory).map(opened).collect())
    }
}

/// Why TensorRT of `version` cannot open an engine file with this description; `None` if it can.
fn mismatch(description: &Description, version: Version) -> Option<String> {
    let found = version.to_string();
    (description.flavour != FLAVOUR || description.version != found).then(|| {
        format!(
            "it was built by {} {}, but this machine has {FLAVOUR} {found}: build it again from {} with beamflow build-engine",
            description.flavour, description.version, description.source
        )
    })
}

fn read(
    gpus: &[Gpu],
    file: &[u8],
    described: Option<BatchDimension>,
    path: &Path,
) -> Result<ModelSpec, EngineError> {
    let fail = |reason: Cause| EngineError::Load {
        path: path.to_owned(),
        reason,
    };
    if let Some(gpu) = gpus.first() {
        gpu::enter(&gpu.context).map_err(gpu::lost)?;
    }
    let mut opened = OpenedFile::open(file).map_err(|reason| {
        let unsupported = |gpu: &&Gpu| !cards::supports(gpu.compute_capability);
        fail(match gpus.first().filter(unsupported) {
            Some(gpu) => {
                let words = format!("{reason}. This is {}. {}", gpu.describe(), cards::remedy());
                reason.in_words(words)
            }
            None => reason,
        })
    })?;
    opened
        .spec(described)
        .map_err(|reason| EngineError::Unsuitable {
            path: path.to_owned(),
            reason,
        })
}

impl Engine for TensorRtEngine {
    fn model(&self) -> &ModelSpec {
        &self.model
    }

    fn description(&self) -> String {
        let gpus: Vec<_> = self.gpus.iter().map(Gpu::describe).collect();
        format!(
            "{FLAVOUR} {} on {}, {}",
            self.version,
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

    /// False: a kernel that hangs blocks the first launch of kernels that are loaded later, and opening a session loads some.
    fn pads_short_batches(&self) -> bool {
        true
    }

    fn replaces_hung_sessions(&self) -> bool {
        false
    }

    /// False, because opening a session already runs a batch.
    fn needs_warm_up(&self) -> bool {
        false
    }

    fn memory(&self, rows: usize) -> Result<Option<Vec<DeviceMemory>>, EngineError> {
        let batch = self.model.batch_bytes(self.model.batch.rows(rows));
        self.gpus
            .iter()
            .zip(&self.overhead)
            .map(|(gpu, overhead)| {
                Ok(DeviceMemory {
                    device: gpu.name.clone(),
                    free: gpu.free_memory()?,
                    per_lane: overhead + batch,
                })
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn open_session(&self, place: Place) -> Result<Box<dyn Session>, EngineError> {
        let session = self.session(place)?;
        let first = !self.told.swap(true, Ordering::Relaxed);
        match session.no_graph() {
            Some(reason) if self.session_options.cuda_graphs && place.cuda_graphs => {
                tracing::warn!(
                    lane = place.lane,
                    reason,
                    "Every batch is launched without a CUDA graph."
                )
            }
            Some(_) if first => {
                tracing::info!(
                    "Every batch is launched without a CUDA graph, because of --no-cuda-graphs."
                );
            }
            None if first => tracing::info!("Batches are launched as CUDA graphs."),
            _ => {}
        }
        Ok(Box::new(session))
    }

    fn allocate(&self, element: Element, elements: usize) -> Result<HostBuffer, EngineError> {
        gpu::page_locked(&self.gpus, element, elements)
    }
}
