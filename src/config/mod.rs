//! The settings of a serving sidecar, checked.
//!
//! `Config` is made once, from the command line (`crate::cli`), and is not checked again. What depends on the model (does the
//! batch fit, is there such an output, is there memory) is checked when the engine is loaded, by `Config::plan`.

/// The settings on the loaded engine.
pub(crate) mod fitting;
/// Host memory: its limits, and what is needed.
pub mod memory;
/// Several models, and which frames each computes: a YAML file.
pub mod models;
/// Which outputs of the model are sent.
mod outputs;
/// Readers of the values that flags and the models file have.
pub(crate) mod parse;
/// Several models in the memory of this machine.
mod together;

use crate::engine::ModelSpec;
use crate::frame::{BadPixels, Decoder, Envelope, FrameShape, Mask, OutputDtype};
use crate::inference::model::{BadPixelSettings, ModelSettings, OrAuto, SelectedOutput};
use crate::inference::policy::{OnFailure, OnInvalid, OnNonfinite};
use crate::inference::routes::Routes;
use crate::inference::schedule::Mode;
use crate::inference::schedule::depth::{Depth, FOLLOWING_MOST, FOLLOWING_START};
use crate::telemetry::text::escaped;
use models::{FileError, ModelsFile};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest gRPC message in either direction, in bytes: numa's own limit (`DEFAULT_GRPC_MAX_MESSAGE_SIZE`).
pub(crate) const MAX_MESSAGE_SIZE: usize = 64 * 1024 * 1024;

/// The settings of a serving sidecar. See the module's essay.
#[derive(Clone, Debug)]
pub struct Config {
    /// When batches are computed.
    pub mode: Mode,
    /// The model, and what belongs to it alone.
    pub model: ModelSettings,
    /// The models of `--models`, with the settings of `model` where the file gives none.
    pub models_file: Option<ModelsFile>,
    /// Batches in flight in pipelined and in streaming mode.
    pub(crate) pipeline_depth: OrAuto,
    /// How long a frame waits for others while a device is idle, in streaming mode; `None`: as suits the engine.
    pub(crate) batch_wait: Option<Duration>,
    /// Batches in flight in concurrent mode.
    pub(crate) max_concurrent_batches: usize,
    /// The answer to a frame that is itself invalid.
    pub on_invalid: OnInvalid,
    /// The answer to a frame whose results are not finite; `None`: as suits the dtype of results.
    pub(crate) on_nonfinite: Option<OnNonfinite>,
    /// The answer to a frame that the engine failed on.
    pub on_failure: OnFailure,
    /// Deliveries of a frame that is nacked; `None`: without end.
    pub max_deliveries: Option<u32>,
    /// Where metrics, stats and health are served; `None`: nowhere.
    pub http_address: Option<SocketAddr>,
    /// Whether the status page shows no frames.
    pub(crate) no_pictures: bool,
    /// The Unix socket that numa connects to.
    pub sock_path: PathBuf,
    /// The file from which numa learns that the socket is ready.
    pub server_info_path: PathBuf,
}

/// A setting that does not fit the model or another setting.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{flag}: '{}' is not allowed: {reason}", escaped(.given))]
pub struct ConfigError {
    /// The flag.
    pub(crate) flag: &'static str,
    /// What was given.
    pub(crate) given: String,
    /// Why the value is not allowed, or what to use instead.
    pub(crate) reason: String,
}

