//! Builds an engine file and its description from an `.onnx` file.

use super::library::{self, FLAVOUR, Missing};
use super::messages;
use super::progress::Monitor;
use super::target::{NoTarget, Target};
use crate::cuda::gpu;
use crate::options::Precision;
use crate::tensorrt::BuildProgress;
use crate::tensorrt::description::{Description, sha256};
use crate::tensorrt::request::{BatchRequest, BuildRequest};
use crate::{BatchDimension, EngineError, ModelSpec, TensorSpec};
use crate::{Cause, heap};
use beamflow_frame::values::Element;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use trtx::trtx_sys::Dims64;
use trtx::{
    Builder, BuilderConfig, DataType, NetworkDefinition, OnnxParser, OptProfileSelector, Tensor,
};

/// An engine and its description, not yet written to files.
pub(crate) struct BuiltEngine {
    /// Content of the engine file.
    pub plan: Vec<u8>,
    /// Content of the description, which is written next to the engine file.
    pub description: Description,
}

impl BuiltEngine {
    /// Writes both files. A failed write leaves no partial file.
    pub(crate) fn keep(&self, engine: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.description)?;
        // The description is written first: an engine file without one counts as built by another program.
        write(&Description::path(engine), &text)?;
        write(engine, &self.plan)
    }
}

/// Builds the engine file, and writes its description next to it.
pub(crate) fn build(
    request: &BuildRequest,
    progress: Box<dyn BuildProgress>,
) -> Result<Description, EngineError> {
    let built = build_unkept(request, progress)?;
    built
        .keep(&request.engine)
        .map_err(|error| cannot_keep(request, &error))?;
    Ok(built.description)
}

/// The error for an engine that was built but cannot be written.
pub(crate) fn cannot_keep(request: &BuildRequest, error: &std::io::Error) -> EngineError {
    EngineError::Build {
        path: request.model.clone(),
        reason: format!("cannot write {}: {error}", request.engine.display()).into(),
    }
}

/// Builds the engine without writing it.
pub(crate) fn build_unkept(
    request: &BuildRequest,
    progress: Box<dyn BuildProgress>,
) -> Result<BuiltEngine, EngineError> {
    let fail = |reason: Cause| EngineError::Build {
        path: request.model.clone(),
        reason,
    };
    let missing = |missing: Missing| EngineError::NoEngine {
        path: request.model.clone(),
        reason: Cause::of(missing),
    };
    let source = std::fs::read(&request.model).map_err(|error| fail(Cause::of(error)))?;
    let folder = request.library_path.as_deref();
    let version = library::load(folder).map_err(missing)?;
    let target = Target::find(request).map_err(|none| match none {
        NoTarget::Missing(what) => missing(what),
        NoTarget::Unknown(reason) => fail(reason),
    })?;
    library::load_parser(folder).map_err(missing)?;

    let built = build_plan(request, &source, &target, progress).map_err(fail);
    // A build takes hundreds of megabytes, and this process may serve for weeks.
    heap::give_back();
    let built = built?;
    let description = Description {
        flavour: FLAVOUR.to_owned(),
        version: version.to_string(),
        compute_capability: target.compute_capability.to_string(),
        precision: request.precision,
        model: built.model,
        layers: built.layers,
        source: file_name(&request.model),
        source_sha256: sha256(&source),
        engine_sha256: sha256(&built.plan),
        engine_bytes: built.plan.len(),
    };
    Ok(BuiltEngine {
        plan: built.plan,
        description,
    })
}

struct Built {
    plan: Vec<u8>,
    model: ModelSpec,
    layers: BTreeMap<String, usize>,
}

/// Builds the engine in memory. The error is the reason of the failure.
fn build_plan(
    request: &BuildRequest,
    source: &[u8],
    target: &Target,
    progress: Box<dyn BuildProgress>,
) -> Result<Built, Cause> {
    messages::forget_all();
    let explain = |error: trtx::Error| messages::explain_all(Cause::of(error));
    let logger = messages::logger()?;
    if let Some(gpu) = &target.gpu {
        gpu::enter(&gpu.context).map_err(Cause::of)?;
    }
    // Drop order is the reverse of this order: everything that the builder made must be dropped before the builder.
    let mut builder = Builder::new(logger).map_err(explain)?;
    let network = builder.create_network(0).map_err(explain)?;
    let mut config = builder.create_config().map_err(explain)?;
    let mut parser = OnnxParser::new(network, logger).map_err(explain)?;
    match request.precision {
        // Parsed by path, because weights may be in files next to it.
        Precision::Fp32 | Precision::Tf32 => {
            parser.parse_from_file(&request.model.to_string_lossy(), 2)
        }
        Precision::Fp16 => {
            let half = crate::fp16::to_half(source).map_err(Cause::of)?;
            tracing::info!("{}", half.summary);
            parser.parse(&half.model)
        }
    }
    .map_err(|error| {
        messages::explain_all(Cause::of(error).in_words("TensorRT cannot read it as an ONNX model"))
    })?;
    let network = parser.network_mut();

    let (rows, input) = tensor(network, &single_input(network)?)?;
    let outputs = network
        .outputs()
        .map(|output| tensor(network, &output).map(|(_, output)| output))
        .collect::<Result<Vec<_>, _>>()?;
    let batch = settle_batch(rows, request)?;
    if let BatchDimension::Within { least, best, most } = batch {
        add_profile(
            &mut builder,
            &mut config,
            &input,
            BatchRequest { least, best, most },
        )?;
    } else if rows < 0 {
        add_profile(
            &mut builder,
            &mut config,
            &input,
            BatchRequest::exactly(batch.best()),
        )?;
    }
    target.set(&mut config)?;
    match request.precision {
        // It rounds the factors of products to as many digits as half precision has.
        Precision::Tf32 => config.set_flag(trtx::BuilderFlag::kTF32),
        // It is on by default.
        Precision::Fp32 => config.clear_flag(trtx::BuilderFlag::kTF32),
        Precision::Fp16 => {}
    }
    config
        .set_progress_monitor(Box::new(Monitor::new(progress)))
        .map_err(explain)?;
    let layers = layers(network);
    let plan = builder
        .build_serialized_network(network, &mut config)
        .map_err(explain)?
        .to_vec();
    let model = ModelSpec {
        input,
        outputs,
        batch,
    }
    .with_channel_first();
    Ok(Built {
        plan,
        model,
        layers,
    })
}

