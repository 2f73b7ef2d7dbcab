//! `beamflow inspect`: what a model file holds.

use crate::cli::InspectArgs;
use crate::commands::table;
use crate::engine::tensorrt::description::{Description, Inspection};
use crate::engine::{self, EngineError, ModelSpec, tensorrt};
use crate::inference::model::OrAuto;
use std::fmt::Write;
use std::path::Path;

/// Prints what the file holds.
///
/// # Errors
/// [`EngineError`], where it cannot be known.
pub(crate) fn run(args: &InspectArgs) -> Result<(), EngineError> {
    let options = args.engine.options(OrAuto::Auto);
    let path = Path::new(&args.model);
    let is_engine_file = path
        .extension()
        .is_some_and(|e| ["engine", "plan", "trt"].iter().any(|known| e == *known));
    if is_engine_file {
        let inspection = tensorrt::inspect(path, &options)?;
        if args.json {
            println!("{}", json(&inspection));
        } else {
            print!("{}", report(path, &inspection));
        }
        return Ok(());
    }
    let engine = engine::load(&args.model, &options)?;
    if args.json {
        println!("{}", json(engine.model()));
    } else {
        print!("{}\n\n{}", engine.description(), tensors(engine.model()));
    }
    Ok(())
}

/// What a build gave.
#[must_use]
pub(crate) fn describe(engine: &Path, description: &Description) -> String {
    let mut text = heading(engine, description.engine_bytes);
    text += &built(description);
    text += "\n";
    text += &tensors(&description.model);
    text
}

fn report(path: &Path, inspection: &Inspection) -> String {
    let mut text = heading(path, inspection.bytes);
    match &inspection.description {
        Some(description) => text += &built(description),
        None => text += "  no description beside it: built by another program\n",
    }
    if let Some(reason) = &inspection.not_opened {
        let _ = writeln!(
            text,
            "  from the description beside it; not opened: {reason}"
        );
    }
    for gpu in &inspection.opened_on {
        let _ = writeln!(
            text,
            "  opened by {} on {}: {} free, {} a lane",
            inspection.opened_with.as_deref().unwrap_or_default(),
            gpu.device,
            bytes(gpu.free),
            bytes(gpu.per_lane)
        );
    }
    text += "\n";
    text += &tensors(&inspection.model);
    text
}

fn heading(path: &Path, size: usize) -> String {
    format!("{}, {}\n", path.display(), bytes(size))
}

fn built(description: &Description) -> String {
    let layers: Vec<_> = description
        .layers
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    format!(
        "  built by {} {} for compute capability {}, {}, from {}\n  layers before fusion: {}\n",
        description.flavour,
        description.version,
        description.compute_capability,
        description.precision,
        description.source,
        layers.join(", "),
    )
}

/// The tensors and the batch dimension, and what a batch takes of host memory.
fn tensors(model: &ModelSpec) -> String {
    let header = ["tensor", "kind", "type", "shape"].map(str::to_owned);
    let row = |kind: &str, tensor: &engine::TensorSpec| {
        let shape: Vec<_> = tensor.shape.iter().map(usize::to_string).collect();
        [
            tensor.name.clone(),
            kind.to_owned(),
            tensor.element.to_string(),
            format!("N×{}", shape.join("×")),
        ]
    };
    let rows: Vec<_> = std::iter::once(header)
        .chain(std::iter::once(row("input", &model.input)))
        .chain(model.outputs.iter().map(|output| row("output", output)))
        .collect();
    let best = model.batch.best();
    format!(
        "{}\n  batch N: {}\n  a slot of {best} frames: {} of host memory\n",
        table::render(&rows),
        model.batch,
        bytes(model.batch_bytes(best))
    )
}

fn json(value: &impl serde::Serialize) -> String {
    // What is written are numbers and texts; it cannot fail.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn bytes(count: usize) -> String {
    bytesize::ByteSize(count as u64).to_string()
}