/// Settings that cannot be served, whatever the model is.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A flag or variable.
    #[error(transparent)]
    Flag(#[from] ConfigError),
    /// The models file.
    #[error(transparent)]
    Models(#[from] FileError),
}

/// The settings, compared with one model.
#[derive(Debug)]
pub struct Suited {
    /// Frames per batch.
    pub batch_size: usize,
    /// What frames are.
    pub(crate) decoder: Decoder,
    /// Which pixels are bad, and what replaces them.
    pub(crate) bad_pixels: BadPixels,
    /// The results sent on, in order.
    pub outputs: Vec<SelectedOutput>,
}

impl Config {
    /// For each model, the settings as if it were the only one.
    #[must_use]
    pub(crate) fn each(&self) -> Vec<Self> {
        let models = match &self.models_file {
            Some(file) => file.models.as_slice(),
            None => std::slice::from_ref(&self.model),
        };
        let alone = |model: &ModelSettings| Self {
            model: model.clone(),
            models_file: None,
            ..self.clone()
        };
        models.iter().map(alone).collect()
    }

    /// Which model a frame is for.
    #[must_use]
    pub(crate) fn routes(&self) -> Routes {
        let (default, routes) = match &self.models_file {
            Some(file) => (file.default, file.routes.clone()),
            None => (0, Vec::new()),
        };
        let names = self.each().into_iter().map(|config| config.model.name);
        Routes::new(names.collect(), default, routes)
    }

    /// Batches that may be in flight at once in the chosen mode.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match (self.mode, self.pipeline_depth) {
            (Mode::Sequential, _) => 1,
            (Mode::Concurrent, _) => self.max_concurrent_batches,
            (Mode::Pipelined | Mode::Streaming, OrAuto::Exactly(depth)) => depth,
            (Mode::Pipelined | Mode::Streaming, OrAuto::Auto) => FOLLOWING_MOST,
        }
    }

    /// Lanes that are useful on `devices` devices, if one can use `each`: as many as batches in flight. A depth
    /// that follows the measured times has as many as it starts with: one copies in, one computes, one
    /// copies out, and deeper batches wait.
    #[must_use]
    pub fn lanes(&self, devices: usize, each: Option<usize>) -> usize {
        let following = matches!(self.mode, Mode::Pipelined | Mode::Streaming)
            && self.pipeline_depth == OrAuto::Auto;
        let each = each.unwrap_or(if following {
            FOLLOWING_START
        } else {
            usize::MAX
        });
        self.in_flight().min(each.saturating_mul(devices))
    }

    /// The flag that says how many batches are in flight in the chosen mode.
    #[must_use]
    pub(crate) fn in_flight_flag(&self) -> &'static str {
        match self.mode {
            Mode::Concurrent => "--max-concurrent-batches",
            Mode::Sequential | Mode::Pipelined | Mode::Streaming => "--pipeline-depth",
        }
    }

    /// Batches in flight in pipelined and in streaming mode.
    #[must_use]
    pub(crate) fn depth(&self) -> Depth {
        match self.pipeline_depth {
            OrAuto::Exactly(depth) => Depth::fixed(depth),
            OrAuto::Auto => Depth::following(),
        }
    }

    /// Slots in the ring: one fills while the others are in flight.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.in_flight() + 1
    }

    /// Datums that a read batch must hold for every slot to be used, with `batch_size` frames in each; in streaming mode, that
    /// must be in flight. Sequential mode fills one slot after another and needs one batch; an automatic depth counts with its
    /// start value.
    #[must_use]
    pub fn useful_read_batch(&self, batch_size: usize) -> usize {
        match self.mode {
            Mode::Sequential => batch_size,
            Mode::Concurrent => self.slots() * batch_size,
            Mode::Pipelined | Mode::Streaming => (self.depth().now() + 1) * batch_size,
        }
    }

    /// Checks the settings that depend on the model.
    ///
    /// # Errors
    /// A [`ConfigError`] naming the flag, what was given and what the model allows.
    pub fn suit(&self, model: &ModelSpec) -> Result<Suited, ConfigError> {
        let batch_size = match self.model.batch_size {
            OrAuto::Auto => model.batch.best(),
            OrAuto::Exactly(frames) => frames,
        };
        if let Some(most) = model.batch.most()
            && batch_size > most
        {
            return Err(ConfigError {
                flag: "--bsz-size",
                given: batch_size.to_string(),
                reason: format!("this model's batch is {}; use at most {most}", model.batch),
            });
        }
        let selected = outputs::select(model, &self.model.outputs)?;
        let outputs = selected
            .into_iter()
            .filter_map(|index| Some((index, model.outputs.get(index)?)))
            .map(|(index, output)| {
                let envelope = Envelope::new(
                    &output.shape,
                    self.model.output_size,
                    self.model.output_dtype,
                    self.model.output_format,
                )
                .map_err(|error| ConfigError {
                    flag: "--output-size",
                    given: self.model.output_size.to_string(),
                    reason: format!("output '{}': {error}", output.name),
                })?;
                Ok(SelectedOutput {
                    index,
                    name: output.name.clone(),
                    envelope,
                })
            })
            .collect::<Result<Vec<_>, ConfigError>>()?;
        self.check_tags(&outputs)?;
        let shape = self.frame_shape(model)?;
        Ok(Suited {
            batch_size,
            decoder: Decoder::new(self.model.frame_dtype, shape),
            bad_pixels: self.bad_pixels(shape)?,
            outputs,
        })
    }

    /// The answer to a frame whose results are not finite: int16 has no number for them.
    #[must_use]
    pub(crate) fn on_nonfinite(&self) -> OnNonfinite {
        let suits = match self.model.output_dtype {
            OutputDtype::Float32 => OnNonfinite::Send,
            OutputDtype::Int16 => OnNonfinite::Drop,
        };
        self.on_nonfinite.clone().unwrap_or(suits)
    }

    /// Reads the mask, which has the shape of the frames.
    fn bad_pixels(&self, shape: FrameShape) -> Result<BadPixels, ConfigError> {
        let BadPixelSettings {
            rule,
            fill,
            limit,
            mask,
        } = &self.model.bad_pixels;
        let wrong = |path: &Path, reason| ConfigError {
            flag: "--mask",
            given: path.display().to_string(),
            reason,
        };
        let read = |path: &PathBuf| {
            let mask = Mask::read(path).map_err(|error| wrong(path, error.to_string()))?;
            if mask.shape() != shape {
                let reason = format!(
                    "its shape is {}; use a mask of the model's frames, {shape}",
                    mask.shape()
                );
                return Err(wrong(path, reason));
            }
            Ok(mask)
        };
        let mask = mask.as_ref().map(read).transpose()?;
        Ok(BadPixels::new(*rule, *fill, *limit, mask))
    }

    /// Refuses a tag for dead letters or odd results that is the tag of results. A single output has no tag.
    fn check_tags(&self, outputs: &[SelectedOutput]) -> Result<(), ConfigError> {
        let dead_letters = match &self.on_invalid {
            OnInvalid::Tag(tag) => Some(("--on-invalid", tag)),
            OnInvalid::Drop => None,
        };
        let odd_results = match &self.on_nonfinite {
            Some(OnNonfinite::Tag(tag)) => Some(("--on-nonfinite", tag)),
            _ => None,
        };
        for (flag, tag) in dead_letters.into_iter().chain(odd_results) {
            if outputs.len() > 1 && outputs.iter().any(|output| output.name == *tag) {
                return Err(ConfigError {
                    flag,
                    given: format!("tag:{tag}"),
                    reason: "an output of the model has this name, and its results have this tag; use another tag"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Height and width of the model's frames: the last two axes of its input.
    fn frame_shape(&self, model: &ModelSpec) -> Result<FrameShape, ConfigError> {
        match model.input.shape.as_slice() {
            [channels @ .., height, width] if channels.iter().all(|n| *n == 1) => Ok(FrameShape {
                height: *height,
                width: *width,
            }),
            _ => Err(ConfigError {
                flag: "--model-path",
                given: self.model.path.clone(),
                reason: format!(
                    "its input {} is no image of one channel, as detector frames are",
                    model.input
                ),
            }),
        }
    }
}

/// Refuses to send results that are not finite in a type that has no value for them. The models are those of `file`, or `model`.
///
/// # Errors
/// The mistake in the output dtype of a model, if the file gives it, or else in `--on-nonfinite`.
pub(crate) fn check_nonfinite(
    on_nonfinite: Option<&OnNonfinite>,
    model: &ModelSettings,
    file: Option<&ModelsFile>,
) -> Result<(), SettingsError> {
    if on_nonfinite != Some(&OnNonfinite::Send) {
        return Ok(());
    }
    let models = file.map_or(std::slice::from_ref(model), |file| &file.models);
    let mut numbered = models.iter().enumerate();
    let Some((index, model)) = numbered.find(|(_, model)| model.output_dtype == OutputDtype::Int16)
    else {
        return Ok(());
    };
    let of_dtype = ConfigError {
        flag: "--output-dtype",
        given: "int16".to_owned(),
        reason: "it has no value for NaN and infinities, and --on-nonfinite is send; use float32, or drop or tag:NAME as \
                 --on-nonfinite"
            .to_owned(),
    };
    if let Some(mistake) = file.and_then(|file| file.mistake(index, &of_dtype)) {
        return Err(mistake.into());
    }
    let name = &model.name;
    Err(SettingsError::Flag(ConfigError {
        flag: "--on-nonfinite",
        given: "send".to_owned(),
        reason: format!(
            "int16, the output dtype of the model '{name}', has no value for NaN and infinities; use drop or tag:NAME, \
             or float32 as output dtype"
        ),
    }))
}

#[cfg(test)]
mod tests;