fn single_input<'a>(network: &'a NetworkDefinition<'_>) -> Result<Tensor<'a>, Cause> {
    match network.nb_inputs() {
        1 => network.input(0).map_err(Cause::of),
        n => Err(format!("it has {n} inputs, but must have exactly one").into()),
    }
}

/// A tensor's batch dimension (-1 if dynamic), and the tensor for one frame.
fn tensor(
    network: &NetworkDefinition<'_>,
    tensor: &Tensor<'_>,
) -> Result<(i64, TensorSpec), Cause> {
    let said = |error: trtx::Error| Cause::of(error);
    let name = tensor.name(network).map_err(said)?;
    let shape = tensor.dimensions(network).map_err(said)?;
    let element = match tensor.get_type(network) {
        DataType::kFLOAT => Element::F32,
        DataType::kHALF => Element::F16,
        other => {
            return Err(format!("its tensor {name} is {other:?}, but must be f32 or f16").into());
        }
    };
    let fixed = |n: &i64| usize::try_from(*n).ok().filter(|n| *n > 0);
    shape
        .split_first()
        .and_then(|(rows, frame)| {
            Some((*rows, frame.iter().map(fixed).collect::<Option<Vec<_>>>()?))
        })
        .map(|(rows, shape)| {
            let tensor = TensorSpec {
                name: name.clone(),
                shape,
                element,
            };
            (rows, tensor)
        })
        .ok_or_else(|| {
            format!("its tensor {name} is {shape:?}: every dimension except the first must be fixed and above 0").into()
        })
}

/// The engine's batch dimension, from the model's batch dimension (-1 if dynamic) and the request.
fn settle_batch(rows: i64, request: &BuildRequest) -> Result<BatchDimension, Cause> {
    match (usize::try_from(rows), request.batch) {
        (Ok(rows), None) => Ok(BatchDimension::Static(rows)),
        (Ok(rows), Some(asked)) if asked == BatchRequest::exactly(rows) => {
            Ok(BatchDimension::Static(rows))
        }
        (Ok(rows), Some(_)) => Err(format!(
            "the model's batch is fixed at {rows}: use --batch {rows}, or export the model with a dynamic batch dimension"
        )
        .into()),
        (Err(_), asked) => {
            let BatchRequest { least, best, most } =
                asked.unwrap_or(BatchRequest::exactly(request.rows_if_open));
            Ok(BatchDimension::within(least, best, most))
        }
    }
}

fn add_profile(
    builder: &mut Builder<'_>,
    config: &mut BuilderConfig<'_>,
    input: &TensorSpec,
    rows: BatchRequest,
) -> Result<(), Cause> {
    let explain = |error: trtx::Error| messages::explain_all(Cause::of(error));
    let mut profile = builder.creata_optimization_profile().map_err(explain)?;
    for (which, rows) in [
        (OptProfileSelector::kMIN, rows.least),
        (OptProfileSelector::kOPT, rows.best),
        (OptProfileSelector::kMAX, rows.most),
    ] {
        let frame = input.shape.iter().map(|n| *n as i64);
        let dims: Vec<i64> = std::iter::once(rows as i64).chain(frame).collect();
        profile
            .set_dimensions(&input.name, which, &Dims64::from_slice(&dims))
            .map_err(explain)?;
    }
    config
        .add_optimization_profile(&mut profile)
        .map(drop)
        .map_err(explain)
}

/// Number of layers of each kind.
fn layers(network: &NetworkDefinition<'_>) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    for index in 0..network.nb_layers() {
        let kind = network.layer_type(index).map_or_else(
            |_| "unknown".to_owned(),
            |kind| format!("{kind:?}").trim_start_matches('k').to_lowercase(),
        );
        *layers.entry(kind).or_default() += 1;
    }
    layers
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Writes a file atomically: a reader finds the whole file or none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        // The sidecar must be able to read it as any user; by default only the owner can read a temporary file.
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
