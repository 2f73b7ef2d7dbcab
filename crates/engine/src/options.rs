//! Options for loading an engine and opening its sessions.

use beamflow_frame::BadValue;
use std::path::PathBuf;
use std::str::FromStr;

/// The engine that runs `.onnx` files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum DeviceKind {
    /// The CPU, in pure Rust.
    #[default]
    Cpu,
    /// The CPU, with onnxruntime; its library is loaded at run time.
    Onnxruntime,
    /// An NVIDIA GPU, with a TensorRT engine that is built at start and cached.
    Cuda,
    /// An NVIDIA GPU, with onnxruntime's CUDA provider; nothing is built.
    OnnxruntimeCuda,
}

/// The precision that an engine is built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The types of the model.
    #[default]
    Fp32,
    /// The types of the model, but the factors of products are rounded to the 10 bits that TF32 has.
    Tf32,
    /// Weights, input and most operations in half precision; sensitive operations and outputs in single precision.
    Fp16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
        })
    }
}

/// The GPUs of the machine to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSelection {
    /// Every GPU of the machine.
    All,
    /// The GPUs with these CUDA ordinals.
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
        if text.eq_ignore_ascii_case("all") {
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
    /// The engine that runs `.onnx` files.
    pub device: DeviceKind,
    /// The GPUs to use.
    pub devices: DeviceSelection,
    /// Whether a lane spins while it waits for the GPU, instead of sleeping.
    pub spin: bool,
    /// Whether full batches are launched as CUDA graphs, if one can be captured.
    pub cuda_graphs: bool,
    /// Rows per run of an engine that is built from `.onnx`, and of the trial run of one on the CPU; `None`: the best
    /// for the model.
    pub rows: Option<usize>,
    /// The names of the outputs to compute; all of the model's if empty. An output that is not named may be anything.
    pub outputs: Vec<String>,
    /// The precision of an engine that is built from `.onnx`.
    pub precision: Precision,
    /// The cache folder for engines that are built from `.onnx`.
    pub cache: PathBuf,
    /// Whether a built engine that cannot be written to the cache is an error instead of a warning.
    pub cache_needed: bool,
    /// The folder with the TensorRT libraries; `None`: the system's library path.
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
            outputs: Vec::new(),
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
            assert!(error.instead().contains("such as 0,1"), "{text}");
        }
    }
}
