//! Options for loading an engine and opening its sessions.

use beamflow_frame::BadValue;
use std::path::PathBuf;
use std::str::FromStr;

/// What `.onnx` files run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum DeviceKind {
    /// The CPU engine.
    #[default]
    Cpu,
    /// onnxruntime on the CPU; its library is loaded at run time.
    Onnxruntime,
    /// A TensorRT engine, built at start and cached.
    Cuda,
}

/// The precision that an engine is built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As in the model.
    #[default]
    Fp32,
    /// Weights, input and most operations in half precision; sensitive operations and outputs in single.
    Fp16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
        })
    }
}

/// Which of the machine's GPUs to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSelection {
    /// Every one there is.
    All,
    /// These, by CUDA ordinal.
    Some(Vec<usize>),
}

impl Default for DeviceSelection {
    fn default() -> Self {
        Self::Some(vec![0])
    }
}

impl FromStr for DeviceSelection {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let wrong = || BadValue::new(text, "all, or GPU numbers, each once, such as 0,1");
        if text == "all" {
            return Ok(Self::All);
        }
        let ordinals: Vec<usize> = text
            .split(',')
            .map(|n| n.trim().parse().map_err(|_| wrong()))
            .collect::<Result<_, _>>()?;
        let distinct: std::collections::BTreeSet<_> = ordinals.iter().collect();
        if distinct.len() != ordinals.len() {
            return Err(wrong());
        }
        Ok(Self::Some(ordinals))
    }
}

/// Options for loading an engine and opening its sessions.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What `.onnx` files run on.
    pub device: DeviceKind,
    /// Which GPUs to use.
    pub devices: DeviceSelection,
    /// Whether a lane spins while it waits for the GPU, instead of sleeping.
    pub spin: bool,
    /// Whether batches are launched as CUDA graphs where that works.
    pub cuda_graphs: bool,
    /// The rows that an engine built from `.onnx` is built for; `None`: what suits the model best.
    pub rows: Option<usize>,
    /// The precision that an engine built from `.onnx` is built with.
    pub precision: Precision,
    /// Where engines built from `.onnx` are kept.
    pub cache: PathBuf,
    /// Whether an engine that is built and cannot be kept there is an error, and not a warning.
    pub cache_needed: bool,
    /// The folder with the TensorRT libraries; `None`: wherever the system finds them.
    pub library_path: Option<PathBuf>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            device: DeviceKind::default(),
            devices: DeviceSelection::default(),
            spin: false,
            cuda_graphs: true,
            rows: None,
            precision: Precision::default(),
            cache: std::env::temp_dir().join("beamflow"),
            cache_needed: false,
            library_path: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_all_or_distinct_numbers() {
        assert_eq!("all".parse(), Ok(DeviceSelection::All));
        assert_eq!("0, 2".parse(), Ok(DeviceSelection::Some(vec![0, 2])));
        for text in ["", "0,0", "gpu0", "-1", "0,"] {
            let error = text.parse::<DeviceSelection>().unwrap_err();
            assert!(error.expected().contains("such as 0,1"), "{text}");
        }
    }
}
